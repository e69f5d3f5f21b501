# Run by CTest, which sets SOURCE, BUILD, ALLEGRAD, MPIRUN and MPI_FLAVOUR (tests/AllegradTest.cmake).
# shellcheck shell=bash
# data/lucas_county.h5 is the file that data/README.md describes and, where R and spData are installed, the one that its
# script derives.
set -euo pipefail
digest=$(sha256sum <"$SOURCE/data/lucas_county.h5")
grep -qF "${digest%% *}" "$SOURCE/data/README.md"
"$ALLEGRAD" info "$SOURCE/data/lucas_county.h5" | grep 'rows: 25357' >/dev/null # not -q, which would close the pipe early
if Rscript --vanilla -e 'quit(status = !nzchar(system.file(package = "spData")))' >/dev/null 2>&1; then
  "$SOURCE/data/lucas_county.sh" --check --allegrad "$ALLEGRAD"
else
  echo "not derived again: that needs r-base-core and r-cran-spdata"
fi
