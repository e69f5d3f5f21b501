# Run by CTest, which sets SOURCE, BUILD, ALLEGRAD, MPIRUN and MPI_FLAVOUR (tests/AllegradTest.cmake).
# shellcheck shell=bash
# With train.reproducible the same bits come out on any number of ranks, by every way of exchange, whatever algorithm
# MPI picks for its collectives: weights, optimizer, losses, and predictions.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
read -ra launcher <<<"$MPIRUN"
cat >"$work/job.yaml" <<JOB
data: {file: $SOURCE/data/lucas_county.h5, standardize: true, split: random}
model: {hidden: [24, 12], dropout: 0.1, batch_norm: {recalibrate: eval}}
train:
  optimizer: {name: adam}
  batch: 64
  accumulate: 2
  epochs: 2
  reproducible: 8
  clip_norm: 0.5
  weight_decay: 0.001
  schedule: {name: cosine, warmup_epochs: 0.5}
log: {steps: 1, tensorboard: false, progress: off}
JOB

train() { # train <ranks> <run> <exchange>
  "${launcher[@]}" -n "$1" "$ALLEGRAD" train "$work/job.yaml" --run "$work/$2" --set comm.exchange="$3" >"$work/log"
  "$ALLEGRAD" predict "$work/$2" --data "$SOURCE/data/lucas_county.h5" --out "$work/$2.csv" >"$work/log"
}
losses() { cut -d, -f1-4 "$work/$1/metrics.csv"; }
failures=0 runs=0
same() { # same <run>: as the run `one`
  runs=$((runs + 1))
  if ! "$BUILD/tests/same_weights" "$work/one/final.weights.h5" "$work/$1/final.weights.h5" ||
    ! cmp "$work/one/steps.csv" "$work/$1/steps.csv" || ! cmp "$work/one.csv" "$work/$1.csv" ||
    ! cmp <(losses one) <(losses "$1"); then
    echo "$1: not the bits of one rank"
    failures=$((failures + 1))
  fi
}

train 1 one auto
for ranks in 2 3 5 6 7 8; do
  ways=(auto)
  ((ranks != 3 && ranks != 8)) || ways=(allreduce buckets window)
  for way in "${ways[@]}"; do
    train "$ranks" "np$ranks-$way" "$way"
    same "np$ranks-$way"
  done
done
if [[ $MPI_FLAVOUR == openmpi ]]; then
  export OMPI_MCA_coll_tuned_use_dynamic_rules=1
  for algorithm in 0 1 2 3 4 5 6; do
    export OMPI_MCA_coll_tuned_allreduce_algorithm=$algorithm
    train 3 "algorithm$algorithm" allreduce
    same "algorithm$algorithm"
  done
  OMPI_MCA_coll=^tuned train 5 untuned allreduce
  same untuned
fi
echo "$((runs - failures)) of $runs runs have the bits of one rank"
((failures == 0 && runs > 9))
