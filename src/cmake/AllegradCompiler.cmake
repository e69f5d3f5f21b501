# Language level, warnings and sanitizers, as one interface target that every target of ours links.
add_library(allegrad_compiler INTERFACE)
target_compile_features(allegrad_compiler INTERFACE c_std_11)
target_compile_definitions(allegrad_compiler INTERFACE _GNU_SOURCE)
target_compile_options(allegrad_compiler INTERFACE -Wall -Wextra -Wconversion -Wshadow -fno-math-errno)
if(ALLEGRAD_WERROR)
  target_compile_options(allegrad_compiler INTERFACE -Werror)
endif()
if(ALLEGRAD_FUZZ)
  include(CheckCSourceCompiles)
  set(CMAKE_REQUIRED_FLAGS -fsanitize=fuzzer,address,undefined)
  check_c_source_compiles("int LLVMFuzzerTestOneInput(const char *b, unsigned long s);
                           int LLVMFuzzerTestOneInput(const char *b, unsigned long s) { return b[s - 1] > 0; }"
                          ALLEGRAD_HAS_FUZZER)
  unset(CMAKE_REQUIRED_FLAGS)
  if(NOT ALLEGRAD_HAS_FUZZER)
    message(FATAL_ERROR "ALLEGRAD_FUZZ needs clang and its libFuzzer: -DCMAKE_C_COMPILER=clang. "
                        "Debian: apt-get install clang libclang-rt-14-dev")
  endif()
  set(ALLEGRAD_SANITIZE ON)
  target_compile_options(allegrad_compiler INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(ALLEGRAD_SANITIZE)
  target_compile_options(allegrad_compiler INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=undefined
                                                    -fno-omit-frame-pointer -g)
  target_link_options(allegrad_compiler INTERFACE -fsanitize=address,undefined)
endif()
