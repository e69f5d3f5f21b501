# Run by CTest, which sets SOURCE, BUILD, ALLEGRAD, MPIRUN and MPI_FLAVOUR (tests/AllegradTest.cmake).
# shellcheck shell=bash
# HDF5 of another MPI or of none, and the launcher of another MPI, are refused when configuring.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0
# expect <text of the message or ""> <cmake option>...
expect() {
  local text=$1 refused=0
  shift
  rm -rf "$work/build"
  cmake -S "$SOURCE" -B "$work/build" -DALLEGRAD_TESTS=OFF "$@" >"$work/log" 2>&1 || refused=1
  if ((refused != ${#text} > 0)) || ! tr -s '\n ' ' ' <"$work/log" | grep -- "$text" >/dev/null; then
    echo "with $*, expected \"$text\":"
    cat "$work/log"
    failures=$((failures + 1))
  fi
}
expect "" -DALLEGRAD_MPI=openmpi
expect "" -DALLEGRAD_MPI=mpich
expect "another MPI than mpich.*libhdf5-mpich-dev" -DALLEGRAD_MPI=mpich -DALLEGRAD_HDF5=hdf5-openmpi
expect "another MPI than openmpi.*libhdf5-openmpi-dev" -DALLEGRAD_MPI=openmpi -DALLEGRAD_HDF5=hdf5-mpich
mkdir "$work/serial"
echo 'int H5open(void);' >"$work/serial/hdf5.h"
printf '%s\n' 'Name: hdf5-serial' 'Description: a serial one' 'Version: 1' "Cflags: -I$work/serial" >"$work/serial/hdf5-serial.pc"
PKG_CONFIG_PATH=$work/serial expect "It is a serial build" -DALLEGRAD_HDF5=hdf5-serial
expect "belongs to openmpi" -DALLEGRAD_MPI=mpich -DMPIEXEC_EXECUTABLE=/usr/bin/mpiexec.openmpi
expect "belongs to mpich" -DALLEGRAD_MPI=openmpi -DMPIEXEC_EXECUTABLE=/usr/bin/mpiexec.mpich
expect "mpich was asked for" -DALLEGRAD_MPI=mpich -DMPI_C_COMPILER=/usr/bin/mpicc.openmpi
expect "must be openmpi, mpich or empty" -DALLEGRAD_MPI=lam
((failures == 0))
