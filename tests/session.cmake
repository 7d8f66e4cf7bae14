# Sessions and path sets: both ends over memory (unit/session_world.h).
foreach(module session_exit session_client path_set)
	unit_test(${module} onion)
	target_sources(test_${module} PRIVATE unit/session_world.c unit/chain.c)
endforeach()
