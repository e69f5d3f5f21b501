#!/bin/bash
# A short training at 2 ranks, evaluation and prediction under Valgrind: no invalid or uninitialised access, no leak.
# tests/memcheck.sh BUILD_FOLDER (Open MPI, with debug information; without sanitizers). What MPI itself does is
# suppressed and explained in tests/valgrind.supp.
set -euo pipefail
cd "$(dirname "$0")/.."
allegrad=$1/allegrad
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OPENBLAS_NUM_THREADS=1

memcheck() { # memcheck <ranks> <argument of allegrad>...
  local log result=0
  timeout 900 mpirun --oversubscribe --bind-to none -n "$1" \
    valgrind --quiet --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite,indirect \
    --show-leak-kinds=definite,indirect --num-callers=40 --log-file="$work/valgrind.%p" \
    --suppressions=/usr/share/openmpi/openmpi-valgrind.supp --suppressions=tests/valgrind.supp \
    "$allegrad" "${@:2}" || result=$?
  for log in "$work"/valgrind.*; do
    [[ ! -s $log ]] || { cat "$log" && result=99; }
  done
  rm -f "$work"/valgrind.*
  return $result
}

small=(--set 'model.hidden=[20, 12]' --set train.max_steps=30 --set log.steps=1 --set data.validation_split=0.98)
memcheck 2 train jobs/lucas_bn.yaml --run "$work/bn" "${small[@]}"
memcheck 2 train jobs/lucas_plain.yaml --run "$work/adam" "${small[@]}" --set train.optimizer.name=adam \
  --set train.optimizer.learning_rate=0.001 --set data.standardize=true
memcheck 2 eval "$work/bn" --data data/lucas_county.h5
memcheck 1 predict "$work/adam" --data data/lucas_county.h5 --out "$work/price.csv"
