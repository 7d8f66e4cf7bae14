unit_test(journal routing)
unit_test(resolvconf routing)

add_executable(host_driver netns/host_driver.c)
target_include_directories(host_driver PRIVATE ${CMAKE_SOURCE_DIR})
target_link_libraries(host_driver PRIVATE tun routing)
set_target_properties(host_driver PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)

# In network namespaces of their own; need root (exit code 77: skipped).
foreach(name host_client host_exit)
	add_test(NAME netns/${name} COMMAND /usr/bin/python3 ${CMAKE_CURRENT_SOURCE_DIR}/netns/${name}.py)
	set_tests_properties(netns/${name} PROPERTIES LABELS netns TIMEOUT 180 SKIP_RETURN_CODE 77
		ENVIRONMENT HOST_DRIVER=$<TARGET_FILE:host_driver>)
endforeach()
