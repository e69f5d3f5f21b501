#!/bin/bash
# Submits array.sh and, to run when all of its jobs have ended, compare.sh. Options of sbatch are passed on: ./sweep.sh [OPTION...]
set -euo pipefail
here=$(dirname "$0")
array=$(sbatch --parsable "$@" "$here/array.sh")
compare=$(sbatch --parsable --dependency="afterany:$array" "$here/compare.sh")
echo "array $array, compare $compare"
