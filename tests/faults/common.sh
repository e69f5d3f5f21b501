# shellcheck shell=bash
# For the campaigns to source: what they have in common. They set $work and $build, and have a function fail <message>.
# shellcheck disable=SC2154

without_pictures() { # without_pictures <command>: gnuplot, which would take most of the time, becomes this
  mkdir "$work/bin"
  printf '#!/bin/sh\n%s\n' "$1" >"$work/bin/gnuplot"
  chmod +x "$work/bin/gnuplot"
  PATH=$work/bin:$PATH
}
same_weights() { # same_weights <run> <run> <name>: of the file <name>.weights.h5 of both
  "$build/tests/same_weights" "$1/$3.weights.h5" "$2/$3.weights.h5" >>"$work/err" 2>&1 || fail "other $3 weights"
}
same_logs() { # same_logs <run> <run>
  cmp -s "$1/steps.csv" "$2/steps.csv" || fail 'other steps'
  [[ $(cut -d, -f1-4 "$1/metrics.csv") == "$(cut -d, -f1-4 "$2/metrics.csv")" ]] || fail 'other metrics'
}
