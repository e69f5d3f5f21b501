#!/bin/bash
# Every MPI call of a rank is its last once (SIGKILL), stops it once (SIGSTOP) and fails once, on two ranks, by every way of
# exchange, while a training is begun and trains. The job must end by itself, with the code of the README and one message
# that names rank, step and operation where ours is the word; no process may stay behind; and resumed, the run must end
# with the bits of one that nothing happened to. A rank that is stopped before the training or
# behind it, where nobody watches, is continued, and nothing may come of it; nor of an error that HDF5 asks to be left to
# it. tests/faults/collectives.sh [BUILD_FOLDER [STRIDE]]: every STRIDE-th call
# (default: build, 1: all).
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$(realpath "${1:-build}") stride=${2:-1}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OPENBLAS_NUM_THREADS=1
work=$(mktemp -d "${TMPDIR:-/tmp}/allegrad-collectives.XXXXXX")
trap 'rm -rf "$work"' EXIT
# what Open MPI leaves of killed processes goes with the folder
export OMPI_MCA_btl_vader_backing_directory=$work OMPI_MCA_orte_tmpdir_base=$work
cat >"$work/job.yaml" <<JOB
data: {file: data/lucas_county.h5, standardize: true}
model: {hidden: [8]}
train: {optimizer: {name: adam}, batch: 4096, epochs: 3, reproducible: 2}
checkpoint: {every_steps: 4, keep: 2}
comm: {timeout: 1}
log: {steps: 1, progress: off}
JOB
mkdir "$work/bin"
printf '#!/bin/sh\nexit 1\n' >"$work/bin/gnuplot" # pictures would take most of the time
chmod +x "$work/bin/gnuplot"
PATH=$work/bin:$PATH
train() { # train <run> <variable for the ranks>...: in $out and $err, the launcher's process is $launcher
  local variables=()
  for variable in "${@:2}"; do variables+=(-x "$variable"); done
  timeout 40 mpirun --oversubscribe --bind-to none -n 2 "${variables[@]}" "$build/allegrad" train "$work/job.yaml" \
    --run "$work/$1" --resume --set comm.exchange="$way" >"$work/out" 2>"$work/err" </dev/null &
  launcher=$!
}
tried=0 failures=0
declare -A ends=([kill]=0 [stop]=0 [error]=0 [continued]=0 [left]=0)
fail() {
  echo "FAILED: $way, rank $rank, call $call, $fault: $*"
  cat "$work/err"
  failures=$((failures + 1))
}
watched() { grep -q '^run: ' "$work/out" && ! grep -q '^finished: ' "$work/out"; }
continue_unwatched() { # a process that stopped where nobody watches is continued
  local process
  while kill -0 "$launcher" 2>/dev/null; do
    for process in $(pgrep --full -- "--run $work/run " || true); do
      [[ $(ps -o stat= -p "$process") != T* ]] || watched || { sleep 0.5 && { watched || kill -CONT "$process"; }; }
    done
    sleep 0.1
  done
}
try() {
  local code=0 spoken
  rm -rf "$work/run"
  train run LD_PRELOAD="$build/tests/libinterpose_mpi.so" FAULT_RANK="$rank" FAULT_AT="$call" FAULT="$fault"
  [[ $fault != stop ]] || continue_unwatched
  wait $launcher || code=$?
  tried=$((tried + 1))
  spoken=$(grep -c '^allegrad: error: ' "$work/err" || true)
  case $fault,$code in
  stop,0) ends[continued]=$((ends[continued] + 1)) ;;
  error,0) ends[left]=$((ends[left] + 1)) ;;
  stop,5)
    [[ $spoken == 1 ]] || fail 'not told once'
    grep -q "has waited for .* s (comm.timeout) after step [0-9]*, in .*; rank $rank .* is stopped" "$work/err" ||
      fail 'the stopped rank, the step or the operation was not told'
    ;;
  error,5)
    [[ $spoken == 1 ]] || fail 'not told once'
    grep -q "^allegrad: error: rank $rank: MPI: " "$work/err" || fail 'the rank was not told'
    ! watched || grep -q 'after step [0-9]*, in ' "$work/err" || fail 'step and operation were not told'
    ;;
  kill,137) ;;
  *) fail "exit code $code" ;;
  esac
  [[ $code == 0 ]] || ends[$fault]=$((ends[$fault] + 1))
  ! pgrep --full -- "--run $work/run " >/dev/null || { sleep 1 && ! pgrep --full -- "--run $work/run " >/dev/null; } ||
    fail 'a process stays behind'
  code=0
  train run
  wait $launcher || code=$?
  ((code == 0)) || fail "resumed: exit code $code"
  "$build/tests/same_weights" "$work/whole/final.weights.h5" "$work/run/final.weights.h5" >>"$work/err" 2>&1 ||
    fail 'other weights'
  cmp -s "$work/whole/steps.csv" "$work/run/steps.csv" || fail 'other steps'
  [[ $(cut -d, -f1-4 "$work/whole/metrics.csv") == "$(cut -d, -f1-4 "$work/run/metrics.csv")" ]] || fail 'other metrics'
}
for way in window allreduce buckets; do
  rank=0 call=0 fault=none
  rm -rf "$work/whole"
  train whole LD_PRELOAD="$build/tests/libinterpose_mpi.so" FAULT_RANK=1 FAULT_COUNT="$work/count"
  wait $launcher
  count=$(cat "$work/count")
  turn=0
  for ((call = 1; call <= count; call += stride)); do
    rank=$((turn % 2))
    for fault in kill stop error; do try; done
    turn=$((turn + 1))
  done
  echo "$way: $count calls"
done
echo "$tried faults at MPI calls (${ends[kill]} killed, ${ends[stop]} stopped, ${ends[error]} failed, ${ends[continued]}" \
  "stopped unwatched and continued, ${ends[left]} left to HDF5): $failures ended otherwise than they should"
((failures == 0 && ends[kill] > 0 && ends[stop] > 0 && ends[error] > 0))
