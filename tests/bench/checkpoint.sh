#!/bin/bash
# What checkpoints cost: tests/bench/checkpoint.sh [BUILD_FOLDER [EPOCHS]] (default: build, 40). Trains the network of
# jobs/reference.yaml with a checkpoint after every epoch (and best.weights.h5), on one and on two ranks; prints what of an
# epoch's time the training stood still for them, and the same with all of the writer's processor time added, which is the
# most it can be: where no core is left to the writer. Then the time from the start of a resumed training, behind
# MPI_Init, to its first step.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$(realpath "${1:-build}") epochs=${2:-40}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
work=$(mktemp -d "${TMPDIR:-/tmp}/allegrad-checkpoint.XXXXXX")
trap 'rm -rf "$work"' EXIT
train() { # train <ranks> <run> <option>...
  mpirun --oversubscribe -n "$1" "$build/allegrad" train jobs/reference.yaml --run "$work/$2" --set log.progress=off \
    "${@:3}"
}
"$build/allegrad" --version | grep -i openblas
for ranks in 1 2; do
  rm -rf "$work/run"
  train "$ranks" run --set train.epochs="$epochs" --verbose >"$work/out"
  grep '^checkpoints:' "$work/out"
  awk -v ranks="$ranks" '
    /^where the time went/ { seconds = $5 }
    /^checkpoints:/ { still = $2 * $5 / 1000; all = still + $2 * $10 / 1000 }
    END { printf "%d ranks: %.3f s; stood still for checkpoints %.2f %%, with the core of the writer %.2f %%\n", \
                 ranks, seconds, 100 * still / seconds, 100 * all / seconds }' "$work/out"
done
for ranks in 1 2; do
  rm -rf "$work/run"
  train "$ranks" run --set train.epochs=5 --set train.max_steps=700 >"$work/out"
  train "$ranks" run --resume --set train.epochs=5 --set train.max_steps=800 --verbose >"$work/out"
  echo "$ranks ranks, resumed: $(grep '^before: start' "$work/out")"
done
