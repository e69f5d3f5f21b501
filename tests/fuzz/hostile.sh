#!/bin/bash
# Damaged and malicious files of every kind: each is refused with a reason, or read as what it says; none crashes or hangs
# the reader or makes it ask for memory that the file does not justify, and under our digest no other number is read.
# tests/fuzz/hostile.sh [BUILD_FOLDER [N [SEED]]]: N inputs a kind (default: build, 1000, 1). Inputs that fail are kept.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$(realpath "${1:-build}") inputs=${2:-1000} seed=${3:-1}
work=$(mktemp -d "${TMPDIR:-/tmp}/allegrad-hostile.XXXXXX")
code=0
TMPDIR=$work "$build/tests/hostile" "$inputs" "$seed" "$work" || code=$?
rm -f "$work"/seed "$work"/allegrad-fuzz-*
rmdir "$work" 2>/dev/null || echo "what failed is in $work"
exit $code
