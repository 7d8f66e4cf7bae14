# Tests on the test network beyond those of testnet.cmake: what daemons do when much goes wrong (they need root).
file(GLOB live_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/netns/live_*.sh)
foreach(test ${live_tests})
	get_filename_component(name ${test} NAME_WE)
	add_test(NAME netns/${name} COMMAND ${test})
	set_tests_properties(netns/${name} PROPERTIES LABELS netns TIMEOUT 300 RUN_SERIAL TRUE
		SKIP_RETURN_CODE 77 ENVIRONMENT SISPOPNET_BUILD=${CMAKE_BINARY_DIR})
endforeach()
