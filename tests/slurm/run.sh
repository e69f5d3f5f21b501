#!/bin/bash
# The scripts of jobs/slurm on a real Slurm of two hosts, made for the time of the test (cluster.sh): a normal end, the
# time limit, preemption, a drained and a dead node, scancel, an array, a chain; and mpirun between the hosts without
# Slurm. Every result must have the bits of an uninterrupted run of one process: tests/slurm/run.sh [BUILD_FOLDER]
# (default: build). Needs root, Debian's slurmctld, slurmd, slurm-client, munge and iproute2. SCENARIO="a b": only those.
set -euo pipefail
# shellcheck source=tests/slurm/cluster.sh
source "$(dirname "$0")/cluster.sh"
cluster_enter "$@"
source=$(realpath "$(dirname "$0")/../..")
build=$(realpath "${1:-$source/build}")
work=$(mktemp -d "${TMPDIR:-/tmp}/allegrad-slurm.XXXXXX")
trap 'cluster_end; rm -rf "$work"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# Several jobs and, of the single node, several ranks share a core here.
export OMPI_MCA_mpi_yield_when_idle=1
export HOME=$work/home
scripts=$source/jobs/slurm
passed=0 failed=0
cluster_hosts "$work"
mkdir "$work/home" "$work/jobs"
cmake --install "$build" --prefix "$HOME/allegrad" >"$work/install.log"
PATH=$HOME/allegrad/bin:$PATH
cd "$work/jobs"
cat >job.yaml <<JOB
data: {file: $source/data/lucas_county.h5, standardize: true}
model: {hidden: [16, 8]}
train: {optimizer: {name: adam}, batch: 512, epochs: 60, reproducible: 2}
checkpoint: {every_epochs: 0, best: false}
log: {steps: 1, progress: off}
JOB
cp job.yaml short.yaml
cp "$source/data/lucas_county.h5" test.h5
allegrad train job.yaml --run whole >/dev/null

note() { # note <message>: something is not as it should be
  echo "  $*"
  good=0
}
field() { scontrol show job "$1" | tr ' ' '\n' | sed -n "s/^$2=//p" | head -n 1; } # field <job> <name>
has_state() { [[ $(field "$1" JobState) =~ ^($2)$ ]]; }
expect_end() { # expect_end <job> <seconds> <state> <exit code>:<signal>
  wait_for "$2" has_state "$1" 'COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL|PREEMPTED' || note "job $1 is $(field "$1" JobState)"
  [[ "$(field "$1" JobState) $(field "$1" ExitCode)" == "$3 $4" ]] ||
    note "job $1 ended $(field "$1" JobState) $(field "$1" ExitCode), not $3 $4"
}
expect_whole() { # expect_whole <run>: has the bits, the metrics and the steps of the run that nothing happened to
  grep -qx 'state: finished' "$1/status" || note "$1 is not finished: $(cat "$1/status")"
  "$build/tests/same_weights" whole/final.weights.h5 "$1/final.weights.h5" || note "$1 has other weights"
  cmp whole/steps.csv "$1/steps.csv" || note "$1 has other steps"
  [[ $(cut -d, -f1-4 whole/metrics.csv) == "$(cut -d, -f1-4 "$1/metrics.csv")" ]] || note "$1 has other metrics"
}
trains() { [[ -s $1/steps.csv ]] && (($(wc -l <"$1/steps.csv") > 1)); } # trains <run>: has done a step that is logged
submit() { sbatch --parsable --ntasks-per-node=1 "$@"; }

single() {
  local job
  job=$(sbatch --parsable --ntasks-per-node=2 "$scripts/single_node.sh")
  expect_end "$job" 60 COMPLETED 0:0
  expect_whole run/single_node
}
several() {
  local job
  job=$(submit "$scripts/several_nodes.sh")
  expect_end "$job" 60 COMPLETED 0:0
  grep -q '2 ranks on 2 nodes' "allegrad-$job.out" || note 'not on two nodes'
  expect_whole run/several_nodes
}
several_mpirun() {
  local job
  job=$(submit "$scripts/several_nodes_mpirun.sh")
  expect_end "$job" 60 COMPLETED 0:0
  grep -q '2 ranks on 2 nodes' "allegrad-$job.out" || note 'not on two nodes'
  expect_whole run/several_nodes_mpirun
}

for scenario in ${SCENARIO:-single several several_mpirun}; do
  [[ -v slurm ]] || { cluster_slurm && slurm=up; }
  good=1 begin=$SECONDS
  "$scenario"
  if ((good)); then passed=$((passed + 1)); else failed=$((failed + 1)); fi
  echo "$( ((good)) && echo ok || echo FAILED) $scenario ($((SECONDS - begin)) s)"
done
echo "$passed passed, $failed failed"
((failed == 0)) || { tail -n 20 ./*.out "$work"/*.log && exit 1; }
