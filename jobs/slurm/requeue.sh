#!/bin/bash
# Trains longer than a job may: sbatch requeue.sh
# Two minutes before its time limit Slurm sends the ranks USR1. They write a checkpoint at the next step and end with
# code 4, the job requeues itself, and its next start goes on at that step. No step is lost.
# Job file, data and run folder lie on a file system that all nodes share.
#SBATCH --job-name=allegrad
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=1
#SBATCH --time=04:00:00
#SBATCH --signal=USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out

# Change these three: how allegrad is found, the job file, the run folder.
PATH=$HOME/allegrad/bin:$PATH
job=job.yaml
run=run/requeue

export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK # srun does not take it from the job since Slurm 22.05
export OPENBLAS_NUM_THREADS=1                  # the ranks are the parallelism
code=0
# --wait: if a rank dies, the others do not wait for it for ever.
srun --mpi=pmix --cpu-bind=cores --wait=60 allegrad train "$job" --run "$run" --resume || code=$?
# 4: stopped by a signal, after a checkpoint. Any other code is an end, good (0) or bad, that another start cannot better.
if ((code == 4)); then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"
