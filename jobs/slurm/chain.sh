#!/bin/bash
# Submits three jobs, each of which waits for the one before and is cancelled when that fails: training (requeue.sh),
# evaluation and export. Options of sbatch for the training are passed on: ./chain.sh [OPTION...]
set -euo pipefail

# Change these: how allegrad is found, the run folder of requeue.sh, rows that it has not seen, the exported model.
export PATH=$HOME/allegrad/bin:$PATH
run=run/requeue
test=test.h5
model=model.onnx

here=$(dirname "$0")
after() { # after <job> <name> <command>: its id
  sbatch --parsable --dependency="afterok:$1" --kill-on-invalid-dep=yes --job-name="allegrad-$2" --ntasks=1 \
    --time=00:10:00 --output=%x-%j.out --wrap="srun --mpi=pmix $3"
}
train=$(sbatch --parsable "$@" "$here/requeue.sh")
eval=$(after "$train" eval "allegrad eval '$run' --data '$test'")
last=$(after "$eval" export "allegrad export '$run' --out '$model'")
echo "train $train, eval $eval, export $last"
