unit_test(dirsync daemon PkgConfig::EVENT)
