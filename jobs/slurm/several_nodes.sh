#!/bin/bash
# Trains on several nodes: sbatch several_nodes.sh
# Job file, data and run folder lie on a file system that all nodes share.
#SBATCH --job-name=allegrad
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --cpus-per-task=1
#SBATCH --time=01:00:00
#SBATCH --output=%x-%j.out

# Change these three: how allegrad is found, the job file, the run folder.
PATH=$HOME/allegrad/bin:$PATH
job=job.yaml
run=run/several_nodes

export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK # srun does not take it from the job since Slurm 22.05
export OPENBLAS_NUM_THREADS=1                  # the ranks are the parallelism
# --wait: if a rank dies, the others do not wait for it for ever. --resume: submitted again, it goes on where it was.
srun --mpi=pmix --cpu-bind=cores --wait=60 allegrad train "$job" --run "$run" --resume
