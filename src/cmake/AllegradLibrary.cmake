# allegrad_add_library(<name> <definition or "">): all floors as one library; built twice, for float and for double.
function(allegrad_add_library name definition)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/base/*.c ${PROJECT_SOURCE_DIR}/src/num/*.c
       ${PROJECT_SOURCE_DIR}/src/nn/*.c ${PROJECT_SOURCE_DIR}/src/world/*.c ${PROJECT_SOURCE_DIR}/src/train/*.c)
  add_library(${name} STATIC ${sources} $<TARGET_OBJECTS:allegrad_messages>)
  target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR}/include)
  target_include_directories(${name} SYSTEM PRIVATE ${ALLEGRAD_MESSAGES_DIR})
  target_compile_definitions(${name} PUBLIC ${definition})
  target_link_libraries(${name} PRIVATE allegrad_compiler
    PUBLIC MPI::MPI_C allegrad::HDF5 PkgConfig::OPENBLAS PkgConfig::FYAML PkgConfig::CRYPTO PkgConfig::PROTOBUF_C
           PkgConfig::ISAL allegrad::csv m)
  if(XSMM_FOUND)
    target_compile_definitions(${name} PRIVATE ALLEGRAD_LIBXSMM)
    target_link_libraries(${name} PUBLIC PkgConfig::XSMM PkgConfig::OPENBLAS)
  endif()
endfunction()
