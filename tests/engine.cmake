unit_test(engine engine onion sp_crypto base PkgConfig::EVENT)
