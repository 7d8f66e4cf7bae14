# Instructions per packet of each role against tests/gate/expected.txt, under callgrind; label gate. Only in the build
# that is shipped: a sanitizer or another optimisation would be counted too.
if(NOT CMAKE_BUILD_TYPE STREQUAL RelWithDebInfo OR SANITIZE OR FUZZ)
	return()
endif()
find_path(VALGRIND_INCLUDE valgrind/callgrind.h)
if(VALGRIND_INCLUDE)
	add_executable(gate gate/cipher.c gate/end_client.c gate/end_exit.c gate/gate.c gate/kernel.c gate/packets.c
		gate/world.c)
	target_include_directories(gate PRIVATE ${CMAKE_SOURCE_DIR} ${VALGRIND_INCLUDE})
	target_link_libraries(gate PRIVATE client_parts exit_role engine onion net tun sp_crypto base PkgConfig::EVENT
		Threads::Threads)
	target_compile_options(gate PRIVATE -fno-lto) # else the linker does not see what takes the places of these
	foreach(name epoll_ctl epoll_wait recvmmsg sendmmsg setsockopt open ioctl read writev clock_gettime pthread_create
			pthread_join EVP_EncryptInit_ex EVP_EncryptUpdate)
		target_link_options(gate PRIVATE -Wl,--wrap=${name})
	endforeach()
	set_target_properties(gate PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
endif()
set(gate ${CMAKE_CURRENT_SOURCE_DIR}/gate/gate.py)
add_test(NAME gate/instructions COMMAND /usr/bin/python3 -I ${gate} ${CMAKE_BINARY_DIR}/tests/gate)
add_test(NAME gate/self-test COMMAND /usr/bin/python3 -I ${gate} --self-test)
set_tests_properties(gate/instructions gate/self-test PROPERTIES LABELS gate TIMEOUT 60 SKIP_RETURN_CODE 77)
