# Program, static library, headers, and a pkg-config file with everything that a static library needs behind it.
install(TARGETS allegrad allegrad_program)
install(DIRECTORY include/allegrad DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")

set(ALLEGRAD_PC_REQUIRES "openblas libfyaml libcrypto libprotobuf-c libisal libzip jansson")
set(ALLEGRAD_PC_LIBS ${csv_LIBRARY} ${MPI_C_LIBRARIES} -lm)
set(ALLEGRAD_PC_CFLAGS ${MPI_C_INCLUDE_DIRS})
list(TRANSFORM ALLEGRAD_PC_CFLAGS PREPEND -I)
if(HDF5_MODULE_NAME)
  string(PREPEND ALLEGRAD_PC_REQUIRES "${HDF5_MODULE_NAME} ")
else()
  list(APPEND ALLEGRAD_PC_LIBS ${HDF5_LIBRARIES})
endif()
list(JOIN ALLEGRAD_PC_LIBS " " ALLEGRAD_PC_LIBS)
list(JOIN ALLEGRAD_PC_CFLAGS " " ALLEGRAD_PC_CFLAGS)
# Relative, so that `cmake --install --prefix` and a moved tree stay right.
file(RELATIVE_PATH ALLEGRAD_PC_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(src/cmake/allegrad.pc.in allegrad.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/allegrad.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
