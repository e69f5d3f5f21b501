#!/bin/bash
# Every allocation of the program's own code fails once: while a training is begun and trains, is resumed, and while a model
# is looked at, evaluated, predicted with and exported, and a table imported. The command must end with exit code 2 and one
# message that says so, or do without; what it writes is whole or absent; and a training, resumed, must end with the bits
# of one that nothing happened to. Then on two ranks, in rank 1. tests/faults/allocation.sh [BUILD_FOLDER [STRIDE]]: every
# STRIDE-th allocation (default: build, 1: all).
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$(realpath "${1:-build}") stride=${2:-1}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OPENBLAS_NUM_THREADS=1
work=$(mktemp -d "${TMPDIR:-/tmp}/allegrad-allocation.XXXXXX")
trap 'rm -rf "$work"' EXIT
cat >"$work/job.yaml" <<JOB
data: {file: data/lucas_county.h5, standardize: true}
model: {hidden: [8]}
train: {optimizer: {name: adam}, batch: 4096, epochs: 3, reproducible: 2}
checkpoint: {every_steps: 4, keep: 2}
log: {steps: 1, progress: off, tensorboard: true}
JOB
printf 'a,b\n1,2\n2,4\n3,7\n' >"$work/table.csv"
mkdir "$work/bin"
printf '#!/bin/sh\nexit 1\n' >"$work/bin/gnuplot" # pictures would take most of the time
chmod +x "$work/bin/gnuplot"
PATH=$work/bin:$PATH
train() { # train <run> <option>...
  "${launcher[@]}" "$build/allegrad" train "$work/job.yaml" --run "$work/$1" --resume "${@:2}"
}
command_of() { # command_of <name>: what is struck
  case $1 in
  begun | begun_on_two | resumed) train run ;;
  info) "$build/allegrad" info "$work/whole" ;;
  eval) "$build/allegrad" eval "$work/whole" --data data/lucas_county.h5 ;;
  predict) "$build/allegrad" predict "$work/whole" --data data/lucas_county.h5 --out "$work/out.csv" ;;
  keras) "$build/allegrad" export "$work/whole" --out "$work/out.keras" ;;
  onnx) "$build/allegrad" export "$work/whole" --out "$work/out.onnx" ;;
  import) "$build/allegrad" import "$work/table.csv" --target b --out "$work/out.h5" ;;
  compare) "$build/allegrad" compare "$work/whole" "$work/stopped" --out "$work/out.png" ;;
  esac
}
tried=0 told=0 without=0 failures=0
fail() {
  echo "FAILED: $name, allocation $at: $*"
  cat "$work/err"
  failures=$((failures + 1))
}
prepare() {
  rm -rf "$work/run" "$work"/out.*
  [[ $name != resumed ]] || cp -r "$work/stopped" "$work/run"
}
strike() { # the outcome is in $code
  code=0
  (
    export LD_PRELOAD=$build/tests/libinterpose_memory.so FAULT_AT=$at
    [[ $name != begun_on_two ]] || export FAULT_RANK=1
    command_of "$name"
  ) >"$work/out" 2>"$work/err" </dev/null || code=$?
}
check() {
  case $code in
  0) without=$((without + 1)) ;;
  2)
    told=$((told + 1))
    [[ $(grep -c '^allegrad: error: ' "$work/err") == 1 ]] || fail 'not told once'
    grep -qi '^allegrad: error: .*memory' "$work/err" || fail 'the reason is not told'
    [[ -z $(find "$work" -maxdepth 1 -name 'out.*') ]] || fail 'a file in spite of it'
    ;;
  *) fail "exit code $code" ;;
  esac
  [[ -z $(find "$work" -name '*.tmp') ]] || fail 'a temporary file stays behind'
  [[ $name == begun* || $name == resumed ]] || return 0
  code=0
  train run >"$work/out" 2>"$work/err" || code=$?
  ((code == 0)) || fail "resumed: exit code $code"
  "$build/tests/same_weights" "$work/whole/final.weights.h5" "$work/run/final.weights.h5" >>"$work/err" 2>&1 ||
    fail 'other weights'
  cmp -s "$work/whole/steps.csv" "$work/run/steps.csv" || fail 'other steps'
  [[ $(cut -d, -f1-4 "$work/whole/metrics.csv") == "$(cut -d, -f1-4 "$work/run/metrics.csv")" ]] || fail 'other metrics'
}
launcher=(timeout 60)
train whole >/dev/null 2>&1
train stopped --set train.max_steps=9 >/dev/null 2>&1
sed -i 's/finished/running/' "$work/stopped/status"
rm "$work/stopped/final.weights.h5"
for name in begun resumed info eval predict keras onnx import compare begun_on_two; do
  [[ $name != begun_on_two ]] || launcher=(timeout 60 mpirun --oversubscribe --bind-to none -n 2)
  at=0
  prepare
  rm -f "$work/count"
  FAULT_COUNT=$work/count strike
  count=$(cat "$work/count")
  for ((at = 1; at <= count; at += stride)); do
    prepare
    strike
    check
    tried=$((tried + 1))
  done
  echo "$name: $count allocations"
done
echo "$tried failed allocations ($told told, $without done without): $failures ended otherwise than they should"
((failures == 0 && told > 0))
