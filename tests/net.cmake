unit_test(udp net base)
unit_test(control net base)
unit_test(http net base)
