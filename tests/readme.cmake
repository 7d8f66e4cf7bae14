# The README's own commands, as they stand there.
add_test(NAME netns/readme COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/netns/readme_network.py)
set_tests_properties(netns/readme PROPERTIES LABELS netns TIMEOUT 180 RUN_SERIAL TRUE SKIP_RETURN_CODE 77
	ENVIRONMENT SISPOPNET_BUILD=${CMAKE_BINARY_DIR})
