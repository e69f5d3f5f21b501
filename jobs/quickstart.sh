#!/bin/bash
# From a fresh machine to trained models, a picture and predictions; see --help.
set -euo pipefail

usage() {
  cat <<END
usage: jobs/quickstart.sh [--data lucas|california] [--from FILE]
Installs what is missing (Debian packages; needs root only for that), builds, and trains the network with batch
normalisation and without it, on features as they are and on standardised ones, for 30 epochs, with as many ranks as
there are cores (at most 8: a batch has 32 rows). Prints a table of the four runs, draws their curves, and predicts.
  --data lucas       house sales of Lucas County, Ohio; part of this repository (default)
  --data california  California Housing, fetched by data/california.sh
  --from FILE        a copy of the California data to use instead of fetching it (see data/california.sh --help)
Everything is left in a new folder run/quickstart-<data>-<date>-<time>.
Exit codes: 0 done (that training without batch normalisation diverges on features as they are is a result), otherwise
that of the step that failed.
END
}
wrong() {
  echo "jobs/quickstart.sh: $1; see --help" >&2
  exit 1
}

data=lucas
from=
while (($#)); do
  case $1 in
  --data) data=${2:-} && shift ;;
  --from) from=$(realpath -- "${2:-}" 2>/dev/null) || wrong "--from needs a file" && shift ;;
  --help) usage && exit 0 ;;
  *) wrong "unknown argument $1" ;;
  esac
  shift || wrong "an argument is missing"
done
[[ $data == lucas || $data == california ]] || wrong "--data is lucas or california"
[[ -z $from || $data == california ]] || wrong "--from goes with --data california"

cd "$(dirname "$0")/.."
say() { printf '\n== %s\n' "$*"; }

say "Packages and build"
jobs/install_dependencies.sh
fresh=()
[[ -e build/CMakeCache.txt ]] || fresh=(-DCMAKE_BUILD_TYPE=Release -DALLEGRAD_TESTS=OFF)
cmake -B build "${fresh[@]}" >/dev/null
cmake --build build --parallel "$(nproc)" --target allegrad_program | tail -n 1

# One rank per core, not per hardware thread, each bound to its own where the system lets us.
cores=$(lscpu -p=CORE,SOCKET | grep -v '^#' | sort -u | wc -l)
ranks=$(printf '%d\n' "$cores" "$(nproc)" 8 | sort -n | head -n 1)
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 # in a container there may be nobody else
mpirun=("$(sed -n 's/^MPIEXEC_EXECUTABLE:[A-Z]*=//p' build/CMakeCache.txt)" -n "$ranks")
"${mpirun[@]}" -bind-to core true 2>/dev/null && mpirun+=(-bind-to core)

if [[ $data == lucas ]]; then
  columns=TLA,lotsize,garagesqft,rooms,baths,age,x,y
  examples=("1472,4100,400,7,1,0.70,510037,226286" "2250,15000,648,7,2,0.44,507582,213581" "3333,23800,576,9,3,0.21,504105,228004")
else
  columns=MedInc,HouseAge,AveRooms,AveBedrms,Population,AveOccup,Latitude,Longitude
  examples=("8.3252,41,6.98,1.02,322,2.56,37.88,-122.23" "2.5,30,5.1,1.05,1200,3.1,34.05,-118.25" "4.1,15,6,1,900,2.8,38.58,-121.49")
  say "Data"
  data/california.sh ${from:+--from "$from"}
fi

out=run/quickstart-$data-$(date +%Y%m%d-%H%M%S)
mkdir -p run && mkdir "$out"
train() { # train <run> <job> [option...]: divergence is a result, any other failure the end
  say "Training $1 with $ranks ranks"
  local code=0
  "${mpirun[@]}" build/allegrad train "jobs/${data}_$2.yaml" --run "$out/$1" "${@:3}" || code=$?
  ((code == 0 || code == 3)) || exit "$code"
}
train bn_raw bn
train bn_standardised bn --set data.standardize=true
train plain_raw plain
train plain_standardised plain --set data.standardize=true

say "The four runs"
build/allegrad compare "$out"/{bn_raw,bn_standardised,plain_raw,plain_standardised} --out "$out/curves.png"
echo "picture: $out/curves.png"

say "Predicting: three houses as $out/houses.csv"
printf '%s\n' "$columns" "${examples[@]}" >"$out/houses.csv"
echo "build/allegrad predict $out/bn_raw --data $out/houses.csv --out $out/prices.csv"
build/allegrad predict "$out/bn_raw" --data "$out/houses.csv" --out "$out/prices.csv"
paste -d , "$out/houses.csv" "$out/prices.csv"
