#!/bin/bash
# All of libFuzzer's harnesses for a while, beginning with sound files: tests/fuzz/fuzz.sh BUILD_FOLDER [SECONDS [KIND...]]
# (default: 30 seconds, all kinds), of a build with -DALLEGRAD_FUZZ=ON. An input that fails is kept.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$(realpath "$1") seconds=${2:-30} kinds=("${@:3}")
((${#kinds[@]})) || kinds=(weights dataset config table)
work=$(mktemp -d "${TMPDIR:-/tmp}/allegrad-fuzz.XXXXXX")
mkdir "$work"/{weights,dataset,config,table,failed}
export TMPDIR=$work OPENBLAS_NUM_THREADS=1
# HDF5 loses memory of what it cannot decode, and asks for more than there is; it must bear not getting it.
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=64
"$build/tests/hostile" seeds "$work"
declare -A process
for kind in "${kinds[@]}"; do # side by side
  "$build/tests/fuzz_$kind" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
    -artifact_prefix="$work/failed/$kind-" "$work/$kind" >"$work/$kind.log" 2>&1 &
  process[$kind]=$!
done
failures=0
for kind in "${kinds[@]}"; do
  if wait "${process[$kind]}"; then
    echo "$kind: $(grep -a '^Done' "$work/$kind.log"), no failure"
  else
    tail -n 40 "$work/$kind.log"
    echo "FAILED: $kind: see $work/failed"
    failures=$((failures + 1))
  fi
done
((failures)) || rm -rf "$work"
((failures == 0))
