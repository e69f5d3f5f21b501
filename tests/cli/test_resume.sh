# Run by CTest, which sets SOURCE, BUILD, ALLEGRAD, MPIRUN and MPI_FLAVOUR (tests/AllegradTest.cmake).
# shellcheck shell=bash
# A training that was stopped anywhere and resumed leaves what one leaves that was not: weights, optimizer, logs, events.
# What may not change is refused, one process writes to a run folder, and a damaged checkpoint costs the steps since the
# one before.
# shellcheck source=tests/cli/program.sh
source "$(dirname "$0")/program.sh"

cat >"$work/job.yaml" <<JOB
data: {file: $SOURCE/data/lucas_county.h5, standardize: true, split: random}
model: {hidden: [24, 12], dropout: 0.1}
train:
  optimizer: {name: adam}
  batch: 256
  epochs: 4
  schedule: {name: step}
checkpoint: {every_steps: 30}
log: {steps: 1, progress: off}
JOB
data() { out "^(resumed|changed|note): $1"; }
# What the run logged, but for times.
losses() { cut -d, -f1-4 "$work/$1/metrics.csv"; }
events() { # the bytes of all events but their times and check sums: tag and value are in them, as often as written
  grep -aoc 'epoch_loss' "$work/$1"/events/*/* | sed "s|$work/$1/||; s|events.out[^:]*||"
}
# same_run <run> <run>
same_run() {
  "$BUILD/tests/same_weights" "$work/$1/final.weights.h5" "$work/$2/final.weights.h5" >"$work/err" 2>&1 || fail "weights of $2"
  "$BUILD/tests/same_weights" "$work/$1/best.weights.h5" "$work/$2/best.weights.h5" >"$work/err" 2>&1 || fail "best of $2"
  same "$work/$1/steps.csv" "$work/$2/steps.csv"
  [[ $(losses "$1") == "$(losses "$2")" && $(events "$1") == "$(events "$2")" ]] || fail "logs of $2"
  [[ $(ls "$work/$1/checkpoints") == "$(ls "$work/$2/checkpoints")" ]] || fail "checkpoints of $2"
  grep -q '^state: finished$' "$work/$2/status" || fail "status of $2"
}
# interrupted <ranks> <run> <option>...: the job, ended twice by a limit, after these steps, and resumed twice.
ends=(47 170) # within an epoch of 80
interrupted() {
  local ranks=$1 run=$2
  shift 2
  run 0 "$ranks" train "$work/job.yaml" --run "$work/$run-whole" "$@"
  run 0 "$ranks" train "$work/job.yaml" --run "$work/$run" "$@" --set train.max_steps="${ends[0]}"
  run 0 "$ranks" train "$work/job.yaml" --run "$work/$run" "$@" --set train.max_steps="${ends[1]}" --resume
  data "after step ${ends[0]},"
  run 0 "$ranks" train "$work/job.yaml" --run "$work/$run" "$@" --resume
  data "after step ${ends[1]},"
  data "train.max_steps ${ends[1]} -> 0"
  same_run "$run-whole" "$run"
}
for ranks in 1 2 3 4; do interrupted "$ranks" "np$ranks"; done
interrupted 2 shard --set train.shuffle=shard
# At its very end, before the final recalibration.
for shuffle in global shard; do
  options=(--set train.shuffle="$shuffle" --set model.batch_norm.recalibrate=end)
  run 0 2 train "$work/job.yaml" --run "$work/end-$shuffle-whole" "${options[@]}"
  cp -r "$work/end-$shuffle-whole" "$work/end-$shuffle"
  rm "$work/end-$shuffle/final.weights.h5"
  sed -i 's/finished/running/' "$work/end-$shuffle/status"
  run 0 2 train "$work/job.yaml" --run "$work/end-$shuffle" "${options[@]}" --resume
  data 'after step 320,'
  same_run "end-$shuffle-whole" "end-$shuffle"
done
ends=(17 54) # of 27
interrupted 3 accumulate --set train.accumulate=3 --set train.clip_norm=1 --set model.batch_norm.recalibrate=eval
ends=(47 170)
interrupted 2 raw --set data.standardize=false --set checkpoint.every_epochs=0 --set checkpoint.keep=1
# Final weights newer than every checkpoint, which are on another file system; a resumption that is refused leaves them.
raw=(--set data.standardize=false --set checkpoint.every_epochs=0 --set checkpoint.keep=1 --set train.epochs=5)
elsewhere=$(mktemp -d /dev/shm/allegrad-test.XXXXXX)
trap 'rm -rf "$work" "$elsewhere"' EXIT
mv "$work/raw/checkpoints" "$elsewhere"
ln -s "$elsewhere/checkpoints" "$work/raw/checkpoints"
run 1 2 train "$work/job.yaml" --run "$work/raw" "${raw[@]}" --set train.batch=128 --resume
[[ -f $work/raw/final.weights.h5 ]] || fail 'the final weights are gone'
run 0 2 train "$work/job.yaml" --run "$work/raw" "${raw[@]}" --resume
data 'after step 320,'
run 0 2 train "$work/job.yaml" --run "$work/raw-five" "${raw[@]}"
same_run raw-five raw
ends=(80 160) # between, the running averages are each rank's own
interrupted 4 none --set model.batch_norm.sync=none

# On other numbers of ranks, in reproducible mode.
L=(--set train.reproducible=8)
run 0 1 train "$work/job.yaml" --run "$work/lanes-whole" "${L[@]}"
run 0 4 train "$work/job.yaml" --run "$work/lanes" "${L[@]}" --set train.max_steps=71
run 0 3 train "$work/job.yaml" --run "$work/lanes" "${L[@]}" --set train.max_steps=172 --resume
run 0 2 train "$work/job.yaml" --run "$work/lanes" "${L[@]}" --resume
same_run lanes-whole lanes
# Otherwise it is told that the bits will differ.
run 0 2 train "$work/job.yaml" --run "$work/other" --set train.max_steps=71
run 0 1 train "$work/job.yaml" --run "$work/other" --resume
data 'before on 2 ranks: the bits will differ'
run 0 2 train "$work/job.yaml" --run "$work/other" --resume
out 'is finished; there is nothing to go on with'
# More epochs than it was finished with.
run 0 2 train "$work/job.yaml" --run "$work/np2" --set train.epochs=5 --resume
data 'train.epochs 4 -> 5'
run 0 2 train "$work/job.yaml" --run "$work/five" --set train.epochs=5
same_run five np2

# A limit of time, and signals.
run 4 2 train "$work/job.yaml" --run "$work/late" --set train.max_seconds=0.001
err '^allegrad: interrupted: stopped after step [0-9]+ by train.max_seconds: 0.001'
grep -q '^state: interrupted$' "$work/late/status" || fail 'not interrupted'
run 0 2 train "$work/job.yaml" --run "$work/late" --resume
same_run np2-whole late
for signal in USR1 TERM INT HUP; do
  what="kill -$signal"
  # with the threads that OpenBLAS starts before main
  # a shell lets its background processes ignore SIGINT
  env -u OPENBLAS_NUM_THREADS --default-signal timeout -s KILL 60 "$ALLEGRAD" train "$work/job.yaml" --run "$work/$signal" --set train.epochs=100000 >"$work/out" 2>"$work/err" &
  until [[ -s $work/$signal/metrics.csv ]] && (($(wc -l <"$work/$signal/metrics.csv") > 2)); do sleep 0.02; done
  kill -"$signal" "$(pgrep -P $!)"
  code=0
  wait $! || code=$?
  ((code == 4)) || fail "exit code $code, not 4"
  err "^allegrad: interrupted: stopped after step [0-9]+ by SIG$signal; --resume"
  step=$(sed -n 's/.*after step \([0-9]*\) by.*/\1/p' "$work/err")
  [[ -f $work/$signal/checkpoints/step-$(printf %08d "$step").weights.h5 ]] || fail "no checkpoint of step $step"
  run 4 1 train "$work/job.yaml" --run "$work/$signal" --set train.epochs=100000 --set train.max_seconds=0.001 --resume
  data "after step $step,"
done

# What may not change.
refuse() { # refuse <code> <message> <option>...
  run "$1" 2 train "$work/job.yaml" --run "$work/lanes" "${L[@]}" --set train.epochs=9 --resume "${@:3}"
  err "$2"
}
refuse 1 'train.batch is 128, but the run was begun with 256' --set train.batch=128
refuse 1 'model.hidden is \[24\], but the run was begun with \[24, 12\]' --set 'model.hidden=[24]'
refuse 1 'train.seed is 7' --set train.seed=7
refuse 1 'train.optimizer.name is sgd' --set train.optimizer.name=sgd
awk 'BEGIN { OFS = ","; print "TLA,lotsize,garagesqft,rooms,baths,age,x,y,price"; for (i = 0; i < 25357; i++) print i % 7, i % 11, 1, 2, 3, i, 5, 6, i % 5 }' >"$work/other.csv"
run 0 1 import "$work/other.csv" --target price --out "$work/others.h5"
refuse 2 'others.h5 does not hold the rows that the run was trained on' --set data.file="$work/others.h5"
cp "$SOURCE/data/lucas_county.h5" "$work/copy.h5"
run 1 2 train "$work/job.yaml" --run "$work/lanes" --resume
err 'train.reproducible is 0, but the run was begun with 8'
run 1 2 train "$work/job.yaml" --resume
err 'resume needs --run DIR'
run 0 2 train "$work/job.yaml" --run "$work/shards" --set train.shuffle=shard --set train.max_steps=9
run 1 3 train "$work/job.yaml" --run "$work/shards" --set train.shuffle=shard --resume
err 'shuffle: shard gives 3 ranks other batches'
# The data may move.
run 0 2 train "$work/job.yaml" --run "$work/lanes" "${L[@]}" --set train.epochs=5 --set data.file="$work/copy.h5" --resume

# Damaged checkpoints: the one before; when there is none, nothing is touched.
run 0 2 train "$work/job.yaml" --run "$work/hurt" --set train.max_steps=100 --set checkpoint.keep=2
rm "$work/hurt/final.weights.h5"
newest=$work/hurt/checkpoints/step-00000090.weights.h5
[[ -f $newest ]] || fail "no $newest"
printf x | dd of="$newest" bs=1 seek=4000 conv=notrunc 2>/dev/null
sed -i 's/finished/running/' "$work/hurt/status"
run 0 2 train "$work/job.yaml" --run "$work/hurt" --set checkpoint.keep=2 --resume
err 'step-00000090.weights.h5 is damaged'
"$BUILD/tests/same_weights" "$work/np2-whole/final.weights.h5" "$work/hurt/final.weights.h5" || fail 'weights of hurt'
run 0 2 train "$work/job.yaml" --run "$work/lost" --set train.max_steps=40 --set checkpoint.keep=1
rm "$work/lost/final.weights.h5"
truncate -s 1000 "$work"/lost/checkpoints/*
sed -i 's/finished/running/' "$work/lost/status"
before=$(cd "$work/lost" && sha256sum metrics.csv steps.csv checkpoints/*)
run 2 2 train "$work/job.yaml" --run "$work/lost" --resume
err 'holds no valid checkpoint'
[[ $before == "$(cd "$work/lost" && sha256sum metrics.csv steps.csv checkpoints/*)" ]] || fail 'touched'

# Torn logs are mended.
run 0 1 train "$work/job.yaml" --run "$work/torn" --set train.max_steps=100
printf '2,1' >>"$work/torn/metrics.csv"
printf '99999' >>"$work/torn/steps.csv"
printf 'torn' >>"$(echo "$work"/torn/events/train/*)"
touch "$work/torn/checkpoints/step-00000030.weights.h5.1234-0.tmp" "$work/torn/status.77-3.tmp"
run 0 1 train "$work/job.yaml" --run "$work/torn" --resume
same_run np1-whole torn
compgen -G "$work/torn/*.tmp" >/dev/null && fail 'temporary files are left'
run 0 1 train "$work/job.yaml" --run "$work/nometrics" --set train.max_steps=100
rm "$work/nometrics/metrics.csv"
run 1 1 train "$work/job.yaml" --run "$work/nometrics" --resume
err 'already holds a run'

# One writer a folder; a new --resume waits for a dying one.
"$ALLEGRAD" train "$work/job.yaml" --run "$work/busy" --set train.epochs=100000 >"$work/busy.out" 2>&1 &
until [[ -s $work/busy/status ]]; do sleep 0.02; done
(sleep 1 && kill -KILL $!) &
run 4 1 train "$work/job.yaml" --run "$work/busy" --set train.epochs=100000 --set train.max_seconds=1.5 --resume
wait
"$ALLEGRAD" train "$work/job.yaml" --run "$work/busy" --set train.epochs=100000 --resume >"$work/busy.out" 2>&1 &
until grep -q '^resumed' "$work/busy.out"; do sleep 0.02; done
begin=$SECONDS
run 1 1 train "$work/job.yaml" --run "$work/busy" --set train.epochs=100000 --resume
err "busy is being written by another process: process $! on "
((SECONDS - begin >= 9 && SECONDS - begin < 20)) || fail "waited for $((SECONDS - begin)) s"
kill -TERM $!
wait

# Another training takes up weights and optimizer of a file: with rows in the file's order it is the same training.
S=(--set train.shuffle=none --set model.dropout=0 --set train.schedule.name=constant)
run 0 2 train "$work/job.yaml" --run "$work/long" "${S[@]}" --set train.epochs=3
run 0 2 train "$work/job.yaml" --run "$work/short" "${S[@]}" --set train.epochs=1
run 0 2 train "$work/job.yaml" --run "$work/rest" "${S[@]}" --set train.epochs=2 \
  --set model.init_weights="$work/short/final.weights.h5" --set train.init_optimizer=true
"$BUILD/tests/same_weights" "$work/long/final.weights.h5" "$work/rest/final.weights.h5" || fail 'rest is another training'
run 0 2 train "$work/job.yaml" --run "$work/fresh-slots" "${S[@]}" --set train.epochs=2 \
  --set model.init_weights="$work/short/final.weights.h5"
"$BUILD/tests/same_weights" "$work/long/final.weights.h5" "$work/fresh-slots/final.weights.h5" 2>"$work/err" &&
  fail 'the slots make no difference'
run 2 2 train "$work/job.yaml" --run "$work/sgd" "${S[@]}" --set 'train.optimizer={name: sgd, momentum: 0.9}' \
  --set model.init_weights="$work/short/final.weights.h5" --set train.init_optimizer=true
err 'final.weights.h5: holds [0-9]+ optimizer variables, this optimizer has [0-9]+'
run 1 2 train "$work/job.yaml" --run "$work/sgd" --set train.init_optimizer=true
err 'train.init_optimizer needs model.init_weights'

# No folder, an empty one: it begins.
run 0 1 train "$work/job.yaml" --run "$work/fresh/deep" --resume
same_run np1-whole fresh/deep
finish
