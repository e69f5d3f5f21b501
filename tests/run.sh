#!/bin/bash
# Installs what is missing, builds, runs every test. The last line is `N passed, N failed`; the exit code is 0 when none
# failed. tests/run.sh [BUILD_FOLDER [cmake options]]: another folder (default build) or another kind of build.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$(realpath -m "${1:-build}")
(($#)) && shift

jobs/install_dependencies.sh test
cmake -B "$build" -DALLEGRAD_TESTS=ON "$@"
cmake --build "$build" --parallel "$(nproc)"

# The numbers are read from CTest's own report; a report with nothing in it is a failure.
report=$build/tests.xml
rm -f "$report"
failed_any=0
ctest --test-dir "$build" --parallel "$(nproc)" --output-on-failure --no-tests=error --output-junit "$report" ||
  failed_any=1
count() { grep -om1 "\b$1=\"[0-9]*\"" "$report" | tr -dc 0-9; }
total=$(count tests)
failed=$(($(count failures) + $(count disabled) + $(count skipped)))
echo "$((total - failed)) passed, $failed failed"
((failed_any == 0 && failed == 0 && total > 0))
