unit_test(client_config client_parts)
unit_test(grant client_parts)
# With a worker of its own: engine/ is not linked in.
unit_test(client_inner onion tun base)
target_sources(test_client_inner PRIVATE ${CMAKE_SOURCE_DIR}/client/inner.c)
target_link_libraries(test_client_inner PRIVATE PkgConfig::JANSSON)
unit_test(cli net sp_crypto base PkgConfig::JANSSON PkgConfig::EVENT)
target_compile_definitions(test_cli PRIVATE CLI_PATH="$<TARGET_FILE:sispopnet-vpn>")
add_dependencies(test_cli sispopnet-vpn)
# With a directory and paths of the test's own.
unit_test(hops directory base PkgConfig::JANSSON)
target_sources(test_hops PRIVATE ${CMAKE_SOURCE_DIR}/client/hops.c)
