# Run by CTest (tests/AllegradTest.cmake).
# shellcheck shell=bash
# Help, version, wrong command lines, outputs that fail, the launcher of another MPI.
# shellcheck source=tests/cli/program.sh
source "$(dirname "$0")/program.sh"
cd "$work" || exit 1

# Help and version: on standard output, once, also under mpirun.
for ranks in 1 3; do
  run 0 $ranks --help
  for command in train eval predict export import info compare; do out "^  $command "; done
  (($(grep -c '^Usage: allegrad COMMAND' out) == 1)) || fail "the help was not printed once"
  run 0 $ranks --version
  out '^allegrad [0-9]+\.[0-9]+\.[0-9]+$'
  out "^$([[ $MPI_FLAVOUR == openmpi ]] && echo 'Open MPI v' || echo 'MPICH Version: *')[0-9.]+$"
  out '^HDF5 1\.[0-9.]+$'
  out '^OpenBLAS [0-9.]+ \(.+\)'
  out '^(baseline|avx2|avx512) kernels$'
  (($(grep -c '^HDF5 ' out) == 1)) || fail "the version was not printed once"
done
for command in train eval predict export import info compare; do
  run 0 1 $command --help
  out "^Usage: allegrad $command "
  out '^Examples:'
  grep -q "allegrad $command .*" <(sed '1,/^Examples:/d' out) || fail "no example"
done
run 0 1 train -h
out 'train\.optimizer\.learning_rate'
run 0 1 -h
out '^Usage: allegrad COMMAND'
run 0 1 import nonsense --target x --help # help wins over what is missing
out '^Usage: allegrad import'

# Wrong command lines: code 1, one message with what is wrong and the way to the help.
usage() {
  local message=$1
  shift
  run 1 1 "$@"
  err "^allegrad: error: .*$message.*\(see allegrad ([a-z]+ )?--help\)$"
  [[ ! -s out ]] || fail "something on standard output"
}
usage 'no command'
usage 'unknown command "bogus"' bogus
usage 'unknown command "--bogus"' --bogus
usage 'unknown command "--version=1"' --version=1
usage 'missing: JOB.yaml' train
usage 'missing: JOB.yaml' train --run folder
usage 'unexpected argument second.yaml' train job.yaml second.yaml
usage 'unexpected argument second.yaml' train job.yaml -- second.yaml
usage 'an argument is empty' train ''
usage 'unknown option --bogus' train job.yaml --bogus
usage 'unknown option --bogus=1' train job.yaml --bogus=1
usage 'unknown option -x' train -x job.yaml
usage '--help takes no value' train --help=1
usage '--run needs a DIR' train job.yaml --run
usage '--run needs a DIR before --set' train job.yaml --run --set train.epochs=1
usage '--run has an empty DIR' train job.yaml --run ''
usage '--run has an empty DIR' train job.yaml --run=
usage 'given twice: --run' train job.yaml --run a --run b
usage 'missing: --out' export folder
usage '--out must end in .keras or .onnx, not be model.h5' export folder --out model.h5
usage '--fold is for an ONNX file, not for model.keras' export folder --out model.keras --fold
usage 'missing: --data' eval folder
usage 'missing: --data' predict folder --out p.csv
usage 'missing: --out' predict folder --data d.csv
usage '--out must end in .csv or .h5, not be p.txt' predict folder --data d.csv --out p.txt
usage '--out must end in .csv or .h5, not be .csv' predict folder --data d.csv --out .csv
usage 'missing: --target' import houses.csv --out houses.h5
usage 'missing: --out' import houses.csv --target price
usage 'missing: FILE.csv' import --target price houses.csv --out houses.h5
usage '--target has an empty COLUMN' import houses.csv --target price '' --out houses.h5
usage '--missing must be error or drop, not maybe' import houses.csv --target price --missing maybe --out houses.h5
usage '--out must end in .h5, not be houses.csv' import houses.csv --target price --out houses.csv
usage 'missing: FILE\|RUN' info
usage 'unexpected argument b' info a b
usage 'missing: RUN' compare --out c.png
usage '--out must end in .png, not be c.jpg' compare a b --out c.jpg

# The same under a launcher: one message, one code.
run 1 3 train job.yaml --bogus
err 'unknown option --bogus'
run 1 3 import houses.csv --target price --out houses.csv
err 'must end in .h5'

# What cannot be printed is an error: a full disk, a pipe that nobody reads.
failing_output() {
  local reason=$1
  shift
  for arguments in --help --version "info --help" "info $SOURCE/data/lucas_county.h5"; do
    what="allegrad $arguments >$reason"
    code=0
    # shellcheck disable=SC2086
    "$ALLEGRAD" $arguments 2>err || code=$?
    ((code == 2)) || fail "exit code $code, not 2"
    err "^allegrad: error: cannot write to standard output: $reason"
  done
}
failing_output 'No space left on device' >/dev/full
mkfifo pipe
exec 3<>pipe # lets the next one open
exec 4>pipe
exec 3>&-
failing_output 'Broken pipe' >&4
exec 4>&-

# The other MPI's launcher starts strangers: refused, once, by name.
if [[ $MPI_FLAVOUR == openmpi ]]; then
  other=(mpiexec.mpich -n 3)
  launcher='MPICH'
else
  other=(mpiexec.openmpi --oversubscribe -n 3)
  launcher="Open MPI's mpirun"
fi
what="${other[*]} allegrad info"
code=0
timeout 120 "${other[@]}" "$ALLEGRAD" info "$SOURCE/data/lucas_county.h5" >out 2>err </dev/null || code=$?
((code == 1)) || fail "exit code $code, not 1"
(($(grep -c "^allegrad: error: started by $launcher" err) == 1)) || fail "the launcher was not refused once"
finish
