#include "allegrad/dataset.h"

#include <fcntl.h>
#include <hdf5.h>
#include <math.h>

#include "allegrad/memory.h"
#include "allegrad/shard.h"
#include "temporary_mpi.h"

static agd_names names_of(size_t count, char letter) {
  agd_names names = {0};
  for (size_t i = 0; i < count; i++) {
    char name[32];
    snprintf(name, sizeof name, "%c-%zu", letter, i);
    assert_int_equal(agd_names_add(&names, name, NULL), AGD_OK);
  }
  return names;
}

static double value_at(uint64_t i) { return (double)i - 0.5; }

/* ---- files made by rank 0 with plain HDF5, as other programs would ---- */

typedef struct shape {
  int rank;
  hsize_t dims[3];
} shape;

static hid_t foreign_begin(const char *path) {
  const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  assert_true(file >= 0);
  return file;
}

static void foreign_end(hid_t file) { assert_true(H5Fclose(file) >= 0); }

/* A dataset with value_at(i) at place i. */
static void foreign_array(hid_t file, const char *name, hid_t type, shape s, hid_t creation) {
  size_t count = 1;
  for (int i = 0; i < s.rank; i++) count *= s.dims[i];
  double *values = malloc((count + 1) * sizeof *values);
  assert_non_null(values);
  for (size_t i = 0; i < count; i++) values[i] = value_at(i);
  const hid_t space = s.rank == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(s.rank, s.dims, NULL);
  const hid_t array = H5Dcreate2(file, name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
  assert_true(array >= 0);
  assert_true(H5Dwrite(array, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
  H5Dclose(array);
  H5Sclose(space);
  free(values);
}

static void foreign_attribute(hid_t file, const char *array, const char *const *names, hsize_t count) {
  const hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate_simple(1, &count, NULL);
  H5Tset_size(type, H5T_VARIABLE);
  const hid_t id = H5Dopen2(file, array, H5P_DEFAULT);
  const hid_t attribute = H5Acreate2(id, "columns", type, space, H5P_DEFAULT, H5P_DEFAULT);
  assert_true(H5Awrite(attribute, type, names) >= 0);
  H5Aclose(attribute), H5Dclose(id), H5Sclose(space), H5Tclose(type);
}

static hid_t chunked(hsize_t rows, hsize_t columns) {
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  assert_true(H5Pset_chunk(creation, 2, (const hsize_t[]){rows, columns}) >= 0);
  return creation;
}

/* ---- what every rank checks ---- */

/* Each rank reads its slice of the rows, then a range that only one rank wants, with its neighbours' cells guarded. */
static void expect_rows(agd_dataset *d, agd_range range) {
  agd_status st = {0};
  const size_t xs = range.count * d->features, ys = range.count * d->targets;
  agd_real *x = malloc((xs + 1) * sizeof *x), *y = malloc((ys + 1) * sizeof *y);
  x[xs] = y[ys] = 77;
  const agd_code code = agd_dataset_read(d, range.first, range.count, x, d->targets > 0 ? y : NULL, &st);
  assert_string_equal(st.message, "");
  assert_int_equal(code, AGD_OK);
  for (size_t i = 0; i < xs; i++) assert_true(x[i] == (agd_real)value_at(range.first * d->features + i));
  for (size_t i = 0; i < ys; i++) assert_true(y[i] == (agd_real)value_at(range.first * d->targets + i));
  assert_true(x[xs] == 77 && y[ys] == 77);
  free(x);
  free(y);
}

static void expect_file(const char *path, const char *x, const char *y, uint64_t rows, size_t features,
                        size_t targets) {
  const agd_comm *const comms[] = {&world, NULL};
  for (int alone = 0; alone < 2; alone++) {
    agd_status st = {0};
    agd_dataset *d;
    const agd_code code = agd_dataset_open(path, x, y, comms[alone], &d, &st);
    assert_string_equal(st.message, "");
    assert_int_equal(code, AGD_OK);
    assert_int_equal(d->rows, rows);
    assert_int_equal(d->features, features);
    assert_int_equal(d->targets, targets);
    assert_int_equal(d->x_names.count, features);
    assert_int_equal(d->y_names.count, targets);
    expect_rows(d, agd_slice(rows, (uint64_t)world.size, (uint64_t)world.rank));
    for (int one = 0; one < world.size; one++)
      expect_rows(d, world.rank == one ? (agd_range){0, rows} : (agd_range){rows, 0});
    agd_dataset_close(&d);
    assert_null(d);
  }
}

/* All ranks get AGD_EDATA and one message that names the file and says this. */
static void refuse(const char *path, const char *x, const char *y, const char *says) {
  const agd_comm *const comms[] = {&world, NULL};
  for (int alone = 0; alone < 2; alone++) {
    agd_status st = {0}, first;
    agd_dataset *d = NULL;
    assert_int_equal(agd_dataset_open(path, x, y, comms[alone], &d, &st), AGD_EDATA);
    assert_null(d);
    assert_int_equal(st.code, AGD_EDATA);
    assert_non_null(strstr(st.message, path));
    if (strstr(st.message, says) == NULL) fail_msg("\"%s\" does not say \"%s\"", st.message, says);
    first = st;
    agd_comm_broadcast(&world, &first, sizeof first);
    assert_string_equal(st.message, first.message);
  }
  MPI_Barrier(world.mpi);
}

static const char *path_of(void **state, char path[TEMPORARY_SIZE], const char *name) {
  MPI_Barrier(world.mpi);
  return temporary_path(path, *state, name);
}

static void write_file(const char *path, uint64_t rows, size_t features, size_t targets, bool as_float64) {
  MPI_Barrier(world.mpi); /* others may still read the old file */
  if (world.rank == 0) {
    agd_status st = {0};
    const size_t columns = features > targets ? features : targets;
    double *values = malloc(rows * columns * sizeof *values);
    assert_non_null(values);
    for (uint64_t i = 0; i < rows * columns; i++) values[i] = value_at(i);
    agd_names x = names_of(features, 'x'), y = names_of(targets, 'y');
    const agd_code code = agd_dataset_write(path, rows, &x, values, &y, values, as_float64, &st);
    assert_string_equal(st.message, "");
    assert_int_equal(code, AGD_OK);
    agd_names_clear(&x);
    agd_names_clear(&y);
    free(values);
  }
  MPI_Barrier(world.mpi);
}

/* ---- tests ---- */

static void test_round_trip(void **state) {
  char path[TEMPORARY_SIZE];
  path_of(state, path, "data.h5");
  for (int as_float64 = 0; as_float64 < 2; as_float64++) {
    write_file(path, 101, 7, 2, as_float64);
    expect_file(path, "x", "y", 101, 7, 2);
    expect_file(path, "x", NULL, 101, 7, 0);
    write_file(path, 3, 1, 1, as_float64); /* fewer rows than four ranks */
    expect_file(path, "x", "y", 3, 1, 1);
    write_file(path, 1, 1, 0, as_float64);
    expect_file(path, "x", NULL, 1, 1, 0);
  }
}

/* More than one piece a rank, and different numbers of pieces on different ranks. */
static void test_pieces(void **state) {
  char path[TEMPORARY_SIZE];
  path_of(state, path, "data.h5");
  write_file(path, 1200001, 3, 2, false);
  agd_dataset *d;
  assert_int_equal(agd_dataset_open(path, "x", "y", &world, &d, NULL), AGD_OK);
  expect_rows(d, world.rank == world.size - 1 ? (agd_range){1, 1200000} : (agd_range){5, (uint64_t)world.rank});
  agd_dataset_close(&d);
}

static void test_names(void **state) {
  char path[TEMPORARY_SIZE];
  path_of(state, path, "data.h5");
  write_file(path, 4, 5000, 2, false);
  agd_dataset *d;
  assert_int_equal(agd_dataset_open(path, "x", "y", &world, &d, NULL), AGD_OK);
  assert_int_equal(d->x_names.count, 5000);
  assert_string_equal(d->x_names.name[0], "x-0");
  assert_string_equal(d->x_names.name[4999], "x-4999");
  assert_string_equal(d->y_names.name[1], "y-1");
  agd_dataset_close(&d);
}

static void test_foreign_names(void **state) {
  char path[TEMPORARY_SIZE];
  const char *const columns[] = {"gr\xC3\xB6\xC3\x9F"
                                 "e",
                                 ""};
  path_of(state, path, "data.h5");
  if (world.rank == 0) {
    const hid_t file = foreign_begin(path);
    foreign_array(file, "x", H5T_IEEE_F32LE, (shape){2, {5, 2}}, H5P_DEFAULT);
    foreign_array(file, "bare", H5T_IEEE_F32LE, (shape){2, {5, 2}}, H5P_DEFAULT);
    foreign_array(file, "price", H5T_IEEE_F32LE, (shape){1, {5}}, H5P_DEFAULT);
    foreign_attribute(file, "x", columns, 2);
    foreign_array(file, "wrong", H5T_IEEE_F32LE, (shape){2, {5, 3}}, H5P_DEFAULT);
    foreign_attribute(file, "wrong", columns, 2);
    foreign_end(file);
  }
  MPI_Barrier(world.mpi);
  agd_dataset *d;
  assert_int_equal(agd_dataset_open(path, "x", "price", &world, &d, NULL), AGD_OK);
  assert_string_equal(d->x_names.name[0], columns[0]);
  assert_string_equal(d->x_names.name[1], "");
  assert_string_equal(d->y_names.name[0], "price");
  agd_dataset_close(&d);
  assert_int_equal(agd_dataset_open(path, "bare", "bare", &world, &d, NULL), AGD_OK);
  assert_string_equal(d->x_names.name[1], "x1");
  assert_string_equal(d->y_names.name[1], "y1");
  agd_dataset_close(&d);
  refuse(path, "wrong", "price", "the attribute columns of wrong has 2 names for 3 columns");
}

/* What other programs write: byte orders, layouts, filters, vectors, groups. */
static void test_foreign_layouts(void **state) {
  char path[TEMPORARY_SIZE];
  path_of(state, path, "foreign.h5");
  if (world.rank == 0) {
    const hid_t file = foreign_begin(path), plain = chunked(7, 2), packed = chunked(10, 3);
    const hid_t compact = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_shuffle(packed), H5Pset_deflate(packed, 6), H5Pset_fletcher32(packed);
    H5Pset_layout(compact, H5D_COMPACT);
    const shape x = {2, {53, 3}}, y = {1, {53}};
    foreign_array(file, "f32", H5T_IEEE_F32LE, x, H5P_DEFAULT);
    foreign_array(file, "f32be", H5T_IEEE_F32BE, x, H5P_DEFAULT);
    foreign_array(file, "f64", H5T_IEEE_F64LE, x, H5P_DEFAULT);
    foreign_array(file, "f64be", H5T_IEEE_F64BE, x, plain);
    foreign_array(file, "chunked", H5T_IEEE_F32LE, x, plain);
    foreign_array(file, "packed", H5T_IEEE_F32LE, x, packed);
    foreign_array(file, "compact", H5T_IEEE_F32LE, x, compact);
    H5Gclose(H5Gcreate2(file, "group", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    foreign_array(file, "group/x", H5T_IEEE_F64LE, x, packed);
    foreign_array(file, "y", H5T_IEEE_F32LE, y, H5P_DEFAULT);
    foreign_array(file, "y64be", H5T_IEEE_F64BE, y, H5P_DEFAULT);
    H5Pclose(plain), H5Pclose(packed), H5Pclose(compact);
    foreign_end(file);
  }
  MPI_Barrier(world.mpi);
  const char *const x[] = {"f32", "f32be", "f64", "f64be", "chunked", "packed", "compact", "group/x", "/group/x"};
  for (size_t i = 0; i < sizeof x / sizeof *x; i++) expect_file(path, x[i], i % 2 ? "y" : "y64be", 53, 3, 1);
}

static void write_text(const char *path, const char *text) {
  MPI_Barrier(world.mpi); /* others may still read the old file */
  if (world.rank == 0) temporary_write(path, text);
  MPI_Barrier(world.mpi);
}

static void test_no_data_file(void **state) {
  char path[TEMPORARY_SIZE];
  refuse(path_of(state, path, "absent.h5"), "x", "y", "No such file");
  refuse(*state, "x", "y", "folder");
  write_text(path_of(state, path, "empty.h5"), "");
  refuse(path, "x", "y", "empty");
  write_text(path_of(state, path, "text.h5"), "a,b\n1,2\n");
  refuse(path, "x", "y", "no HDF5 file");
}

static void cut_or_flip(const char *path, off_t cut, off_t flip) {
  MPI_Barrier(world.mpi); /* others may still read the old file */
  if (world.rank == 0) {
    const int file = open(path, O_RDWR);
    struct stat info = {0};
    assert_true(file >= 0 && fstat(file, &info) == 0);
    char byte;
    if (cut > 0) assert_int_equal(ftruncate(file, info.st_size - cut), 0);
    if (flip > 0) {
      assert_int_equal(pread(file, &byte, 1, info.st_size - flip), 1);
      byte = (char)(byte ^ 1);
      assert_int_equal(pwrite(file, &byte, 1, info.st_size - flip), 1);
    }
    close(file);
  }
  MPI_Barrier(world.mpi);
}

static void test_damaged(void **state) {
  char path[TEMPORARY_SIZE];
  path_of(state, path, "data.h5");
  write_file(path, 100, 3, 1, false);
  cut_or_flip(path, 0, 1); /* in the digest */
  refuse(path, "x", "y", "damaged");
  write_file(path, 100, 3, 1, false);
  cut_or_flip(path, 0, 500); /* in the numbers */
  refuse(path, "x", "y", "damaged");
  write_file(path, 100, 3, 1, false);
  cut_or_flip(path, 70, 0); /* the trailer and more */
  refuse(path, "x", "y", "truncated");
  path_of(state, path, "foreign.h5");
  if (world.rank == 0) {
    const hid_t file = foreign_begin(path);
    foreign_array(file, "x", H5T_IEEE_F32LE, (shape){2, {100, 3}}, H5P_DEFAULT);
    foreign_end(file);
  }
  cut_or_flip(path, 100, 0);
  refuse(path, "x", NULL, "truncated");
}

/* Types and shapes that are no training data. */
static void test_wrong_kind(void **state) {
  char path[TEMPORARY_SIZE];
  path_of(state, path, "foreign.h5");
  if (world.rank == 0) {
    const hid_t file = foreign_begin(path), half = H5Tcopy(H5T_IEEE_F32LE);
    H5Tset_fields(half, 15, 10, 5, 0, 10), H5Tset_size(half, 2), H5Tset_ebias(half, 15);
    foreign_array(file, "x", H5T_IEEE_F32LE, (shape){2, {10, 3}}, H5P_DEFAULT);
    foreign_array(file, "y", H5T_IEEE_F32LE, (shape){1, {10}}, H5P_DEFAULT);
    foreign_array(file, "int", H5T_STD_I32LE, (shape){2, {10, 3}}, H5P_DEFAULT);
    foreign_array(file, "half", half, (shape){2, {10, 3}}, H5P_DEFAULT);
    foreign_array(file, "cube", H5T_IEEE_F32LE, (shape){3, {10, 3, 2}}, H5P_DEFAULT);
    foreign_array(file, "scalar", H5T_IEEE_F32LE, (shape){0, {0}}, H5P_DEFAULT);
    foreign_array(file, "short", H5T_IEEE_F32LE, (shape){1, {9}}, H5P_DEFAULT);
    foreign_array(file, "none", H5T_IEEE_F32LE, (shape){2, {0, 3}}, H5P_DEFAULT);
    foreign_array(file, "narrow", H5T_IEEE_F32LE, (shape){2, {10, 0}}, H5P_DEFAULT);
    H5Gclose(H5Gcreate2(file, "group", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Tclose(half);
    foreign_end(file);
  }
  refuse(path_of(state, path, "foreign.h5"), "int", "y", "int holds no float32 or float64");
  refuse(path, "half", "y", "half holds no float32 or float64");
  refuse(path, "x", "int", "int holds no float32 or float64");
  refuse(path, "y", "y", "has 1 dimension");
  refuse(path, "scalar", "y", "has 0 dimensions");
  refuse(path, "cube", "y", "no vector or matrix");
  refuse(path, "x", "scalar", "must be [rows, targets] or [rows]");
  refuse(path, "x", "narrow", "must be [rows, targets] or [rows]");
  refuse(path, "x", "short", "x has 10 rows, but short has 9");
  refuse(path, "none", "y", "the dataset none is empty");
  refuse(path, "narrow", "y", "the dataset narrow is empty");
  refuse(path, "group", "y", "not a dataset");
  refuse(path, "x", "z", "no dataset z");
  refuse(path, "X", "y", "no dataset X");
  refuse(path, "group/x", "y", "no dataset group/x");
  refuse(path, "", "y", "empty string");
}

// NOLINTNEXTLINE(readability-non-const-parameter): HDF5 gives the type
static size_t no_filter(unsigned flags, size_t count, const unsigned *values, size_t bytes, size_t *size, void **data) {
  (void)flags, (void)count, (void)values, (void)size, (void)data;
  return bytes;
}

/* Storage outside the file or not there at all. */
static void test_wrong_storage(void **state) {
  char path[TEMPORARY_SIZE];
  path_of(state, path, "foreign.h5");
  if (world.rank == 0) {
    const hid_t file = foreign_begin(path);
    const shape s = {2, {10, 3}};
    foreign_array(file, "x", H5T_IEEE_F32LE, s, H5P_DEFAULT);
    assert_true(H5Lcreate_soft("/x", file, "soft", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    assert_true(H5Lcreate_external("other.h5", "/x", file, "external", H5P_DEFAULT, H5P_DEFAULT) >= 0);

    const hid_t outside = H5Pcreate(H5P_DATASET_CREATE);
    char raw[TEMPORARY_SIZE];
    H5Pset_external(outside, temporary_path(raw, *state, "raw.bin"), 0, H5F_UNLIMITED);
    foreign_array(file, "outside", H5T_IEEE_F32LE, s, outside);

    const hid_t virtual = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(2, s.dims, NULL);
    H5Pset_virtual(virtual, space, "other.h5", "x", space);
    H5Dclose(H5Dcreate2(file, "virtual", H5T_IEEE_F32LE, space, H5P_DEFAULT, virtual, H5P_DEFAULT));

    const H5Z_class2_t class = {H5Z_CLASS_T_VERS, 300, 1, 1, "test", NULL, NULL, no_filter};
    const hid_t filtered = chunked(5, 3);
    assert_true(H5Zregister(&class) >= 0 && H5Pset_filter(filtered, 300, 0, 0, NULL) >= 0);
    foreign_array(file, "filtered", H5T_IEEE_F32LE, s, filtered);

    H5Dclose(H5Dcreate2(file, "unfilled", H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    const hsize_t vast[2] = {(hsize_t)1 << 40, 8}, endless[2] = {(hsize_t)1 << 40, (hsize_t)1 << 21};
    const hid_t chunks = chunked(5, 3), vast_space = H5Screate_simple(2, vast, NULL),
                endless_space = H5Screate_simple(2, endless, NULL);
    H5Dclose(H5Dcreate2(file, "vast", H5T_IEEE_F32LE, vast_space, H5P_DEFAULT, chunks, H5P_DEFAULT));
    H5Dclose(H5Dcreate2(file, "endless", H5T_IEEE_F32LE, endless_space, H5P_DEFAULT, chunks, H5P_DEFAULT));
    const hid_t ids[] = {outside, virtual, filtered, chunks};
    for (size_t i = 0; i < 4; i++) H5Pclose(ids[i]);
    H5Sclose(space), H5Sclose(vast_space), H5Sclose(endless_space);
    foreign_array(file, "wide", H5T_IEEE_F32LE, (shape){2, {1, 3000000}}, H5P_DEFAULT);
    foreign_end(file);
  }
  path_of(state, path, "foreign.h5");
  refuse(path, "soft", NULL, "soft or external link");
  refuse(path, "external", NULL, "soft or external link");
  refuse(path, "outside", NULL, "external file");
  refuse(path, "virtual", NULL, "virtual dataset");
  refuse(path, "filtered", NULL, "compressed by a filter other than");
  refuse(path, "unfilled", NULL, "never filled");
  refuse(path, "vast", NULL, "never filled");
  refuse(path, "endless", NULL, "larger than memory can address");
  refuse(path, "wide", NULL, "3000000 columns");
}

/* One bad cell, whichever rank reads it: all ranks end with the same message. */
static void refuse_cell(void **state, const char *y, double bad, uint64_t place, const char *says) {
  char path[TEMPORARY_SIZE];
  path_of(state, path, "cells.h5");
  if (world.rank == 0) {
    const hid_t file = foreign_begin(path);
    foreign_array(file, "x", H5T_IEEE_F64LE, (shape){2, {9, 4}}, H5P_DEFAULT);
    foreign_array(file, "y", H5T_IEEE_F32LE, (shape){1, {9}}, H5P_DEFAULT);
    const hid_t array = H5Dopen2(file, y != NULL ? y : "x", H5P_DEFAULT), all = H5Dget_space(array);
    double values[36];
    H5Dread(array, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    values[place] = bad;
    H5Dwrite(array, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values);
    H5Sclose(all), H5Dclose(array);
    foreign_end(file);
  }
  MPI_Barrier(world.mpi);
  agd_dataset *d;
  agd_status st = {0};
  agd_real x[36], targets[9];
  const agd_range mine = agd_slice(9, (uint64_t)world.size, (uint64_t)world.rank);
  assert_int_equal(agd_dataset_open(path, "x", "y", &world, &d, &st), AGD_OK);
  assert_int_equal(agd_dataset_read(d, mine.first, mine.count, x, targets, &st), AGD_EDATA);
  if (strstr(st.message, says) == NULL) fail_msg("\"%s\" does not say \"%s\"", st.message, says);
  assert_non_null(strstr(st.message, path));
  assert_int_equal(agd_dataset_read(d, 0, 0, x, targets, &st), AGD_OK); /* the file is still usable */
  agd_dataset_close(&d);
}

static void test_cells_not_finite(void **state) {
  refuse_cell(state, NULL, NAN, 0, ": x, row 0 (counted from 0), column \"x0\": NaN");
  refuse_cell(state, NULL, NAN, 35, ": x, row 8 (counted from 0), column \"x3\": NaN");
  refuse_cell(state, NULL, INFINITY, 4 * 4 + 1, ": x, row 4 (counted from 0), column \"x1\": infinite");
  refuse_cell(state, NULL, -INFINITY, 4 * 3 + 2, ": x, row 3 (counted from 0), column \"x2\": infinite");
  refuse_cell(state, "y", NAN, 8, ": y, row 8 (counted from 0), column \"y\": NaN");
#ifndef ALLEGRAD_DOUBLE
  refuse_cell(state, NULL, 1e39, 7, ": x, row 1 (counted from 0), column \"x3\": infinite, or too large for float32");
#endif
}

/* A rank that does not see the file, or sees another, is named; the others do not wait for it in the parallel open. */
static void test_rank_with_another_file(void **state) {
  char path[TEMPORARY_SIZE], other[TEMPORARY_SIZE], says[64];
  path_of(state, path, "data.h5");
  path_of(state, other, "other.h5");
  write_file(path, 20, 2, 1, false);
  write_file(other, 400, 2, 1, false);
  const int last = world.size - 1;
  const char *const seen[] = {"/nowhere/data.h5", other};
  for (int i = 0; i < 2 && last > 0; i++) {
    agd_status st = {0};
    agd_dataset *d;
    assert_int_equal(agd_dataset_open(world.rank == last ? seen[i] : path, "x", "y", &world, &d, &st), AGD_EDATA);
    snprintf(says, sizeof says, "on rank %d", last);
    assert_non_null(strstr(st.message, says));
    assert_non_null(strstr(st.message, seen[i]));
  }
}

static void test_write_refuses(void **state) {
  char path[TEMPORARY_SIZE];
  agd_status st = {0};
  agd_names x = names_of(2, 'x'), y = names_of(1, 'y');
  const double values[] = {1, 2, 3, 4}, large[] = {1, 2, 3, 1e39}, nan[] = {1, NAN};
  path_of(state, path, "out.h5");
  if (world.rank == 0) {
    assert_int_equal(agd_dataset_write(path, 2, &x, large, &y, values, false, &st), AGD_EDATA);
    assert_non_null(strstr(st.message, "x, row 1 (counted from 0), column \"x-1\": 1e+39 is no finite float32"));
    assert_int_equal(agd_dataset_write(path, 2, &x, values, &y, nan, true, &st), AGD_EDATA);
    assert_non_null(strstr(st.message, "y, row 1 (counted from 0), column \"y-0\": nan is no finite float64"));
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(agd_dataset_write(path, 2, &x, large, &y, values, true, &st), AGD_OK);
    assert_int_equal(agd_dataset_write("/nowhere/data.h5", 2, &x, values, &y, values, false, &st), AGD_EDATA);
    assert_non_null(strstr(st.message, "/nowhere/data.h5"));
  }
  agd_names_clear(&x);
  agd_names_clear(&y);
}

static void test_same_bytes(void **state) {
  char path[2][TEMPORARY_SIZE];
  if (world.rank == 0) {
    char *bytes[2];
    for (int i = 0; i < 2; i++) {
      temporary_path(path[i], *state, i == 0 ? "one.h5" : "two.h5");
      agd_names x = names_of(3, 'x'), y = names_of(1, 'y');
      const double values[] = {1, 2, 3, 4, 5, 6};
      assert_int_equal(agd_dataset_write(path[i], 2, &x, values, &y, values, false, NULL), AGD_OK);
      bytes[i] = temporary_text(path[i]);
      agd_names_clear(&x);
      agd_names_clear(&y);
    }
    struct stat one = {0}, two = {0};
    assert_true(stat(path[0], &one) == 0 && stat(path[1], &two) == 0);
    assert_int_equal(one.st_size, two.st_size);
    assert_memory_equal(bytes[0], bytes[1], (size_t)one.st_size);
    free(bytes[0]);
    free(bytes[1]);
  }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, temporary_mpi_setup, temporary_mpi_teardown)

static const struct CMUnitTest tests[] = {
    TEST(test_round_trip),
    TEST(test_pieces),
    TEST(test_names),
    TEST(test_foreign_names),
    TEST(test_foreign_layouts),
    TEST(test_no_data_file),
    TEST(test_damaged),
    TEST(test_wrong_kind),
    TEST(test_wrong_storage),
    TEST(test_cells_not_finite),
    TEST(test_rank_with_another_file),
    TEST(test_write_refuses),
    TEST(test_same_bytes),
};
AGD_RUN_MPI_TESTS(tests)
