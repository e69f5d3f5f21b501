#!/bin/bash
# Trains on nodes that a more urgent job may take at any time: sbatch preemptible.sh
# Slurm sends the ranks TERM, and kills them a while later (the partition's GraceTime, or KillWait). They write a
# checkpoint at the next step and end. The job waits in the queue and goes on at that step; should a node be lost without
# a word, at its newest checkpoint, which are a minute apart.
# Job file, data and run folder lie on a file system that all nodes share.
#SBATCH --job-name=allegrad
#SBATCH --partition=low
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=1
#SBATCH --time=1-00:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out

# Change these three: how allegrad is found, the job file, the run folder.
PATH=$HOME/allegrad/bin:$PATH
job=job.yaml
run=run/preemptible

export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK # srun does not take it from the job since Slurm 22.05
export OPENBLAS_NUM_THREADS=1                  # the ranks are the parallelism
code=0
# --wait: if a rank dies, the others do not wait for it for ever.
srun --mpi=pmix --cpu-bind=cores --wait=60 allegrad train "$job" --run "$run" --resume \
  --set checkpoint.every_minutes=1 || code=$?
# 4: stopped by a signal, after a checkpoint. Slurm requeues a job that still runs when its grace is over; this one does
# it itself, for it ends before.
if ((code == 4)); then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"
