if(TARGET relay_parts)
	unit_test(relay_config relay_parts)
	unit_test(relay_keys relay_parts)
endif()
