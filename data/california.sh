#!/bin/bash
# Fetches or takes the California Housing data, verifies it, derives the usual eight features and imports them. See
# README.md beside this file.
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
allegrad=$here/../build/allegrad
out=$here/california.h5
from=
fetched=false
address=https://ndownloader.figshare.com/files/5976036
member=CaliforniaHousing/cal_housing.data
archive_digest=aaa5c9a6afe2225cc2aed2723682ae403280c4a3695a2ddda4ffb5d8215ea681
csv_digest=81dc3561d0438eb382b21ecd53837b844e50fba0058a39cfba37009b2687b72c
rows=20640

usage() {
  cat <<END
usage: data/california.sh [--from FILE] [--out FILE] [--allegrad PROGRAM]
Makes the California Housing training data: x [$rows, 8], y [$rows, 1].
  --from FILE         takes FILE instead of fetching $address:
                      that archive (cal_housing.tgz), or its table as CSV, with or without a header
  --out FILE          the HDF5 file to write (default: data/california.h5)
  --allegrad PROGRAM  default: build/allegrad
Exit codes: 0 done, 1 wrong arguments, 2 the data cannot be had, is wrong or cannot be written.
END
}
fail() {
  echo "data/california.sh: $2" >&2
  exit "$1"
}
warn() { echo "data/california.sh: warning: $1" >&2; }
argument() { [[ $# -ge 2 && -n $2 ]] || fail 1 "$1 needs an argument; see --help"; }

while [[ $# -gt 0 ]]; do
  case $1 in
  --from) argument "$@"; from=$2; shift ;;
  --out) argument "$@"; out=$2; shift ;;
  --allegrad) argument "$@"; allegrad=$2; shift ;;
  --help) usage; exit 0 ;;
  *) fail 1 "unknown argument $1; see --help" ;;
  esac
  shift
done
[[ -x $allegrad ]] || fail 2 "there is no program $allegrad: build allegrad first, or name it with --allegrad"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The archive or CSV, and whether it is one of the two that are known.
if [[ -n $from ]]; then
  [[ -f $from && -r $from ]] || fail 2 "cannot read $from"
else
  command -v curl >/dev/null || fail 2 "curl is missing (Debian: apt-get install curl)"
  from=$work/cal_housing.tgz
  curl --fail --location --connect-timeout 30 --silent --show-error --retry 3 --output "$from" "$address" ||
    fail 2 "cannot fetch $address; with a copy of your own use --from FILE"
  fetched=true
fi
digest=$(sha256sum <"$from")
digest=${digest%% *}
known=false
[[ $digest == "$archive_digest" || $digest == "$csv_digest" ]] && known=true
if ! $known; then
  ! $fetched || fail 2 "$address gave another file: SHA-256 $digest, expected $archive_digest"
  warn "$from is not the original archive (SHA-256 $digest, expected $archive_digest); only its form is checked"
fi
if [[ $(head -c 2 "$from" | od -An -tx1 | tr -d ' ') == 1f8b ]]; then
  tar -xzOf "$from" "$member" >"$work/raw.csv" || fail 2 "$from holds no $member"
else
  cp "$from" "$work/raw.csv"
fi

# The eight features, each row checked. 17 digits bring every double back.
awk -v name="$from" '
  function refuse(text) { print "data/california.sh: " name ", line " NR ": " text >"/dev/stderr"; exit 2 }
  BEGIN {
    FS = ","
    print "MedInc,HouseAge,AveRooms,AveBedrms,Population,AveOccup,Latitude,Longitude,MedHouseVal"
  }
  { sub(/\r$/, "") }
  NR == 1 && /^ *"?[A-Za-z]/ {
    header = tolower($0)
    gsub(/[_" ]/, "", header)
    if (header != "longitude,latitude,housingmedianage,totalrooms,totalbedrooms,population,households," \
                  "medianincome,medianhousevalue") refuse("not the header of the California Housing data: " $0)
    next
  }
  NF != 9 { refuse(NF " cells instead of 9") }
  {
    for (i = 1; i <= 9; i++)
      if ($i !~ /^ *-?[0-9]+([.][0-9]*)?([eE][-+]?[0-9]+)? *$/) refuse("\"" $i "\" is no number")
    if ($7 <= 0) refuse("no households")
    printf "%.17g,%.17g,%.17g,%.17g,%.17g,%.17g,%.17g,%.17g,%.17g\n", \
           $8, $3, $4 / $7, $5 / $7, $6, $6 / $7, $2, $1, $9 / 100000
  }
' "$work/raw.csv" >"$work/california.csv" || exit 2
count=$(($(wc -l <"$work/california.csv") - 1))
[[ $count -gt 0 ]] || fail 2 "$from has no rows"
[[ $count -eq $rows ]] || warn "$from has $count rows, the original has $rows"

"$allegrad" import "$work/california.csv" --target MedHouseVal --out "$out"
