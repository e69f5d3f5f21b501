# Language level, warnings and sanitizers, as one interface target that every target of ours links.
add_library(allegrad_compiler INTERFACE)
target_compile_features(allegrad_compiler INTERFACE c_std_11)
target_compile_definitions(allegrad_compiler INTERFACE _GNU_SOURCE)
target_compile_options(allegrad_compiler INTERFACE -Wall -Wextra -Wconversion -Wshadow -fno-math-errno)
if(ALLEGRAD_WERROR)
  target_compile_options(allegrad_compiler INTERFACE -Werror)
endif()
if(ALLEGRAD_SANITIZE)
  target_compile_options(allegrad_compiler INTERFACE -fsanitize=address,undefined -fno-sanitize-recover=undefined
                                                    -fno-omit-frame-pointer -g)
  target_link_options(allegrad_compiler INTERFACE -fsanitize=address,undefined)
endif()
