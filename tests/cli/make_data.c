/* make_data KIND FILE: writes a data file by plain HDF5, as another program would: sound ones, and each way of being
 * wrong that a trainer meets. For the tests of the program. */
#include <hdf5.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 40, COLUMNS = 3, RANK_MAX = 3 };

/* A dataset with pleasant numbers, and a bad one in its cell `bad` unless that is finite. */
static int write_array(hid_t file, const char *name, hid_t type, int rank, const hsize_t dims[], double bad) {
  hsize_t count = 1;
  for (int i = 0; i < rank; i++) count *= dims[i];
  double *values = malloc((size_t)(count + 1) * sizeof *values);
  if (values == NULL) return -1;
  for (hsize_t i = 0; i < count; i++) values[i] = (double)(i * 7 % 11) - 5;
  if (!isfinite(bad)) values[count / 2] = bad;
  const hid_t space = H5Screate_simple(rank, dims, NULL);
  const hid_t array = H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  int failed = array < 0 || H5Dwrite(array, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0;
  failed |= H5Dclose(array) < 0 || H5Sclose(space) < 0;
  free(values);
  return failed ? -1 : 0;
}

static int write_strings(hid_t file, const char *name) {
  const hsize_t dims[] = {ROWS, COLUMNS};
  const hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate_simple(2, dims, NULL);
  const hid_t array = H5Dcreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  return H5Dclose(array) < 0 || H5Sclose(space) < 0 || H5Tclose(type) < 0 ? -1 : 0;
}

typedef struct array {
  hid_t type;
  int rank; /* 0: not there; -1: strings */
  hsize_t dims[RANK_MAX];
  double bad;
} array;

static int write_file(const char *path, const array parts[2]) {
  static const char *const names[] = {"x", "y"};
  const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  int failed = file < 0;
  for (int i = 0; i < 2 && !failed; i++) {
    const array *a = &parts[i];
    if (a->rank < 0) failed = write_strings(file, names[i]);
    if (a->rank > 0) failed = write_array(file, names[i], a->type, a->rank, a->dims, a->bad);
  }
  return H5Fclose(file) < 0 || failed ? -1 : 0;
}

int main(int argc, char **argv) {
  const hid_t f32 = H5T_IEEE_F32LE, f64 = H5T_IEEE_F64LE;
  const array x = {f32, 2, {ROWS, COLUMNS}, 0}, y = {f64, 1, {ROWS}, 0};
  const struct {
    const char *name;
    array parts[2];
  } kinds[] = {
      {"sound", {x, y}},
      {"two_rows", {{f32, 2, {2, COLUMNS}, 0}, {f32, 2, {2, 1}, 0}}},
      {"integers", {{H5T_STD_I32LE, 2, {ROWS, COLUMNS}, 0}, y}},
      {"strings", {{f32, -1, {0}, 0}, y}},
      {"flat", {{f32, 1, {ROWS}, 0}, y}},
      {"cube", {{f32, 3, {ROWS, COLUMNS, 2}, 0}, y}},
      {"uneven", {x, {f32, 1, {ROWS - 1}, 0}}},
      {"empty", {{f32, 2, {0, COLUMNS}, 0}, {f32, 1, {0}, 0}}},
      {"no_x", {{f32, 0, {0}, 0}, y}},
      {"no_y", {x, {f32, 0, {0}, 0}}},
      {"nan", {{f32, 2, {ROWS, COLUMNS}, NAN}, y}},
      {"infinite", {x, {f64, 1, {ROWS}, INFINITY}}},
  };
  if (argc == 3)
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
      if (strcmp(argv[1], kinds[i].name) == 0) return write_file(argv[2], kinds[i].parts) == 0 ? 0 : 1;
  fprintf(stderr, "usage: make_data KIND FILE\n");
  return 1;
}
