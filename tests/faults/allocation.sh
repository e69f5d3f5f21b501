#!/bin/bash
# Every allocation that allegrad itself makes fails once: while a run is begun and resumed, and in every other command.
# Each must end with exit code 2 and one message that tells of the memory, or do without; leave no temporary or half
# written file; and a training, resumed, must end with the bits of one that nothing happened to. On 1 rank, and on the
# second of 2. tests/faults/allocation.sh [BUILD_FOLDER [STRIDE]]: every STRIDE-th allocation (default: build, 1: all).
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/faults/common.sh
source tests/faults/common.sh
build=$(realpath "${1:-build}") stride=${2:-1}
work=$(mktemp -d "${TMPDIR:-/tmp}/allegrad-allocation.XXXXXX")
trap 'rm -rf "$work"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OPENBLAS_NUM_THREADS=1
# what Open MPI leaves of processes that were ended goes with the folder
export OMPI_MCA_btl_vader_backing_directory=$work OMPI_MCA_orte_tmpdir_base=$work
cat >"$work/job.yaml" <<JOB
data: {file: data/lucas_county.h5, standardize: true}
model: {hidden: [8]}
train: {optimizer: {name: adam}, batch: 2048, epochs: 3, accumulate: 2, reproducible: 2}
checkpoint: {every_steps: 4, keep: 2}
log: {steps: 1, progress: off}
JOB
without_pictures 'printf "\\211PNG\\r\\n\\032\\n"'
printf '%s\n' TLA,lotsize,garagesqft,rooms,baths,age,x,y,price 1,2,3,4,5,6,7,8,9 2,2,3,4,5,6,7,8,9 >"$work/rows.csv"

allegrad() { # allegrad <argument>...: on $ranks ranks
  local launcher=()
  ((ranks == 1)) || launcher=(mpirun --oversubscribe --bind-to none -n "$ranks")
  timeout 60 "${launcher[@]}" "$build/allegrad" "$@" >"$work/out" 2>"$work/err"
}
train() { allegrad train "$work/job.yaml" --run "$1" --resume "${@:2}"; }
# What is tried; each leaves what it makes in the folder made.
begun() { train "$work/made/run"; }
resumed() { train "$work/made/run"; }
eval_run() { allegrad eval "$work/whole" --data data/lucas_county.h5; }
predict_csv() { allegrad predict "$work/whole" --data data/lucas_county.h5 --out "$work/made/y.csv"; }
predict_hdf5() { allegrad predict "$work/whole" --data "$work/rows.csv" --out "$work/made/y.h5"; }
info_weights() { allegrad info "$work/whole/final.weights.h5"; }
info_run() { allegrad info "$work/whole"; }
info_data() { allegrad info data/lucas_county.h5; }
import() { allegrad import "$work/rows.csv" --target price --out "$work/made/rows.h5"; }
compare() { allegrad compare "$work/whole" "$work/stopped" --out "$work/made/curves.png"; }

failures=0 tried=0 refused=0 unharmed=0
fail() {
  echo "FAILED: $kind, $ranks ranks, allocation $call: $*"
  cat "$work/err"
  failures=$((failures + 1))
}
prepare() {
  rm -rf "$work/made"
  mkdir "$work/made"
  [[ $kind != resumed ]] || cp -r "$work/stopped" "$work/made/run"
}
check_run() { # what a training that was struck must leave
  local run=$work/made/run
  train "$run" || fail "resumed: exit code $?"
  same_weights "$work/whole" "$run" final
  same_logs "$work/whole" "$run"
  [[ $(events "$work/whole") == "$(events "$run")" ]] || fail 'other events'
}
events() { find "$1/events" -name '*.v2' -printf '%s\n' | sort; } # how much there is in each file
check() { # check <exit code>
  case $1 in
  0)
    unharmed=$((unharmed + 1))
    [[ $kind == begun || $kind == resumed ]] || cmp -s "$work/$kind.out" "$work/out" || fail 'another output'
    ;;
  2)
    refused=$((refused + 1))
    [[ $(grep -c '^allegrad: error: ' "$work/err") == 1 ]] || fail 'not told once'
    grep -qE '^allegrad: error: .*([Oo]ut of memory|Cannot allocate memory)' "$work/err" || fail 'memory not told'
    [[ $kind == begun || $kind == resumed || -z $(ls "$work/made") ]] || fail 'something was written'
    ;;
  *) fail "exit code $1" ;;
  esac
  [[ -z $(find "$work/made" -name '*.tmp') ]] || fail 'a temporary file stays behind'
  [[ $kind != begun && $kind != resumed ]] || check_run
}
campaign() { # campaign <kind> <ranks> <stride>
  local code count
  kind=$1 ranks=$2 call=0
  prepare
  export LD_PRELOAD=$build/tests/liballocation.so
  FAULT_RANK=$((ranks - 1)) FAULT_COUNT=$work/count "$kind" || fail "unharmed: exit code $?"
  unset LD_PRELOAD
  mv "$work/out" "$work/$kind.out"
  count=$(cat "$work/count")
  for ((call = 1 + (ranks - 1) * ($3 / 2); call <= count; call += $3)); do
    prepare
    code=0
    (export LD_PRELOAD=$build/tests/liballocation.so FAULT_RANK=$((ranks - 1)) FAULT_AT=$call && "$kind") 2>/dev/null ||
      code=$?
    check "$code"
    tried=$((tried + 1))
  done
  echo "$kind, $ranks ranks: $count allocations"
}

ranks=1
train "$work/whole"
train "$work/stopped" --set train.max_steps=10
sed -i 's/finished/running/' "$work/stopped/status"
rm "$work/stopped/final.weights.h5"
for kind in begun resumed eval_run predict_csv predict_hdf5 info_weights info_run info_data import compare; do
  campaign "$kind" 1 "$stride"
done
for kind in begun resumed; do campaign "$kind" 2 "$((2 * stride))"; done
echo "$tried allocations that failed ($refused told and ended; $unharmed without consequence): $failures of them lost" \
  "anything"
((failures == 0 && refused > 0))
