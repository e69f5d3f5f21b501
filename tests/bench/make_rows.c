/* make_rows ROWS FEATURES FILE: a data file of any size, written piece by piece: features uniform in [-1, 1) by a hash
 * of their place, one target. */
#include <hdf5.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { PIECE = 1 << 22 }; /* elements */
static float x[PIECE], y[PIECE];

static float value_at(uint64_t i) {
  i = (i ^ i >> 31) * 0x9e3779b97f4a7c15U;
  i = (i ^ i >> 29) * 0xbf58476d1ce4e5b9U;
  return (float)(i >> 40) * 0x1p-23F - 1;
}

static hid_t create(hid_t file, const char *name, int rank, const hsize_t *dims) {
  const hid_t space = H5Screate_simple(rank, dims, NULL);
  const hid_t array = H5Dcreate2(file, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  H5Sclose(space);
  return array;
}

static int write_part(hid_t array, int rank, const hsize_t *start, const hsize_t *count, const float *values) {
  const hid_t memory = H5Screate_simple(rank, count, NULL), space = H5Dget_space(array);
  H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
  const int failed = H5Dwrite(array, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, values) < 0;
  H5Sclose(memory), H5Sclose(space);
  return failed;
}

int main(int argc, char **argv) {
  const uint64_t rows = argc == 4 ? strtoull(argv[1], NULL, 10) : 0,
                 features = argc == 4 ? strtoull(argv[2], NULL, 10) : 0;
  if (rows == 0 || features == 0 || features > PIECE)
    return fprintf(stderr, "usage: make_rows ROWS FEATURES FILE\n"), 1;
  const uint64_t piece = PIECE / features;
  const hid_t file = H5Fcreate(argv[3], H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  if (file < 0) return fprintf(stderr, "make_rows: cannot begin %s\n", argv[3]), 1;
  const hid_t xs = create(file, "x", 2, (hsize_t[]){rows, features}), ys = create(file, "y", 1, (hsize_t[]){rows});
  int failed = xs < 0 || ys < 0;
  for (uint64_t first = 0; first < rows && !failed; first += piece) {
    const uint64_t n = rows - first < piece ? rows - first : piece;
    for (uint64_t i = 0; i < n * features; i++) x[i] = value_at(first * features + i);
    for (uint64_t r = 0; r < n; r++) y[r] = sinf(3 * x[r * features]) + x[r * features + features / 2];
    failed = write_part(xs, 2, (hsize_t[]){first, 0}, (hsize_t[]){n, features}, x) ||
             write_part(ys, 1, (hsize_t[]){first}, (hsize_t[]){n}, y);
  }
  H5Dclose(xs), H5Dclose(ys);
  if (H5Fclose(file) < 0 || failed) return fprintf(stderr, "make_rows: cannot write %s\n", argv[3]), 1;
  return 0;
}
