#!/bin/bash
# The California job, 30 epochs, against what genuine Keras gives (curves.json); prints a table.
#   tests/california.sh [SHARED_FOLDER [BUILD_FOLDER]]
# SHARED_FOLDER holds data/cal_housing.csv and reference/curves.json. With BN on raw features, seeds 1 to 3 at 1 and 2
# ranks: training MSE 0.30 to 0.325 at the end. Without BN on raw features: exit code 3 on every rank. Without BN on
# standardised features: as near to Keras' runs as another order of rows lets it be.
set -euo pipefail
cd "$(dirname "$0")/.."
shared=${1:-../shared}
build=${2:-build}
read -ra launcher <<<"${MPIRUN:-mpirun --oversubscribe --bind-to none}"
export OPENBLAS_NUM_THREADS=1 OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
data/california.sh --from "$shared/data/cal_housing.csv" --out "$work/california.h5" --allegrad "$build/allegrad" >"$work/log"

# train <job> <ranks> <seed> <standardize>: leaves the run in $run and the exit codes, one per rank, in $codes. Each rank
# stands behind a shell that writes its code down and returns 0, or mpirun would end the others.
train() {
  run=$work/$1-$4-np$2-seed$3
  # shellcheck disable=SC2016 # expanded by the inner shell
  "${launcher[@]}" -n "$2" bash -c '"${@:2}"; echo $? >>"$1"' rank "$run.codes" "$build/allegrad" train \
    "jobs/california_$1.yaml" --run "$run" --set "data.file=$work/california.h5" --set "data.standardize=$4" \
    --set "train.seed=$3" --set log.tensorboard=false --set log.progress=off >"$run.log" 2>&1 || cat "$run.log"
  codes=$(sort "$run.codes" | tr '\n' ' ')
}

# last <column>: of the last line of metrics.csv. seconds: of all lines.
last() { awk -F, -v name="$1" 'NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i } { value = $(at[name]) } END { print value }' "$run/metrics.csv"; }
seconds() { awk -F, 'NR > 1 { sum += $5 } END { printf "%.1f", sum }' "$run/metrics.csv"; }

# expect <what> <codes> [column low high]...: prints the run's line of the table.
failures=0
expect() {
  local what=$1 wanted=$2 verdict=ok
  shift 2
  [[ $codes == "$wanted " ]] || verdict="FAILED: exit codes $codes, $wanted expected"
  while (($#)); do
    awk -v x="$(last "$1")" -v low="$2" -v high="$3" 'BEGIN { exit !(x + 0 == x && x >= low && x <= high) }' ||
      verdict="FAILED: $1 outside $2..$3"
    shift 3
  done
  [[ $verdict == ok ]] || failures=$((failures + 1))
  printf '%-28s %6s %10.9s %10.9s %8s  %s\n' "$what" "$(last epoch)" "$(last loss)" "$(last val_loss)" "$(seconds)" "$verdict"
}

# The end of Keras' runs without BN on standardised features: 5 % around their losses, 15 % around their validation.
around() { jq -r --arg key "$1" --argjson width "$2" '[.plain_std[][$key][-1]] | "\(min * (1 - $width)) \(max * (1 + $width))"' "$shared/reference/curves.json"; }
read -r low high <<<"$(around loss 0.05)"
read -r low_val high_val <<<"$(around val_loss 0.15)"

printf '%-28s %6s %10s %10s %8s\n' run epochs loss val_loss seconds
for ranks in 1 2; do
  for seed in 1 2 3; do
    train bn $ranks $seed false
    expect "BN, raw, np$ranks, seed $seed" "$( ((ranks == 1)) && echo 0 || echo 0 0)" loss 0.30 0.325
  done
done
train plain 2 1 false
expect "plain, raw, np2" "3 3"
train plain 2 1 true
expect "plain, standardised, np2" "0 0" loss "$low" "$high" val_loss "$low_val" "$high_val"
((failures == 0))
