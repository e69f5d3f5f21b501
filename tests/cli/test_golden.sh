# Run by CTest, which sets SOURCE, BUILD, ALLEGRAD and MPIRUN (tests/AllegradTest.cmake).
# shellcheck shell=bash
# Trains golden cases at 1, 2, 3 and 4 ranks and holds each run to its trace: bash test_golden.sh [CASE_FOLDER...].
# A case is a folder with case.yaml, the files that it names, trace.h5, errors.csv (see tests/golden/make_golden.py) and
# a weights file as Keras writes it after such a training: final.weights.h5, or else init.weights.h5.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(($#)) || set -- "$SOURCE"/tests/golden/*/
read -ra launcher <<<"$MPIRUN"

# run_case <folder> <ranks>: trains in the case's folder, whose files case.yaml names without a path.
run_case() {
  local folder=$1 ranks=$2 run keras=$1/init.weights.h5
  run=$work/$(basename "$folder")-np$ranks
  [[ ! -e $folder/final.weights.h5 ]] || keras=$folder/final.weights.h5
  (cd "$folder" && "${launcher[@]}" -n "$ranks" "$ALLEGRAD" train case.yaml --run "$run") &&
    "$ALLEGRAD" predict "$run" --data "$folder/data.h5" --out "$run/predictions.csv" &&
    "$BUILD/tests/compare_golden" "$folder/trace.h5" "$folder/errors.csv" "$keras" "$run" "$run/predictions.csv"
}

failures=0
for folder in "$@"; do
  for ranks in 1 2 3 4; do
    echo "== $(basename "$folder") np$ranks"
    run_case "$folder" "$ranks" || failures=$((failures + 1))
  done
done
echo "$(($# * 4 - failures)) runs agree with the oracle, $failures do not"
((failures == 0))
