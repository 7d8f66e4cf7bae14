# The rules of the tree, the scripts, and the tests on the test network (they need root).
add_test(NAME unit/check-includes COMMAND ${CMAKE_SOURCE_DIR}/scripts/check-includes ${CMAKE_SOURCE_DIR})
add_test(NAME unit/check-includes-self-test COMMAND ${CMAKE_SOURCE_DIR}/scripts/check-includes --self-test)
set_tests_properties(unit/check-includes unit/check-includes-self-test PROPERTIES LABELS unit TIMEOUT 30)

find_program(SHELLCHECK shellcheck)
if(SHELLCHECK)
	file(GLOB shell_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/netns/*.sh)
	add_test(NAME tree/shellcheck COMMAND ${SHELLCHECK} -S warning -x -P SCRIPTDIR scripts/bench scripts/build scripts/demo scripts/test
		scripts/testnet .ci/run tests/fuzz/run ${shell_tests}
		WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
	set_tests_properties(tree/shellcheck PROPERTIES LABELS tree TIMEOUT 120)
endif()

# Each test makes a network of its own with the daemons of this build folder. One at a time: they measure.
file(GLOB netns_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/netns/net_*.sh)
foreach(test ${netns_tests})
	get_filename_component(name ${test} NAME_WE)
	string(REPLACE net_ "" name ${name})
	add_test(NAME netns/${name} COMMAND ${test})
	set_tests_properties(netns/${name} PROPERTIES LABELS netns TIMEOUT 300 RUN_SERIAL TRUE
		SKIP_RETURN_CODE 77 ENVIRONMENT SISPOPNET_BUILD=${CMAKE_BINARY_DIR})
endforeach()
