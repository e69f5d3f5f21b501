# Every library the project stands on, each with the Debian package to install when it is missing.
find_package(PkgConfig)
if(NOT PkgConfig_FOUND)
  message(FATAL_ERROR "pkg-config was not found. Debian: apt-get install pkg-config")
endif()

# allegrad_pkg(<target> <pkg-config module> <Debian package>): an imported target PkgConfig::<target>, or a clear end.
function(allegrad_pkg target module package)
  pkg_check_modules(${target} QUIET IMPORTED_TARGET GLOBAL ${module})
  if(NOT ${target}_FOUND)
    message(FATAL_ERROR "${module} was not found by pkg-config. Debian: apt-get install ${package}")
  endif()
endfunction()

# allegrad_lib(<target> <header> <library> <Debian package>): the same for a library without a .pc file.
function(allegrad_lib target header library package)
  find_path(${target}_INCLUDE ${header})
  find_library(${target}_LIBRARY ${library})
  if(NOT ${target}_INCLUDE OR NOT ${target}_LIBRARY)
    message(FATAL_ERROR "${header} or lib${library} was not found. Debian: apt-get install ${package}")
  endif()
  add_library(allegrad::${target} INTERFACE IMPORTED GLOBAL)
  target_include_directories(allegrad::${target} INTERFACE ${${target}_INCLUDE})
  target_link_libraries(allegrad::${target} INTERFACE ${${target}_LIBRARY})
endfunction()

include(AllegradMpi)
allegrad_pkg(OPENBLAS openblas libopenblas-dev)
allegrad_pkg(FYAML libfyaml libfyaml-dev)
allegrad_pkg(CRYPTO libcrypto libssl-dev)
allegrad_pkg(PROTOBUF_C libprotobuf-c libprotobuf-c-dev)
find_program(PROTOC_C protoc-c)
if(NOT PROTOC_C)
  message(FATAL_ERROR "protoc-c was not found. Debian: apt-get install protobuf-c-compiler")
endif()
allegrad_pkg(ISAL libisal libisal-dev)
allegrad_lib(csv csv.h csv libcsv-dev)

# Optional, for the benchmark. Static in Debian; its own BLAS calls are OpenBLAS's.
pkg_check_modules(XSMM QUIET IMPORTED_TARGET GLOBAL libxsmm)
if(NOT XSMM_FOUND)
  message(STATUS "libxsmm was not found: the benchmark compares with OpenBLAS alone. Debian: apt-get install libxsmm-dev")
endif()
