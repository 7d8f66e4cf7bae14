# watch_seals(TARGET): every (key, nonce) that seals is remembered (tests/sim/sealed.h).
function(watch_seals target)
	target_sources(${target} PRIVATE sim/sealed.c)
	target_link_options(${target} PRIVATE -Wl,--wrap=aead_seal,--wrap=chapoly_seal)
endfunction()

unit_test(wire onion)
unit_test(dataplane onion)
target_sources(test_dataplane PRIVATE unit/chain.c)
watch_seals(test_dataplane)
