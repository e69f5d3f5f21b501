# Run by CTest, which sets SOURCE, BUILD, ALLEGRAD, MPIRUN and MPI_FLAVOUR (tests/AllegradTest.cmake).
# shellcheck shell=bash
# The installed library is all that a program needs: headers and the pkg-config file.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cached() { sed -n "s/^$1:[A-Z]*=//p" "$BUILD/CMakeCache.txt"; }

cmake --install "$BUILD" --prefix "$work/installed" >"$work/log"
"$work/installed/bin/allegrad" --version >"$work/version"
PKG_CONFIG_PATH=$(dirname "$(find "$work/installed" -name allegrad.pc)")
export PKG_CONFIG_PATH
read -ra flags <<<"$(pkg-config --cflags --libs allegrad)"
[[ $(cached ALLEGRAD_SANITIZE) == ON ]] && flags+=("-fsanitize=address,undefined")
"$(cached CMAKE_C_COMPILER)" -std=c11 "$SOURCE/tests/build/link_predictor.c" "${flags[@]}" -o "$work/link_predictor"
"$work/link_predictor" "$work"
