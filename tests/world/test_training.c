#include "allegrad/h5.h"
#include "allegrad/memory.h"
#include "allegrad/training.h"
#include "temporary.h"

#include <math.h>

static const agd_model_spec spec = {
    .inputs = 2, .outputs = 1, .activation = AGD_SIGMOID, .momentum = 0.95, .epsilon = 1e-6, .unbiased_variance = true};

/* The bytes of a file with /trainer, changed by `edit`. */
static void *build(const agd_model_spec *model, const agd_training *training, void (*edit)(hid_t group), size_t *size) {
  agd_h5_image image;
  void *bytes;
  assert_int_equal(agd_h5_image_create(&image, 0, NULL), AGD_OK);
  assert_true(agd_training_write(image.file, model, training));
  if (edit != NULL) {
    const hid_t group = H5Gopen2(image.file, "/trainer", H5P_DEFAULT);
    assert_true(group >= 0);
    edit(group);
    H5Gclose(group);
  }
  assert_int_equal(agd_h5_image_finish(&image, true, &bytes, size, NULL), AGD_OK);
  return bytes;
}

static agd_code read_back(void *bytes, size_t size, agd_model_spec *model, agd_training *training, agd_status *st) {
  hid_t file;
  agd_code code;
  assert_int_equal(agd_h5_open_bytes("t.h5", bytes, size, &file, NULL), AGD_OK);
  H5E_BEGIN_TRY { code = agd_training_read(file, "t.h5", model, training, st); }
  H5E_END_TRY
  assert_int_equal(H5Fget_obj_count(file, H5F_OBJ_ALL), 1);
  H5Fclose(file);
  return code;
}

/* A training with every field set. */
static agd_training make_training(void) {
  agd_training t = {.seed = UINT64_MAX - 1,
                    .epoch = 2,
                    .step = (uint64_t)1 << 40,
                    .batch = 32,
                    .ranks = 3,
                    .kernels = "avx2",
                    .libraries = "OpenBLAS, HDF5",
                    .standardized = true,
                    .config = strdup("train: {batch: 32}\n# Größe\n"),
                    .epoch_count = 2,
                    .history = calloc(2, sizeof(agd_epoch_metrics))};
  assert_int_equal(agd_allocate(2, sizeof(double), "", (void **)&t.x_mean, NULL), AGD_OK);
  assert_int_equal(agd_allocate(2, sizeof(double), "", (void **)&t.x_sd, NULL), AGD_OK);
  t.x_mean[0] = 0.1, t.x_mean[1] = -1e300, t.x_sd[0] = 1, t.x_sd[1] = 3e-300;
  t.history[0] = (agd_epoch_metrics){1, 100, 0.5, 0.75, 1.5};
  t.history[1] = (agd_epoch_metrics){2, ((uint64_t)1 << 60) + 1, INFINITY, NAN, 1.25};
  assert_int_equal(agd_names_add(&t.x_names, "rooms", NULL), AGD_OK);
  assert_int_equal(agd_names_add(&t.x_names, "age, years", NULL), AGD_OK);
  assert_int_equal(agd_names_add(&t.y_names, "price", NULL), AGD_OK);
  return t;
}

static void test_round_trip(void **state) {
  (void)state;
  size_t size;
  agd_training t = make_training(), found;
  agd_model_spec model = {.inputs = 2, .outputs = 1};
  void *bytes = build(&spec, &t, NULL, &size);
  assert_int_equal(read_back(bytes, size, &model, &found, NULL), AGD_OK);
  assert_int_equal(model.activation, AGD_SIGMOID);
  assert_true(model.momentum == 0.95 && model.epsilon == 1e-6 && model.unbiased_variance);
  assert_true(found.seed == t.seed && found.epoch == 2 && found.step == t.step && found.batch == 32);
  assert_int_equal(found.ranks, 3);
  assert_string_equal(found.kernels, "avx2");
  assert_string_equal(found.libraries, "OpenBLAS, HDF5");
  assert_string_equal(found.config, t.config);
  assert_true(found.standardized);
  assert_memory_equal(found.x_mean, t.x_mean, 2 * sizeof(double));
  assert_memory_equal(found.x_sd, t.x_sd, 2 * sizeof(double));
  assert_int_equal(found.x_names.count, 2);
  assert_string_equal(found.x_names.name[1], "age, years");
  assert_int_equal(found.y_names.count, 1);
  assert_string_equal(found.y_names.name[0], "price");
  assert_int_equal(found.epoch_count, 2);
  assert_memory_equal(found.history, t.history, 2 * sizeof *t.history);
  agd_training_clear(&found);
  assert_null(found.config);
  agd_training_clear(&t);
  agd_release(&bytes);
}

/* At the start of a training of raw, unnamed columns there is little to tell. */
static void test_nearly_empty(void **state) {
  (void)state;
  size_t size;
  const agd_training t = {.seed = 1};
  agd_training found;
  agd_model_spec model = {.inputs = 2, .outputs = 1};
  void *bytes = build(&spec, &t, NULL, &size);
  assert_int_equal(read_back(bytes, size, &model, &found, NULL), AGD_OK);
  assert_false(found.standardized);
  assert_null(found.x_mean);
  assert_int_equal(found.x_names.count, 0);
  assert_int_equal(found.epoch_count, 0);
  assert_string_equal(found.config, "");
  agd_training_clear(&found);
  agd_release(&bytes);
}

/* Names and means beyond the 64 kB that HDF5 keeps in an object header, a history of ten thousand epochs. */
static void test_large(void **state) {
  (void)state;
  enum { N = 10000 };
  size_t size;
  agd_training t = {.standardized = true, .epoch_count = N, .history = calloc(N, sizeof(agd_epoch_metrics))}, found;
  agd_model_spec large = spec, model = {.inputs = N, .outputs = 1};
  large.inputs = N;
  assert_int_equal(agd_allocate(N, sizeof(double), "", (void **)&t.x_mean, NULL), AGD_OK);
  assert_int_equal(agd_allocate(N, sizeof(double), "", (void **)&t.x_sd, NULL), AGD_OK);
  for (size_t i = 0; i < N; i++) {
    char name[16];
    snprintf(name, sizeof name, "column %zu", i);
    assert_int_equal(agd_names_add(&t.x_names, name, NULL), AGD_OK);
    t.x_mean[i] = (double)i, t.x_sd[i] = (double)(i + 1), t.history[i].step = i;
  }
  void *bytes = build(&large, &t, NULL, &size);
  assert_int_equal(read_back(bytes, size, &model, &found, NULL), AGD_OK);
  assert_memory_equal(found.x_mean, t.x_mean, N * sizeof(double));
  assert_memory_equal(found.history, t.history, N * sizeof *t.history);
  for (size_t i = 0; i < N; i++) assert_string_equal(found.x_names.name[i], t.x_names.name[i]);
  agd_training_clear(&found), agd_training_clear(&t);
  agd_release(&bytes);
}

static void put_number(hid_t group, const char *name, int32_t value) {
  H5Adelete(group, name);
  assert_true(agd_h5_write_numbers(group, name, H5T_NATIVE_INT32, 0, &value));
}
static void newer_format(hid_t group) { put_number(group, "format_version", 2); }
static void no_seed(hid_t group) { H5Adelete(group, "seed"); }
static void no_config(hid_t group) { H5Adelete(group, "config"); }
static void no_sd(hid_t group) { H5Adelete(group, "x_sd"); }
static void no_history(hid_t group) { H5Ldelete(group, "history", H5P_DEFAULT); }
static void numeric_activation(hid_t group) { put_number(group, "activation", 1); }
static void unknown_activation(hid_t group) {
  H5Adelete(group, "activation");
  assert_true(agd_h5_write_text(group, "activation", "gelu"));
}
static void plain_history(hid_t group) {
  const hsize_t dims[1] = {3};
  H5Ldelete(group, "history", H5P_DEFAULT);
  H5Dclose(agd_h5_make_dataset(group, "history", H5T_IEEE_F64LE, 1, dims));
}

static void expect_refused(const agd_model_spec *asked, void (*edit)(hid_t), const char *reason) {
  size_t size;
  agd_status st = {0};
  agd_training t = make_training(), found;
  agd_model_spec model = *asked;
  void *bytes = build(&spec, &t, edit, &size);
  assert_int_equal(read_back(bytes, size, &model, &found, &st), AGD_EDATA);
  assert_int_equal(strncmp(st.message, "t.h5: ", 6), 0);
  assert_non_null(strstr(st.message, reason));
  assert_null(found.config);
  assert_null(found.x_mean);
  agd_training_clear(&t);
  agd_release(&bytes);
}

static void test_refused(void **state) {
  (void)state;
  const agd_model_spec other_inputs = {.inputs = 3, .outputs = 1}, other_outputs = {.inputs = 2, .outputs = 2};
  expect_refused(&spec, newer_format, "is of format 2, this version of allegrad reads format 1");
  expect_refused(&spec, no_seed, "seed");
  expect_refused(&spec, no_config, "config");
  expect_refused(&spec, no_sd, "x_sd");
  expect_refused(&spec, no_history, "history");
  expect_refused(&spec, plain_history, "history");
  expect_refused(&spec, numeric_activation, "activation");
  expect_refused(&spec, unknown_activation, "the activation \"gelu\" is unknown");
  expect_refused(&other_inputs, NULL, "x_names names 2 columns, the model has 3");
  expect_refused(&other_outputs, NULL, "y_names names 1 columns, the model has 2");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_nearly_empty),
                                     cmocka_unit_test(test_large), cmocka_unit_test(test_refused)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
