#!/bin/bash
# Derives data/lucas_county.h5, the training data that comes with allegrad, from the data set `house` of the R package
# spData. See README.md beside this file.
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
allegrad=$here/../build/allegrad
out=$here/lucas_county.h5
check=false
# Of the CSV file below: the same data set, permuted by the same generator.
expected=456325aaac37af0e43000afec4a6d7c79574ffb7406f8983f53b5e058151e2c7

usage() {
  cat <<END
usage: data/lucas_county.sh [--check] [--out FILE] [--allegrad PROGRAM]
Derives the Lucas County data set (default FILE: data/lucas_county.h5).
  --check  writes nothing; tells whether FILE is, byte by byte, what this script derives
It needs R and spData (Debian: apt-get install r-base-core r-cran-spdata) and build/allegrad, or the PROGRAM given.
END
}
fail() {
  echo "data/lucas_county.sh: $2" >&2
  exit "$1"
}
argument() { [[ $# -ge 2 ]] || fail 1 "$1 needs an argument; see --help"; }

while [[ $# -gt 0 ]]; do
  case $1 in
  --check) check=true ;;
  --out) argument "$@"; out=$2; shift ;;
  --allegrad) argument "$@"; allegrad=$2; shift ;;
  --help) usage; exit 0 ;;
  *) fail 1 "unknown argument $1; see --help" ;;
  esac
  shift
done
command -v Rscript >/dev/null || fail 2 "Rscript is missing (Debian: apt-get install r-base-core)"
[[ -x $allegrad ]] || fail 2 "there is no program $allegrad: build allegrad first, or name it with --allegrad"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The rows come in geographic order; validation takes the last ones, so they are permuted, once, by a written seed and
# written-down generators. The slots of the sp object are read as plain attributes.
Rscript --vanilla - "$work/lucas_county.csv" <<'END' || fail 2 "cannot read spData (Debian: apt-get install r-cran-spdata)"
data(list = "house", package = "spData")
rows <- attr(house, "data")
coords <- attr(house, "coords")
table <- data.frame(rows[c("TLA", "lotsize", "garagesqft", "rooms", "baths", "age")],
                    x = coords[, 1], y = coords[, 2], price = rows$price / 1e5)
set.seed(1993, kind = "Mersenne-Twister", normal.kind = "Inversion", sample.kind = "Rejection")
table <- table[sample.int(nrow(table)), ]
write.csv(table, commandArgs(trailingOnly = TRUE)[1], row.names = FALSE, quote = FALSE)
END
digest=$(sha256sum <"$work/lucas_county.csv")
[[ ${digest%% *} == "$expected" ]] ||
  fail 2 "this spData gives other rows (SHA-256 ${digest%% *}, expected $expected); version 2.2.1 is known to be right"

if $check; then
  "$allegrad" import "$work/lucas_county.csv" --target price --out "$work/lucas_county.h5" >/dev/null
  cmp "$work/lucas_county.h5" "$out" ||
    fail 2 "$out is not what this script derives (h5diff tells whether the numbers differ or only their layout)"
  echo "$out is what this script derives"
else
  "$allegrad" import "$work/lucas_county.csv" --target price --out "$out"
fi
