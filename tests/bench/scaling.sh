#!/bin/bash
# What a step costs beside its products, on one rank, and what a second rank brings: tests/bench/scaling.sh
# [BUILD_FOLDER [ROUNDS]]. Two ranks, each bound to a core; compare figures of one run only.
set -euo pipefail
build=$(cd "${1:-$(dirname "$0")/../../build}" && pwd)
rounds=${2:-31}
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OPENBLAS_NUM_THREADS=1
"$build/tests/bench_step" 100 | grep -E '^(OpenBLAS|batch|floor|step)'
# shellcheck disable=SC2086 # several words
${BENCH_LAUNCHER:-mpirun --bind-to core} -n 2 "$build/tests/bench_ranks" "$rounds"
