unit_test(accounts exit_role PkgConfig::SQLITE)
unit_test(leases exit_role)
unit_test(exit_settings exit_role)
unit_test(exit_inner exit_role)

foreach(name exit_host exit_refusals)
	add_test(NAME netns/${name} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/netns/${name}.sh)
	set_tests_properties(netns/${name} PROPERTIES LABELS netns TIMEOUT 120 RUN_SERIAL TRUE
		SKIP_RETURN_CODE 77 ENVIRONMENT SISPOPNET_BUILD=${CMAKE_BINARY_DIR})
endforeach()
