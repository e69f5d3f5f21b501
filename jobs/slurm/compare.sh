#!/bin/bash
# Compares all runs of a folder, in a table and a picture: sbatch --dependency=afterany:JOB compare.sh
#SBATCH --job-name=allegrad-compare
#SBATCH --ntasks=1
#SBATCH --time=00:10:00
#SBATCH --output=%x-%j.out

# Change these: how allegrad is found, the folder of the runs.
PATH=$HOME/allegrad/bin:$PATH
runs=run/array

srun --mpi=pmix allegrad compare "$runs"/*/ --out "$runs/curves.png"
