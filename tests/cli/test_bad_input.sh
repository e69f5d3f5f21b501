#!/bin/bash
# Bad input, each case alone and at 3 ranks: one message on stderr from one rank, the documented exit code on every
# rank, in time, and nothing new on the disk. Environment: see allegrad_script_test in AllegradTest.cmake.
set -u
limit=60 # seconds, far more than any case needs: a hang is a failure

scratch=$(mktemp -d "${TMPDIR:-/tmp}/allegrad-test-XXXXXX")
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/work" "$scratch/ranks"
cd "$scratch/work" || exit 1
# Every rank runs under this: its stderr and its exit code are its own, so that what the launcher adds stays apart.
cat >"$scratch/rank.sh" <<'END'
rank=${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-0}}
"$ALLEGRAD" "$@" >"$RANKS/out.$rank" 2>"$RANKS/err.$rank"
code=$?
echo $code >"$RANKS/code.$rank"
exit $code
END
export RANKS=$scratch/ranks

read -ra launcher <<<"$MPIRUN"
# Open MPI would end the other ranks as soon as one has returned a code, before they can tell theirs.
every_rank_ends=("${launcher[@]}")
[ "$MPI_FLAVOUR" = openmpi ] && every_rank_ends+=(--mca orte_abort_on_non_zero_status 0)

passed=0 failed=0
complain() {
  echo "not ok: $*"
  cat "$RANKS"/err.* 2>/dev/null | sed 's/^/    /' | head -20
  failed=$((failed + 1))
}

launch() { # RANKS ARGUMENTS...
  local ranks=$1
  shift
  rm -f "$RANKS"/*
  if [ "$ranks" = 1 ]; then
    timeout -k 5 $limit bash "$scratch/rank.sh" "$@"
  else
    timeout -k 5 $limit "${every_rank_ends[@]}" -n "$ranks" bash "$scratch/rank.sh" "$@" </dev/null &>/dev/null
  fi
}

# Names, and of files their sizes and times. (MPI may make and remove a file beside one that all ranks read.)
listing() { find . -type d -printf '%p\n' -o -printf '%p %s %T@\n' | sort; }

check() { # NAME RANKS CODE MESSAGE ARGUMENTS...: MESSAGE is an extended regular expression
  local name="$1, $2 ranks" ranks=$2 code=$3 message=$4 before after r
  shift 4
  before=$(listing)
  launch "$ranks" "$@"
  after=$(listing)
  for ((r = 0; r < ranks; r++)); do
    if [ "$(cat "$RANKS/code.$r" 2>/dev/null)" != "$code" ]; then
      complain "$name: rank $r returned '$(cat "$RANKS/code.$r" 2>/dev/null)', not $code"
      return
    fi
  done
  if [ "$(cat "$RANKS"/err.* | wc -l)" != 1 ]; then
    complain "$name: not exactly one line on stderr"
  elif ! grep -Eq -- "$message" "$RANKS"/err.*; then
    complain "$name: no message like '$message'"
  elif [ "$before" != "$after" ]; then
    complain "$name: left something: $(diff <(echo "$before") <(echo "$after"))"
  else
    passed=$((passed + 1))
  fi
}

bad() { # NAME CODE MESSAGE ARGUMENTS...: alone and at 3 ranks
  local name=$1
  shift
  check "$name" 1 "$@"
  check "$name" 3 "$@"
}

# ---- what the cases need, made by the program itself and by plain HDF5 ----
make_data=$BUILD/tests/make_data
for kind in sound two_rows integers strings flat cube uneven empty no_x no_y nan infinite; do
  "$make_data" "$kind" "$kind.h5" || complain "cannot make $kind.h5"
done
printf 'a,b,c\n1,2,3\n4,5,7\n7,8,8\n' >table.csv
"$ALLEGRAD" import table.csv --target c --out imported.h5 >/dev/null || complain 'cannot import'
head -c 1000 imported.h5 >truncated.h5
head -c 1000 sound.h5 >truncated_foreign.h5
{ head -c 100 imported.h5 && printf 'x' && tail -c +102 imported.h5; } >flipped.h5
: >nothing.h5
echo 'no HDF5 at all' >text.h5
mkdir folder.h5
cat >job.yaml <<'END'
data: {file: sound.h5}
model: {hidden: [4, 3]}
train: {batch: 8, epochs: 2}
log: {progress: off}
END
launch 1 train job.yaml --run good || complain 'the good job did not train'
cp good/final.weights.h5 weights.h5
head -c 2000 weights.h5 >cut.weights.h5
echo 'a file' >file

# ---- job files (train/test_config.c has every way to be wrong; here is what a user meets) ----
job() { # NAME LINE:COLUMN MESSAGE TEXT
  printf '%b' "$4" >bad.yaml
  bad "job file: $1" 1 "bad\.yaml:$2: .*$3" train bad.yaml --run run
}
job 'duplicate key' 2:19 'train.batch is given twice' 'data: {file: sound.h5}\ntrain: {batch: 8, batch: 8}\n'
job 'unknown key' 3:3 'unknown key train.bacth; did you mean train.batch' 'data: {file: sound.h5}\ntrain:\n  bacth: 8\n'
for value in 7.5 32abc 010 0 '"8"' '[8]'; do
  job "batch: $value" 2:16 'expected a whole number from 1 to' "data: {file: sound.h5}\ntrain: {batch: $value}\n"
done
for value in 0.5x nan inf; do
  job "learning_rate: $value" 4:20 'expected a number from 0 to' \
    "data: {file: sound.h5}\ntrain:\n  optimizer:\n    learning_rate: $value\n"
done
job 'standardize: flase' 1:37 'expected true or false' 'data: {file: sound.h5, standardize: flase}\n'
job 'empty' 1:1 'got nothing' ''
job 'lanes that are no power of two' 3:14 'power of two that divides train.batch' \
  'data: {file: sound.h5}\ntrain:\n  {batch: 6, reproducible: 3}\n'
job 'a list' 1:1 'expected a mapping of keys; got a list' '- data\n'
job 'no data file' 1:1 'data.file is missing' 'train: {batch: 8}\n'
job 'not closed' 2:1 'not valid YAML' 'data: {file: a\n'
job 'not UTF-8' 1:14 'not UTF-8' 'data: {file: \0377}\n'
job 'binary' 1:1 'U\+007F' '\0177ELF\0002\0001\0000'
job 'too deep' 1:14 'got a list' "data: {file: $(printf '[%.0s' {1..5000})"
job 'sgd with beta_1' 2:21 'beta_1 does not apply to the optimizer sgd' \
  'data: {file: sound.h5}\ntrain: {optimizer: {beta_1: 0.9}}\n'
rm bad.yaml
head -c 2000000 /dev/zero | tr '\0' '#' >large.yaml
bad 'job file: 2 MB' 1 'large\.yaml: no job file is larger than' train large.yaml --run run
bad 'job file: missing' 1 'absent\.yaml: .*No such file' train absent.yaml --run run
bad 'job file: a folder' 1 'folder\.h5: .*Is a directory' train folder.h5 --run run
bad '--set: ill-typed' 1 '--set train.batch: expected a whole number' train job.yaml --run run --set train.batch=7.5
bad '--set: unknown key' 1 '--set train.btch: unknown key; did you mean train.batch' \
  train job.yaml --run run --set train.btch=7

# ---- data files ----
data() { # NAME FILE MESSAGE
  bad "data file: $1" 2 "$2.*$3" train job.yaml --run run --set "data.file=$2"
}
data missing absent.h5 'No such file'
data empty nothing.h5 'empty'
data 'a folder' folder.h5 ''
data 'no HDF5' text.h5 'HDF5'
data truncated truncated.h5 ''
data 'truncated, foreign' truncated_foreign.h5 ''
data 'a byte flipped' flipped.h5 'checksum'
data integers integers.h5 'x'
data strings strings.h5 'x'
data 'one dimension' flat.h5 'dimensions'
data 'three dimensions' cube.h5 'x is no vector or matrix'
data 'rows that differ' uneven.h5 'rows'
data 'no rows' empty.h5 'empty'
data 'no x' no_x.h5 'x'
data 'no y' no_y.h5 'y'
data NaN nan.h5 'row 20 .*column'
data infinite infinite.h5 'row 20 .*y'
check 'two batches' 3 1 'train\.batch does not apply to a job with train\.batch_per_rank' \
  train job.yaml --run run --set train.batch_per_rank=8
bad 'no training row' 2 'two_rows\.h5: of 2 rows, validation_split 0\.9 leaves none to train' \
  train job.yaml --run run --set data.file=two_rows.h5 --set data.validation_split=0.9

# ---- run folders (permissions do not hold root back, a file in the way and /proc do) ----
bad 'run folder below a file' 2 'folder file: a file of that name' train job.yaml --run file/run
bad 'run folder in /proc' 2 '/proc/allegrad' train job.yaml --run /proc/allegrad-run
bad 'run folder that is a file' 2 'folder file: a file of that name' train job.yaml --run file
bad 'run folder with a run' 1 'good.*already holds a run' train job.yaml --run good

# ---- weights files to start from ----
weights() { # NAME FILE CODE MESSAGE OVERRIDES...
  local name=$1 file=$2 code=$3 message=$4
  shift 4
  bad "weights file: $name" "$code" "$message" train job.yaml --run run --set "model.init_weights=$file" "$@"
}
weights 'another width' weights.h5 2 'weights\.h5: .*dense_1.*shape \[4, 3\].*\[4, 4\]' --set 'model.hidden=[4, 4]'
weights 'fewer layers' weights.h5 2 'weights\.h5: .*2 hidden layers.* 1$' --set 'model.hidden=[4]'
weights 'no BatchNorm' weights.h5 2 'weights\.h5: .*batch normalisation' --set model.batch_norm.enabled=false
weights 'other inputs' weights.h5 2 'weights\.h5: .*shape \[3\].*\[2\]' \
  --set data.file=imported.h5 --set data.validation_split=0
weights missing absent.h5 2 'absent\.h5.*No such file'
weights truncated cut.weights.h5 2 'cut\.weights\.h5: .*damaged'
weights 'a data file' sound.h5 2 'sound\.h5 is no Keras 3 weights file'

# One case as a user sees it: the launcher passes the code on.
timeout -k 5 $limit "${launcher[@]}" -n 3 "$ALLEGRAD" train absent.yaml --run run >"$RANKS/out" 2>"$RANKS/err.all"
code=$?
if [ $code = 1 ] && [ "$(grep -c 'absent\.yaml' "$RANKS/err.all")" = 1 ]; then
  passed=$((passed + 1))
else
  complain "under the launcher: code $code"
fi

echo "$passed passed, $failed failed"
[ $failed = 0 ] && [ $passed -gt 0 ]
