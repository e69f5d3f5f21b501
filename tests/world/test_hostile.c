/* Files made to do harm, by hand: what chance (fuzz/hostile.c) hardly meets. Each is refused, by name and reason. */
#include "allegrad/checkpoint.h"
#include "allegrad/dataset.h"
#include "allegrad/h5.h"
#include "allegrad/memory.h"
#include "allegrad/weights.h"
#include "temporary.h"

static const agd_model_spec spec = {
    .inputs = 3, .outputs = 2, .hidden_count = 1, .hidden = {4}, .batch_norm = true, .epsilon = 1e-3, .momentum = 0.9};

static void put(const char *path, const void *bytes, size_t size, bool sealed) {
  agd_status st = {0};
  assert_int_equal(agd_file_replace(path, bytes, size, sealed, &st), AGD_OK);
}

/* A weights file without a trailer; `ours`: with /trainer. */
static void make_plain(const char *path, bool ours) {
  agd_model *model;
  agd_training training = {.seed = 7, .standardized = true, .epoch_count = 3};
  void *image;
  size_t size;
  training.history = calloc(3, sizeof *training.history);
  assert_non_null(training.history);
  assert_int_equal(agd_allocate(3, sizeof(double), "", (void **)&training.x_mean, NULL), AGD_OK);
  assert_int_equal(agd_allocate(3, sizeof(double), "", (void **)&training.x_sd, NULL), AGD_OK);
  assert_int_equal(agd_names_add(&training.x_names, "a", NULL), AGD_OK);
  assert_int_equal(agd_names_add(&training.x_names, "b", NULL), AGD_OK);
  assert_int_equal(agd_names_add(&training.x_names, "c", NULL), AGD_OK);
  assert_int_equal(agd_model_create(&spec, &model, NULL), AGD_OK);
  assert_int_equal(agd_weights_image(model, NULL, ours ? &training : NULL, &image, &size, NULL), AGD_OK);
  put(path, image, size, false);
  agd_release(&image);
  agd_model_destroy(&model);
  agd_training_clear(&training);
}

/* Such a file, edited as an ordinary HDF5 file; of ours the digest fits afterwards. */
static void make(const char *path, bool ours, void (*edit)(hid_t file)) {
  make_plain(path, ours);
  const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
  assert_true(file >= 0);
  if (edit != NULL) edit(file);
  assert_true(H5Fclose(file) >= 0);
  if (!ours) return;
  void *bytes;
  size_t size;
  agd_trailer_state state;
  assert_int_equal(agd_file_read(path, &bytes, &size, &state, NULL), AGD_OK);
  put(path, bytes, size, true);
  agd_release(&bytes);
}

static void expect_refused(const char *path, const char *reason) {
  agd_status st = {0};
  agd_model *model;
  agd_training training = {0};
  assert_int_equal(agd_weights_load(path, &spec, &model, &training, &st), AGD_EDATA);
  assert_null(model);
  assert_int_equal(strncmp(st.message, path, strlen(path)), 0);
  if (strstr(st.message, reason) == NULL) fail_msg("%s lacks \"%s\"", st.message, reason);
}

/* ---- foreign files ---- */

static const char kernel[] = "/layers/dense/vars/0", bias[] = "/layers/dense/vars/1";

/* Another dataset in its place, filled only if asked. */
static void replace(hid_t file, const char *path, hid_t type, int rank, const hsize_t *dims, hid_t creation,
                    bool fill) {
  static const double zeros[64];
  H5Ldelete(file, path, H5P_DEFAULT);
  const hid_t space = H5Screate_simple(rank, dims, NULL);
  const hid_t dataset = H5Dcreate2(file, path, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
  assert_true(dataset >= 0);
  if (fill) assert_true(H5Dwrite(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, zeros) >= 0);
  H5Dclose(dataset);
  H5Sclose(space);
}

static const hsize_t four[1] = {4};
static void hard_cycle(hid_t file) {
  assert_true(H5Lcreate_hard(file, "/", file, "/layers/activation", H5P_DEFAULT, H5P_DEFAULT) >= 0);
}
static void dense_is_root(hid_t file) {
  H5Ldelete(file, "/layers/dense", H5P_DEFAULT);
  assert_true(H5Lcreate_hard(file, "/", file, "/layers/dense", H5P_DEFAULT, H5P_DEFAULT) >= 0);
}
static void layer_twice(hid_t file) {
  H5Ldelete(file, "/layers/dense_1", H5P_DEFAULT);
  assert_true(H5Lcreate_hard(file, "/layers/dense", file, "/layers/dense_1", H5P_DEFAULT, H5P_DEFAULT) >= 0);
}
static void soft_cycle(hid_t file) {
  H5Ldelete(file, "/layers/dense_1/vars", H5P_DEFAULT);
  assert_true(H5Lcreate_soft("/layers/dense_1/vars", file, "/layers/dense_1/vars", H5P_DEFAULT, H5P_DEFAULT) >= 0);
}
static void layers_elsewhere(hid_t file) {
  H5Ldelete(file, "/layers", H5P_DEFAULT);
  assert_true(H5Lcreate_external("other.h5", "/layers", file, "/layers", H5P_DEFAULT, H5P_DEFAULT) >= 0);
}
static void external_kernel(hid_t file) {
  const hsize_t dims[2] = {3, 4};
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  assert_true(H5Pset_external(creation, "/etc/passwd", 0, 48) >= 0);
  replace(file, kernel, H5T_IEEE_F32LE, 2, dims, creation, false);
  H5Pclose(creation);
}
static void virtual_bias(hid_t file) {
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, four, NULL);
  assert_true(H5Pset_virtual(creation, space, "other.h5", "x", space) >= 0);
  replace(file, bias, H5T_IEEE_F32LE, 1, four, creation, false);
  H5Sclose(space), H5Pclose(creation);
}
static void scaled_bias(hid_t file) {
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  assert_true(H5Pset_chunk(creation, 1, four) >= 0 && H5Pset_scaleoffset(creation, H5Z_SO_FLOAT_DSCALE, 3) >= 0);
  replace(file, bias, H5T_IEEE_F32LE, 1, four, creation, true);
  H5Pclose(creation);
}
static void plugged_bias(hid_t file) { /* bzip2's number: HDF5 would look for a plug-in */
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  assert_true(H5Pset_chunk(creation, 1, four) >= 0);
  assert_true(H5Pset_filter(creation, 307, H5Z_FLAG_OPTIONAL, 0, NULL) >= 0);
  replace(file, bias, H5T_IEEE_F32LE, 1, four, creation, false);
  H5Pclose(creation);
}
static void vast_kernel(hid_t file) {
  const hsize_t vast[2] = {(hsize_t)1 << 31, (hsize_t)1 << 20}, chunk[2] = {64, 64};
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  const float fill = 1;
  assert_true(H5Pset_chunk(creation, 2, chunk) >= 0 && H5Pset_fill_value(creation, H5T_NATIVE_FLOAT, &fill) >= 0);
  replace(file, kernel, H5T_IEEE_F32LE, 2, vast, creation, false);
  H5Pclose(creation);
}
static void unfilled_bias(hid_t file) {
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  assert_true(H5Pset_chunk(creation, 1, four) >= 0);
  replace(file, bias, H5T_IEEE_F32LE, 1, four, creation, false);
  H5Pclose(creation);
}
static void half_bias(hid_t file) {
  const hid_t half = H5Tcopy(H5T_IEEE_F32LE);
  assert_true(H5Tset_fields(half, 15, 10, 5, 0, 10) >= 0 && H5Tset_precision(half, 16) >= 0 &&
              H5Tset_size(half, 2) >= 0 && H5Tset_ebias(half, 15) >= 0);
  replace(file, bias, half, 1, four, H5P_DEFAULT, true);
  H5Tclose(half);
}
static void compound_bias(hid_t file) {
  const hid_t pair = H5Tcreate(H5T_COMPOUND, 8);
  assert_true(H5Tinsert(pair, "a", 0, H5T_IEEE_F32LE) >= 0 && H5Tinsert(pair, "b", 4, H5T_IEEE_F32LE) >= 0);
  replace(file, bias, pair, 1, four, H5P_DEFAULT, false);
  H5Tclose(pair);
}
static void text_bias(hid_t file) { replace(file, bias, H5T_C_S1, 1, four, H5P_DEFAULT, false); }
static void reference_bias(hid_t file) { replace(file, bias, H5T_STD_REF_OBJ, 1, four, H5P_DEFAULT, false); }

static void test_foreign(void **state) {
  const struct {
    void (*edit)(hid_t);
    const char *reason;
  } cases[] = {{hard_cycle, "/layers/activation is linked to from elsewhere"},
               {dense_is_root, "/layers/dense is linked to from elsewhere"},
               {layer_twice, "is linked to from elsewhere"},
               {soft_cycle, "no group /layers/dense_1/vars"},
               {layers_elsewhere, "no group /layers"},
               {external_kernel, "/layers/dense/vars/0 keeps its numbers in an external file"},
               {virtual_bias, "/layers/dense/vars/1 is a virtual dataset"},
               {scaled_bias, "/layers/dense/vars/1 is compressed by a filter other than"},
               {plugged_bias, "/layers/dense/vars/1 is compressed by a filter other than"},
               {vast_kernel, "/layers/dense/vars/0 was never filled"},
               {unfilled_bias, "/layers/dense/vars/1 was never filled"},
               {half_bias, "/layers/dense/vars/1 holds no float32 or float64"},
               {compound_bias, "/layers/dense/vars/1 holds no float32 or float64"},
               {text_bias, "/layers/dense/vars/1 holds no float32 or float64"},
               {reference_bias, "/layers/dense/vars/1 holds no float32 or float64"}};
  char path[TEMPORARY_SIZE];
  agd_model *model;
  temporary_path(path, *state, "keras.weights.h5");
  make(path, false, NULL);
  assert_int_equal(agd_weights_load(path, &spec, &model, NULL, NULL), AGD_OK);
  agd_model_destroy(&model);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    make(path, false, cases[i].edit);
    expect_refused(path, cases[i].reason);
  }
}

/* ---- /trainer, under a digest that fits ---- */

static void long_history(hid_t file) {
  const hsize_t dims[1] = {(hsize_t)1 << 40}, chunk[1] = {64};
  const hid_t old = H5Dopen2(file, "/trainer/history", H5P_DEFAULT), type = H5Dget_type(old);
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  assert_true(H5Pset_chunk(creation, 1, chunk) >= 0);
  replace(file, "/trainer/history", type, 1, dims, creation, false);
  H5Pclose(creation), H5Tclose(type), H5Dclose(old);
}
static void other_history(hid_t file) {
  const hid_t type = H5Tcreate(H5T_COMPOUND, 8);
  assert_true(H5Tinsert(type, "loss", 0, H5T_IEEE_F64LE) >= 0);
  replace(file, "/trainer/history", type, 1, four, H5P_DEFAULT, false);
  H5Tclose(type);
}
static void flat_history(hid_t file) {
  const hsize_t dims[2] = {1, 1};
  const hid_t old = H5Dopen2(file, "/trainer/history", H5P_DEFAULT), type = H5Dget_type(old);
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  assert_true(H5Pset_layout(creation, H5D_COMPACT) >= 0);
  replace(file, "/trainer/history", type, 2, dims, creation, false);
  H5Pclose(creation), H5Tclose(type), H5Dclose(old);
}
/* Another vector in place of an attribute. */
static void put_vector(hid_t file, const char *name, hid_t type, hsize_t count, const void *values) {
  const hid_t group = H5Gopen2(file, "/trainer", H5P_DEFAULT);
  assert_true(H5Adelete(group, name) >= 0);
  assert_true(agd_h5_write_numbers(group, name, type, count, values));
  H5Gclose(group);
}
static const double numbers[5000];
static void short_mean(hid_t file) { put_vector(file, "x_mean", H5T_NATIVE_DOUBLE, 2, numbers); }
static void long_mean(hid_t file) { put_vector(file, "x_mean", H5T_NATIVE_DOUBLE, 5000, numbers); }
static void whole_sd(hid_t file) { put_vector(file, "x_sd", H5T_NATIVE_INT64, 3, numbers); }
static void many_names(hid_t file) {
  char *texts[5000], name[] = "name";
  for (size_t i = 0; i < 5000; i++) texts[i] = name;
  const agd_names names = {.count = 5000, .name = texts};
  const hid_t group = H5Gopen2(file, "/trainer", H5P_DEFAULT);
  assert_true(H5Adelete(group, "x_names") >= 0);
  assert_true(agd_h5_write_names(group, "x_names", &names));
  H5Gclose(group);
}
static void fixed_activation(hid_t file) {
  const hid_t group = H5Gopen2(file, "/trainer", H5P_DEFAULT);
  assert_true(H5Adelete(group, "activation") >= 0);
  assert_true(agd_h5_write_numbers(group, "activation", H5T_C_S1, 0, "r"));
  H5Gclose(group);
}
static void trainer_is_link(hid_t file) {
  H5Ldelete(file, "/trainer", H5P_DEFAULT);
  assert_true(H5Lcreate_external("other.h5", "/trainer", file, "/trainer", H5P_DEFAULT, H5P_DEFAULT) >= 0);
}
static void external_history(hid_t file) {
  H5Ldelete(file, "/trainer/history", H5P_DEFAULT);
  assert_true(H5Lcreate_external("other.h5", "/h", file, "/trainer/history", H5P_DEFAULT, H5P_DEFAULT) >= 0);
}

static void test_trainer(void **state) {
  const struct {
    void (*edit)(hid_t);
    const char *reason;
  } cases[] = {{long_history, "/trainer/history was never filled"},
               {other_history, "/trainer/history holds other records"},
               {flat_history, "/trainer/history is no vector"},
               {external_history, "/trainer/history is reached by a soft or external link"},
               {trainer_is_link, "/trainer is no group of this file"},
               {short_mean, "the attribute x_mean"},
               {long_mean, "the attribute x_mean"},
               {whole_sd, "the attribute x_sd"},
               {many_names, "x_names names 5000 columns, the model has 3"},
               {fixed_activation, "the attribute activation"}};
  char path[TEMPORARY_SIZE];
  agd_model *model;
  temporary_path(path, *state, "ours.weights.h5");
  make(path, true, NULL);
  assert_int_equal(agd_weights_load(path, NULL, &model, NULL, NULL), AGD_OK);
  agd_model_destroy(&model);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    make(path, true, cases[i].edit);
    expect_refused(path, cases[i].reason);
  }
}

/* ---- bytes ---- */

static void put_number(unsigned char *to, uint64_t value) {
  for (int i = 0; i < 8; i++) to[i] = (unsigned char)(value >> (8 * i));
}

/* The file with one of its numbers, `offset` bytes behind a mark, replaced; sealed when it is ours. */
static void damage(const char *path, bool ours, const void *mark, size_t mark_size, size_t offset, uint64_t value) {
  void *bytes;
  size_t size;
  agd_trailer_state state;
  assert_int_equal(agd_file_read(path, &bytes, &size, &state, NULL), AGD_OK);
  unsigned char *found = memmem(bytes, size, mark, mark_size);
  assert_non_null(found);
  put_number(found + offset, value);
  put(path, bytes, size, ours);
  agd_release(&bytes);
}

/* The heap of texts: its size, its first object's size. HDF5 1.10.8 would loop or crash. */
static void test_heap_of_texts(void **state) {
  const struct {
    size_t offset;
    uint64_t value;
  } cases[] = {{8, 0}, {8, UINT64_MAX}, {8, 1 << 30}, {24, 0}, {24, UINT64_MAX}, {24, UINT64_MAX - 15}, {24, 4096}};
  char path[TEMPORARY_SIZE];
  temporary_path(path, *state, "ours.weights.h5");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    make(path, true, NULL);
    damage(path, true, "GCOL", 4, cases[i].offset, cases[i].value);
    expect_refused(path, "refers to a damaged heap of texts");
  }
}

/* A data file of the oldest format, whose root group has its names in a local heap. */
static void make_old_data(const char *path, hid_t creation) {
  const hsize_t dims[2] = {6, 2};
  const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, creation, H5P_DEFAULT);
  assert_true(file >= 0);
  for (int i = 0; i < 2; i++) {
    const hid_t dataset = agd_h5_make_dataset(file, i == 0 ? "x" : "y", H5T_IEEE_F64LE, 2, dims);
    assert_true(H5Dwrite(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers) >= 0);
    H5Dclose(dataset);
  }
  assert_true(H5Fclose(file) >= 0);
}

static void expect_data_refused(const char *path, const char *reason) {
  agd_status st = {0};
  agd_dataset *data;
  assert_int_equal(agd_dataset_open(path, "x", "y", NULL, &data, &st), AGD_EDATA);
  assert_int_equal(strncmp(st.message, path, strlen(path)), 0);
  if (strstr(st.message, reason) == NULL) fail_msg("%s lacks \"%s\"", st.message, reason);
}

/* The root's names: the size of the heap, its list of free space, its address; and the address of the heap itself. */
static void test_names_of_a_group(void **state) {
  static const unsigned char stab[] = {0x11, 0, 0x10, 0}; /* the message that says where they are */
  char path[TEMPORARY_SIZE];
  agd_dataset *data;
  temporary_path(path, *state, "old.h5");
  make_old_data(path, H5P_DEFAULT);
  assert_int_equal(agd_dataset_open(path, "x", "y", NULL, &data, NULL), AGD_OK);
  agd_dataset_close(&data);
  const struct {
    size_t offset;
    uint64_t value;
    const char *reason;
  } cases[] = {{8, UINT64_MAX, "leads out"},        {8, (uint64_t)1 << 40, "leads out"},  {8, 20, "leads out"},
               {16, UINT64_MAX, "leads out"},       {16, (uint64_t)1 << 40, "leads out"}, {24, UINT64_MAX, "leads out"},
               {24, (uint64_t)1 << 40, "leads out"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    make_old_data(path, H5P_DEFAULT);
    damage(path, false, "HEAP", 4, cases[i].offset, cases[i].value);
    expect_data_refused(path, cases[i].reason);
  }
  for (uint64_t value = UINT64_MAX - 1024; value >= UINT64_MAX - 1024; value++) {
    make_old_data(path, H5P_DEFAULT);
    damage(path, false, stab, sizeof stab, 16, value);
    expect_data_refused(path, "");
    if (value == UINT64_MAX) break;
    value += 127;
  }
}

static void test_other_sizes(void **state) {
  char path[TEMPORARY_SIZE];
  const hid_t creation = H5Pcreate(H5P_FILE_CREATE);
  assert_true(H5Pset_sizes(creation, 4, 4) >= 0);
  make_old_data(temporary_path(path, *state, "small.h5"), creation);
  H5Pclose(creation);
  expect_data_refused(path, "its addresses or lengths have other than 8 bytes");
}

/* A file behind something else, as HDF5 permits, is read like any. */
static void test_user_block(void **state) {
  char path[TEMPORARY_SIZE];
  agd_status st = {0};
  agd_dataset *data;
  agd_names names = {0};
  const hid_t creation = H5Pcreate(H5P_FILE_CREATE);
  assert_true(H5Pset_userblock(creation, 1024) >= 0);
  make_old_data(temporary_path(path, *state, "behind.h5"), creation);
  H5Pclose(creation);
  const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), x = H5Dopen2(file, "x", H5P_DEFAULT);
  assert_int_equal(agd_names_add(&names, "rooms", NULL), AGD_OK);
  assert_int_equal(agd_names_add(&names, "", NULL), AGD_OK);
  assert_true(agd_h5_write_names(x, "columns", &names));
  H5Dclose(x), H5Fclose(file);
  agd_names_clear(&names);
  assert_int_equal(agd_dataset_open(path, "x", "y", NULL, &data, &st), AGD_OK);
  assert_string_equal(data->x_names.name[0], "rooms");
  assert_string_equal(data->x_names.name[1], "");
  agd_dataset_close(&data);
}

static void test_nothing_is_left(void **state) {
  (void)state;
  assert_int_equal(H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
}

#define IN_FOLDER(name) cmocka_unit_test_setup_teardown(name, temporary_setup, temporary_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {IN_FOLDER(test_foreign),
                                     IN_FOLDER(test_trainer),
                                     IN_FOLDER(test_heap_of_texts),
                                     IN_FOLDER(test_names_of_a_group),
                                     IN_FOLDER(test_other_sizes),
                                     IN_FOLDER(test_user_block),
                                     cmocka_unit_test(test_nothing_is_left)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
