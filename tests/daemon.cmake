unit_test(deadline daemon PkgConfig::EVENT)
unit_test(dirsync daemon PkgConfig::EVENT)
unit_test(process daemon)
