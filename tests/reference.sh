#!/bin/bash
# The reference cases, computed by other programs: trains each at 1, 2, 3 and 4 ranks and holds the runs to the oracle.
#   tests/reference.sh [REFERENCE_FOLDER [BUILD_FOLDER]]
# reference-sorted is left out: its rows are so badly conditioned that rounding decides after two steps. Needs jq and the
# HDF5 tools; ALLEGRAD and MPIRUN may be set as CTest sets them (tests/AllegradTest.cmake).
set -euo pipefail
SOURCE=$(cd "$(dirname "$0")/.." && pwd)
reference=$(cd "${1:-$SOURCE/../shared/reference}" && pwd)
BUILD=$(cd "${2:-$SOURCE/build}" && pwd)
export SOURCE BUILD
export ALLEGRAD=${ALLEGRAD:-$BUILD/allegrad} MPIRUN=${MPIRUN:-mpirun --oversubscribe --bind-to none}
export OPENBLAS_NUM_THREADS=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# take_rows <rows> <out.h5>: the first rows of x and y, bit by bit.
take_rows() {
  local name width
  for name in x y; do
    width=$([[ $name == x ]] && echo 8 || echo 1)
    h5dump -d /$name -s 0,0 -c "$1,$width" -b LE -o "$work/$name.bin" "$reference/california_shuffled.h5" >"$work/log"
    h5import "$work/$name.bin" -dims "$1,$width" -path $name -type FP -size 32 -o "$2" >"$work/log"
  done
}

# job <case.json>: the case as a job file.
job() {
  jq -r '
    "data: {file: data.h5, standardize: \(.standardize)}",
    "model: {hidden: \(.units | tojson), activation: \(.act), init_weights: init.weights.h5,",
    "        batch_norm: {enabled: \(.bn), momentum: \(.alpha), epsilon: \(.eps)}}",
    "train: {optimizer: {name: \(.opt[0] | ascii_downcase), \(.opt[1] | to_entries | map("\(.key): \(.value)") | join(", "))},",
    "        batch: \(.batch), epochs: \(.epochs), shuffle: none}",
    "log: {steps: 1, tensorboard: false, progress: off}"' "$1"
}

cases=()
for json in "$reference"/*/case.json; do
  [[ $(jq -r .order "$json") != file ]] || continue
  folder=$work/$(basename "$(dirname "$json")")
  cases+=("$folder")
  mkdir "$folder"
  ln -s "$(dirname "$json")"/{init.weights,final.weights,trace}.h5 "$folder"
  take_rows "$(jq .rows "$json")" "$folder/data.h5"
  job "$json" >"$folder/case.yaml"
  jq -r '.error_against_oracle.torch_float32 | (keys_unsorted, [.[]]) | @csv' "$json" >"$folder/errors.csv"
done
((${#cases[@]})) || { echo "no cases in $reference" >&2 && exit 1; }
bash "$SOURCE/tests/cli/test_golden.sh" "${cases[@]}"
