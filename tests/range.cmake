# `--range`: only some destinations go through the tunnel; and exits that are tried in order (they need root).
unit_test(ranges base)
target_sources(test_ranges PRIVATE ${CMAKE_SOURCE_DIR}/client/ranges.c)

add_test(NAME netns/range_host COMMAND /usr/bin/python3 ${CMAKE_CURRENT_SOURCE_DIR}/netns/range_host.py)
set_tests_properties(netns/range_host PROPERTIES LABELS netns TIMEOUT 180 SKIP_RETURN_CODE 77
	ENVIRONMENT HOST_DRIVER=$<TARGET_FILE:host_driver>)

file(GLOB range_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/netns/range_*.sh)
foreach(test ${range_tests})
	get_filename_component(name ${test} NAME_WE)
	add_test(NAME netns/${name} COMMAND ${test})
	set_tests_properties(netns/${name} PROPERTIES LABELS netns TIMEOUT 120 RUN_SERIAL TRUE
		SKIP_RETURN_CODE 77 ENVIRONMENT SISPOPNET_BUILD=${CMAKE_BINARY_DIR})
endforeach()
