# Run by CTest (tests/AllegradTest.cmake).
# shellcheck shell=bash
# Every command as it is meant to be used, alone and on three ranks, its output taken apart.
# shellcheck source=tests/cli/program.sh
source "$(dirname "$0")/program.sh"
cd "$work" || exit 1

make_houses houses.csv
{ head -1 houses.csv; tail -32 houses.csv; } >last_fifth.csv
cut -d, -f1-3 houses.csv >no_targets.csv
awk -F, -v OFS=, '{ print $5, $3, $1, "\"any, " NR "\"", $2 }' houses.csv >shuffled_columns.csv

# cell <file.csv> <line from 1 behind the header> <column>
cell() { sed -n "$(($2 + 1))p" "$1" | cut -d, -f"$3"; }

test_import() { # <ranks>
  run 0 "$1" import houses.csv --target price --features area rooms age --out houses.h5
  out '^houses\.h5: 160 rows \(0 dropped\)$'
  run 0 "$1" info houses.h5
  out '^rows: 160$'
  out '^features: 3 \(area, rooms, age\)$'
  out '^targets: 1 \(price\)$'
  out '^written with: allegrad, checksum valid$'
  # Several targets, all other columns, options in any order, rows with missing values.
  sed '3s/^[^,]*/NA/; 7s/,[^,]*$/,/' houses.csv >holes.csv
  run 0 "$1" import --out two.h5 --missing=drop holes.csv --target tax price
  out '^two\.h5: 158 rows \(2 dropped\)$'
  run 0 "$1" info two.h5
  out '^rows: 158$'
  out '^features: 3 \(area, rooms, age\)$'
  out '^targets: 2 \(tax, price\)$'
  run 0 "$1" import --target=tax --target price --out two.h5 -- houses.csv
  out '^two\.h5: 160 rows'
  run 2 "$1" import holes.csv --target price --out none.h5
  err 'holes\.csv:3: column "area": "NA" is a missing value'
  [[ ! -e none.h5 ]] || fail "a file in spite of the error"
}

cat >job.yaml <<'Y'
data: {file: houses.h5, validation_split: 0.2}
model: {hidden: [16, 8], batch_norm: {momentum: 0.9}}
train: {batch: 16, epochs: 3, optimizer: {learning_rate: 0.05}}
log: {steps: 1}
Y

test_train() { # <ranks>
  local run=run/ranks$1
  run 0 "$1" train job.yaml --run "$run" --set train.epochs=2 --set 'train.seed=5'
  out "^$1 ranks?, .* kernels, OpenBLAS"
  out '^data: houses\.h5, 128 rows to train and 32 to validate$'
  out '^model: 3-16-8-1, with batch normalisation, 285 parameters \(247 trainable\)$'
  out "^run: $run\$"
  out '^epoch 2/2  loss '
  out '^finished: epoch 2, step 16, loss [0-9.]+, val_loss [0-9.]+$'
  (($(wc -l <"$run/metrics.csv") == 3 && $(wc -l <"$run/steps.csv") == 17)) || fail "not 2 epochs of 8 steps"
  grep -qx 'state: finished' "$run/status" || fail "the run is not finished"
  grep -q 'epochs: 2' "$run/config.yaml" || fail "--set is not in config.yaml"
  [[ $(ls "$run/checkpoints") == $'step-00000008.weights.h5\nstep-00000016.weights.h5' ]] || fail "checkpoints"
  [[ -s $run/curves.png && -s $run/final.weights.h5 ]] || fail "an empty run folder"
  # The same folder again, a folder's name from the job's, a training that diverges.
  cp "$run/metrics.csv" before.csv
  run 1 "$1" train job.yaml --run "$run"
  err "$run already holds a run"
  same before.csv "$run/metrics.csv"
  run 0 "$1" train job.yaml --set train.max_steps=3 --set=log.progress=off
  out '^run: run/job-[0-9]{8}-[0-9]{6}$'
  out '^finished: epoch 1, step 3, '
  if grep -q '^epoch' out; then fail "a line in spite of log.progress: off"; fi
  local named
  named=$(sed -n 's/^run: //p' out)
  [[ -s $named/final.weights.h5 ]] || fail "no weights in $named"
  rm -r "$named"
  run 3 "$1" train job.yaml --run "run/diverged$1" --set train.optimizer.learning_rate=1e20 \
    --set model.batch_norm.enabled=false
  err 'error: the training diverged: the loss is (nan|inf) at step [0-9]+'
  grep -qx 'state: diverged' "run/diverged$1/status" || fail "the run has not diverged"
  grep -qE '^1,[0-9]+,(nan|inf),nan,' "run/diverged$1/metrics.csv" || fail "its metrics are gone"
  [[ ! -e run/diverged$1/final.weights.h5 ]] || fail "final weights of a diverged training"
}

# What a training leaves is the same whichever number of ranks looks at it: the answers go to looks_<ranks>.
test_looking() { # <ranks>
  local looks=looks_$1
  mkdir -p "$looks"
  # The validation rows alone have the loss that the training told.
  run 0 "$1" eval run/ranks3 --data last_fifth.csv
  cp out "$looks/eval_csv"
  out '^rows 32  loss [0-9.e-]+$'
  close_to "$(sed 's/.*loss //' out)" "$(cell run/ranks3/metrics.csv 2 4)" 1e-5
  run 0 "$1" eval run/ranks3 --data houses.h5
  cp out "$looks/eval_h5"
  out '^rows 160  loss '
  run 0 "$1" predict run/ranks3 --data houses.h5 --out "$looks/h5.csv"
  [[ $(head -1 "$looks/h5.csv") == price && $(wc -l <"$looks/h5.csv") == 161 ]] || fail "not a line for every row"
  # Columns are found by name: others, another order, no targets, another program's HDF5 file with names or without.
  run 0 "$1" predict run/ranks3 --data no_targets.csv --out "$looks/no_targets.csv"
  same "$looks/h5.csv" "$looks/no_targets.csv"
  run 0 "$1" predict run/ranks3/final.weights.h5 --data shuffled_columns.csv --out "$looks/shuffled.csv"
  same "$looks/h5.csv" "$looks/shuffled.csv"
  run 0 "$1" import houses.csv --target price --features tax age area rooms --out shuffled.h5
  run 0 "$1" predict run/ranks3 --data shuffled.h5 --out "$looks/shuffled.csv"
  same "$looks/h5.csv" "$looks/shuffled.csv"
  run 0 "$1" eval run/ranks3 --data shuffled.h5
  same out "$looks/eval_h5"
  # HDF5 out: the rows and what is predicted for them.
  run 0 "$1" predict run/ranks3 --data no_targets.csv --out "$looks/predicted.h5"
  run 0 "$1" eval run/ranks3 --data "$looks/predicted.h5"
  out '^rows 160  loss 0$'
  run 0 "$1" info "$looks/predicted.h5"
  out '^targets: 1 \(price\)$'
  run 0 "$1" info run/ranks3
  cp out "$looks/info"
  out '^state: finished$'
  out '^last epoch: epoch 2, step 16, loss '
  out '^weights: run/ranks3/final.weights.h5$'
  out '^written with: allegrad, checksum valid$'
  out '^model: 3-16-8-1, with batch normalisation, 285 parameters \(247 trainable\)$'
  out '^activation: relu$'
  out '^batch_norm: momentum 0.9, epsilon 0.001, biased variance$'
  out '^features: 3 \(area, rooms, age\)$'
  out '^standardised: no$'
  out '^step: 16$'
  out '^seed: 5$'
  out '^written by: 3 ranks, .* kernels, OpenBLAS .*, HDF5 1.*, (Open MPI|MPICH)'
  out '^  batch_normalization_1 +16 +64  mean -?[0-9.]+ to [0-9.]+  variance [0-9.e-]+ to [0-9.e-]+$'
  out '^  dense_1 +16 x 8 +136$'
  run 0 "$1" info run/diverged3
  out '^state: diverged$'
  out '^explanation: the training diverged'
  out '^weights: none$'
  run 0 "$1" compare run/ranks3 run/diverged3/ --out "$looks/curves.png"
  cp out "$looks/compare"
  out '^ranks3 +2 .* finished$'
  out '^diverged3 +1 +(inf|nan) .* diverged$'
  [[ $(head -c 8 "$looks/curves.png" | od -An -tx1 | tr -d ' \n') == 89504e470d0a1a0a ]] || fail "no PNG"
  run 2 "$1" predict run/diverged3 --data houses.h5 --out none.csv
  [[ ! -e none.csv ]] || fail "predictions of a diverged training"
}

# A run without final weights means its newest checkpoint; a broken one is passed over, and told.
test_newest_checkpoint() { # <ranks>
  cp -r run/ranks3 run/killed
  rm run/killed/final.weights.h5
  run 0 "$1" info run/killed
  out '^weights: run/killed/checkpoints/step-00000016.weights.h5$'
  truncate -s -100 run/killed/checkpoints/step-00000016.weights.h5
  run 0 "$1" predict run/killed --data houses.h5 --out early.csv
  err '^allegrad: warning: .*step-00000016'
  run 0 "$1" predict run/ranks3/checkpoints/step-00000008.weights.h5 --data houses.h5 --out earlier.csv
  same early.csv earlier.csv
  rm -r run/killed
}

# Several targets with a name that CSV must quote, standardised rows.
test_targets() { # <ranks>
  sed '1s/price/"price, net"/' houses.csv >quoted.csv
  run 0 "$1" import quoted.csv --target 'price, net' tax --out quoted.h5
  run 0 "$1" train job.yaml --run run/targets --set data.file=quoted.h5 --set data.standardize=true
  out '^model: 3-16-8-2, '
  run 0 "$1" predict run/targets --data quoted.csv --out targets.csv
  [[ $(head -1 targets.csv) == '"price, net",tax' ]] || fail "header $(head -1 targets.csv)"
  (($(grep -cE '^-?[0-9.e-]+,-?[0-9.e-]+$' targets.csv) == 160)) || fail "not two numbers in each of 160 lines"
  run 0 "$1" info run/targets
  out '^standardised: yes$'
  out '^  area: mean [0-9.]+, sd [0-9.]+$'
  # Raw rows go in: what is predicted is near what was learned.
  run 0 "$1" eval run/targets --data quoted.csv
  sed 's/.*loss //' out >loss
  awk '{ exit !($1 < 1) }' loss || fail "a loss of $(cat loss): the standardisation is not applied"
  rm -r run/targets
}

# Weights that allegrad did not write need a job, and take columns in order.
test_foreign() { # <ranks>
  rm -f foreign.weights.h5 unnamed.h5
  h5copy -i run/ranks3/final.weights.h5 -o foreign.weights.h5 -s /layers -d /layers
  run 1 "$1" predict foreign.weights.h5 --data no_targets.csv --out foreign.csv
  err 'job'
  run 0 "$1" predict foreign.weights.h5 --data no_targets.csv --out foreign.csv --job job.yaml
  [[ $(head -1 foreign.csv) == y ]] || fail "header $(head -1 foreign.csv)"
  same <(tail -n +2 foreign.csv) <(tail -n +2 looks_1/h5.csv)
  run 0 "$1" predict foreign.weights.h5 --data houses.h5 --out foreign.csv --job job.yaml
  same <(tail -n +2 foreign.csv) <(tail -n +2 looks_1/h5.csv)
  cut -d, -f1-4 houses.csv >first_four.csv
  run 0 "$1" eval foreign.weights.h5 --data first_four.csv --job job.yaml
  same out looks_1/eval_h5
  run 2 "$1" predict foreign.weights.h5 --data houses.csv --out none.csv --job job.yaml
  err 'houses\.csv: 5 columns, but the model has 3 inputs'
  run 0 "$1" info foreign.weights.h5
  out '^written with: Keras, no checksum$'
  out '^model: 3-16-8-1, with batch normalisation, 285 parameters \(247 trainable\)$'
  # A standardisation that the job asks for and the file cannot give.
  sed 's/validation_split/standardize: true, &/' job.yaml >standardize.yaml
  run 1 "$1" predict foreign.weights.h5 --data no_targets.csv --out none.csv --job standardize.yaml
  err 'standardize\.yaml says data.standardize: true, but foreign\.weights\.h5'
  # A job of another shape.
  sed 's/16, 8/16, 9/' job.yaml >other.yaml
  run 2 "$1" eval foreign.weights.h5 --data first_four.csv --job other.yaml
  err 'foreign\.weights\.h5: /layers/dense_1/vars/0 has the shape \[16, 8\], the model expects \[16, 9\]'
  # A file of ours brings its own model: a job that agrees changes nothing, another is refused.
  run 0 "$1" eval run/ranks3 --data houses.h5 --job job.yaml
  same out looks_1/eval_h5
  sed 's/momentum: 0.9/&, epsilon: 0.01/' job.yaml >epsilon.yaml
  sed 's/16, 8]/&, activation: tanh/' job.yaml >tanh.yaml
  for contrary in other epsilon tanh; do
    run 1 "$1" eval run/ranks3 --data houses.h5 --job $contrary.yaml
    err "$contrary\.yaml describes another model than run/ranks3/final\.weights\.h5 was trained as"
  done
  # Rows without names are taken column by column.
  tail -n +2 no_targets.csv | tr , ' ' >rows.txt
  tail -n +2 houses.csv | cut -d, -f4 >targets.txt
  h5import rows.txt -dims 160,3 -path x -type TEXTFP -size 64 targets.txt -dims 160 -path y -type TEXTFP -size 64 \
    -outfile unnamed.h5 >/dev/null
  run 0 "$1" eval run/ranks3 --data unnamed.h5
  same out looks_1/eval_h5
  run 0 "$1" info unnamed.h5
  out '^written with: another program, no checksum$'
  out '^features: 3 \(x0, x1, x2\)$'
  [[ ! -e none.csv ]] || fail "predictions in spite of the error"
}

# An output is replaced as a whole or left as it was.
test_output_is_whole() { # <ranks>
  echo old >kept.csv
  sed '80s/.*/1,2,x/' no_targets.csv >broken.csv
  run 2 "$1" predict run/ranks3 --data broken.csv --out kept.csv
  err 'broken\.csv:80: column "age": "x" is no number'
  run 2 "$1" predict run/ranks3 --data nothing.csv --out kept.csv
  err 'nothing\.csv'
  run 2 "$1" predict run/ranks3 --data two.h5 --out no/such/folder.csv
  err 'no/such/folder\.csv'
  run 2 "$1" compare run/ranks3 run/none --out kept.png
  err 'run/none'
  [[ $(cat kept.csv) == old && ! -e kept.png ]] || fail "an output was changed in spite of the error"
  cut -d, -f1,2,4 houses.csv >last_column.csv
  run 2 "$1" eval run/ranks3 --data last_column.csv
  err 'last_column\.csv:1: no column "age"; the header has area, rooms, price'
  run 0 "$1" import last_column.csv --target price --out narrow.h5
  run 2 "$1" eval run/ranks3 --data narrow.h5
  err 'narrow\.h5: "age", which the model was trained on, is not among its features'
  cp run/ranks3/final.weights.h5 damaged.weights.h5
  printf x | dd of=damaged.weights.h5 bs=1 seek=3000 conv=notrunc status=none
  run 2 "$1" info damaged.weights.h5
  err 'damaged\.weights\.h5 is damaged'
  if compgen -G '*.tmp*' >/dev/null; then fail "temporary files: $(ls)"; fi
}

for ranks in 1 3; do test_import $ranks; done
for ranks in 1 3; do test_train $ranks; done
for ranks in 1 3; do test_looking $ranks; done
for file in looks_1/*; do same "$file" "looks_3/${file#*/}"; done
for ranks in 1 3; do
  test_newest_checkpoint $ranks
  test_targets $ranks
  test_foreign $ranks
  test_output_is_whole $ranks
done
finish
