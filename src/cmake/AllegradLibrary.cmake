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
           PkgConfig::ISAL PkgConfig::ZIP PkgConfig::JANSSON allegrad::csv m)
endfunction()

# The tuned kernels, one file for each instruction set. No contraction to fused multiply-adds: all sets give the same
# bits.
set_source_files_properties(src/num/kernels_reference.c src/num/kernels_baseline.c PROPERTIES COMPILE_OPTIONS
                            "-ffp-contract=off")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set_source_files_properties(src/num/kernels_avx2.c PROPERTIES COMPILE_OPTIONS "-ffp-contract=off;-mavx2")
  set_source_files_properties(src/num/product_avx2.c PROPERTIES COMPILE_OPTIONS "-ffp-contract=fast;-mavx2;-mfma")
  set_source_files_properties(src/num/product_avx512.c PROPERTIES COMPILE_OPTIONS
                              "-ffp-contract=fast;-mavx512f;-mavx512vl;-mavx512dq;-mfma")
  set_source_files_properties(src/num/kernels_avx512.c PROPERTIES COMPILE_OPTIONS
                              "-ffp-contract=off;-mavx512f;-mavx512vl;-mavx512dq")
endif()
