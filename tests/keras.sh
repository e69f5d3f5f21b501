#!/bin/bash
# What genuine Keras, TensorBoard and onnxruntime make of our files: tests/keras.sh [BUILD_FOLDER [REFERENCE_FOLDER]]
# Trains the golden cases at 2 ranks, loads their final weights and their exported models into Keras, the ONNX ones into
# onnxruntime and their events into TensorBoard; lets Keras go on with a training of ours and goes on with Keras'; and
# computes the traces that they are held to once more, and those of REFERENCE_FOLDER (default: ../shared/reference, if it
# is there).
# Python packages are installed by pip into BUILD_FOLDER/keras-venv.
set -euo pipefail
SOURCE=$(cd "$(dirname "$0")/.." && pwd)
BUILD=$(cd "${1:-$SOURCE/build}" && pwd)
reference=${2:-$SOURCE/../shared/reference}
(($# > 1)) || [[ -d $reference ]] || reference=
read -ra launcher <<<"${MPIRUN:-mpirun --oversubscribe --bind-to none}"
export KERAS_BACKEND=jax PYTHONDONTWRITEBYTECODE=1 OPENBLAS_NUM_THREADS=1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

venv=$BUILD/keras-venv
if ! cmp -s "$SOURCE/tests/keras/requirements.txt" "$venv/requirements.txt"; then
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --requirement "$SOURCE/tests/keras/requirements.txt"
  cp "$SOURCE/tests/keras/requirements.txt" "$venv" # last: a half-made environment is made anew
fi
python=$venv/bin/python

failures=0
check() { "$@" || failures=$((failures + 1)); }
check "$python" "$SOURCE/tests/golden/make_golden.py" check ${reference:+"$reference"}
runs=()
# train_and_check <golden case> <run> [train's options]
train_and_check() {
  local folder=$SOURCE/tests/golden/$1 run=$work/$2
  runs+=("$run")
  (cd "$folder" && "${launcher[@]}" -n 2 "$BUILD/allegrad" train case.yaml --run "$run" --set log.tensorboard=true "${@:3}") >"$work/log"
  "$BUILD/allegrad" predict "$run" --data "$folder/data.h5" --out "$run/predictions.csv" >"$work/log"
  check "$python" "$SOURCE/tests/keras/check_weights.py" "$run" "$folder/data.h5" "$run/predictions.csv"
  "$BUILD/allegrad" export "$run" --out "$run/model.keras" >"$work/log"
  "$BUILD/allegrad" export "$run" --out "$run/model.onnx" >"$work/log"
  "$BUILD/allegrad" export "$run" --out "$run/folded.onnx" --fold >"$work/log"
  check "$python" "$SOURCE/tests/keras/check_export.py" "$run" "$folder/data.h5" "$run/predictions.csv" \
    "$run/model.keras" "$run/model.onnx" "$run/folded.onnx"
}
# Two epochs of ours, one of Keras, one of ours: as good as four of ours. go_on <golden case> <batch>
go_on() {
  local folder=$SOURCE/tests/golden/$1 run=$work/$1-go-on
  cd "$folder"
  "${launcher[@]}" -n 2 "$BUILD/allegrad" train case.yaml --run "$run/through" --set train.epochs=4 >"$work/log"
  "${launcher[@]}" -n 2 "$BUILD/allegrad" train case.yaml --run "$run/ours" --set train.epochs=2 >"$work/log"
  "$BUILD/allegrad" export "$run/ours" --out "$run/ours.keras" >"$work/log"
  "$python" "$SOURCE/tests/keras/train_on.py" "$run/ours.keras" data.h5 "$2" "$run/keras.weights.h5"
  "${launcher[@]}" -n 2 "$BUILD/allegrad" train case.yaml --run "$run/again" --set train.epochs=1 \
    --set model.init_weights="$run/keras.weights.h5" --set train.init_optimizer=true >"$work/log"
  "$python" "$SOURCE/tests/keras/compare_weights.py" "$run/through/final.weights.h5" "$run/again/final.weights.h5"
}
for folder in "$SOURCE"/tests/golden/*/; do
  name=$(basename "$folder")
  [[ $name == offset ]] || train_and_check "$name" "$name" # there Keras' own inference loses its digits
done
train_and_check bn-adam dropout --set model.dropout=0.25
check "$python" "$SOURCE/tests/keras/check_events.py" "${runs[@]}"
for case in "bn-adam 50" "tanh-nesterov 37"; do
  # shellcheck disable=SC2086 # two words
  check go_on $case
done
((failures == 0))
