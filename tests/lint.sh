#!/bin/bash
# Format, static analysis and the rules of the house: tests/lint.sh [BUILD_FOLDER]. Exit code 1 when anything is found.
# The build folder (default build-lint) holds the compile commands that clang-tidy reads.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build-lint}
failed=()

check() { # check <name> <function>
  echo "== $1"
  "$2" || failed+=("$1")
}

files() { find "$@" -not -path '*/build*' | sort; }

format() { files src include tests -name '*.[ch]' | xargs clang-format-14 --dry-run --Werror; }

scripts() { { files . -name '*.sh' && echo .ci/run; } | xargs shellcheck; }

# One file at a time: in its second file, version 14 sees uninitialised va_lists where there are none.
tidy() {
  cmake -B "$build" -DCMAKE_C_COMPILER=clang -DCMAKE_EXPORT_COMPILE_COMMANDS=ON >/dev/null
  cmake --build "$build" --target allegrad_messages >/dev/null
  sed -n 's/^ *"file": "\(.*\)".*/\1/p' "$build/compile_commands.json" | grep -v "/$build/" | sort -u |
    xargs -P "$(nproc)" -n 1 clang-tidy-14 -p "$build" --quiet 2>/dev/null
}

# A file includes the headers of its own floor or of lower ones. A header belongs to the floor of its room.
floors() {
  local order=(base num nn world train cli) lower=" " floor file header bad=0
  for floor in "${order[@]}"; do
    for file in src/"$floor"/*.c; do lower+="$(basename "$file" .c) "; done
    for file in src/"$floor"/*.[ch]; do
      while read -r header; do
        # A header without a room of its own (real.h) may be used by all.
        if compgen -G "src/*/$header.c" >/dev/null && [[ $lower != *" $header "* ]]; then
          echo "$file includes $header.h of a higher floor"
          bad=1
        fi
      done < <(sed -n 's|^#include "allegrad/\(.*\)\.h".*|\1|p' "$file" "include/allegrad/$(basename "$file" .c).h" 2>/dev/null)
    done
  done
  return $bad
}

# The BLAS is called in one room, MPI in few, and the network knows neither MPI nor HDF5.
libraries() {
  local bad=0
  uses() { # uses <header> <allowed files as a pattern>
    local found
    found=$(grep -lE "#include <($1)>" -r src include --include '*.[ch]' | grep -vE "^($2)$") || return 0
    echo "$1 is included by ${found//$'\n'/, }"
    bad=1
  }
  uses 'cblas.h|libxsmm.h' 'src/num/gemm.c'
  uses 'mpi.h' 'include/allegrad/comm.h|src/cli/main.c'
  uses 'hdf5.h' 'src/world/.*|src/cli/(main|info).c|include/allegrad/(h5|training).h'
  return $bad
}

check clang-format format
check shellcheck scripts
check floors floors
check libraries libraries
check clang-tidy tidy
if ((${#failed[@]})); then
  echo "lint failed: ${failed[*]}"
  exit 1
fi
echo "lint clean"
