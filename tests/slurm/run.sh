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

write_job() { # write_job <epochs>
  cat <<JOB
data: {file: $source/data/lucas_county.h5, standardize: true}
model: {hidden: [16, 8]}
train: {optimizer: {name: adam}, batch: 512, epochs: $1, reproducible: 2}
checkpoint: {every_epochs: 0, best: false}
log: {steps: 1, progress: off}
JOB
}
declare -A epochs=([short]=20 [long]=400 [longer]=1600)
for length in short long longer; do
  write_job "${epochs[$length]}" >"$work/$length.yaml"
  allegrad train "$work/$length.yaml" --run "$work/$length" >/dev/null
done
enter() { # enter <scenario> short|long: its folder, with its job
  mkdir "$work/jobs/$1"
  cd "$work/jobs/$1"
  cp "$work/$2.yaml" job.yaml
  whole=$work/$2
}

note() { # note <message>: something is not as it should be
  echo "  $scenario: $*"
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
  "$build/tests/same_weights" "$whole/final.weights.h5" "$1/final.weights.h5" || note "$1 has other weights"
  cmp "$whole/steps.csv" "$1/steps.csv" || note "$1 has other steps"
  [[ $(cut -d, -f1-4 "$whole/metrics.csv") == "$(cut -d, -f1-4 "$1/metrics.csv")" ]] || note "$1 has other metrics"
}
trains() { [[ -s $1/steps.csv ]] && (($(wc -l <"$1/steps.csv") > 1)); } # trains <run>: has done a step that is logged
submit() { sbatch --parsable --ntasks-per-node=1 "$@"; }

# Every interruption lost nothing: each start went on after the step that the one before had done last.
expect_no_step_lost() { # expect_no_step_lost <output of the job>
  local stopped resumed
  stopped=$(sed -n 's/.*stopped after step \([0-9]*\) .*/\1/p' "$1")
  resumed=$(sed -n 's/^resumed: .*step \([0-9]*\).*/\1/p' "$1")
  [[ -n $stopped && $stopped == "$resumed" ]] || note "stopped after ${stopped:-no step}, went on after ${resumed:-none}: $1"
}
has_restarted() { (($(field "$1" Restarts) > 0)); }

single() {
  local job
  enter single short
  job=$(sbatch --parsable --ntasks-per-node=2 "$scripts/single_node.sh")
  expect_end "$job" 60 COMPLETED 0:0
  expect_whole run/single_node
}
on_two_nodes() { # on_two_nodes <script>
  local job
  enter "$1" short
  job=$(submit "$scripts/$1.sh")
  expect_end "$job" 60 COMPLETED 0:0
  grep -q '2 ranks on 2 nodes' "allegrad-$job.out" || note 'not on two nodes'
  expect_whole "run/$1"
}
several() { on_two_nodes several_nodes; }
several_mpirun() { on_two_nodes several_nodes_mpirun; }
time_limit() {
  local job
  enter time_limit longer
  job=$(submit --time=1 --signal=USR1@45 "$scripts/requeue.sh")
  wait_for 60 has_restarted "$job" || note 'the job did not requeue itself'
  expect_end "$job" 120 COMPLETED 0:0
  expect_no_step_lost "allegrad-$job.out"
  expect_whole run/requeue
}
preemption() {
  local job urgent
  enter preemption long
  job=$(submit "$scripts/preemptible.sh")
  wait_for 30 trains run/preemptible
  urgent=$(submit --partition=urgent --nodes=2 --exclusive --wrap='srun sleep 1')
  expect_end "$urgent" 60 COMPLETED 0:0
  expect_end "$job" 120 COMPLETED 0:0
  has_restarted "$job" || note 'the job was not preempted'
  expect_no_step_lost "allegrad-$job.out"
  expect_whole run/preemptible
}
drained_node() { # its administrator asks the job to leave
  local job
  enter drained_node long
  job=$(submit "$scripts/requeue.sh")
  wait_for 30 trains run/requeue
  scontrol update nodename=node2 state=drain reason=test
  scancel --signal=USR1 "$job"
  wait_for 30 has_state "$job" PENDING || note "the job is $(field "$job" JobState)"
  scontrol update nodename=node2 state=resume
  expect_end "$job" 120 COMPLETED 0:0
  expect_no_step_lost "allegrad-$job.out"
  expect_whole run/requeue
}
has_checkpoint() { compgen -G "$1/checkpoints/step-*" >/dev/null; }
dead_node() { # without a word: what counts is the newest checkpoint
  local job
  enter dead_node longer
  sed -i 's/every_epochs: 0/every_epochs: 20/' job.yaml
  job=$(submit "$scripts/preemptible.sh")
  wait_for 30 has_checkpoint run/preemptible
  kill -KILL "$(</run/slurmd-node2.pid)"
  wait_for 60 has_restarted "$job" || note 'the job was not requeued'
  cluster_slurmd node2
  expect_end "$job" 120 COMPLETED 0:0
  expect_whole run/preemptible
}
cancelled() { # submitted again, it goes on
  local job
  enter cancelled long
  job=$(submit "$scripts/requeue.sh")
  wait_for 30 trains run/requeue
  scancel "$job"
  expect_end "$job" 60 CANCELLED 0:15
  wait_for 30 grep -q '^state: interrupted' run/requeue/status || note "status: $(cat run/requeue/status)"
  job=$(submit "$scripts/requeue.sh")
  expect_end "$job" 120 COMPLETED 0:0
  expect_whole run/requeue
}
array() {
  local jobs compare
  enter array short
  jobs=$("$scripts/sweep.sh" --ntasks-per-node=1 --array=0,4,8)
  compare=${jobs##* }
  expect_end "$compare" 120 COMPLETED 0:0
  [[ $(grep -c ' finished$' "allegrad-compare-$compare.out") == 3 && -s run/array/curves.png ]] || note 'no comparison of three runs'
  allegrad train job.yaml --run alone --set train.seed=2 --set train.optimizer.learning_rate=0.003 >/dev/null
  whole=$PWD/alone
  expect_whole run/array/rate0.003-seed2
}
chain() {
  local jobs last
  enter chain short
  cp "$source/data/lucas_county.h5" test.h5
  jobs=$("$scripts/chain.sh" --ntasks-per-node=1)
  last=${jobs##* }
  expect_end "$last" 120 COMPLETED 0:0
  expect_whole run/requeue
  [[ $(cat allegrad-eval-*.out) == "$(allegrad eval "$whole" --data test.h5)" && -s model.onnx ]] || note 'eval or export'
  # When the training fails, the others do not wait for ever.
  sed -i 's/hidden/hiden/' job.yaml
  jobs=$("$scripts/chain.sh" --ntasks-per-node=1)
  last=${jobs##* }
  expect_end "$last" 60 CANCELLED 0:0
}

# ---- without Slurm: mpirun between the two hosts ----

between_hosts() { # between_hosts <seconds> <argument of allegrad>...: two ranks, one a host; the outcome is in $code
  code=0
  timeout "$1" "$PWD/launch" -x PATH -x HOME allegrad "${@:2}" >out 2>err </dev/null || code=$?
}
enter_hosts() { # enter_hosts <scenario> <length>
  enter "$1" "$2"
  printf 'node1 slots=1\nnode2 slots=1\n' >hosts
  # What ssh is elsewhere.
  # shellcheck disable=SC2016 # the script's own variables
  printf '#!/bin/bash\n. %q\ncluster=%q\nhost=$1\nshift\non "$host" bash -c "$*"\n' \
    "$source/tests/slurm/cluster.sh" "$cluster" >shell
  # shellcheck disable=SC2016
  printf '#!/bin/bash\n. %q\ncluster=%q\non node1 mpirun --hostfile hosts --mca plm_rsh_agent %q "$@"\n' \
    "$source/tests/slurm/cluster.sh" "$cluster" "$PWD/shell" >launch
  chmod +x shell launch
}
# Data of each host's own, and not the same: said, for it trains what nobody meant.
other_data() {
  enter_hosts other_data short
  cp "$source/data/lucas_county.h5" /run/host/data.h5
  on node1 cp "$source/data/lucas_county.h5" /run/host/data.h5
  on node2 bash -c "head -c -1 '$source/data/lucas_county.h5' >/run/host/data.h5; echo >>/run/host/data.h5"
  between_hosts 60 train job.yaml --run run/data --set data.file=/run/host/data.h5 --set train.max_steps=2 --verbose
  grep -q '^allegrad: warning: rank 1 on node2 sees another /run/host/data.h5 than rank 0 on node1$' err || note "$(cat err)"
  grep -q '^rank 1: node2, number 0 there, may run on processors' out || note "$(cat out)"
}
host_file() {
  enter_hosts host_file short
  between_hosts 60 train job.yaml --run run/hosts
  ((code == 0)) || note "exit code $code: $(cat err)"
  grep -q '2 ranks on 2 nodes' out || note 'not on two nodes'
  expect_whole run/hosts
}
# One run folder, two hosts: the second training is refused, and the first goes on.
lock() {
  enter_hosts lock longer
  on node1 allegrad train job.yaml --run run/lock >first 2>&1 &
  local first=$! code=0
  wait_for 30 trains run/lock
  on node2 allegrad train job.yaml --run run/lock --resume >out 2>err || code=$?
  ((code == 1)) || note "exit code $code"
  grep -q 'is being written by another process: process [0-9]* on node1$' err || note "$(cat err)"
  pkill --signal TERM --parent "$first" allegrad || kill -TERM "$first"
  code=0
  wait "$first" || code=$?
  ((code == 4)) || note "the first training ended with $code: $(cat first)"
}
has_no_rank() { ! pgrep --exact allegrad; }
# The cable is cut: the watchdogs end the ranks on both sides, though mpirun goes on waiting for the host that it lost.
# The training goes on from its newest checkpoint when the cable is back.
cut_network() {
  local launcher begin
  enter_hosts cut_network long
  sed -i 's/every_epochs: 0/every_epochs: 10/' job.yaml
  between_hosts 100 train job.yaml --run run/cut --set comm.timeout=4 &
  launcher=$!
  wait_for 30 has_checkpoint run/cut
  ip link set host2 down
  begin=$SECONDS
  wait_for 30 has_no_rank || note 'there are ranks left'
  echo "both ranks had ended $((SECONDS - begin)) s after the cable was cut, comm.timeout being 4 s"
  [[ $(grep -c '^allegrad: error: rank . has waited for .* s (comm.timeout) after step [0-9]*, in ' err) == 1 ]] || note "$(cat err)"
  pkill --exact mpirun
  wait "$launcher" || true
  ip link set host2 up
  between_hosts 100 train job.yaml --run run/cut --resume
  ((code == 0)) || note "exit code $code: $(cat err)"
  expect_whole run/cut
}
# What a slow network costs.
slow_network() {
  local fast slow
  enter_hosts slow_network short
  seconds() { awk -F, 'NR > 2 { s += $5 } END { print s }' "$1/metrics.csv"; }
  limit() { # limit add|del: both directions
    tc qdisc "$1" dev host2 root tbf rate 100mbit burst 16kb latency 50ms
    on node2 tc qdisc "$1" dev eth0 root tbf rate 100mbit burst 16kb latency 50ms
  }
  between_hosts 60 train job.yaml --run run/fast --set 'model.hidden=[128, 128]' --set train.epochs=5
  fast=$(seconds run/fast)
  limit add
  between_hosts 60 train job.yaml --run run/slow --set 'model.hidden=[128, 128]' --set train.epochs=5
  ((code == 0)) || note "exit code $code: $(cat err)"
  slow=$(seconds run/slow)
  limit del
  whole=$PWD/run/fast
  expect_whole run/slow
  awk -v f="$fast" -v s="$slow" 'BEGIN { printf "at 100 Mbit/s between two ranks an epoch takes %.1f times as long\n", s / f }'
}

without_slurm='host_file other_data lock cut_network slow_network'
with_slurm='single several several_mpirun time_limit preemption drained_node dead_node cancelled array chain'
for scenario in ${SCENARIO:-$without_slurm $with_slurm}; do
  if [[ " $with_slurm " == *" $scenario "* && -z ${SLURM_CONF:-} ]]; then cluster_slurm; fi
  good=1 begin=$SECONDS
  "$scenario"
  if ((good)); then passed=$((passed + 1)); else failed=$((failed + 1)); fi
  echo "$( ((good)) && echo ok || echo FAILED) $scenario ($((SECONDS - begin)) s)"
done
echo "$passed passed, $failed failed"
((failed == 0)) || { tail -n 20 "$work"/{slurmctld,slurmd-node1,slurmd-node2}.log && exit 1; }
