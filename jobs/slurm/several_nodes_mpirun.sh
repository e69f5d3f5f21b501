#!/bin/bash
# Trains on several nodes by Open MPI's own launcher, where srun has no --mpi=pmix (srun --mpi=list tells):
# sbatch several_nodes_mpirun.sh
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
run=run/several_nodes_mpirun

export OPENBLAS_NUM_THREADS=1 # the ranks are the parallelism
# mpirun takes hosts and number of ranks from Slurm; it ends all ranks when one dies. -x: variables for the other nodes.
# --resume: submitted again, it goes on where it was.
mpirun --map-by core --bind-to core -x PATH -x OPENBLAS_NUM_THREADS allegrad train "$job" --run "$run" --resume
