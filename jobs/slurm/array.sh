#!/bin/bash
# Trains with several seeds and learning rates, each a job of its own, and compares them when all have ended:
# sbatch --parsable array.sh, then sbatch --dependency=afterany:JOB compare.sh; or both by ./sweep.sh
#SBATCH --job-name=allegrad
#SBATCH --array=0-8
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=1
#SBATCH --time=01:00:00
#SBATCH --output=%x-%A_%a.out

# Change these: how allegrad is found, the job file, the folder of the runs, what is tried. 3 seeds by 3 rates: 0-8 above.
PATH=$HOME/allegrad/bin:$PATH
job=job.yaml
runs=run/array
seeds=(1 2 3)
rates=(0.001 0.003 0.01)

seed=${seeds[SLURM_ARRAY_TASK_ID % ${#seeds[@]}]}
rate=${rates[SLURM_ARRAY_TASK_ID / ${#seeds[@]}]}
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK # srun does not take it from the job since Slurm 22.05
export OPENBLAS_NUM_THREADS=1                  # the ranks are the parallelism
# --wait: if a rank dies, the others do not wait for it for ever. --resume: submitted again, it goes on where it was.
srun --mpi=pmix --cpu-bind=cores --wait=60 allegrad train "$job" --run "$runs/rate$rate-seed$seed" --resume \
  --set train.seed="$seed" --set train.optimizer.learning_rate="$rate"
