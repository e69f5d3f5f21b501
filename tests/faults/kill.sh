#!/bin/bash
# Kills trainings at random instants, resumes them, and compares what they leave with an uninterrupted one, bit by bit:
# tests/faults/kill.sh [BUILD_FOLDER [KILLS [SEED]]] (default: build, 20, 1). A kill hits a rank, all ranks, mpirun, or,
# a third of them, rank 0 at a system call inside a save. Only kills of a training that has begun its steps count. Each
# resumption has a number of ranks of its own. The last line tells how it ended; exit code 0: nothing was lost.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$(realpath "${1:-build}") kills=${2:-20} RANDOM=${3:-1}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
work=$(mktemp -d "${TMPDIR:-/tmp}/allegrad-kill.XXXXXX")
trap 'rm -rf "$work"' EXIT
# what Open MPI leaves of killed processes goes with the folder
export OMPI_MCA_btl_vader_backing_directory=$work OMPI_MCA_orte_tmpdir_base=$work
cat >"$work/job.yaml" <<JOB
data: {file: data/lucas_county.h5, standardize: true}
model: {hidden: [48, 24], dropout: 0.05}
train: {optimizer: {name: adam}, batch: 256, epochs: 120, reproducible: 4}
checkpoint: {every_steps: 25}
log: {steps: 1, progress: off}
JOB
allegrad=$build/allegrad
train() { # train <ranks> <run> <seed>
  exec mpirun --oversubscribe --bind-to none -n "$1" "$allegrad" train "$work/job.yaml" --run "$2" --set train.seed="$3" \
    --resume
}
losses() { cut -d, -f1-4 "$1/metrics.csv"; }

declare -A hit=([rank]=0 [all]=0 [mpirun]=0 [save]=0)
count=0 runs=0 lost=0
while ((count < kills)); do
  runs=$((runs + 1))
  run=$work/run
  rm -rf "$run" "$work/whole"
  (train 1 "$work/whole" "$runs") >"$work/out" 2>&1
  while :; do
    ranks=$((1 + RANDOM % 4)) kind=save kinds=(rank all mpirun)
    ((count % 3 == 2)) || kind=${kinds[RANDOM % 3]}
    : >"$work/out"
    if [[ $kind == save ]]; then
      # a save makes some twenty calls, and the start some sixty
      (LD_PRELOAD=$build/tests/libinterpose.so FAULT_FOLDER=$run/ FAULT=kill FAULT_AT=$((80 + RANDOM % 200)) \
        train "$ranks" "$run" "$runs") >"$work/out" 2>&1 &
    else
      (train "$ranks" "$run" "$runs") >"$work/out" 2>&1 &
    fi
    launcher=$!
    if [[ $kind != save ]]; then
      until grep -q '^run: ' "$work/out" || ! kill -0 $launcher 2>/dev/null; do sleep 0.01; done
      sleep "0.$(printf %03d $((20 + RANDOM % 300)))"
      mapfile -t processes < <(pgrep -P $launcher || true)
      victims=("${processes[@]}")
      [[ $kind == rank && ${#processes[@]} -gt 0 ]] && victims=("${processes[RANDOM % ${#processes[@]}]}")
      [[ $kind == mpirun ]] && victims=("$launcher")
      ((${#victims[@]} == 0)) || kill -KILL "${victims[@]}" 2>/dev/null || true
    fi
    code=0
    wait $launcher 2>/dev/null || code=$?
    ((code != 0)) || break # finished before it was hit
    if ((code < 128)) && ! grep -qE 'signal 9|Killed|is being written' "$work/out"; then
      echo "run $runs: exit code $code, not from a kill:"
      cat "$work/out"
      lost=$((lost + 1))
      break
    fi
    grep -q '^run: ' "$work/out" || continue # not yet training
    count=$((count + 1)) hit[$kind]=$((hit[$kind] + 1))
  done
  if ! "$build/tests/same_weights" "$work/whole/final.weights.h5" "$run/final.weights.h5" ||
    ! "$build/tests/same_weights" "$work/whole/best.weights.h5" "$run/best.weights.h5" ||
    ! cmp "$work/whole/steps.csv" "$run/steps.csv" || [[ $(losses "$work/whole") != "$(losses "$run")" ]] ||
    compgen -G "$run/checkpoints/*.tmp" >/dev/null; then
    echo "run $runs: not what the uninterrupted one left"
    lost=$((lost + 1))
  fi
done
echo "$count kills (${hit[rank]} of a rank, ${hit[all]} of all, ${hit[mpirun]} of mpirun, ${hit[save]} inside a save) in" \
  "$runs trainings: $((runs - lost)) of $runs finished with the bits of an uninterrupted one"
((lost == 0 && hit[save] > 0))
