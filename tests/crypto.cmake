unit_test(kdf sp_crypto)
unit_test(handshake sp_crypto)
unit_test(aead sp_crypto PkgConfig::CRYPTO)
unit_test(replay sp_crypto)
