unit_test(engine engine PkgConfig::EVENT)
target_link_options(test_engine PRIVATE -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc)
