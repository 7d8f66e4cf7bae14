unit_test(engine engine PkgConfig::EVENT)
target_link_options(test_engine PRIVATE -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc
	-Wl,--wrap=tun_queues,--wrap=tun_fd,--wrap=tun_offloads,--wrap=tun_read_frame)
unit_test(codel engine m)
unit_test(fq engine)
unit_test(frame tun)
