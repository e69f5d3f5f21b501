# Run by CTest, which sets SOURCE, BUILD, ALLEGRAD, MPIRUN and MPI_FLAVOUR (tests/AllegradTest.cmake).
# shellcheck shell=bash
# The README's table of keys is the program's, and its commands on a table of one's own do what it says.
set -euo pipefail
readme=$SOURCE/README.md
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

"$BUILD/tests/print_keys" >keys.md
sed -n '/^| key /,/^$/{/^$/d;p}' "$readme" >readme_keys.md
diff readme_keys.md keys.md || { echo "the README's table of keys differs: tests/print_keys prints it" && exit 1; }

# The block of commands, run as it stands; a table like the README's stands in for the reader's.
awk 'BEGIN {
  srand(1)
  print "area,rooms,age,price"
  for (i = 0; i < 400; i++) {
    area = 50 + int(200 * rand()); rooms = 1 + int(area / 40); age = int(90 * rand())
    printf "%d,%d,%d,%.3f\n", area, rooms, age, 0.01 * area + 0.1 * rooms - 0.005 * age + 0.05 * rand()
  }
}' >houses.csv
head -n 4 houses.csv >new.csv
# shellcheck disable=SC2016 # backquotes of Markdown
sed -n '/^```yaml$/,/^```$/{/^```/d;p}' "$readme" >houses.yaml
# shellcheck disable=SC2016
sed -n '/^```sh$/,/^```$/{/^```/d;p}' "$readme" | grep '^\(mpirun .*\)\?allegrad ' >commands
[[ $(wc -l <commands) -ge 7 ]]
read -ra launcher <<<"$MPIRUN"
mpirun() { "${launcher[@]}" "$@"; }
PATH=$(dirname "$ALLEGRAD"):$PATH
set -x
# shellcheck source=/dev/null
. ./commands
set +x
[[ $(wc -l <prices.csv) -eq 4 && $(head -n 1 prices.csv) == price && -s curves.png ]]

# The layout of the run folder: what the README lists is there, and nothing else.
# shellcheck disable=SC2016
sed -n '/^| in the run folder /,/^$/s/^| `\([^`]*\)`.*/\1/p' "$readme" | sort >listed
find run/first -type f -printf '%P\n' |
  sed 's/step-[0-9]*/step-NNNNNNNN/; s/events.out.tfevents.*/events.out.tfevents.*/' | sort -u >found
diff listed found
