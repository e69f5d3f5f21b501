# Sourced by the tests of the program: a folder of their own, running and checking. Needs ALLEGRAD and MPIRUN.
# shellcheck shell=bash
set -uo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

# fail <message>: with what the last program run said.
fail() {
  {
    echo "FAILED: $*"
    echo "  after: ${what:-}"
    sed 's/^/  out: /' "$work/out"
    sed 's/^/  err: /' "$work/err"
  } >&2
  failures=$((failures + 1))
}

# run <expected code> <ranks> <argument>...: allegrad's output is in $work/out and $work/err. A failure is told once,
# a success tells of none.
run() {
  local expected=$1 ranks=$2 code=0
  shift 2
  local launch=()
  ((ranks == 1)) || read -ra launch <<<"$MPIRUN -n $ranks"
  what="allegrad $* (ranks: $ranks)"
  timeout 120 "${launch[@]}" "$ALLEGRAD" "$@" >"$work/out" 2>"$work/err" </dev/null || code=$?
  ((code == expected)) || fail "exit code $code, not $expected"
  (($(grep -cE '^allegrad: (error|interrupted): ' "$work/err") == (expected != 0))) || fail "the error was not told exactly once"
}

# out <regex>, err <regex>: one line of standard output or of standard error has it.
out() { grep -qE -- "$1" "$work/out" || fail "not on standard output: $1"; }
err() { grep -qE -- "$1" "$work/err" || fail "not on standard error: $1"; }

# same <file> <file>: equal bytes.
same() { cmp "$1" "$2" >/dev/null || fail "$1 and $2 differ"; }

# close_to <number> <number> <relative tolerance>
close_to() {
  awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN { d = a - b; if (d < 0) d = -d; if (b < 0) b = -b; exit !(a != "" && d <= t * b) }' ||
    fail "$1 is not $2"
}

# finish: the end of a test.
finish() { ((failures == 0)) || exit 1; }

# make_houses <file.csv>: 160 rows of area, rooms, age, price and tax.
make_houses() {
  awk 'BEGIN {
    print "area,rooms,age,price,tax"
    for (i = 0; i < 160; i++) {
      area = 40 + (i * 37) % 101; rooms = 1 + (i * 13) % 7; age = (i * 29) % 83
      print area "," rooms "," age "," area / 50 + rooms / 4 - age / 100 "," area / 100 + age / 50
    }
  }' >"$1"
}
