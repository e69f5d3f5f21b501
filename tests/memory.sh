#!/bin/bash
# The memory of a rank, held to the README's formula: tests/memory.sh [BUILD_FOLDER [ROWS [FEATURES [RANKS]]]]
# Makes a data set (default 80,000 rows x 1,000 features, 320 MB; 1000000 makes 4 GB in the temporary folder), trains
# three epochs on it and compares every rank's highest resident memory with the formula. Exit code 1 when one needs more.
set -euo pipefail
source=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "${1:-$source/build}" && pwd)
rows=${2:-80000} features=${3:-1000} ranks=${4:-4} hidden=64 batch=256
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OPENBLAS_NUM_THREADS=1
read -ra launcher <<<"${MPIRUN:-mpirun --oversubscribe --bind-to none}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$build/tests/make_rows" "$rows" "$features" "$work/rows.h5"
cat >"$work/job.yaml" <<JOB
data: {file: $work/rows.h5, validation_split: 0.1}
model: {hidden: [$hidden]}
train: {batch: $batch, epochs: 3, optimizer: {momentum: 0.9}}
log: {progress: off, tensorboard: false}
JOB
"${launcher[@]}" -n "$ranks" "$build/allegrad" train "$work/job.yaml" --run "$work/run" --verbose >"$work/log"
sed -n '/^exchange/p;/^where/,$p' "$work/log"
# "memory at its highest   MEAN MB   LEAST on rank R to MOST on rank R"; alone, the mean is all
most=$(sed -n 's/^memory at its highest.* to *\([0-9.]*\) on rank.*/\1/p' "$work/log")
[[ -n $most ]] || most=$(sed -n 's/^memory at its highest *\([0-9.]*\) MB.*/\1/p' "$work/log")
awk -v n="$rows" -v f="$features" -v p="$ranks" -v h="$hidden" -v b="$batch" -v most="$most" 'BEGIN {
  row = 4 * (f + 1); training = int(0.9 * n) / p; validation = (n - int(0.9 * n)) / p
  weights = 4 * (f * h + 2 * h + 1 + 2 * f)
  rows = 2 * training * row + validation * row + training * row / 8 + 16 * training
  model = weights * (p > 1 ? p + 3 : 2) + weights # of the node, which touches all: weights, gradients; own; velocity
  columns = b / p > 256 ? b / p : 256
  activations = 4 * columns * (4 * f + 5 * h)
  limit = (rows + model + activations) / 1048576 + 64
  printf "formula: %.0f MB of rows, %.1f MB of model, %.1f MB of activations, 64 MB of libraries: %.0f MB; needed: %.0f MB\n",
    rows / 1048576, model / 1048576, activations / 1048576, limit, most
  exit !(most > 0 && most <= limit)
}'
