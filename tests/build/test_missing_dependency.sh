# Run by CTest, which sets SOURCE, BUILD, ALLEGRAD, MPIRUN and MPI_FLAVOUR (tests/AllegradTest.cmake).
# shellcheck shell=bash
# Configuring without a dependency ends with a message that names the Debian package.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/pc"
IFS=: read -ra folders <<<"$(pkg-config --variable pc_path pkg-config)"
for folder in "${folders[@]}"; do
  for file in "$folder"/*.pc; do [[ ! -e $file ]] || cp -n "$file" "$work/pc/"; done
done

# expect_package <package> <cmake option>...: configures in a fresh folder.
failures=0
expect_package() {
  local package=$1
  shift
  rm -rf "$work/build"
  if PKG_CONFIG_LIBDIR=$work/pc PKG_CONFIG_PATH='' cmake -S "$SOURCE" -B "$work/build" -DALLEGRAD_MPI="$MPI_FLAVOUR" \
    "$@" >"$work/log" 2>&1; then
    echo "configured without $package"
    failures=$((failures + 1))
  elif ! tr -s '\n ' ' ' <"$work/log" | grep -- "Debian: apt-get install.* $package" >/dev/null; then
    echo "no advice to install $package:"
    cat "$work/log"
    failures=$((failures + 1))
  fi
}
# without_module <package> <pkg-config module>...
without_module() {
  local package=$1
  shift
  mkdir "$work/hidden"
  for module in "$@"; do mv "$work/pc/$module.pc" "$work/hidden/"; done
  expect_package "$package" -DCMAKE_DISABLE_FIND_PACKAGE_HDF5=ON
  mv "$work/hidden"/*.pc "$work/pc/"
  rmdir "$work/hidden"
}

expect_package pkg-config -DCMAKE_DISABLE_FIND_PACKAGE_PkgConfig=ON
expect_package lib"$MPI_FLAVOUR"-dev -DCMAKE_DISABLE_FIND_PACKAGE_MPI=ON
expect_package libcsv-dev -DCMAKE_IGNORE_PATH=/usr/include
# Programs are looked for in this order; each is given by hand once its absence was shown.
echo 'set(CMAKE_IGNORE_PATH /usr/bin /bin /usr/local/bin)' >"$work/hide_programs.cmake" # once the compiler is found
programs=(-DCMAKE_PROJECT_INCLUDE="$work/hide_programs.cmake" -DPKG_CONFIG_EXECUTABLE="$(command -v pkg-config)"
  -DMPI_C_COMPILER="$(command -v "mpicc.$MPI_FLAVOUR")" -DMPIEXEC_EXECUTABLE="$(command -v "mpiexec.$MPI_FLAVOUR")")
expect_package protobuf-c-compiler "${programs[@]}"
expect_package gnuplot-nox "${programs[@]}" -DPROTOC_C="$(command -v protoc-c)"
without_module libhdf5-"$MPI_FLAVOUR"-dev hdf5-"$MPI_FLAVOUR" hdf5
without_module libopenblas-dev openblas
without_module libfyaml-dev libfyaml
without_module libssl-dev libcrypto
without_module libprotobuf-c-dev libprotobuf-c
without_module libisal-dev libisal
without_module libzip-dev libzip
without_module libjansson-dev jansson
without_module libcmocka-dev cmocka

# Without Debian's pkg-config modules, HDF5 is what h5pcc says: that of Open MPI, where both are installed.
rm "$work"/pc/hdf5*.pc
rm -rf "$work/build"
configured=0
PKG_CONFIG_LIBDIR=$work/pc PKG_CONFIG_PATH='' cmake -S "$SOURCE" -B "$work/build" -DALLEGRAD_MPI="$MPI_FLAVOUR" \
  -DALLEGRAD_TESTS=OFF >"$work/log" 2>&1 && configured=1
if [[ $MPI_FLAVOUR == openmpi ]]; then
  ((configured)) || { echo "HDF5 was not found by h5pcc:" && cat "$work/log" && exit 1; }
elif ((configured)); then
  echo "Open MPI's HDF5 was taken for $MPI_FLAVOUR"
  exit 1
fi
((failures == 0))
