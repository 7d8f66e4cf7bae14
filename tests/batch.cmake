# The packet path by batches, whole: nothing allocated on a worker, offloads in all combinations, order, threads.
# A guard to be preloaded into the daemons, and that it sees what it is for. A sanitizer has an allocator of its own.
if(NOT SANITIZE AND NOT FUZZ)
	add_library(no_malloc SHARED preload/no_malloc.c)
	target_link_libraries(no_malloc PRIVATE ${CMAKE_DL_LIBS})
	set_target_properties(no_malloc PROPERTIES PREFIX "" LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
	add_executable(test_no_malloc preload/test_no_malloc.c)
	target_compile_definitions(test_no_malloc PRIVATE NO_MALLOC="$<TARGET_FILE:no_malloc>")
	target_link_libraries(test_no_malloc PRIVATE PkgConfig::URCU PkgConfig::CMOCKA Threads::Threads)
	set_target_properties(test_no_malloc PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
	add_test(NAME unit/no_malloc COMMAND test_no_malloc)
	set_tests_properties(unit/no_malloc PROPERTIES LABELS unit TIMEOUT 60)
endif()

# On the test network, with the daemons of this build folder (they need root). One at a time.
file(GLOB batch_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/netns/batch_*.sh)
if(SANITIZE OR FUZZ)
	list(FILTER batch_tests EXCLUDE REGEX no_malloc)
endif()
foreach(test ${batch_tests})
	get_filename_component(name ${test} NAME_WE)
	add_test(NAME netns/${name} COMMAND ${test})
	set_tests_properties(netns/${name} PROPERTIES LABELS netns TIMEOUT 180 RUN_SERIAL TRUE
		SKIP_RETURN_CODE 77 ENVIRONMENT SISPOPNET_BUILD=${CMAKE_BINARY_DIR})
endforeach()
