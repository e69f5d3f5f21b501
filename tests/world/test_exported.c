#include "allegrad/checkpoint.h"
#include "allegrad/keras.h"
#include "allegrad/memory.h"
#include "allegrad/network.h"
#include "allegrad/onnx.h"
#include "allegrad/rng.h"
#include "allegrad/standardize.h"
#include "allegrad/weights.h"
#include "onnx.pb-c.h"
#include "temporary.h"

#include <jansson.h>
#include <math.h>
#include <zip.h>

enum { ROWS = 5, WIDEST = 8 };

static const agd_model_spec spec = {.inputs = 3,
                                    .outputs = 2,
                                    .hidden_count = 2,
                                    .hidden = {8, 4},
                                    .activation = AGD_SIGMOID,
                                    .batch_norm = true,
                                    .momentum = 0.9,
                                    .epsilon = 0.01};
static const double mean[] = {10, -2, 0.5}, sd[] = {4, 0.5, 1};
static char a[] = "a", b[] = "b, c", c[] = "ü", first[] = "y0", second[] = "y1";
static char *x_list[] = {a, b, c}, *y_list[] = {first, second};
static const agd_names x_names = {.count = 3, .name = x_list}, y_names = {.count = 2, .name = y_list};

static double uniform(uint64_t i) { return agd_random_uniform(7, 1, i); }

static agd_model *make_model(const agd_model_spec *shape) {
  agd_model *m;
  assert_int_equal(agd_model_create(shape, &m, NULL), AGD_OK);
  for (size_t i = 0; i < m->weight_count; i++) m->weights[i] = (agd_real)(uniform(i) - 0.5);
  for (size_t i = 0; i < m->average_count; i++) m->averages[i] = (agd_real)(0.1 + uniform(1000 + i));
  return m;
}

static void *read_whole(const char *path, size_t *size) {
  void *bytes;
  agd_trailer_state trailer;
  assert_int_equal(agd_file_read(path, &bytes, size, &trailer, NULL), AGD_OK);
  return bytes;
}

static const float *tensor(const Onnx__GraphProto *g, const char *name, size_t count) {
  for (size_t i = 0; i < g->n_initializer; i++) {
    if (strcmp(g->initializer[i]->name, name) != 0) continue;
    assert_int_equal(g->initializer[i]->raw_data.len, count * sizeof(float));
    return (const float *)(const void *)g->initializer[i]->raw_data.data;
  }
  fail_msg("there is no tensor %s", name);
  return NULL;
}

/* One node on one row, in double, by ONNX's definition of the operator. */
static void compute(const Onnx__GraphProto *g, const Onnx__NodeProto *n, double *row, size_t *width) {
  double result[WIDEST] = {0};
  if (strcmp(n->op_type, "Gemm") == 0) {
    size_t bytes = 0;
    for (size_t i = 0; i < g->n_initializer; i++)
      if (strcmp(g->initializer[i]->name, n->input[2]) == 0) bytes = g->initializer[i]->raw_data.len;
    const size_t out = bytes / sizeof(float);
    const float *w = tensor(g, n->input[1], *width * out), *bias = tensor(g, n->input[2], out);
    for (size_t j = 0; j < out; j++) {
      result[j] = (double)bias[j];
      for (size_t i = 0; i < *width; i++) result[j] += row[i] * (double)w[i * out + j];
    }
    *width = out;
  } else if (strcmp(n->op_type, "BatchNormalization") == 0) {
    assert_string_equal(n->attribute[0]->name, "epsilon");
    const float *of[4];
    for (size_t k = 0; k < 4; k++) of[k] = tensor(g, n->input[k + 1], *width);
    for (size_t i = 0; i < *width; i++)
      result[i] = (row[i] - (double)of[2][i]) / sqrt((double)of[3][i] + (double)n->attribute[0]->f) * (double)of[0][i] +
                  (double)of[1][i];
  } else if (strcmp(n->op_type, "Sub") == 0 || strcmp(n->op_type, "Div") == 0) {
    const float *by = tensor(g, n->input[1], *width);
    for (size_t i = 0; i < *width; i++)
      result[i] = *n->op_type == 'S' ? row[i] - (double)by[i] : row[i] / (double)by[i];
  } else {
    assert_string_equal(n->op_type, "Sigmoid");
    for (size_t i = 0; i < *width; i++) result[i] = 1 / (1 + exp(-row[i]));
  }
  memcpy(row, result, sizeof result);
}

/* Every node takes what the one before gave; the last gives y. */
static void expect_graph(const Onnx__GraphProto *g, const agd_real *x, const agd_real *expected) {
  for (size_t r = 0; r < ROWS; r++) {
    double row[WIDEST] = {0};
    size_t width = spec.inputs;
    const char *value = "x";
    for (size_t i = 0; i < width; i++) row[i] = (double)x[r * width + i];
    for (size_t k = 0; k < g->n_node; k++) {
      assert_string_equal(g->node[k]->input[0], value);
      value = g->node[k]->output[0];
      compute(g, g->node[k], row, &width);
    }
    assert_string_equal(value, "y");
    assert_int_equal(width, spec.outputs);
    for (size_t j = 0; j < width; j++) assert_true(fabs(row[j] - (double)expected[r * width + j]) < 1e-5);
  }
}

static void predict(agd_model *m, const agd_real *raw, bool standardized, agd_real *y) {
  agd_real x[ROWS * 3];
  agd_network *network;
  const agd_lanes one = agd_lanes_of_ranks(1);
  memcpy(x, raw, sizeof x);
  if (standardized) agd_standardize(x, ROWS, 3, mean, sd);
  assert_int_equal(agd_network_create(m, &one, 0, 1, NULL, &network, NULL), AGD_OK);
  agd_network_predict(network, x, ROWS, y);
  agd_network_destroy(&network);
}

/* Standardised or not, folded or not: the graph computes what our network predicts. */
static void test_onnx(void **state) {
  char path[TEMPORARY_SIZE];
  agd_model *m = make_model(&spec);
  agd_real x[ROWS * 3], y[ROWS * 2];
  temporary_path(path, *state, "model.onnx");
  for (size_t i = 0; i < ROWS * 3; i++) x[i] = (agd_real)(10 * uniform(5000 + i));
  for (int way = 0; way < 4; way++) {
    const bool standardized = way % 2, fold = way / 2;
    const agd_exported what = {.model = m,
                               .x_mean = standardized ? mean : NULL,
                               .x_sd = standardized ? sd : NULL,
                               .x_names = &x_names,
                               .y_names = &y_names};
    size_t size;
    predict(m, x, standardized, y);
    assert_int_equal(agd_onnx_write(path, &what, fold, NULL), AGD_OK);
    void *bytes = read_whole(path, &size);
    Onnx__ModelProto *model = onnx__model_proto__unpack(NULL, size, bytes);
    assert_non_null(model);
    assert_int_equal(model->opset_import[0]->version, 15);
    assert_int_equal(model->graph->n_node, (standardized ? 2 : 0) + 3 + 2 + (fold ? 0 : 2));
    assert_string_equal(model->metadata_props[0]->value, "[\"a\", \"b, c\", \"\xc3\xbc\"]");
    assert_string_equal(model->metadata_props[1]->value, "[\"y0\", \"y1\"]");
    assert_string_equal(model->graph->input[0]->name, "x");
    assert_int_equal(model->graph->input[0]->type->tensor_type->shape->dim[1]->dim_value, 3);
    expect_graph(model->graph, x, y);
    onnx__model_proto__free_unpacked(model, NULL);
    agd_release(&bytes);
  }
  agd_model_destroy(&m);
}

static char *read_entry(zip_t *archive, const char *name, size_t *size) {
  zip_stat_t info;
  assert_int_equal(zip_stat(archive, name, 0, &info), 0);
  char *bytes = calloc(1, (size_t)info.size + 1);
  zip_file_t *file = zip_fopen(archive, name, 0);
  assert_non_null(file);
  assert_int_equal(zip_fread(file, bytes, info.size), info.size);
  zip_fclose(file);
  *size = (size_t)info.size;
  return bytes;
}

static const char *class_at(const json_t *config, size_t index) {
  const json_t *layers = json_object_get(json_object_get(config, "config"), "layers");
  return json_string_value(json_object_get(json_array_get(layers, index), "class_name"));
}

static double member(const json_t *config, size_t layer, const char *key) {
  const json_t *layers = json_object_get(json_object_get(config, "config"), "layers");
  return json_number_value(json_object_get(json_object_get(json_array_get(layers, layer), "config"), key));
}

static void test_keras(void **state) {
  static const char *const classes[] = {"InputLayer", "Normalization", "BatchNormalization",
                                        "Dense",      "Dropout",       "BatchNormalization",
                                        "Dense",      "Dropout",       "Dense"};
  char path[TEMPORARY_SIZE];
  agd_model *m = make_model(&spec);
  agd_optimizer *optimizer;
  const agd_optimizer_spec adam = {
      .name = AGD_ADAM, .learning_rate = 0.01, .beta_1 = 0.8, .beta_2 = 0.9, .epsilon = 1e-7};
  assert_int_equal(agd_optimizer_create(&adam, m->weight_count, &optimizer, NULL), AGD_OK);
  optimizer->iteration = 12;
  const agd_exported what = {.model = m,
                             .x_mean = mean,
                             .x_sd = sd,
                             .x_names = &x_names,
                             .y_names = &y_names,
                             .dropout = 0.25,
                             .optimizer = optimizer,
                             .clip_norm = 2};
  assert_int_equal(agd_keras_write(temporary_path(path, *state, "model.keras"), &what, NULL), AGD_OK);
  zip_t *archive = zip_open(path, ZIP_RDONLY | ZIP_CHECKCONS, NULL);
  assert_non_null(archive);
  assert_int_equal(zip_get_num_entries(archive, 0), 3);
  size_t size, expected_size;
  char *text = read_entry(archive, "config.json", &size);
  json_t *config = json_loads(text, 0, NULL);
  assert_non_null(config);
  for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) assert_string_equal(class_at(config, i), classes[i]);
  assert_null(class_at(config, sizeof classes / sizeof *classes));
  assert_true(member(config, 2, "epsilon") == 0.01 && member(config, 2, "momentum") == 0.9);
  assert_true(member(config, 4, "rate") == 0.25 && member(config, 6, "units") == 4);
  const json_t *compiled =
      json_object_get(json_object_get(json_object_get(config, "compile_config"), "optimizer"), "config");
  assert_true(json_number_value(json_object_get(compiled, "learning_rate")) == 0.01);
  assert_true(json_number_value(json_object_get(compiled, "global_clipnorm")) == 2);
  json_decref(config);
  free(text);
  char *weights = read_entry(archive, "model.weights.h5", &size);
  void *expected;
  assert_int_equal(agd_weights_image(m, optimizer, NULL, &expected, &expected_size, NULL), AGD_OK);
  assert_int_equal(size, expected_size);
  assert_memory_equal(weights, expected, size);
  agd_release(&expected);
  free(weights);
  zip_close(archive);
  agd_optimizer_destroy(&optimizer);
  agd_model_destroy(&m);
}

/* What Keras would compute otherwise than we do is not exported, and nothing half-written stays. */
static void test_refused(void **state) {
  char path[TEMPORARY_SIZE];
  agd_model *m = make_model(&spec);
  const double small[] = {1, 1e-8, 1}, large[] = {1, 1, 1e20};
  const double *const wrong[] = {small, large};
  temporary_path(path, *state, "model.keras");
  for (int i = 0; i < 2; i++) {
    const agd_exported what = {.model = m, .x_mean = mean, .x_sd = wrong[i], .x_names = &x_names, .y_names = &y_names};
    agd_status st = {0};
    assert_int_equal(agd_keras_write(path, &what, &st), AGD_EDATA);
    assert_non_null(strstr(st.message, i == 0 ? "column 1" : "column 2"));
    assert_int_equal(access(path, F_OK), -1);
  }
  char latin[] = "\xfc";
  char *names[] = {a, latin, c};
  const agd_names no_utf8 = {.count = 3, .name = names};
  const agd_exported what = {.model = m, .x_names = &no_utf8, .y_names = &y_names};
  agd_status st = {0};
  assert_int_equal(agd_onnx_write(path, &what, false, &st), AGD_EDATA);
  assert_non_null(strstr(st.message, "UTF-8"));
  assert_int_equal(access(path, F_OK), -1);
  assert_int_equal(agd_onnx_write("/nowhere/model.onnx",
                                  &(agd_exported){.model = m, .x_names = &x_names, .y_names = &y_names}, false, &st),
                   AGD_EDATA);
  agd_model_destroy(&m);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_onnx, temporary_setup, temporary_teardown),
      cmocka_unit_test_setup_teardown(test_keras, temporary_setup, temporary_teardown),
      cmocka_unit_test_setup_teardown(test_refused, temporary_setup, temporary_teardown)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
