# The independent client of tests/peer/ against the real daemons, and hostile ends. They need root.
file(GLOB peer_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/netns/peer_*.sh
	${CMAKE_CURRENT_SOURCE_DIR}/netns/hostile_*.sh)
foreach(test ${peer_tests})
	get_filename_component(name ${test} NAME_WE)
	add_test(NAME netns/${name} COMMAND ${test})
	set_tests_properties(netns/${name} PROPERTIES LABELS netns TIMEOUT 180 RUN_SERIAL TRUE
		SKIP_RETURN_CODE 77 ENVIRONMENT SISPOPNET_BUILD=${CMAKE_BINARY_DIR})
endforeach()

# An exit that betrays its clients: the relay's own objects, a few functions wrapped.
if(TARGET relay_parts)
	add_executable(hostile_exit hostile/exit.c ${CMAKE_SOURCE_DIR}/relay/main.c)
	target_include_directories(hostile_exit PRIVATE ${CMAKE_SOURCE_DIR})
	target_link_libraries(hostile_exit PRIVATE relay_parts)
	target_link_options(hostile_exit PRIVATE
		-Wl,--wrap=msg_grant_write,--wrap=exit_sessions_on_plain,--wrap=inner_from_onion)
	set_target_properties(hostile_exit PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
endif()

# Packet workers against neighbours that repeat counters (workers) and mix bursts (bursts). Run them under
# ThreadSanitizer too.
foreach(name workers bursts)
	add_executable(test_${name} hostile/test_${name}.c hostile/workers_lab.c)
	target_include_directories(test_${name} PRIVATE ${CMAKE_SOURCE_DIR})
	target_link_libraries(test_${name} PRIVATE engine onion sp_crypto base PkgConfig::EVENT PkgConfig::CMOCKA
		Threads::Threads)
	target_link_options(test_${name} PRIVATE -Wl,--wrap=aead_seal_batch,--wrap=dataplane_receive_batch,--wrap=codel_drops)
	set_target_properties(test_${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
	add_test(NAME threads/${name} COMMAND test_${name})
	set_tests_properties(threads/${name} PROPERTIES LABELS "threads;unit" TIMEOUT 120
		ENVIRONMENT TSAN_OPTIONS=suppressions=${CMAKE_CURRENT_SOURCE_DIR}/tsan.supp)
endforeach()
