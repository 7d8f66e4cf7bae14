# The load generator of tests/bench/, which plays the neighbours of one relay.
if(TARGET relay_parts)
	add_executable(relay_load bench/load.c bench/modes.c bench/network.c bench/neighbour.c bench/options.c bench/paths.c
		bench/relay_process.c bench/report.c bench/stream.c)
	target_include_directories(relay_load PRIVATE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/tests)
	target_link_libraries(relay_load PRIVATE relay_parts PkgConfig::SODIUM)
	set_target_properties(relay_load PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
endif()
if(TARGET relay_load)
	add_test(NAME netns/relay_load COMMAND /usr/bin/python3 -I ${CMAKE_CURRENT_SOURCE_DIR}/bench/relay_load.py --test)
	set_tests_properties(netns/relay_load PROPERTIES LABELS netns TIMEOUT 120 RUN_SERIAL TRUE SKIP_RETURN_CODE 77
		ENVIRONMENT SISPOPNET_BUILD=${CMAKE_BINARY_DIR})
endif()
