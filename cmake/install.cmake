# What `cmake --install` copies: library, headers, a CMake package, a pkg-config file and the command line; with
# `--component model` the default model as well, into share/bitmar/models/default, where the command line finds it.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS bitmar EXPORT bitmarTargets ARCHIVE INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY include/bitmar ${PROJECT_BINARY_DIR}/include/bitmar
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN *.h)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
if(BITMAR_BUILD_TOOLS)
  install(TARGETS bitmar_cli)
endif()
install(DIRECTORY models/default DESTINATION ${CMAKE_INSTALL_DATADIR}/bitmar/models COMPONENT model EXCLUDE_FROM_ALL)

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/bitmar)
configure_package_config_file(cmake/bitmarConfig.cmake.in ${PROJECT_BINARY_DIR}/bitmarConfig.cmake
  INSTALL_DESTINATION ${package})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/bitmarConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(EXPORT bitmarTargets NAMESPACE bitmar:: DESTINATION ${package})
install(FILES ${PROJECT_BINARY_DIR}/bitmarConfig.cmake ${PROJECT_BINARY_DIR}/bitmarConfigVersion.cmake
  DESTINATION ${package})

# Its paths are relative to where it lies, so that an installed tree may be moved.
file(RELATIVE_PATH from_pc_to_prefix ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(cmake/bitmar.pc.in ${PROJECT_BINARY_DIR}/bitmar.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/bitmar.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
