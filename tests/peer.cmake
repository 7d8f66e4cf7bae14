# The independent client of tests/peer/ against the real daemons, and hostile ends. They need root.
file(GLOB peer_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/netns/peer_*.sh
	${CMAKE_CURRENT_SOURCE_DIR}/netns/hostile_*.sh)
foreach(test ${peer_tests})
	get_filename_component(name ${test} NAME_WE)
	add_test(NAME netns/${name} COMMAND ${test})
	set_tests_properties(netns/${name} PROPERTIES LABELS netns TIMEOUT 180 RUN_SERIAL TRUE
		SKIP_RETURN_CODE 77 ENVIRONMENT SISPOPNET_BUILD=${CMAKE_BINARY_DIR})
endforeach()
