unit_test(kdf sp_crypto)
unit_test(handshake sp_crypto)
unit_test(aead sp_crypto PkgConfig::CRYPTO)
unit_test(replay sp_crypto)
unit_test(cookie sp_crypto)
unit_test(sign sp_crypto)
unit_test(token sp_crypto)
unit_test(filler sp_crypto PkgConfig::SODIUM PkgConfig::CRYPTO)
unit_test(keyfile sp_crypto)

# The vectors hold both ways: make.py still writes the committed files, our code computes the same (test_vectors), and
# make.py opens what our code made of random inputs.
unit_test(vectors sp_crypto PkgConfig::JANSSON)
add_test(NAME unit/vectors-script COMMAND ${CMAKE_SOURCE_DIR}/tests/vectors/make.py --check)
add_test(NAME unit/vectors-back COMMAND sh -c
	"'$<TARGET_FILE:test_vectors>' --emit 1 | '${CMAKE_SOURCE_DIR}/tests/vectors/make.py' --verify -")
set_tests_properties(unit/vectors-script unit/vectors-back PROPERTIES LABELS unit TIMEOUT 60)
