#!/bin/bash
# Every system call that a training makes on its run folder fails once (EIO, ENOSPC, EDQUOT, EINTR, a short write or read)
# and is the last once (SIGKILL): while a run is begun and saved, and while it is resumed. After each, the run is resumed
# and must end with the bits of one that nothing happened to. tests/faults/calls.sh [BUILD_FOLDER [STRIDE]]: every
# STRIDE-th call (default: build, 1: all).
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/faults/common.sh
source tests/faults/common.sh
build=$(realpath "${1:-build}") stride=${2:-1}
work=$(mktemp -d "${TMPDIR:-/tmp}/allegrad-calls.XXXXXX")
trap 'rm -rf "$work"' EXIT
export OPENBLAS_NUM_THREADS=1
cat >"$work/job.yaml" <<JOB
data: {file: data/lucas_county.h5, standardize: true}
model: {hidden: [8]}
train: {optimizer: {name: adam}, batch: 2048, epochs: 3}
checkpoint: {every_steps: 6, keep: 2}
log: {steps: 1, progress: off}
JOB
without_pictures "exit 1"
train() { # train <run> <option>...
  timeout 60 "$build/allegrad" train "$work/job.yaml" --run "$work/$1" --resume "${@:2}" >"$work/out" 2>"$work/err"
}
strike() { # strike <call> <fault> <run>: the call fails; the outcome is in $code
  code=0
  (LD_PRELOAD=$build/tests/libinterpose.so FAULT_FOLDER=$work/$3/ FAULT_AT=$1 FAULT=$2 train "$3") 2>/dev/null ||
    code=$?
}
failures=0 tried=0 refused=0 unharmed=0 killed=0
fail() {
  echo "FAILED: call $call, fault $fault, $phase: $*"
  cat "$work/err"
  failures=$((failures + 1))
}
check() { # what a training that was struck must leave
  case $code in
  0) unharmed=$((unharmed + 1)) ;;
  2)
    refused=$((refused + 1))
    [[ $(grep -c '^allegrad: error: ' "$work/err") == 1 ]] || fail 'not told once'
    ;;
  137)
    killed=$((killed + 1))
    [[ $fault == kill ]] || fail 'killed'
    ;;
  *) fail "exit code $code" ;;
  esac
  train run || fail "resumed: exit code $?"
  same_weights "$work/whole" "$work/run" final
  same_logs "$work/whole" "$work/run"
}
train whole
train stopped --set train.max_steps=20
sed -i 's/finished/running/' "$work/stopped/status"
rm "$work/stopped/final.weights.h5"
count() { # count <run>: calls that a training of it makes
  rm -f "$work/count"
  LD_PRELOAD=$build/tests/libinterpose.so FAULT_FOLDER=$work/$1/ FAULT_COUNT=$work/count train "$1"
  cat "$work/count"
}
faults=(5 28 122 4 short)
for phase in begun resumed; do
  rm -rf "$work/run"
  [[ $phase == begun ]] || cp -r "$work/stopped" "$work/run"
  calls=$(count run)
  ((calls > 50)) || { echo "only $calls calls were seen" && exit 1; }
  for ((call = 1; call <= calls; call += stride)); do
    for fault in kill "${faults[$((call / stride % ${#faults[@]}))]}"; do
      rm -rf "$work/run"
      [[ $phase == begun ]] || cp -r "$work/stopped" "$work/run"
      strike "$call" "$fault" run
      check
      tried=$((tried + 1))
    done
  done
  echo "$phase: $calls calls"
done
echo "$tried faults ($killed kills; $refused told and ended; $unharmed without consequence): $failures of them lost anything"
((failures == 0 && killed > 0 && refused > 0))
