#!/bin/bash
# Installs the Debian packages that are missing: jobs/install_dependencies.sh [build | test | ci]
#   build  to build and run the program (default)
#   test   and to run the tests (both MPIs: a program of one is started with the other's launcher)
#   ci     and for everything that .ci/run does
# Installing needs root; without it the packages are listed, and the exit code is 1. Where there is no dpkg, nothing is
# checked here: CMake names what it misses.
set -euo pipefail

packages=(gcc libc6-dev make cmake pkg-config openmpi-bin libopenmpi-dev libhdf5-openmpi-dev libopenblas-dev libxsmm-dev
  libfyaml-dev libcsv-dev libssl-dev libprotobuf-c-dev protobuf-c-compiler libisal-dev libzip-dev libjansson-dev gnuplot-nox)
test_packages=(libcmocka-dev g++ procps mpich libmpich-dev libhdf5-mpich-dev hdf5-tools)
ci_packages=(clang libclang-rt-14-dev clang-format clang-tidy shellcheck valgrind git python3-venv jq r-base-core r-cran-spdata
  slurmctld slurmd slurm-client munge iproute2)

case "${1:-build}" in
build) ;;
test) packages+=("${test_packages[@]}") ;;
ci) packages+=("${test_packages[@]}" "${ci_packages[@]}") ;;
*) echo "usage: $0 [build | test | ci]" >&2; exit 1 ;;
esac

command -v dpkg-query >/dev/null || exit 0
missing=()
for package in "${packages[@]}"; do
  [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
done
((${#missing[@]})) || exit 0

if ((EUID != 0)); then
  echo "Packages are missing. As root: apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi
echo "Installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}"
