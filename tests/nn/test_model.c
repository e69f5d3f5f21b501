#include <math.h>

#include "allegrad/model.h"
#include "cmocka_all.h"

static agd_model_spec reference_spec(bool batch_norm) {
  return (agd_model_spec){.inputs = 8,
                          .outputs = 1,
                          .hidden_count = 6,
                          .hidden = {300, 256, 128, 100, 500, 100},
                          .activation = AGD_RELU,
                          .batch_norm = batch_norm,
                          .momentum = 0.99,
                          .epsilon = 1e-3};
}

static void test_parameter_counts_of_the_reference_models(void **state) {
  (void)state;
  const agd_model_spec with = reference_spec(true), without = reference_spec(false);
  assert_int_equal(agd_model_parameter_count(&with), 231421);
  assert_int_equal(agd_model_trainable_count(&with), 228837);
  assert_int_equal(agd_model_parameter_count(&without), 226253);
  assert_int_equal(agd_model_trainable_count(&without), 226253);
}

/* Marks a tensor's elements; no two tensors may share one. */
static void mark(unsigned char *seen, size_t offset, size_t count, size_t total) {
  for (size_t i = offset; i < offset + count; i++) {
    assert_true(i < total);
    assert_int_equal(seen[i]++, 0);
  }
}

static void test_tensors_do_not_overlap_and_lie_in_backward_order(void **state) {
  (void)state;
  const agd_model_spec spec = reference_spec(true);
  agd_status st = {0};
  agd_model *model = NULL;
  assert_int_equal(agd_model_create(&spec, &model, &st), AGD_OK);
  unsigned char *weights = test_calloc(model->weight_count, 1), *averages = test_calloc(model->average_count, 1);
  size_t trainable = 0;
  for (size_t l = 0; l < model->layer_count; l++) {
    const agd_layer *layer = &model->layers[l];
    mark(weights, layer->kernel, layer->in * layer->out, model->weight_count);
    mark(weights, layer->bias, layer->out, model->weight_count);
    if (l > 0) assert_true(layer->kernel < model->layers[l - 1].kernel);
    assert_true(layer->bias + layer->out <= model->exchange_count);
    if (!layer->batch_norm) continue;
    mark(weights, layer->gamma, layer->in, model->weight_count);
    mark(weights, layer->beta, layer->in, model->weight_count);
    mark(averages, layer->mean, layer->in, model->average_count);
    mark(averages, layer->variance, layer->in, model->average_count);
    assert_true((layer->gamma < model->exchange_count) == (l == 0));
    assert_true((layer->beta < model->exchange_count) == (l == 0));
  }
  for (size_t i = 0; i < model->weight_count; i++) trainable += weights[i];
  assert_int_equal(trainable, agd_model_trainable_count(&spec));
  test_free(weights);
  test_free(averages);
  agd_model_destroy(&model);
  assert_null(model);
}

static void test_fresh_weights(void **state) {
  (void)state;
  const agd_model_spec spec = reference_spec(true);
  agd_status st = {0};
  agd_model *model = NULL, *again = NULL, *other = NULL;
  assert_int_equal(agd_model_create(&spec, &model, &st), AGD_OK);
  assert_int_equal(agd_model_create(&spec, &again, &st), AGD_OK);
  assert_int_equal(agd_model_create(&spec, &other, &st), AGD_OK);
  agd_model_initialize(model, AGD_GLOROT_UNIFORM, 1);
  agd_model_initialize(again, AGD_GLOROT_UNIFORM, 1);
  agd_model_initialize(other, AGD_GLOROT_UNIFORM, 2);
  assert_memory_equal(model->weights, again->weights, model->weight_count * sizeof *model->weights);
  for (size_t l = 0; l < model->layer_count; l++) {
    const agd_layer *layer = &model->layers[l];
    const size_t n = layer->in * layer->out;
    const double limit = sqrt(6.0 / (double)(layer->in + layer->out));
    double sum = 0, square = 0;
    size_t equal = 0;
    for (size_t i = 0; i < n; i++) {
      const double w = (double)model->weights[layer->kernel + i];
      assert_true(fabs(w) <= limit);
      sum += w, square += w * w;
      equal += model->weights[layer->kernel + i] == other->weights[layer->kernel + i];
    }
    const double sd = limit / sqrt(3), n_real = (double)n;
    assert_true(equal < 3 + n / 1000);
    assert_true(fabs(sum / n_real) < 4 * sd / sqrt(n_real));
    assert_true(fabs(square / n_real / (sd * sd) - 1) < 4 / sqrt(n_real));
    for (size_t i = 0; i < layer->out; i++) assert_true(model->weights[layer->bias + i] == 0);
    for (size_t i = 0; layer->batch_norm && i < layer->in; i++) {
      assert_true(model->weights[layer->gamma + i] == 1 && model->weights[layer->beta + i] == 0);
      assert_true(model->averages[layer->mean + i] == 0 && model->averages[layer->variance + i] == 1);
    }
  }
  agd_model_destroy(&model);
  agd_model_destroy(&again);
  agd_model_destroy(&other);
}

static void test_activation_names(void **state) {
  (void)state;
  agd_activation activation = AGD_LINEAR;
  for (int a = AGD_LINEAR; a <= AGD_SIGMOID; a++) {
    assert_true(agd_activation_parse(agd_activation_name((agd_activation)a), &activation));
    assert_int_equal(activation, a);
  }
  assert_false(agd_activation_parse("gelu", &activation));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_parameter_counts_of_the_reference_models),
                                     cmocka_unit_test(test_tensors_do_not_overlap_and_lie_in_backward_order),
                                     cmocka_unit_test(test_fresh_weights), cmocka_unit_test(test_activation_names)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
