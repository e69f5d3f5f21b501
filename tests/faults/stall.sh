#!/bin/bash
# Stops a rank of a training (SIGSTOP) and sees that the watchdog ends the job and names it; then resumes. A job that is
# stopped as a whole and continued goes on. tests/faults/stall.sh [BUILD_FOLDER] (default: build).
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$(realpath "${1:-build}")
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
work=$(mktemp -d "${TMPDIR:-/tmp}/allegrad-stall.XXXXXX")
trap 'rm -rf "$work"' EXIT
# what Open MPI leaves of killed processes goes with the folder
export OMPI_MCA_btl_vader_backing_directory=$work OMPI_MCA_orte_tmpdir_base=$work
failures=0
fail() {
  echo "FAILED: $*"
  cat "$work/out"
  failures=$((failures + 1))
}
train() { # train <ranks> <option>...
  exec mpirun --oversubscribe --bind-to none -n "$1" "$build/allegrad" train jobs/reference.yaml --run "$work/run" \
    --resume --set train.epochs=10000 --set comm.timeout=2 --set log.progress=off "${@:2}" >"$work/out" 2>&1
}
begin() { # begin <ranks> <option>...: starts one and waits for its training; launcher and its processes are known then
  : >"$work/out"
  (train "$@") &
  launcher=$!
  until grep -q '^run: ' "$work/out" || ! kill -0 $launcher 2>/dev/null; do sleep 0.02; done
  sleep 0.5
  mapfile -t processes < <(pgrep -P $launcher)
}
for way in window allreduce buckets; do
  for ranks in 2 4; do
    for victim in 0 $((ranks - 1)); do
      begin "$ranks" --set comm.exchange="$way"
      ((${#processes[@]} == ranks)) || fail "${#processes[@]} processes, not $ranks"
      kill -STOP "${processes[victim]}"
      SECONDS=0 code=0
      wait $launcher || code=$?
      ((code == 5)) || fail "exit code $code, not 5"
      ((SECONDS <= 2 + 5)) || fail "ended after $SECONDS s"
      grep -qE "^allegrad: error: rank [0-9]+ has waited for [2-7] s \(comm.timeout\) after step [0-9]+, in .*; rank [0-9]+ \(process ${processes[victim]}\) is stopped" \
        "$work/out" || fail "$way, $ranks ranks: the stopped rank was not named"
      (($(grep -c '^allegrad: error' "$work/out") == 1)) || fail 'not told once'
    done
  done
done
# Stopped and continued as a whole: more time than the limit passes.
begin 2
kill -STOP "${processes[@]}"
sleep 8
kill -CONT "${processes[@]}"
sleep 1
kill -USR1 "${processes[@]}"
code=0
wait $launcher || code=$?
((code == 4)) || fail "continued: exit code $code, not 4"
echo "$((13 - failures)) of 13 standstills ended as they should"
((failures == 0))
