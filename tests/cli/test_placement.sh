# Run by CTest (tests/AllegradTest.cmake).
# shellcheck shell=bash
# Where ranks run, and the warnings of shared cores and of another build.
# shellcheck source=tests/cli/program.sh
source "$(dirname "$0")/program.sh"
cd "$work" || exit 1

make_houses houses.csv
run 0 1 import houses.csv --target price --out houses.h5
echo 'data: {file: houses.h5}' >job.yaml
small=(--set 'model.hidden=[4]' --set train.max_steps=2)

run 0 3 train job.yaml --run three --verbose "${small[@]}"
for rank in 0 1 2; do out "^rank $rank: $(hostname), number $rank there, may run on processors [0-9,-]+\$"; done
run 0 1 train job.yaml --run one "${small[@]}"
! grep -q '^allegrad: warning' err || fail 'a warning without a reason'

# Two ranks on one processor.
read -ra launcher <<<"$MPIRUN"
first=$(taskset --cpu-list --pid $$ | sed 's/.*: \([0-9]*\).*/\1/')
taskset --cpu-list "$first" "${launcher[@]}" -n 2 "$ALLEGRAD" train job.yaml --run shared "${small[@]}" >out 2>err
what='two ranks on one processor'
err "^allegrad: warning: $(hostname) has cores for 1 of its 2 ranks "

# The same version, other bytes.
cp "$ALLEGRAD" other
echo >>other
"${launcher[@]}" -n 1 "$ALLEGRAD" train job.yaml --run mixed "${small[@]}" : -n 1 ./other train job.yaml --run mixed \
  "${small[@]}" >out 2>err
what='two builds'
err "^allegrad: warning: rank 1 on $(hostname) runs another build of allegrad than rank 0"
finish
