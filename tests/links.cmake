unit_test(session_msg onion)
unit_test(link_parts onion)
