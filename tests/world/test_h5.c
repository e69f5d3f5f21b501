#include "allegrad/h5.h"
#include "allegrad/memory.h"
#include "temporary.h"

#include <mpi.h>
#include <sys/wait.h>

/* malloc, as called by the library, is wrapped (see CMakeLists.txt). */
static bool memory_is_short;
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size) { return memory_is_short ? NULL : __real_malloc(size); }

/* Bytes of a file in memory that `fill` has filled. */
static void *build(bool (*fill)(hid_t file), size_t *size) {
  agd_h5_image image;
  agd_status st = {0};
  void *bytes;
  assert_int_equal(agd_h5_image_create(&image, 0, &st), AGD_OK);
  assert_true(fill(image.file));
  assert_int_equal(agd_h5_image_finish(&image, true, &bytes, size, &st), AGD_OK);
  assert_non_null(bytes);
  return bytes;
}

static const float matrix_values[6] = {1, 2, 3, 4, 5, -6.5F};

static bool fill_matrix(hid_t file) {
  const hsize_t dims[2] = {3, 2};
  const hid_t group = agd_h5_make_group(file, "group");
  const hid_t dataset = agd_h5_make_dataset(group, "matrix", H5T_IEEE_F32LE, 2, dims);
  const bool good = H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, matrix_values) >= 0 &&
                    agd_h5_write_text(group, "name", "a text");
  return H5Dclose(dataset) >= 0 && H5Gclose(group) >= 0 && good;
}

/* Opens /group/matrix, reads it and closes everything. */
static agd_code read_matrix(const void *bytes, size_t size, float values[6], agd_status *st) {
  hid_t file;
  agd_h5_array array;
  AGD_TRY(agd_h5_open_bytes("name.h5", bytes, size, &file, st));
  agd_code code = agd_h5_open_array(file, "name.h5", "/group/matrix", &array, st);
  if (code == AGD_OK && (array.rank != 2 || array.dims[0] != 3 || array.dims[1] != 2 || array.type_size != 4))
    code = AGD_EINTERNAL;
  if (code == AGD_OK && H5Dread(array.id, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0)
    code = AGD_EDATA;
  H5Fclose(file);
  return code;
}

static void expect_no_time(hid_t file, const char *path) {
  H5O_info_t info;
  assert_true(H5Oget_info_by_name1(file, path, &info, H5P_DEFAULT) >= 0);
  assert_int_equal(info.mtime, 0);
  assert_int_equal(info.btime, 0);
}

static void test_image(void **state) {
  (void)state;
  size_t size, again_size;
  hid_t file;
  void *bytes = build(fill_matrix, &size), *again = build(fill_matrix, &again_size);
  float values[6];
  assert_int_equal(size, again_size);
  assert_memory_equal(bytes, again, size);
  assert_int_equal(agd_h5_open_bytes("name.h5", bytes, size, &file, NULL), AGD_OK);
  expect_no_time(file, "/");
  expect_no_time(file, "/group");
  expect_no_time(file, "/group/matrix");
  H5Fclose(file);
  assert_int_equal(read_matrix(bytes, size, values, NULL), AGD_OK);
  assert_memory_equal(values, matrix_values, sizeof values);
  agd_release(&again);
  agd_release(&bytes);
}

/* On disk the image is an ordinary file of the newest format, whole to the last byte. */
static void test_image_as_file(void **state) {
  char path[TEMPORARY_SIZE];
  size_t size;
  hsize_t file_size;
  float values[6];
  void *bytes = build(fill_matrix, &size);
  FILE *out = fopen(temporary_path(path, *state, "image.h5"), "wb");
  assert_non_null(out);
  assert_int_equal(fwrite(bytes, 1, size, out), size);
  assert_int_equal(fclose(out), 0);
  agd_release(&bytes);
  const hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
  assert_true(file >= 0);
  assert_true(H5Fget_filesize(file, &file_size) >= 0);
  assert_int_equal(file_size, size);
  const hid_t dataset = H5Dopen2(file, "/group/matrix", H5P_DEFAULT);
  assert_true(H5Dread(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
  assert_memory_equal(values, matrix_values, sizeof values);
  H5Dclose(dataset);
  H5Fclose(file);
}

static void test_image_thrown_away(void **state) {
  (void)state;
  agd_h5_image image;
  void *bytes = &image;
  size_t size = 1;
  assert_int_equal(agd_h5_image_create(&image, 0, NULL), AGD_OK);
  assert_true(fill_matrix(image.file));
  assert_int_equal(agd_h5_image_finish(&image, false, &bytes, &size, NULL), AGD_OK);
  assert_null(bytes);
  assert_int_equal(size, 0);
}

/* Two files in memory at once are two files. */
static void test_files_in_memory_are_distinct(void **state) {
  (void)state;
  agd_h5_image image;
  size_t size;
  hid_t file;
  void *bytes = build(fill_matrix, &size), *none;
  assert_int_equal(agd_h5_open_bytes("one.h5", bytes, size, &file, NULL), AGD_OK);
  assert_int_equal(agd_h5_image_create(&image, 0, NULL), AGD_OK);
  assert_true(agd_h5_exists(file, "/group/matrix"));
  assert_false(agd_h5_exists(image.file, "/group"));
  assert_int_equal(agd_h5_image_finish(&image, false, &none, &size, NULL), AGD_OK);
  assert_true(H5Fclose(file) >= 0);
  agd_release(&bytes);
}

/* Every byte where the metadata is; beyond, a sample of mostly unused space. */
static size_t stride(size_t at) { return at < 1000 ? 1 : 5; }

/* How many damaged copies are refused, read right, and read as other numbers. */
typedef struct outcomes {
  size_t refused, right, wrong;
} outcomes;

static outcomes damage_every_byte(const char *bytes, size_t size) {
  outcomes found = {0};
  char *copy = malloc(size);
  for (size_t at = 0; at < size; at += stride(at)) {
    float values[6];
    memcpy(copy, bytes, size);
    copy[at] ^= 0x10;
    if (read_matrix(copy, size, values, NULL) != AGD_OK)
      found.refused++;
    else if (memcmp(values, matrix_values, sizeof values) == 0)
      found.right++;
    else
      found.wrong++;
  }
  free(copy);
  return found;
}

/* No damaged byte of the metadata passes in silence: it carries checksums. The numbers do not; the trailer covers them.
 * In a process of its own, because HDF5 1.10.8 leaks what it cannot decode and complains at its exit. */
static void test_damage(void **state) {
  (void)state;
  size_t size;
  char *bytes = build(fill_matrix, &size);
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    const outcomes found = damage_every_byte(bytes, size);
    _exit(found.wrong > 0 && found.wrong <= sizeof matrix_values && found.refused > 300 ? 0 : 1);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
  agd_release(&bytes);
}

static void test_truncation(void **state) {
  (void)state;
  size_t size;
  float values[6];
  char *bytes = build(fill_matrix, &size), *copy = malloc(size);
  for (size_t length = 0; length < size; length += stride(length)) {
    memcpy(copy, bytes, length);
    H5E_BEGIN_TRY { assert_int_equal(read_matrix(copy, length, values, NULL), AGD_EDATA); }
    H5E_END_TRY
  }
  free(copy);
  agd_release(&bytes);
}

static void test_out_of_memory(void **state) {
  (void)state;
  agd_h5_image image;
  agd_status st = {0};
  memory_is_short = true;
  const agd_code code = agd_h5_image_create(&image, 1000, &st);
  memory_is_short = false;
  assert_int_equal(code, AGD_EDATA);
  assert_string_equal(st.message, "out of memory: a file in memory needs 1000 bytes");
  assert_int_equal(agd_h5_image_create(&image, SIZE_MAX - 10, &st), AGD_EDATA);
}

enum { LARGE = 1 << 19 };

static bool fill_large(hid_t file) {
  const hsize_t dims[1] = {LARGE};
  double *values = malloc(LARGE * sizeof *values);
  for (size_t i = 0; i < LARGE; i++) values[i] = (double)i;
  const hid_t dataset = agd_h5_make_dataset(file, "large", H5T_IEEE_F64LE, 1, dims);
  const bool good = H5Dwrite(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0;
  free(values);
  return H5Dclose(dataset) >= 0 && good;
}

/* More content than was announced. */
static void test_image_grows(void **state) {
  (void)state;
  size_t size;
  hid_t file;
  void *bytes = build(fill_large, &size);
  double *values = malloc(LARGE * sizeof *values);
  assert_true(size > LARGE * sizeof *values);
  assert_int_equal(agd_h5_open_bytes("large.h5", bytes, size, &file, NULL), AGD_OK);
  const hid_t dataset = H5Dopen2(file, "/large", H5P_DEFAULT);
  assert_true(H5Dread(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
  for (size_t i = 0; i < LARGE; i++) assert_true(values[i] == (double)i);
  H5Fclose(file);
  free(values);
  agd_release(&bytes);
}

static void test_garbage(void **state) {
  (void)state;
  agd_status st = {0};
  hid_t file = 1;
  char garbage[5000];
  for (size_t i = 0; i < sizeof garbage; i++) garbage[i] = (char)(i * i >> 4);
  H5E_BEGIN_TRY { assert_int_equal(agd_h5_open_bytes("a.h5", garbage, sizeof garbage, &file, &st), AGD_EDATA); }
  H5E_END_TRY
  assert_true(file < 0);
  assert_string_equal(st.message, "a.h5: is no HDF5 file, or a damaged one (file signature not found)");
}

static void make_simple(hid_t file, const char *name, hid_t type, int rank, const hsize_t *dims, hid_t creation) {
  const hid_t space = rank < 0 ? H5Screate(H5S_NULL) : H5Screate_simple(rank, dims, NULL);
  const hid_t dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
  assert_true(dataset >= 0);
  double zeros[64] = {0};
  if (rank >= 0 && H5Tget_class(type) == H5T_FLOAT && H5Pget_layout(creation) != H5D_VIRTUAL)
    H5Dwrite(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, zeros);
  H5Dclose(dataset);
  H5Sclose(space);
}

/* A file of refused and accepted datasets, each with the name that says why. */
static void fill_cases(hid_t file) {
  const hsize_t two[2] = {4, 2}, three[3] = {2, 2, 2}, huge[2] = {(hsize_t)1 << 40, (hsize_t)1 << 40};
  const hid_t plain = H5Pcreate(H5P_DATASET_CREATE), chunked = H5Pcreate(H5P_DATASET_CREATE),
              deflated = H5Pcreate(H5P_DATASET_CREATE), packed = H5Pcreate(H5P_DATASET_CREATE),
              external = H5Pcreate(H5P_DATASET_CREATE), virtual = H5Pcreate(H5P_DATASET_CREATE),
              compact = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(2, two, NULL);
  H5Pset_layout(compact, H5D_COMPACT);
  H5Pset_chunk(chunked, 2, two);
  H5Pset_chunk(deflated, 2, two), H5Pset_shuffle(deflated), H5Pset_deflate(deflated, 6), H5Pset_fletcher32(deflated);
  H5Pset_chunk(packed, 2, two), H5Pset_nbit(packed);
  H5Pset_external(external, "/dev/null", 0, H5F_UNLIMITED);
  H5Pset_virtual(virtual, space, "elsewhere.h5", "x", space);
  make_simple(file, "float32", H5T_IEEE_F32LE, 2, two, plain);
  make_simple(file, "float64", H5T_IEEE_F64LE, 1, two, plain);
  make_simple(file, "big-endian", H5T_IEEE_F32BE, 2, two, chunked);
  make_simple(file, "compact", H5T_IEEE_F32LE, 2, two, compact);
  make_simple(file, "deflated", H5T_IEEE_F64BE, 2, two, deflated);
  make_simple(file, "integer", H5T_STD_I32LE, 2, two, plain);
  make_simple(file, "text", H5T_C_S1, 2, two, plain);
  make_simple(file, "null", H5T_IEEE_F32LE, -1, NULL, plain);
  make_simple(file, "cube", H5T_IEEE_F32LE, 3, three, plain);
  make_simple(file, "packed", H5T_IEEE_F32LE, 2, two, packed);
  make_simple(file, "external", H5T_IEEE_F32LE, 2, two, external);
  make_simple(file, "virtual", H5T_IEEE_F32LE, 2, two, virtual);
  const hsize_t large[2] = {1 << 20, 1 << 12};
  const hid_t bomb = H5Screate_simple(2, large, NULL);
  hid_t dataset = H5Dcreate2(file, "bomb", H5T_IEEE_F32LE, bomb, H5P_DEFAULT, deflated, H5P_DEFAULT);
  H5Dclose(dataset), H5Sclose(bomb);
  dataset = H5Dcreate2(file, "unfilled", H5T_IEEE_F32LE, space, H5P_DEFAULT, chunked, H5P_DEFAULT);
  H5Dclose(dataset);
  const hid_t wide = H5Screate_simple(2, huge, NULL);
  dataset = H5Dcreate2(file, "overflow", H5T_IEEE_F32LE, wide, H5P_DEFAULT, deflated, H5P_DEFAULT);
  assert_true(dataset >= 0);
  H5Dclose(dataset);
  assert_true(H5Lcreate_soft("/float32", file, "soft", H5P_DEFAULT, H5P_DEFAULT) >= 0);
  assert_true(H5Lcreate_external("elsewhere.h5", "/x", file, "elsewhere", H5P_DEFAULT, H5P_DEFAULT) >= 0);
  const hid_t group = H5Gcreate2(file, "group", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  assert_true(H5Lcreate_soft("/", group, "up", H5P_DEFAULT, H5P_DEFAULT) >= 0);
  H5Gclose(group);
  const hid_t ids[] = {plain, chunked, deflated, packed, external, virtual, compact};
  for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) H5Pclose(ids[i]);
  H5Sclose(space), H5Sclose(wide);
}

static void test_open_array(void **state) {
  const struct {
    const char *path, *reason; /* NULL: accepted */
  } cases[] = {{"/float32", NULL},
               {"/float64", NULL},
               {"/big-endian", NULL},
               {"/compact", NULL},
               {"/deflated", NULL},
               {"/missing", "there is no dataset /missing"},
               {"/float32/below", "/float32/below ("},
               {"/group/missing/deep", "there is no dataset"},
               {"/group", "is a group"},
               {"/integer", "no float32 or float64"},
               {"/text", "no float32 or float64"},
               {"/null", "no vector or matrix"},
               {"/cube", "no vector or matrix"},
               {"/packed", "filter"},
               {"/external", "external file"},
               {"/virtual", "virtual dataset"},
               {"/unfilled", "never filled"},
               {"/overflow", "larger than memory"},
               {"/bomb", "never filled"},
               {"/soft", "link"},
               {"/elsewhere", "link"},
               {"/group/up/float32", "link"}};
  char path[TEMPORARY_SIZE];
  hid_t file = H5Fcreate(temporary_path(path, *state, "cases.h5"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  fill_cases(file);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    agd_h5_array array;
    agd_status st = {0};
    agd_code code;
    H5E_BEGIN_TRY { code = agd_h5_open_array(file, "cases.h5", cases[i].path, &array, &st); }
    H5E_END_TRY
    if (cases[i].reason == NULL) {
      assert_string_equal(st.message, "");
      assert_int_equal(array.rank, strcmp(cases[i].path, "/float64") == 0 ? 1 : 2);
      assert_int_equal(array.dims[0], 4);
      H5Dclose(array.id);
      continue;
    }
    assert_int_equal(code, AGD_EDATA);
    assert_int_equal(strncmp(st.message, "cases.h5: /", 11) == 0 || strstr(st.message, "no dataset /") != NULL, 1);
    assert_non_null(strstr(st.message, cases[i].reason));
  }
  assert_int_equal(H5Fget_obj_count(file, H5F_OBJ_ALL), 1);
  assert_true(agd_h5_exists(file, "/float32"));
  assert_true(agd_h5_exists(file, "/group"));
  assert_false(agd_h5_exists(file, "/soft"));
  assert_false(agd_h5_exists(file, "/elsewhere"));
  H5Fclose(file);
}

static bool fill_integers(hid_t file) {
  const int64_t value = (int64_t)1 << 40;
  const hsize_t dims[1] = {1};
  const hid_t scalar = agd_h5_make_dataset(file, "scalar", H5T_STD_I64LE, 0, NULL),
              vector = agd_h5_make_dataset(file, "vector", H5T_STD_I64LE, 1, dims),
              real = agd_h5_make_dataset(file, "real", H5T_IEEE_F64LE, 0, NULL);
  const bool good = H5Dwrite(scalar, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, &value) >= 0 &&
                    H5Dwrite(vector, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, &value) >= 0 &&
                    H5Dwrite(real, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, &value) >= 0;
  return H5Dclose(scalar) >= 0 && H5Dclose(vector) >= 0 && H5Dclose(real) >= 0 && good;
}

static void test_read_integer(void **state) {
  (void)state;
  size_t size;
  hid_t file;
  int64_t value = 0;
  void *bytes = build(fill_integers, &size);
  agd_status st = {0};
  assert_int_equal(agd_h5_open_bytes("i.h5", bytes, size, &file, NULL), AGD_OK);
  assert_int_equal(agd_h5_read_integer(file, "i.h5", "/scalar", &value, NULL), AGD_OK);
  assert_true(value == (int64_t)1 << 40);
  assert_int_equal(agd_h5_read_integer(file, "i.h5", "/vector", &value, &st), AGD_EDATA);
  assert_string_equal(st.message, "i.h5: /vector is not a single number");
  assert_int_equal(agd_h5_read_integer(file, "i.h5", "/real", &value, &st), AGD_EDATA);
  assert_string_equal(st.message, "i.h5: /real holds no int32 or int64 numbers");
  H5Fclose(file);
  agd_release(&bytes);
}

enum { MANY = 20000 }; /* doubles of an attribute beyond the 64 kB that an object header holds */

static bool fill_attributes(hid_t file) {
  char *texts[] = {"x", "", "Größe"};
  const agd_names names = {.count = 3, .name = texts}, none = {0};
  const int32_t whole = -7;
  double *many = malloc(MANY * sizeof *many);
  for (size_t i = 0; i < MANY; i++) many[i] = (double)i;
  const bool good = agd_h5_write_text(file, "text", "two\nlines, ü") && agd_h5_write_names(file, "names", &names) &&
                    agd_h5_write_names(file, "none", &none) &&
                    agd_h5_write_numbers(file, "whole", H5T_NATIVE_INT32, 0, &whole) &&
                    agd_h5_write_numbers(file, "many", H5T_NATIVE_DOUBLE, MANY, many);
  free(many);
  return good;
}

static void expect_bad_attribute(agd_code code, agd_status *st, const char *name) {
  assert_int_equal(code, AGD_EDATA);
  assert_non_null(strstr(st->message, "a.h5: "));
  assert_non_null(strstr(st->message, name));
}

static void test_attributes(void **state) {
  (void)state;
  size_t size;
  hid_t file;
  agd_status st = {0};
  agd_names names = {0};
  char *text;
  int32_t whole;
  double *many = malloc(MANY * sizeof *many);
  void *bytes = build(fill_attributes, &size);
  assert_int_equal(agd_h5_open_bytes("a.h5", bytes, size, &file, NULL), AGD_OK);
  assert_int_equal(agd_h5_read_text(file, "a.h5", "text", &text, NULL), AGD_OK);
  assert_string_equal(text, "two\nlines, ü");
  free(text);
  assert_int_equal(agd_h5_read_names(file, "a.h5", "names", &names, NULL), AGD_OK);
  assert_int_equal(names.count, 3);
  assert_string_equal(names.name[0], "x");
  assert_string_equal(names.name[1], "");
  assert_string_equal(names.name[2], "Größe");
  assert_int_equal(agd_h5_read_names(file, "a.h5", "none", &names, NULL), AGD_OK);
  assert_int_equal(names.count, 0);
  assert_int_equal(agd_h5_read_numbers(file, "a.h5", "whole", H5T_NATIVE_INT32, 0, &whole, NULL), AGD_OK);
  assert_int_equal(whole, -7);
  assert_int_equal(agd_h5_read_numbers(file, "a.h5", "many", H5T_NATIVE_DOUBLE, MANY, many, NULL), AGD_OK);
  for (size_t i = 0; i < MANY; i++) assert_true(many[i] == (double)i);

  expect_bad_attribute(agd_h5_read_text(file, "a.h5", "missing", &text, &st), &st, "missing");
  expect_bad_attribute(agd_h5_read_text(file, "a.h5", "whole", &text, &st), &st, "whole");
  expect_bad_attribute(agd_h5_read_text(file, "a.h5", "names", &text, &st), &st, "names");
  assert_null(text);
  expect_bad_attribute(agd_h5_read_names(file, "a.h5", "whole", &names, &st), &st, "whole");
  expect_bad_attribute(agd_h5_read_numbers(file, "a.h5", "many", H5T_NATIVE_DOUBLE, MANY - 1, many, &st), &st, "many");
  expect_bad_attribute(agd_h5_read_numbers(file, "a.h5", "many", H5T_NATIVE_DOUBLE, 0, many, &st), &st, "many");
  expect_bad_attribute(agd_h5_read_numbers(file, "a.h5", "whole", H5T_NATIVE_DOUBLE, 0, many, &st), &st, "whole");
  expect_bad_attribute(agd_h5_read_numbers(file, "a.h5", "text", H5T_NATIVE_INT32, 0, &whole, &st), &st, "text");
  assert_int_equal(H5Fget_obj_count(file, H5F_OBJ_ALL), 1);
  H5Fclose(file);
  free(many);
  agd_release(&bytes);
}

/* Nothing of the above left a file or an object open, and nobody needed MPI_Init. */
static void test_nothing_is_left(void **state) {
  (void)state;
  int initialized;
  MPI_Initialized(&initialized);
  assert_false(initialized);
  assert_int_equal(H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
}

#define IN_FOLDER(name) cmocka_unit_test_setup_teardown(name, temporary_setup, temporary_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_image),
                                     IN_FOLDER(test_image_as_file),
                                     cmocka_unit_test(test_image_thrown_away),
                                     cmocka_unit_test(test_files_in_memory_are_distinct),
                                     cmocka_unit_test(test_damage),
                                     cmocka_unit_test(test_truncation),
                                     cmocka_unit_test(test_out_of_memory),
                                     cmocka_unit_test(test_image_grows),
                                     cmocka_unit_test(test_garbage),
                                     IN_FOLDER(test_open_array),
                                     cmocka_unit_test(test_read_integer),
                                     cmocka_unit_test(test_attributes),
                                     cmocka_unit_test(test_nothing_is_left)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
