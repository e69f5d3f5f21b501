# Run by CTest, which sets SOURCE, BUILD, ALLEGRAD, MPIRUN and MPI_FLAVOUR (tests/AllegradTest.cmake).
# shellcheck shell=bash
# data/california.sh --from: archive and CSV give the features by their definition; what is not the table is refused,
# and nothing is left behind.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/tmp" "$work/CaliforniaHousing"
export TMPDIR=$work/tmp
out=$work/out.h5
failures=0
complain() {
  echo "$1"
  cat "$work/log"
  failures=$((failures + 1))
}

run() { "$SOURCE/data/california.sh" --allegrad "$ALLEGRAD" --out "$out" "$@" >"$work/log" 2>&1; }

# accept <file>: gives the expected rows.
accept() {
  rm -f "$out"
  if ! run --from "$1"; then
    complain "refused: $1"
  elif ! cmp "$out" "$work/expected.h5" >>"$work/log"; then
    complain "other numbers: $1"
  fi
}

# refuse <exit code> <text of the message> <argument>...: leaves the older file and no temporary one.
refuse() {
  local expected=$1 text=$2 code=0
  shift 2
  echo old >"$out"
  run "$@" || code=$?
  [[ $code == "$expected" ]] || complain "exit code $code, not $expected: $*"
  grep -qF -- "$text" "$work/log" || complain "the message does not say \"$text\": $*"
  [[ $(<"$out") == old ]] || complain "the older file was touched: $*"
  # Open MPI's daemon of the program clears its own folder, ompi.*, a little after the program has ended.
  [[ -z $(ls -A --ignore='ompi.*' "$TMPDIR") ]] || complain "left something behind: $*"
}

cat >"$work/expected.csv" <<'END'
MedInc,HouseAge,AveRooms,AveBedrms,Population,AveOccup,Latitude,Longitude,MedHouseVal
8.3252,41,8,2,300,2.5,37.88,-122.23,4.526
1.5,21,5.5,1.25,2400,3,36.5,-121,0.9
2,52,4,1,1,0.125,35,-120.25,5.00001
END
"$ALLEGRAD" import "$work/expected.csv" --target MedHouseVal --out "$work/expected.h5" >/dev/null
table=$work/CaliforniaHousing/cal_housing.data
cat >"$table" <<'END'
-122.230000,37.880000,41.000000,960.000000,240.000000,300.000000,120.000000,8.325200,452600.000000
-121.000000,36.500000,21.000000,4400.000000,1000.000000,2400.000000,800.000000,1.500000,90000.000000
-120.250000,35.000000,52.000000,32.000000,8.000000,1.000000,8.000000,2.000000,500001.000000
END
tar -czf "$work/copy.tgz" -C "$work" CaliforniaHousing/cal_housing.data
accept "$work/copy.tgz"
grep -q 'warning: .* is not the original archive' "$work/log" || complain "no warning about an unknown file"
grep -q 'warning: .* has 3 rows, the original has 20640' "$work/log" || complain "no warning about the rows"
accept "$table"
header=longitude,latitude,housingMedianAge,totalRooms,totalBedrooms,population,households,medianIncome,medianHouseValue
{ echo "$header" && cat "$table"; } >"$work/header.csv"
accept "$work/header.csv"
sed 's/$/\r/' "$work/header.csv" >"$work/windows.csv"
accept "$work/windows.csv"
sed '1s/\([^,]*\)/"\1"/g; 1s/A/_a/' "$work/header.csv" >"$work/quoted.csv"
accept "$work/quoted.csv"

sed '1s/households,medianIncome/medianIncome,households/' "$work/header.csv" >"$work/order.csv"
refuse 2 'line 1: not the header of the California Housing data' --from "$work/order.csv"
sed '3s/,[^,]*$//' "$table" >"$work/short.csv"
refuse 2 'line 3: 8 cells instead of 9' --from "$work/short.csv"
sed '2s/,21.0/,old/' "$table" >"$work/word.csv"
refuse 2 'line 2: "old00000" is no number' --from "$work/word.csv"
sed '2s/,4400.000000,/,,/' "$work/header.csv" >"$work/gap.csv"
sed -i '3s/,4400.000000,/,,/' "$work/gap.csv"
refuse 2 'line 3: "" is no number' --from "$work/gap.csv"
sed '3s/,8.000000,2.0/,0.000000,2.0/' "$table" >"$work/nobody.csv"
refuse 2 'line 3: no households' --from "$work/nobody.csv"
echo "$header" >"$work/no_rows.csv"
refuse 2 'has no rows' --from "$work/no_rows.csv"
: >"$work/empty.csv"
refuse 2 'has no rows' --from "$work/empty.csv"
tar -czf "$work/other.tgz" -C "$work" header.csv
refuse 2 'holds no CaliforniaHousing/cal_housing.data' --from "$work/other.tgz"
head -c 100 "$work/copy.tgz" >"$work/cut.tgz"
refuse 2 'holds no CaliforniaHousing/cal_housing.data' --from "$work/cut.tgz"
refuse 2 "cannot read $work/absent.csv" --from "$work/absent.csv"
refuse 2 "cannot read $work" --from "$work"
refuse 2 "there is no program $work/absent" --allegrad "$work/absent" --from "$table"
refuse 1 'unknown argument --form' --form "$table"
refuse 1 '--from needs an argument' --from
out=$work/absent/out.h5
code=0
run --from "$table" || code=$?
[[ $code == 2 ]] || complain "an unwritable file gives exit code $code, not 2"
((failures == 0))
