# The load generator of tests/bench/, which plays the neighbours of one relay.
if(TARGET relay_parts)
	add_executable(relay_load bench/load.c bench/modes.c bench/network.c bench/neighbour.c bench/paths.c
		bench/relay_process.c bench/report.c bench/stream.c)
	target_include_directories(relay_load PRIVATE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/tests)
	target_link_libraries(relay_load PRIVATE relay_parts PkgConfig::SODIUM)
	set_target_properties(relay_load PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
endif()
