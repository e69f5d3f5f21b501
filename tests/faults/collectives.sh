#!/bin/bash
# At every MPI call of a training on 2 ranks that the other rank takes part in, a rank is killed (SIGKILL), stopped
# (SIGSTOP), or the call fails. Each time both ranks must have ended soon, with a documented exit code and a message that
# names rank, step and operation where the program can know them (of a killed rank the launcher tells), no process stays
# behind, and the run, resumed, must end with the bits of one that nothing happened to; for every exchange.
# tests/faults/collectives.sh [BUILD_FOLDER [STRIDE]]: every STRIDE-th call, each fault in turn (default: build, 1: all
# calls, with every fault).
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/faults/common.sh
source tests/faults/common.sh
build=$(realpath "${1:-build}") stride=${2:-1} patience=3
work=$(mktemp -d "${TMPDIR:-/tmp}/allegrad-collectives.XXXXXX")
trap 'rm -rf "$work"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OPENBLAS_NUM_THREADS=1
# what Open MPI leaves of killed processes goes with the folder
export OMPI_MCA_btl_vader_backing_directory=$work OMPI_MCA_orte_tmpdir_base=$work
cat >"$work/job.yaml" <<JOB
data: {file: data/lucas_county.h5, standardize: true}
model: {hidden: [8], batch_norm: {recalibrate: end}}
train: {optimizer: {name: adam}, batch: 4096, epochs: 2, clip_norm: 1}
checkpoint: {every_steps: 3, keep: 2}
comm: {timeout: $patience, check_every: 4}
log: {steps: 1, progress: off}
JOB
without_pictures "exit 1"
train() { # train <run>: in a session of its own
  exec setsid timeout 60 mpirun --oversubscribe --bind-to none -n 2 "$build/allegrad" train "$work/job.yaml" \
    --run "$work/$1" --resume --set comm.exchange="$exchange" >"$work/out" 2>"$work/err"
}
faulty() { LD_PRELOAD=$build/tests/libcollectives.so FAULT_RANK=$rank train "$@"; }
tried=0 killed=0 told=0 unharmed=0 failures=0
fail() {
  echo "FAILED: $exchange, rank $rank, call $call (${names[call - 1]}), $fault: $*"
  cat "$work/err"
  failures=$((failures + 1))
}
must_tell() { # must_tell <pattern>: exit code 5, and one message
  told=$((told + 1))
  ((code == 5)) || fail "exit code $code, not 5"
  [[ $(grep -c '^allegrad: error: ' "$work/err") == 1 ]] || fail 'not told once'
  grep -qE "^allegrad: error: $1" "$work/err" || fail 'rank, step and operation not told'
}
check() { # check <session> <exit code> <second of the end>
  local code=$2 tenths living
  if ((code == 0)); then
    unharmed=$((unharmed + 1))
    [[ ${names[call - 1]} == MPI_Finalize ]] || fail 'unharmed'
  elif [[ $fault == kill ]]; then
    killed=$((killed + 1))
    ((code == 137)) || fail "exit code $code, not 137"
    grep -q "process rank $rank .*signal 9" "$work/err" || fail 'the launcher does not tell'
  elif [[ $fault == stop ]]; then
    must_tell "rank $((1 - rank)) has waited for .* after step [0-9]+, in .*; rank $rank \(process [0-9]+\) is stopped"
  else
    must_tell "rank $rank: MPI failed (after step [0-9]+, in .*|before or after the training): "
  fi
  (($3 - $(stat -c %Y "$work/mark") <= patience + 10)) || fail "ended $(($3 - $(stat -c %Y "$work/mark"))) s later"
  # mpirun does not wait for the last breath of what it kills; the dead are left to the first process of the machine
  for ((tenths = 0; tenths < 20; tenths++)); do
    living=$(pgrep -a -s "$1" -r D,R,S,T,t) || break
    sleep 0.1
  done
  [[ -z $living ]] || fail "left behind: $living"
  (train run) || fail "resumed: exit code $?"
  same_weights "$whole" "$work/run" final
  same_logs "$whole" "$work/run"
}
strike() { # strike <call> <fault>
  call=$1 fault=$2
  local code=0
  rm -rf "$work/run" "$work/mark"
  FAULT_AT=$call FAULT=$fault FAULT_MARK=$work/mark faulty run &
  local session=$!
  wait $session 2>/dev/null || code=$?
  check "$session" "$code" "$(date +%s)"
  tried=$((tried + 1))
}
for exchange in window allreduce buckets; do
  whole=$work/$exchange
  (train "$exchange")
  for rank in 0 1; do
    rm -rf "$work/run" "$work/names"
    (FAULT_NAMES=$work/names faulty run)
    mapfile -t names <"$work/names"
    ((${#names[@]} > 50)) || { echo "only ${#names[@]} calls were seen" && exit 1; }
    # the watch begins with the first gathering of all, and outlasts MPI
    watched=$(grep -n -m 1 MPI_Allgather "$work/names" | cut -d: -f1)
    faults=(kill stop error)
    for ((c = 1 + rank * (stride / 2); c <= ${#names[@]}; c += stride)); do
      turn=("${faults[c / stride % 3]}")
      ((stride > 1)) || turn=("${faults[@]}")
      for f in "${turn[@]}"; do
        if [[ $f != stop ]] || ((c > watched)); then strike "$c" "$f"; fi
      done
    done
    echo "$exchange, rank $rank: ${#names[@]} calls"
  done
done
echo "$tried faults at MPI calls ($killed kills, $told stopped or failed and told; $unharmed without consequence):" \
  "$failures of them lost anything"
((failures == 0 && killed > 0 && told > 0))
