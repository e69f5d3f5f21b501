#!/bin/bash
# What checkpoints cost: tests/bench/checkpoint.sh [BUILD_FOLDER [ROUNDS]] (default: build, 7). Trains the network of
# jobs/reference.yaml for five epochs with a checkpoint after each (and best.weights.h5), and without any, in turn, on one
# and two ranks; prints the median seconds of epochs 2 to 5 and what the first is more. Then the time from the start of a
# resumed training, behind MPI_Init, to its first step.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$(realpath "${1:-build}") rounds=${2:-7}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
work=$(mktemp -d "${TMPDIR:-/tmp}/allegrad-checkpoint.XXXXXX")
trap 'rm -rf "$work"' EXIT
train() { # train <ranks> <run> <option>...
  mpirun --oversubscribe -n "$1" "$build/allegrad" train jobs/reference.yaml --run "$work/$2" --set train.epochs=5 \
    --set log.progress=off "${@:3}"
}
seconds() { awk -F, 'NR > 2 { sum += $5 } END { print sum }' "$work/run/metrics.csv"; }
median() { sort -g | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
"$build/allegrad" --version | grep -i openblas
for ranks in 1 2; do
  for ((round = 0; round < rounds; round++)); do
    rm -rf "$work/run"
    train "$ranks" run >"$work/out"
    seconds >>"$work/with$ranks"
    rm -rf "$work/run"
    train "$ranks" run --set checkpoint.every_epochs=0 --set checkpoint.best=false >"$work/out"
    seconds >>"$work/without$ranks"
  done
  awk -v a="$(median <"$work/with$ranks")" -v b="$(median <"$work/without$ranks")" -v r="$ranks" \
    'BEGIN { printf "%d ranks: 4 epochs with a checkpoint each %.3f s, without %.3f s: %+.1f %%\n", r, a, b, 100 * (a / b - 1) }'
done
for ranks in 1 2; do
  rm -rf "$work/run"
  train "$ranks" run --set train.max_steps=700 >"$work/out"
  train "$ranks" run --resume --set train.max_steps=800 --verbose >"$work/out"
  echo "$ranks ranks, resumed: $(grep '^before: start' "$work/out")"
done
