# scripts/bench: its generators of datagrams and echoes, and that what it measures can be (needs root).
foreach(generator udp_blast echo_times)
	add_executable(${generator} bench/${generator}.c)
	set_target_properties(${generator} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
endforeach()

add_test(NAME unit/bench COMMAND /usr/bin/python3 -I ${CMAKE_CURRENT_SOURCE_DIR}/bench/bench_unit_test.py)
set_tests_properties(unit/bench PROPERTIES LABELS unit TIMEOUT 60)

add_test(NAME netns/bench COMMAND /usr/bin/python3 -I ${CMAKE_CURRENT_SOURCE_DIR}/bench/bench_test.py)
set_tests_properties(netns/bench PROPERTIES LABELS netns TIMEOUT 300 RUN_SERIAL TRUE
	SKIP_RETURN_CODE 77 ENVIRONMENT SISPOPNET_BUILD=${CMAKE_BINARY_DIR})
