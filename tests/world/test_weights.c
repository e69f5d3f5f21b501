#include "allegrad/checkpoint.h"
#include "allegrad/h5.h"
#include "allegrad/memory.h"
#include "allegrad/weights.h"
#include "temporary.h"

#include <errno.h>
#include <math.h>
#include <mpi.h>

static const agd_model_spec small_spec = {.inputs = 3,
                                          .outputs = 2,
                                          .hidden_count = 2,
                                          .hidden = {5, 4},
                                          .activation = AGD_TANH,
                                          .batch_norm = true,
                                          .momentum = 0.9,
                                          .epsilon = 1e-5,
                                          .unbiased_variance = true};
static const agd_optimizer_spec plain_sgd = {.name = AGD_SGD, .learning_rate = 0.01};
static const agd_optimizer_spec momentum_sgd = {.name = AGD_SGD, .learning_rate = 0.01, .momentum = 0.9};
static const agd_optimizer_spec adam = {
    .name = AGD_ADAM, .learning_rate = 0.001, .beta_1 = 0.9, .beta_2 = 0.999, .epsilon = 1e-7};

/* Numbers that float holds exactly, different everywhere; the gaps between tensors stay 0. */
static void fill_range(agd_real *values, size_t offset, size_t count, int *next) {
  for (size_t i = 0; i < count; i++) values[offset + i] = (agd_real)(++*next / 64.0);
}

static void fill_weights(const agd_model *model, agd_real *values, int *next) {
  for (size_t l = 0; l < model->layer_count; l++) {
    const agd_layer *layer = &model->layers[l];
    if (layer->batch_norm) fill_range(values, layer->gamma, layer->in, next);
    if (layer->batch_norm) fill_range(values, layer->beta, layer->in, next);
    fill_range(values, layer->kernel, layer->in * layer->out, next);
    fill_range(values, layer->bias, layer->out, next);
  }
}

static agd_model *make_model(const agd_model_spec *spec) {
  agd_model *model;
  int next = 0;
  assert_int_equal(agd_model_create(spec, &model, NULL), AGD_OK);
  fill_weights(model, model->weights, &next);
  for (size_t l = 0; l < model->layer_count; l++) {
    const agd_layer *layer = &model->layers[l];
    if (layer->batch_norm) fill_range(model->averages, layer->mean, layer->in, &next);
    if (layer->batch_norm) fill_range(model->averages, layer->variance, layer->in, &next);
  }
  return model;
}

static agd_optimizer *make_optimizer(const agd_optimizer_spec *spec, const agd_model *model, uint64_t iteration) {
  agd_optimizer *optimizer;
  int next = 10000;
  assert_int_equal(agd_optimizer_create(spec, model->weight_count, &optimizer, NULL), AGD_OK);
  optimizer->iteration = iteration;
  for (size_t s = 0; s < optimizer->slot_count; s++) fill_weights(model, optimizer->slots[s], &next);
  return optimizer;
}

static void expect_same_model(const agd_model *a, const agd_model *b) {
  assert_int_equal(a->weight_count, b->weight_count);
  assert_memory_equal(a->weights, b->weights, a->weight_count * sizeof(agd_real));
  assert_int_equal(a->average_count, b->average_count);
  if (a->average_count > 0) assert_memory_equal(a->averages, b->averages, a->average_count * sizeof(agd_real));
}

/* Saved and loaded: the same model and the same optimizer, for every kind of either. */
static void expect_round_trip(const char *path, const agd_model_spec *spec, const agd_optimizer_spec *rule) {
  agd_model *model = make_model(spec), *loaded;
  agd_optimizer *optimizer = make_optimizer(rule, model, 51), *again;
  const agd_training training = {.seed = 7};
  agd_training found = {0};
  agd_status st = {0};
  assert_int_equal(agd_weights_save(path, model, optimizer, &training, &st), AGD_OK);
  assert_int_equal(agd_weights_load(path, NULL, &loaded, &found, &st), AGD_OK);
  expect_same_model(model, loaded);
  assert_int_equal(found.seed, 7);
  assert_true(agd_model_same_shape(&loaded->spec, spec));
  assert_int_equal(loaded->spec.activation, spec->activation);
  assert_true(loaded->spec.epsilon == spec->epsilon && loaded->spec.momentum == spec->momentum);
  assert_int_equal(loaded->spec.unbiased_variance, spec->unbiased_variance);

  assert_int_equal(agd_optimizer_create(rule, model->weight_count, &again, &st), AGD_OK);
  assert_int_equal(agd_weights_load_optimizer(path, loaded, again, &st), AGD_OK);
  assert_int_equal(again->iteration, 51);
  for (size_t s = 0; s < again->slot_count; s++)
    assert_memory_equal(again->slots[s], optimizer->slots[s], again->count * sizeof(agd_real));
  agd_training_clear(&found);
  agd_optimizer_destroy(&again), agd_optimizer_destroy(&optimizer);
  agd_model_destroy(&loaded), agd_model_destroy(&model);
}

static void test_round_trip(void **state) {
  char path[TEMPORARY_SIZE];
  const agd_model_spec plain = {.inputs = 1, .outputs = 1, .hidden_count = 1, .hidden = {70}, .activation = AGD_RELU},
                       linear = {.inputs = 4, .outputs = 3, .activation = AGD_SIGMOID};
  agd_model_spec deep = {.inputs = 2, .outputs = 1, .hidden_count = AGD_HIDDEN_MAX, .batch_norm = true};
  for (size_t i = 0; i < AGD_HIDDEN_MAX; i++) deep.hidden[i] = 1 + i % 3;
  temporary_path(path, *state, "file");
  expect_round_trip(path, &small_spec, &plain_sgd);
  expect_round_trip(path, &small_spec, &momentum_sgd);
  expect_round_trip(path, &small_spec, &adam);
  expect_round_trip(path, &plain, &adam);
  expect_round_trip(path, &linear, &momentum_sgd);
  expect_round_trip(path, &deep, &adam);
}

/* Reads a float32 contiguous dataset of this shape and compares it. */
static void expect_dataset(hid_t file, const char *path, hsize_t rows, hsize_t columns, const agd_real *expected) {
  agd_h5_array array;
  float values[64];
  assert_int_equal(agd_h5_open_array(file, path, path, &array, NULL), AGD_OK);
  assert_int_equal(array.rank, columns > 0 ? 2 : 1);
  assert_int_equal(array.dims[0], rows);
  if (columns > 0) assert_int_equal(array.dims[1], columns);
  const hid_t type = H5Dget_type(array.id), creation = H5Dget_create_plist(array.id);
  assert_true(H5Tequal(type, H5T_IEEE_F32LE) > 0);
  assert_int_equal(H5Pget_layout(creation), H5D_CONTIGUOUS);
  H5Tclose(type), H5Pclose(creation);
  assert_true(H5Dread(array.id, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
  for (hsize_t i = 0; i < rows * (columns > 0 ? columns : 1); i++) assert_true(values[i] == (float)expected[i]);
  H5Dclose(array.id);
}

static void expect_name(hid_t file, const char *path, const char *expected) {
  char *name;
  const hid_t group = H5Gopen2(file, path, H5P_DEFAULT);
  assert_int_equal(agd_h5_read_text(group, path, "name", &name, NULL), AGD_OK);
  assert_string_equal(name, expected);
  free(name);
  H5Gclose(group);
}

static herr_t count_object(hid_t object, const char *name, const H5O_info_t *info, void *count) {
  (void)object, (void)name, (void)info;
  ++*(size_t *)count;
  return 0;
}

/* Slots stand in the order of the forward pass, both of a variable side by side. */
static void expect_slots(hid_t file, const agd_model *m, const agd_optimizer *o) {
  int64_t iteration;
  agd_h5_array rate;
  float value;
  size_t index = 2;
  assert_int_equal(agd_h5_read_integer(file, "", "/optimizer/vars/0", &iteration, NULL), AGD_OK);
  assert_int_equal(iteration, 51);
  const hid_t dataset = H5Dopen2(file, "/optimizer/vars/0", H5P_DEFAULT), type = H5Dget_type(dataset);
  assert_true(H5Tequal(type, H5T_STD_I32LE) > 0);
  H5Tclose(type), H5Dclose(dataset);
  assert_int_equal(agd_h5_open_array(file, "", "/optimizer/vars/1", &rate, NULL), AGD_OK);
  assert_int_equal(rate.rank, 0);
  assert_true(H5Dread(rate.id, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, &value) >= 0);
  assert_true(value == 0.001F);
  H5Dclose(rate.id);
  for (size_t l = 0; l < m->layer_count; l++) {
    const agd_layer *layer = &m->layers[l];
    const struct {
      size_t offset, rows, columns;
    } order[4] = {{layer->gamma, layer->in, 0},
                  {layer->beta, layer->in, 0},
                  {layer->kernel, layer->in, layer->out},
                  {layer->bias, layer->out, 0}};
    for (size_t v = layer->batch_norm ? 0 : 2; v < 4; v++)
      for (size_t s = 0; s < 2; s++) {
        char path[64];
        snprintf(path, sizeof path, "/optimizer/vars/%zu", index++);
        expect_dataset(file, path, order[v].rows, order[v].columns, o->slots[s] + order[v].offset);
      }
  }
}

/* The whole tree, by hand. */
static void test_layout(void **state) {
  (void)state;
  agd_model *m = make_model(&small_spec);
  agd_optimizer *o = make_optimizer(&adam, m, 51);
  const agd_layer *l = m->layers;
  void *image;
  size_t size, objects = 0;
  hid_t file;
  assert_int_equal(agd_weights_image(m, o, NULL, &image, &size, NULL), AGD_OK);
  assert_int_equal(agd_h5_open_bytes("", image, size, &file, NULL), AGD_OK);
  expect_name(file, "/vars", "sequential");
  expect_name(file, "/optimizer/vars", "adam");
  expect_name(file, "/layers/batch_normalization/vars", "batch_normalization");
  expect_name(file, "/layers/batch_normalization_1/vars", "batch_normalization_1");
  expect_name(file, "/layers/dense/vars", "dense");
  expect_name(file, "/layers/dense_2/vars", "dense_2");
  expect_dataset(file, "/layers/batch_normalization/vars/0", 3, 0, m->weights + l[0].gamma);
  expect_dataset(file, "/layers/batch_normalization/vars/1", 3, 0, m->weights + l[0].beta);
  expect_dataset(file, "/layers/batch_normalization/vars/2", 3, 0, m->averages + l[0].mean);
  expect_dataset(file, "/layers/batch_normalization/vars/3", 3, 0, m->averages + l[0].variance);
  expect_dataset(file, "/layers/batch_normalization_1/vars/0", 5, 0, m->weights + l[1].gamma);
  expect_dataset(file, "/layers/batch_normalization_1/vars/3", 5, 0, m->averages + l[1].variance);
  expect_dataset(file, "/layers/dense/vars/0", 3, 5, m->weights + l[0].kernel);
  expect_dataset(file, "/layers/dense/vars/1", 5, 0, m->weights + l[0].bias);
  expect_dataset(file, "/layers/dense_1/vars/0", 5, 4, m->weights + l[1].kernel);
  expect_dataset(file, "/layers/dense_2/vars/0", 4, 2, m->weights + l[2].kernel);
  expect_dataset(file, "/layers/dense_2/vars/1", 2, 0, m->weights + l[2].bias);
  expect_slots(file, m, o);
  assert_true(H5Ovisit1(file, H5_INDEX_NAME, H5_ITER_NATIVE, count_object, &objects) >= 0);
  /* root, /vars, /layers; 5 layers with their vars; 2 x 4 + 3 x 2 tensors; /optimizer, vars, 2 + 2 x 10 */
  assert_int_equal(objects, 3 + 10 + 14 + 2 + 22);
  H5Fclose(file);
  agd_release(&image);
  agd_optimizer_destroy(&o);
  agd_model_destroy(&m);
}

/* Without momentum there is no slot, without an optimizer no group. */
static void test_layout_without_slots(void **state) {
  (void)state;
  agd_model *m = make_model(&small_spec);
  agd_optimizer *o = make_optimizer(&plain_sgd, m, 3000000000);
  void *image;
  size_t size;
  hid_t file;
  int64_t iteration;
  assert_int_equal(agd_weights_image(m, o, NULL, &image, &size, NULL), AGD_OK);
  assert_int_equal(agd_h5_open_bytes("", image, size, &file, NULL), AGD_OK);
  expect_name(file, "/optimizer/vars", "sgd");
  assert_int_equal(agd_h5_read_integer(file, "", "/optimizer/vars/0", &iteration, NULL), AGD_OK);
  assert_int_equal(iteration, 3000000000);
  assert_true(agd_h5_exists(file, "/optimizer/vars/1"));
  assert_false(agd_h5_exists(file, "/optimizer/vars/2"));
  H5Fclose(file);
  agd_release(&image);
  assert_int_equal(agd_weights_image(m, NULL, NULL, &image, &size, NULL), AGD_OK);
  assert_int_equal(agd_h5_open_bytes("", image, size, &file, NULL), AGD_OK);
  assert_false(agd_h5_exists(file, "/optimizer"));
  assert_false(agd_h5_exists(file, "/trainer"));
  H5Fclose(file);
  agd_release(&image);
  agd_optimizer_destroy(&o);
  agd_model_destroy(&m);
}

static void test_equal_input_gives_equal_bytes(void **state) {
  (void)state;
  agd_model *m = make_model(&small_spec);
  agd_optimizer *o = make_optimizer(&adam, m, 51);
  const agd_training training = {.seed = 7};
  void *image[2];
  size_t size[2];
  for (int i = 0; i < 2; i++) assert_int_equal(agd_weights_image(m, o, &training, &image[i], &size[i], NULL), AGD_OK);
  assert_int_equal(size[0], size[1]);
  assert_memory_equal(image[0], image[1], size[0]);
  for (int i = 0; i < 2; i++) agd_release(&image[i]);
  agd_optimizer_destroy(&o);
  agd_model_destroy(&m);
}

/* A file as Keras would leave it: of the oldest format, no /trainer, no trailer; then changed by `edit`. */
static void make_foreign(const char *path, void (*edit)(hid_t file)) {
  agd_model *m = make_model(&small_spec);
  agd_optimizer *o = make_optimizer(&momentum_sgd, m, 51);
  const char *const groups[] = {"/layers", "/optimizer", "/vars"};
  void *image;
  size_t size;
  hid_t ours;
  assert_int_equal(agd_weights_image(m, o, NULL, &image, &size, NULL), AGD_OK);
  assert_int_equal(agd_h5_open_bytes(path, image, size, &ours, NULL), AGD_OK);
  const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  assert_true(file >= 0);
  for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
    assert_true(H5Ocopy(ours, groups[i], file, groups[i], H5P_DEFAULT, H5P_DEFAULT) >= 0);
  H5Fclose(ours);
  if (edit != NULL) edit(file);
  assert_true(H5Fclose(file) >= 0);
  agd_release(&image);
  agd_optimizer_destroy(&o);
  agd_model_destroy(&m);
}

static void test_foreign(void **state) {
  char path[TEMPORARY_SIZE];
  agd_status st = {0};
  agd_model *expected = make_model(&small_spec), *model;
  agd_training training = {.seed = 1};
  make_foreign(temporary_path(path, *state, "keras.weights.h5"), NULL);
  assert_int_equal(agd_weights_load(path, NULL, &model, NULL, &st), AGD_EUSAGE);
  assert_null(model);
  assert_non_null(strstr(st.message, path));
  assert_non_null(strstr(st.message, "--job"));

  agd_model_spec asked = small_spec;
  asked.activation = AGD_SIGMOID, asked.epsilon = 0.25;
  assert_int_equal(agd_weights_load(path, &asked, &model, &training, &st), AGD_OK);
  expect_same_model(expected, model);
  assert_int_equal(model->spec.activation, AGD_SIGMOID);
  assert_true(model->spec.epsilon == 0.25);
  assert_int_equal(training.seed, 0);
  agd_model_destroy(&model);

  asked.inputs = asked.outputs = 0; /* as a job file leaves them */
  assert_int_equal(agd_weights_load(path, &asked, &model, NULL, &st), AGD_OK);
  assert_int_equal(model->spec.inputs, 3);
  assert_int_equal(model->spec.outputs, 2);
  expect_same_model(expected, model);
  agd_model_destroy(&model);

  agd_optimizer *optimizer = make_optimizer(&momentum_sgd, expected, 51), *again;
  assert_int_equal(agd_optimizer_create(&momentum_sgd, expected->weight_count, &again, NULL), AGD_OK);
  assert_int_equal(agd_weights_load_optimizer(path, expected, again, &st), AGD_OK);
  assert_memory_equal(again->slots[0], optimizer->slots[0], again->count * sizeof(agd_real));
  agd_optimizer_destroy(&again), agd_optimizer_destroy(&optimizer);
  agd_model_destroy(&expected);
}

static void rename_layer(hid_t file, const char *from, const char *to) {
  char source[64], target[64];
  snprintf(source, sizeof source, "/layers/%s", from);
  snprintf(target, sizeof target, "/layers/%s", to);
  assert_true(H5Lmove(file, source, file, target, H5P_DEFAULT, H5P_DEFAULT) >= 0);
}

/* 9, 10, 11 stand as 10, 11, 9 in the alphabet. */
static void renumber_from_nine(hid_t file) {
  rename_layer(file, "dense", "dense_9");
  rename_layer(file, "dense_1", "dense_10");
  rename_layer(file, "dense_2", "dense_11");
  rename_layer(file, "batch_normalization", "batch_normalization_99");
  rename_layer(file, "batch_normalization_1", "batch_normalization_100");
}

static void renumber_with_gaps(hid_t file) {
  rename_layer(file, "dense_2", "dense_30");
  rename_layer(file, "dense_1", "dense_4");
}

static void add_harmless(hid_t file) {
  const hid_t layers[] = {H5Gcreate2(file, "/layers/dropout", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                          H5Gcreate2(file, "/layers/dropout/vars", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT),
                          H5Gcreate2(file, "/layers/input_layer", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)};
  for (size_t i = 0; i < 3; i++) assert_true(H5Gclose(layers[i]) >= 0);
}

/* Puts another dataset in the place of one. */
static void replace(hid_t file, const char *path, hid_t type, int rank, const hsize_t *dims, const double *values) {
  if (agd_h5_exists(file, path)) assert_true(H5Ldelete(file, path, H5P_DEFAULT) >= 0);
  const hid_t dataset = agd_h5_make_dataset(file, path, type, rank, dims);
  assert_true(dataset >= 0);
  if (values != NULL) assert_true(H5Dwrite(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
  H5Dclose(dataset);
}

static const hsize_t two[] = {2, 1, 1}, three[] = {3}, wide[] = {5, 6};

/* The same numbers as float64 in the other byte order. */
static void as_float64(hid_t file) {
  agd_model *m = make_model(&small_spec);
  const agd_real *bias = m->weights + m->layers[2].bias;
  replace(file, "/layers/dense_2/vars/1", H5T_IEEE_F64BE, 1, two, (double[]){(double)bias[0], (double)bias[1]});
  agd_model_destroy(&m);
}

static void test_foreign_variants(void **state) {
  void (*const edits[])(hid_t) = {renumber_from_nine, renumber_with_gaps, add_harmless, as_float64};
  agd_model *expected = make_model(&small_spec), *model;
  for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
    char path[TEMPORARY_SIZE];
    agd_status st = {0};
    make_foreign(temporary_path(path, *state, "keras.weights.h5"), edits[i]);
    const agd_code code = agd_weights_load(path, &small_spec, &model, NULL, &st);
    assert_string_equal(st.message, "");
    assert_int_equal(code, AGD_OK);
    expect_same_model(expected, model);
    agd_model_destroy(&model);
  }
  agd_model_destroy(&expected);
}

static void drop_layers(hid_t file) { H5Ldelete(file, "/layers", H5P_DEFAULT); }
static void drop_dense(hid_t file) {
  H5Ldelete(file, "/layers/dense", H5P_DEFAULT);
  H5Ldelete(file, "/layers/dense_1", H5P_DEFAULT);
  H5Ldelete(file, "/layers/dense_2", H5P_DEFAULT);
}
static void drop_one_dense(hid_t file) {
  H5Ldelete(file, "/layers/dense_1", H5P_DEFAULT);
  H5Ldelete(file, "/layers/batch_normalization_1", H5P_DEFAULT);
}
static void drop_one_norm(hid_t file) { H5Ldelete(file, "/layers/batch_normalization", H5P_DEFAULT); }
static void drop_norms(hid_t file) {
  drop_one_norm(file);
  H5Ldelete(file, "/layers/batch_normalization_1", H5P_DEFAULT);
}
static void drop_bias(hid_t file) { H5Ldelete(file, "/layers/dense_1/vars/1", H5P_DEFAULT); }
static void drop_vars(hid_t file) { H5Ldelete(file, "/layers/dense_1/vars", H5P_DEFAULT); }
static void rename_kernel(hid_t file) {
  H5Lmove(file, "/layers/dense_1/vars/0", file, "/layers/dense_1/vars/7", H5P_DEFAULT, H5P_DEFAULT);
}
static void extra_variable(hid_t file) { replace(file, "/layers/dense_1/vars/2", H5T_IEEE_F32LE, 1, two, NULL); }
static void other_kernel(hid_t file) {
  const double zeros[30] = {0};
  replace(file, "/layers/dense_1/vars/0", H5T_IEEE_F32LE, 2, wide, zeros);
}
static void flat_kernel(hid_t file) {
  const double zeros[3] = {0};
  replace(file, "/layers/dense/vars/0", H5T_IEEE_F32LE, 1, three, zeros);
}
static void matrix_bias(hid_t file) {
  const double zeros[2] = {0};
  replace(file, "/layers/dense_2/vars/1", H5T_IEEE_F32LE, 2, two, zeros);
}
static void scalar_bias(hid_t file) {
  const double zero = 0;
  replace(file, "/layers/dense_2/vars/1", H5T_IEEE_F32LE, 0, NULL, &zero);
}
static void integer_bias(hid_t file) { replace(file, "/layers/dense_2/vars/1", H5T_STD_I32LE, 1, two, NULL); }
static void nan_in_bias(hid_t file) {
  const double values[2] = {1, NAN};
  replace(file, "/layers/dense_2/vars/1", H5T_IEEE_F32LE, 1, two, values);
}
static void too_large_for_float(hid_t file) {
  const double values[2] = {1e300, 1};
  replace(file, "/layers/dense_2/vars/1", H5T_IEEE_F64LE, 1, two, values);
}
static void infinite_bias(hid_t file) {
  const double values[2] = {-INFINITY, 1};
  replace(file, "/layers/dense_2/vars/1", H5T_IEEE_F32LE, 1, two, values);
}
static void negative_variance(hid_t file) {
  const double values[3] = {1, 0, -1};
  replace(file, "/layers/batch_normalization/vars/3", H5T_IEEE_F32LE, 1, three, values);
}
static void unknown_layer(hid_t file) { rename_layer(file, "dense_1", "conv2d"); }
static void odd_number(hid_t file) { rename_layer(file, "dense_1", "dense_01"); }
static void no_number(hid_t file) { rename_layer(file, "dense_1", "dense_"); }
static void long_name(hid_t file) {
  char name[400] = "/layers/";
  memset(name + 8, 'x', sizeof name - 9);
  name[sizeof name - 1] = '\0';
  H5Lmove(file, "/layers/dense_1", file, name, H5P_DEFAULT, H5P_DEFAULT);
}
static void soft_layer(hid_t file) {
  H5Lmove(file, "/layers/dense_1", file, "/hidden", H5P_DEFAULT, H5P_DEFAULT);
  H5Lcreate_soft("/hidden", file, "/layers/dense_1", H5P_DEFAULT, H5P_DEFAULT);
}
static void soft_kernel(hid_t file) {
  H5Lmove(file, "/layers/dense_1/vars/0", file, "/hidden", H5P_DEFAULT, H5P_DEFAULT);
  H5Lcreate_soft("/hidden", file, "/layers/dense_1/vars/0", H5P_DEFAULT, H5P_DEFAULT);
}
static void external_layer(hid_t file) {
  H5Ldelete(file, "/layers/dense_1", H5P_DEFAULT);
  H5Lcreate_external("other.h5", "/layers/dense_1", file, "/layers/dense_1", H5P_DEFAULT, H5P_DEFAULT);
}
static void layers_is_a_dataset(hid_t file) {
  H5Ldelete(file, "/layers", H5P_DEFAULT);
  replace(file, "/layers", H5T_IEEE_F32LE, 1, two, NULL);
}
static void add_many(hid_t file) {
  for (int i = 10; i < 80; i++) {
    char name[32];
    snprintf(name, sizeof name, "/layers/dense_%d", i);
    H5Gclose(H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  }
}
static void add_trainer(hid_t file) { H5Gclose(H5Gcreate2(file, "/trainer", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)); }

static void expect_refused(const char *path, const char *reason) {
  agd_status st = {0};
  agd_model *model;
  assert_int_equal(agd_weights_load(path, &small_spec, &model, NULL, &st), AGD_EDATA);
  assert_null(model);
  assert_int_equal(strncmp(st.message, path, strlen(path)), 0);
  if (strstr(st.message, reason) == NULL) fail_msg("%s lacks \"%s\"", st.message, reason);
}

static void test_foreign_refused(void **state) {
  const struct {
    void (*edit)(hid_t);
    const char *reason;
  } cases[] = {
      {drop_layers, "no group /layers"},
      {layers_is_a_dataset, "/layers ("},
      {drop_dense, "no dense layer"},
      {drop_one_dense, "holds 1 hidden layers, the model has 2"},
      {drop_one_norm, "3 dense and 1 batch_normalization"},
      {drop_norms, "holds no batch normalisation, the model has it"},
      {drop_bias, "/layers/dense_1/vars holds 1 datasets, a dense layer has 2"},
      {drop_vars, "no group /layers/dense_1/vars"},
      {rename_kernel, "no dataset /layers/dense_1/vars/0"},
      {extra_variable, "/layers/dense_1/vars holds 3 datasets, a dense layer has 2"},
      {other_kernel, "/layers/dense_1/vars/0 has the shape [5, 6], the model expects [5, 4]"},
      {flat_kernel, "/layers/dense/vars/0 is no kernel"},
      {matrix_bias, "/layers/dense_2/vars/1 has the shape [2, 1], the model expects [2]"},
      {scalar_bias, "/layers/dense_2/vars/1 has the shape [], the model expects [2]"},
      {integer_bias, "/layers/dense_2/vars/1 holds no float32 or float64"},
      {nan_in_bias, "/layers/dense_2/vars/1 holds nan at position 1, which is not finite"},
      {infinite_bias, "/layers/dense_2/vars/1 holds -inf at position 0"},
      {negative_variance, "/layers/batch_normalization/vars/3 holds -1 at position 2, which is not a variance"},
      {unknown_layer, "the layer conv2d is neither dense nor"},
      {odd_number, "the layer dense_01 is neither dense nor"},
      {no_number, "the layer dense_ is neither dense nor"},
      {long_name, "the layer xxxxxxxx"},
      {soft_layer, "/layers/dense_1 is a soft or external link"},
      {soft_kernel, "/layers/dense_1/vars/0 is reached by a soft or external link"},
      {external_layer, "/layers/dense_1 is a soft or external link"},
      {add_many, "more than 65 layers"},
      {add_trainer, "its checksum is gone"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char path[TEMPORARY_SIZE];
    make_foreign(temporary_path(path, *state, "keras.weights.h5"), cases[i].edit);
    expect_refused(path, cases[i].reason);
  }
}

/* What a double takes and a float does not. */
static void test_overflowing_float(void **state) {
  char path[TEMPORARY_SIZE];
  agd_model *model;
  make_foreign(temporary_path(path, *state, "keras.weights.h5"), too_large_for_float);
  const agd_code code = agd_weights_load(path, &small_spec, &model, NULL, NULL);
  assert_int_equal(code, sizeof(agd_real) == sizeof(float) ? AGD_EDATA : AGD_OK);
  agd_model_destroy(&model);
}

static void put(const char *path, const void *bytes, size_t size) {
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(bytes, 1, size, file), size);
  assert_int_equal(fclose(file), 0);
}

/* The whole of a file, trailer included. */
static char *get(const char *path, size_t *size) {
  struct stat info;
  FILE *file = fopen(path, "rb");
  assert_non_null(file);
  assert_int_equal(fstat(fileno(file), &info), 0);
  *size = (size_t)info.st_size;
  char *bytes = malloc(*size);
  assert_non_null(bytes);
  assert_int_equal(fread(bytes, 1, *size, file), *size);
  fclose(file);
  return bytes;
}

/* All bytes of the superblock, the first headers and the trailer, a sample between. */
static size_t next_byte(size_t at, size_t size) { return at + (at < 300 || at + 100 > size ? 1 : 97); }

/* A file of ours that is cut, or has one byte changed, is refused before HDF5 sees it or for want of its trailer. */
static void test_damaged(void **state) {
  char path[TEMPORARY_SIZE];
  agd_model *m = make_model(&small_spec), *model;
  const agd_training training = {.seed = 7};
  size_t size;
  temporary_path(path, *state, "file.weights.h5");
  assert_int_equal(agd_weights_save(path, m, NULL, &training, NULL), AGD_OK);
  char *bytes = get(path, &size);
  const size_t trailer = size - AGD_TRAILER_SIZE;
  for (size_t i = 0; i < size; i = next_byte(i, size)) {
    bytes[i] ^= 4;
    put(path, bytes, size);
    bytes[i] ^= 4;
    expect_refused(path, "checksum does not fit");
  }
  for (size_t i = 1; i < size; i = next_byte(i, size)) {
    put(path, bytes, i);
    expect_refused(path, i < trailer       ? "is no HDF5 file, or a damaged one"
                         : i < trailer + 8 ? "checksum is gone"
                                           : "checksum does not fit");
  }
  put(path, bytes, size);
  assert_int_equal(agd_weights_load(path, &small_spec, &model, NULL, NULL), AGD_OK);
  agd_model_destroy(&model), agd_model_destroy(&m);
  free(bytes);
}

/* The same of a foreign file, which has no checksum of its own: any prefix is refused. */
static void test_foreign_truncated(void **state) {
  char path[TEMPORARY_SIZE];
  size_t size;
  make_foreign(temporary_path(path, *state, "keras.weights.h5"), NULL);
  char *bytes = get(path, &size);
  for (size_t i = 1; i < size; i = next_byte(i, size)) {
    put(path, bytes, i);
    expect_refused(path, "is no HDF5 file, or a damaged one");
  }
  free(bytes);
}

/* A diverged training leaves its weights too; only predicting with them is refused. */
static void test_ours_may_hold_nan(void **state) {
  char path[TEMPORARY_SIZE];
  agd_model *m = make_model(&small_spec), *model;
  const agd_training training = {.seed = 7};
  m->weights[m->layers[0].kernel] = (agd_real)NAN;
  temporary_path(path, *state, "file.weights.h5");
  assert_int_equal(agd_weights_save(path, m, NULL, &training, NULL), AGD_OK);
  assert_int_equal(agd_weights_load(path, NULL, &model, NULL, NULL), AGD_OK);
  assert_true(isnan(model->weights[m->layers[0].kernel]));
  agd_model_destroy(&model), agd_model_destroy(&m);
}

/* A spec wins over what a file of ours says, but not over its shape. */
static void test_ours_with_spec(void **state) {
  char path[TEMPORARY_SIZE];
  agd_status st = {0};
  agd_model *m = make_model(&small_spec), *model;
  const agd_training training = {.seed = 7};
  agd_model_spec asked = small_spec;
  temporary_path(path, *state, "file.weights.h5");
  assert_int_equal(agd_weights_save(path, m, NULL, &training, NULL), AGD_OK);
  asked.activation = AGD_RELU;
  assert_int_equal(agd_weights_load(path, &asked, &model, NULL, &st), AGD_OK);
  assert_int_equal(model->spec.activation, AGD_RELU);
  agd_model_destroy(&model);
  asked.hidden[1] = 7;
  assert_int_equal(agd_weights_load(path, &asked, &model, NULL, &st), AGD_EDATA);
  assert_non_null(strstr(st.message, "/layers/dense_1/vars/0 has the shape [5, 4], the model expects [5, 7]"));
  agd_model_destroy(&m);
}

static void no_optimizer(hid_t file) { H5Ldelete(file, "/optimizer", H5P_DEFAULT); }
static void negative_iteration(hid_t file) {
  const double value = -3;
  replace(file, "/optimizer/vars/0", H5T_STD_I32LE, 0, NULL, &value);
}
static void real_iteration(hid_t file) { replace(file, "/optimizer/vars/0", H5T_IEEE_F32LE, 0, NULL, NULL); }
static void other_slot(hid_t file) {
  const double zeros[30] = {0};
  replace(file, "/optimizer/vars/4", H5T_IEEE_F32LE, 2, wide, zeros);
}

static void test_optimizer_refused(void **state) {
  const struct {
    void (*edit)(hid_t);
    const agd_optimizer_spec *rule;
    const char *reason;
  } cases[] = {{no_optimizer, &momentum_sgd, "holds no state of an optimizer"},
               {NULL, &adam, "holds 12 optimizer variables, this optimizer has 22"},
               {NULL, &plain_sgd, "holds 12 optimizer variables, this optimizer has 2"},
               {negative_iteration, &momentum_sgd, "/optimizer/vars/0, the number of updates, is negative"},
               {real_iteration, &momentum_sgd, "/optimizer/vars/0 holds no int32 or int64"},
               {other_slot, &momentum_sgd, "/optimizer/vars/4 has the shape [5, 6], the model expects [3, 5]"}};
  agd_model *m = make_model(&small_spec);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char path[TEMPORARY_SIZE];
    agd_status st = {0};
    agd_optimizer *optimizer;
    make_foreign(temporary_path(path, *state, "keras.weights.h5"), cases[i].edit);
    assert_int_equal(agd_optimizer_create(cases[i].rule, m->weight_count, &optimizer, NULL), AGD_OK);
    assert_int_equal(agd_weights_load_optimizer(path, m, optimizer, &st), AGD_EDATA);
    assert_int_equal(strncmp(st.message, path, strlen(path)), 0);
    assert_non_null(strstr(st.message, cases[i].reason));
    agd_optimizer_destroy(&optimizer);
  }
  agd_model_destroy(&m);
}

/* A save that fails leaves the file before it, and nothing else. */
static void test_full_disk(void **state) {
  char path[TEMPORARY_SIZE];
  agd_status st = {0};
  agd_model *m = make_model(&small_spec), *model;
  const agd_training before = {.seed = 1}, after = {.seed = 2};
  agd_training found = {0};
  temporary_path(path, *state, "file.weights.h5");
  assert_int_equal(agd_weights_save(path, m, NULL, &before, NULL), AGD_OK);
  temporary_disk_limit(4096);
  const agd_code code = agd_weights_save(path, m, NULL, &after, &st);
  temporary_disk_limit(RLIM_INFINITY);
  assert_int_equal(code, AGD_EDATA);
  assert_non_null(strstr(st.message, path));
  assert_non_null(strstr(st.message, strerror(EFBIG)));
  assert_int_equal(agd_weights_load(path, NULL, &model, &found, NULL), AGD_OK);
  assert_int_equal(found.seed, 1);
  agd_training_clear(&found);
  agd_model_destroy(&model), agd_model_destroy(&m);
  assert_int_equal(unlink(path), 0);
  assert_int_equal(rmdir(*state), 0); /* so the folder is empty */
  assert_int_equal(mkdir(*state, 0700), 0);
}

/* What a file tells of its model to who has no job. */
static void test_spec(void **state) {
  char path[TEMPORARY_SIZE];
  agd_status st = {0};
  agd_model *m = make_model(&small_spec);
  agd_model_spec spec;
  bool ours = false;
  const agd_training training = {.seed = 7};
  temporary_path(path, *state, "file.weights.h5");
  assert_int_equal(agd_weights_save(path, m, NULL, &training, NULL), AGD_OK);
  assert_int_equal(agd_weights_spec(path, &spec, &ours, &st), AGD_OK);
  assert_true(ours);
  assert_true(agd_model_same_shape(&spec, &small_spec));
  assert_int_equal(spec.activation, AGD_TANH);
  assert_true(spec.epsilon == 1e-5 && spec.momentum == 0.9 && spec.unbiased_variance);

  make_foreign(path, renumber_from_nine);
  assert_int_equal(agd_weights_spec(path, &spec, &ours, &st), AGD_OK);
  assert_false(ours);
  assert_true(agd_model_same_shape(&spec, &small_spec));
  assert_true(spec.epsilon == 0 && spec.momentum == 0);

  make_foreign(path, drop_one_norm);
  assert_int_equal(agd_weights_spec(path, &spec, &ours, &st), AGD_EDATA);
  assert_non_null(strstr(st.message, path));
  assert_int_equal(agd_weights_spec(*state, &spec, &ours, &st), AGD_EDATA);
  agd_model_destroy(&m);
}

static herr_t own_handler(hid_t stack, void *context) {
  (void)stack;
  ++*(int *)context;
  return 0;
}

/* A program that uses HDF5 itself keeps its error handler, which hears nothing of our trials. */
static void test_error_handler_is_kept(void **state) {
  char path[TEMPORARY_SIZE];
  agd_model *model;
  int calls = 0;
  void *context;
  H5E_auto2_t handler;
  temporary_write(temporary_path(path, *state, "garbage"), "this is no HDF5 file");
  H5Eset_auto2(H5E_DEFAULT, own_handler, &calls);
  assert_int_equal(agd_weights_load(path, NULL, &model, NULL, NULL), AGD_EDATA);
  make_foreign(temporary_path(path, *state, "keras.weights.h5"), drop_layers);
  assert_int_equal(agd_weights_load(path, &small_spec, &model, NULL, NULL), AGD_EDATA);
  assert_int_equal(calls, 0);
  H5Eget_auto2(H5E_DEFAULT, &handler, &context);
  assert_true(handler == own_handler && context == &calls);
  H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

/* Nobody of the above needed MPI_Init, nor left an HDF5 object open. */
static void test_nothing_is_left(void **state) {
  (void)state;
  int initialized;
  MPI_Initialized(&initialized);
  assert_false(initialized);
  assert_int_equal(H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
}

#define IN_FOLDER(name) cmocka_unit_test_setup_teardown(name, temporary_setup, temporary_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {IN_FOLDER(test_round_trip),
                                     cmocka_unit_test(test_layout),
                                     cmocka_unit_test(test_layout_without_slots),
                                     cmocka_unit_test(test_equal_input_gives_equal_bytes),
                                     IN_FOLDER(test_foreign),
                                     IN_FOLDER(test_foreign_variants),
                                     IN_FOLDER(test_foreign_refused),
                                     IN_FOLDER(test_overflowing_float),
                                     IN_FOLDER(test_spec),
                                     IN_FOLDER(test_damaged),
                                     IN_FOLDER(test_foreign_truncated),
                                     IN_FOLDER(test_ours_may_hold_nan),
                                     IN_FOLDER(test_ours_with_spec),
                                     IN_FOLDER(test_optimizer_refused),
                                     IN_FOLDER(test_full_disk),
                                     IN_FOLDER(test_error_handler_is_kept),
                                     cmocka_unit_test(test_nothing_is_left)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
