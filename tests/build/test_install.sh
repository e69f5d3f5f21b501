# Run by CTest, which sets SOURCE, BUILD, ALLEGRAD, MPIRUN and MPI_FLAVOUR (tests/AllegradTest.cmake).
# shellcheck shell=bash
# An installed allegrad: the program trains, and programs in C and in C++ predict with what it saved. They find library
# and headers by pkg-config, and call no MPI_Init. The C program is the one of the README. A program that only uses the
# network floor needs neither MPI nor HDF5.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cmake --install "$BUILD" --prefix "$work/prefix" >"$work/log" || { cat "$work/log" && exit 1; }
PKG_CONFIG_PATH=$(dirname "$(find "$work/prefix" -name allegrad.pc)")
export PKG_CONFIG_PATH
cd "$work"

"$work/prefix/bin/allegrad" train "$SOURCE/jobs/lucas_bn.yaml" --run run --set "data.file=$SOURCE/data/lucas_county.h5" \
  --set data.validation_split=0.9 --set 'model.hidden=[8, 8]' --set train.epochs=1 --set data.standardize=true
echo "TLA,lotsize,garagesqft,rooms,baths,age,x,y
1472,4100,400,7,1,0.70,510037,226286" >house.csv
"$work/prefix/bin/allegrad" predict run --data house.csv --out price.csv
expected=$(sed -n 2p price.csv)

# shellcheck disable=SC2016 # backquotes of Markdown
sed -n '/^```c$/,/^```$/{/^```/d;p}' "$SOURCE/README.md" >predict.c
read -ra flags <<<"$(pkg-config --cflags --libs allegrad)"
sanitize=()
grep -q ALLEGRAD_SANITIZE:BOOL=ON "$BUILD/CMakeCache.txt" && sanitize=(-fsanitize=address -fsanitize=undefined)
cp predict.c predict.cpp
cc -Wall -Wextra -Werror predict.c -o predict_c "${flags[@]}" "${sanitize[@]}"
c++ -Wall -Wextra -Werror predict.cpp -o predict_cpp "${flags[@]}" "${sanitize[@]}"
for program in ./predict_c ./predict_cpp; do
  got=$($program run/final.weights.h5)
  [[ $got == "$expected" ]] || { echo "$program says $got, allegrad predict says $expected" && exit 1; }
done

read -ra flags <<<"$(pkg-config --cflags --libs openblas) -lm"
prefix=$work/prefix
cc -Wall -Wextra -Werror "$SOURCE/tests/build/network_only.c" -o network_only -I"$prefix/include" \
  -L"$(dirname "$(find "$prefix" -name liballegrad.a)")" -lallegrad "${flags[@]}" "${sanitize[@]}"
./network_only
if ldd network_only | grep -E 'libmpi|libhdf5'; then exit 1; fi
