unit_test(udp net base)
unit_test(control net base)
target_link_options(test_control PRIVATE -Wl,--wrap=bind)
unit_test(http net base)
