# scripts/bench: its generators of datagrams and echoes, and that what it measures can be (needs root).
foreach(generator udp_blast echo_times)
	add_executable(${generator} bench/${generator}.c)
	set_target_properties(${generator} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
endforeach()
