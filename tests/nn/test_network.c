#include <math.h>
#include <string.h>

#include "allegrad/fold.h"
#include "allegrad/network.h"
#include "allegrad/rng.h"
#include "cmocka_all.h"

enum { INPUTS = 5, OUTPUTS = 2, ROWS = 23 };
static const agd_exchange ALONE = {.groups = 1};

static double random_value(uint64_t stream, uint64_t i) { return 2 * agd_random_uniform(99, stream, i) - 1; }

typedef struct fixture {
  agd_model *model;
  agd_network *network;
  agd_real x[ROWS * INPUTS], y[ROWS * OUTPUTS];
} fixture;

/* A model with every tensor away from its trivial value, and rows with features of different scale and offset. */
static void set_up(fixture *f, agd_model_spec spec) {
  agd_status st = {0};
  const agd_lanes lanes = agd_lanes_of_ranks(1);
  spec.inputs = INPUTS;
  spec.outputs = OUTPUTS;
  spec.momentum = 0.9;
  spec.epsilon = 1e-3;
  assert_int_equal(agd_model_create(&spec, &f->model, &st), AGD_OK);
  agd_model_initialize(f->model, AGD_GLOROT_UNIFORM, 3);
  for (size_t l = 0; l < f->model->layer_count; l++) {
    const agd_layer *layer = &f->model->layers[l];
    for (size_t i = 0; i < layer->out; i++)
      f->model->weights[layer->bias + i] = (agd_real)(0.3 * random_value(10 + l, i));
    for (size_t i = 0; layer->batch_norm && i < layer->in; i++) {
      f->model->weights[layer->gamma + i] = (agd_real)(1 + 0.5 * random_value(20 + l, i));
      f->model->weights[layer->beta + i] = (agd_real)(0.5 * random_value(30 + l, i));
    }
  }
  for (size_t i = 0; i < ROWS * INPUTS; i++)
    f->x[i] = (agd_real)((double)(i % INPUTS + 1) * random_value(1, i) + (double)(i % INPUTS));
  for (size_t i = 0; i < ROWS * OUTPUTS; i++) f->y[i] = (agd_real)random_value(2, i);
  assert_int_equal(agd_network_create(f->model, &lanes, 0, ROWS, NULL, &f->network, &st), AGD_OK);
}

static void tear_down(fixture *f) {
  agd_network_destroy(&f->network);
  agd_model_destroy(&f->model);
  assert_null(f->network);
}

/* A pass over the first `rows` rows as the whole batch; returns the summed loss. */
static double train(fixture *f, size_t rows, const agd_exchange *exchange) {
  const agd_batch batch = {.x = f->x, .y = f->y, .global_rows = rows, .step_rows = rows};
  double loss = 0;
  agd_network_prepare(f->network, &batch, exchange);
  agd_network_train(f->network, exchange, &loss);
  return loss;
}

static double mean_loss(fixture *f) { return train(f, ROWS, &ALONE) / ROWS; }

/* Every derivative against a signed central difference: |computed - measured| must be small beside the larger of the
 * two and beside the typical gradient. */
static void check_gradients(agd_model_spec spec) {
  fixture f;
  set_up(&f, spec);
  const size_t n = f.model->weight_count;
  mean_loss(&f);
  double *computed = test_calloc(n, sizeof *computed), scale = 0;
  for (size_t i = 0; i < n; i++) {
    computed[i] = (double)agd_network_gradients(f.network)[i];
    scale = fmax(scale, fabs(computed[i]));
  }
  assert_true(scale > 1e-3);
  const double h = 1e-6;
  for (size_t i = 0; i < n; i++) {
    const agd_real w = f.model->weights[i];
    f.model->weights[i] = (agd_real)((double)w + h);
    const double above = mean_loss(&f);
    f.model->weights[i] = (agd_real)((double)w - h);
    const double below = mean_loss(&f);
    f.model->weights[i] = w;
    const double measured = (above - below) / (2 * h);
    if (fabs(computed[i] - measured) > 1e-6 * fmax(fabs(measured), 1e-2 * scale) + 2e-9)
      fail_msg("weight %zu: computed %.12g, measured %.12g", i, computed[i], measured);
  }
  test_free(computed);
  tear_down(&f);
}

static void test_gradients_of_every_activation(void **state) {
  (void)state;
  for (int batch_norm = 0; batch_norm < 2; batch_norm++)
    for (int a = AGD_LINEAR; a <= AGD_SIGMOID; a++)
      check_gradients((agd_model_spec){
          .hidden_count = 3, .hidden = {7, 4, 19}, .activation = (agd_activation)a, .batch_norm = batch_norm > 0});
}

/* The mask is the same in every pass, so that the loss is a function of the weights. */
static void test_gradients_behind_dropout(void **state) {
  (void)state;
  for (int batch_norm = 0; batch_norm < 2; batch_norm++)
    for (int a = AGD_LINEAR; a <= AGD_SIGMOID; a++)
      check_gradients((agd_model_spec){.hidden_count = 3,
                                       .hidden = {7, 4, 19},
                                       .activation = (agd_activation)a,
                                       .batch_norm = batch_norm > 0,
                                       .dropout = 0.3});
}

static void test_gradients_of_shallow_models(void **state) {
  (void)state;
  check_gradients((agd_model_spec){.hidden_count = 0});
  check_gradients((agd_model_spec){.hidden_count = 1, .hidden = {33}, .activation = AGD_TANH, .batch_norm = true});
  check_gradients((agd_model_spec){.hidden_count = 1, .hidden = {1}, .activation = AGD_TANH, .batch_norm = true});
}

/* One row in all: x_hat = 0, so z = beta and the loss is finite. */
static void test_batch_of_one_row(void **state) {
  (void)state;
  fixture f;
  set_up(&f, (agd_model_spec){.hidden_count = 2, .hidden = {6, 3}, .activation = AGD_RELU, .batch_norm = true});
  const double loss = train(&f, 1, &ALONE);
  assert_true(isfinite(loss));
  for (size_t i = 0; i < f.model->weight_count; i++) assert_true(isfinite(agd_network_gradients(f.network)[i]));
  for (size_t i = 0; i < INPUTS; i++) /* the biased variance of one row is 0 */
    assert_true(fabs((double)f.model->averages[f.model->layers[0].variance + i] - 0.9) < 1e-6);
  tear_down(&f);
}

/* Ranks played one after another. The first pass records what every rank's lanes say of each layer; the later ones
 * answer with the sum over all ranks, as an exchange does, until the answers settle: a layer's sums depend on those
 * below it, so as many passes as there are sums. Then the gradients of all runs must add up to those of the whole
 * batch. */
enum { SUMS = 16, LANES = 8, PART = 64 };

typedef struct stage {
  double said[SUMS][LANES][PART]; /* what each lane said last */
  size_t first_lane, lanes, all_lanes, next;
} stage;

static void answer(stage *s, double *values, size_t n, int is_moments) {
  double all[LANES][PART];
  for (size_t i = 0; i < s->lanes; i++) memcpy(s->said[s->next][s->first_lane + i], values + i * n, n * sizeof *values);
  memcpy(all, s->said[s->next++], sizeof all);
  if (is_moments)
    agd_fold_moments(s->all_lanes, (n - 1) / 2, PART, all[0]);
  else
    agd_fold_doubles(s->all_lanes, n, PART, all[0]);
  memcpy(values, all[0], n * sizeof *values);
}

static void stage_moments(void *context, double *parts, size_t C) { answer(context, parts, 1 + 2 * C, 1); }
static void stage_input_start(void *context, double *parts, size_t C) { (void)context, (void)parts, (void)C; }
static void stage_sum_start(void *context, double *values, size_t n) { answer(context, values, n, 0); }
static void stage_sum_finish(void *context) { (void)context; }

/* The gradients of `ranks` ranks with these lanes, summed over runs and ranks, the losses likewise. */
static double gradients_of_ranks(fixture *f, const agd_lanes *lanes, double *gradients) {
  agd_status st = {0};
  const size_t n = f->model->weight_count;
  stage *s = test_calloc(1, sizeof *s);
  s->all_lanes = lanes->count;
  const agd_exchange exchange = {.context = s,
                                 .groups = 1,
                                 .moments = stage_moments,
                                 .input_start = stage_input_start,
                                 .input_finish = stage_moments,
                                 .sum_start = stage_sum_start,
                                 .sum_finish = stage_sum_finish};
  double loss = 0;
  for (int pass = 0; pass <= SUMS; pass++) {
    loss = 0;
    memset(gradients, 0, n * sizeof *gradients);
    for (uint64_t rank = 0; rank < lanes->ranks; rank++) {
      const agd_range rows = agd_rank_rows(lanes, ROWS, ROWS, rank), own = agd_lanes_of_rank(lanes, rank);
      const agd_batch batch = {
          .x = f->x + rows.first * INPUTS, .y = f->y + rows.first * OUTPUTS, .global_rows = ROWS, .step_rows = ROWS};
      agd_network *network = NULL;
      double losses[LANES];
      assert_int_equal(agd_network_create(f->model, lanes, rank, ROWS, NULL, &network, &st), AGD_OK);
      s->first_lane = own.first, s->lanes = own.count, s->next = 0;
      agd_network_prepare(network, &batch, &exchange);
      agd_network_train(network, &exchange, losses);
      for (uint64_t i = 0; i < own.count; i++) loss += losses[i];
      for (uint64_t run = 0; run < agd_lanes_runs(lanes, rank); run++)
        for (size_t i = 0; i < (run == 0 ? n : f->model->exchange_count); i++) {
          const double g = (double)agd_network_gradients(network)[run * n + i];
          gradients[i] = i < f->model->exchange_count ? gradients[i] + g : g;
        }
      agd_network_destroy(&network);
    }
  }
  test_free(s);
  return loss;
}

static void check_lanes(double dropout) {
  fixture f;
  set_up(&f,
         (agd_model_spec){
             .hidden_count = 3, .hidden = {9, 17, 4}, .activation = AGD_TANH, .batch_norm = true, .dropout = dropout});
  const size_t n = f.model->weight_count;
  double *whole = test_calloc(n, sizeof *whole), *parts = test_calloc(n, sizeof *parts);
  const double loss = train(&f, ROWS, &ALONE);
  for (size_t i = 0; i < n; i++) whole[i] = (double)agd_network_gradients(f.network)[i];
  const agd_lanes cuts[] = {agd_lanes_of_ranks(2), agd_lanes_of_ranks(3), agd_lanes_fixed(4, 1), agd_lanes_fixed(4, 3),
                            agd_lanes_fixed(8, 2), agd_lanes_fixed(8, 3), agd_lanes_fixed(8, 7)};
  for (size_t c = 0; c < sizeof cuts / sizeof *cuts; c++) {
    const double part_loss = gradients_of_ranks(&f, &cuts[c], parts);
    assert_true(fabs(part_loss - loss) < 1e-12 * loss);
    for (size_t i = 0; i < n; i++) assert_true(fabs(parts[i] - whole[i]) < 1e-12);
  }
  test_free(whole);
  test_free(parts);
  tear_down(&f);
}

static void test_lanes_of_a_batch_add_up(void **state) {
  (void)state;
  check_lanes(0);
  check_lanes(0.4); /* the mask goes by the row's place in the global batch */
}

/* Dropout is for training only, and every batch draws another mask. */
static void test_dropout_is_drawn_by_batch(void **state) {
  (void)state;
  fixture f;
  set_up(&f, (agd_model_spec){.hidden_count = 1, .hidden = {40}, .activation = AGD_TANH, .dropout = 0.5});
  agd_real plain[ROWS * OUTPUTS], dropped[ROWS * OUTPUTS];
  double loss[3];
  agd_network_predict(f.network, f.x, ROWS, plain);
  for (uint64_t noise = 0; noise < 3; noise++) {
    agd_network_prepare(f.network,
                        &(agd_batch){.x = f.x, .y = f.y, .noise = noise % 2, .global_rows = ROWS, .step_rows = ROWS},
                        &ALONE);
    agd_network_train(f.network, &ALONE, &loss[noise]);
  }
  assert_true(loss[0] != loss[1] && loss[0] == loss[2]);
  agd_network_predict(f.network, f.x, ROWS, dropped);
  assert_memory_equal(plain, dropped, sizeof plain);
  tear_down(&f);
}

/* The slices of gradient_ready cover the gradient array exactly once. */
typedef struct coverage {
  unsigned char *seen;
  size_t count;
} coverage;

static void cover(void *context, size_t offset, size_t count) {
  coverage *c = context;
  for (size_t i = offset; i < offset + count; i++) {
    assert_true(i < c->count);
    assert_int_equal(c->seen[i]++, 0);
  }
}

static void check_coverage(agd_model_spec spec) {
  fixture f;
  set_up(&f, spec);
  coverage c = {test_calloc(f.model->weight_count, 1), f.model->weight_count};
  const agd_exchange exchange = {.groups = 1, .gradient_ready = cover, .gradient_context = &c};
  train(&f, ROWS, &exchange);
  for (size_t i = 0; i < c.count; i++) assert_int_equal(c.seen[i], 1);
  test_free(c.seen);
  tear_down(&f);
}

static void test_ready_slices_cover_the_gradients_once(void **state) {
  (void)state;
  check_coverage((agd_model_spec){.hidden_count = 3, .hidden = {9, 17, 4}, .activation = AGD_RELU, .batch_norm = true});
  check_coverage((agd_model_spec){.hidden_count = 3, .hidden = {9, 17, 4}, .activation = AGD_RELU});
  check_coverage((agd_model_spec){.hidden_count = 1, .hidden = {9}, .activation = AGD_RELU, .batch_norm = true});
  check_coverage((agd_model_spec){.hidden_count = 0});
}

/* Running averages after one pass, and both choices of the running variance. */
static void test_running_averages(void **state) {
  (void)state;
  for (int unbiased = 0; unbiased < 2; unbiased++) {
    fixture f;
    set_up(&f, (agd_model_spec){.hidden_count = 1,
                                .hidden = {6},
                                .activation = AGD_RELU,
                                .batch_norm = true,
                                .unbiased_variance = unbiased > 0});
    mean_loss(&f);
    for (size_t c = 0; c < INPUTS; c++) {
      double mean = 0, m2 = 0;
      for (size_t j = 0; j < ROWS; j++) mean += (double)f.x[j * INPUTS + c] / ROWS;
      for (size_t j = 0; j < ROWS; j++) m2 += pow((double)f.x[j * INPUTS + c] - mean, 2);
      const double variance = m2 / (unbiased ? ROWS - 1 : ROWS);
      assert_true(fabs((double)f.model->averages[f.model->layers[0].mean + c] - 0.1 * mean) < 1e-12);
      assert_true(fabs((double)f.model->averages[f.model->layers[0].variance + c] - 0.9 - 0.1 * variance) < 1e-12);
    }
    tear_down(&f);
  }
}

/* With the statistics of a row set for averages, inference on its rows is a training pass that takes them as one batch;
 * dropout plays no part. */
static void test_moments_of_a_population(void **state) {
  (void)state;
  enum { WIDEST = 17 };
  fixture f;
  set_up(&f, (agd_model_spec){.hidden_count = 3, .hidden = {9, WIDEST, 4}, .activation = AGD_TANH, .batch_norm = true});
  const double expected = train(&f, ROWS, &ALONE);
  f.model->spec.dropout = 0.5;
  for (size_t l = 0; l < 3; l++) {
    double parts[1 + 2 * WIDEST] = {0};
    for (size_t first = 0; first < ROWS; first += 10) {
      const size_t rows = first + 10 < ROWS ? 10 : ROWS - first;
      const agd_batch batch = {
          .x = f.x + first * INPUTS, .y = f.y + first * OUTPUTS, .global_rows = rows, .step_rows = rows};
      agd_network_add_moments(f.network, &batch, l, parts);
    }
    assert_true(parts[0] == ROWS);
    agd_model_set_averages(f.model, l, parts);
  }
  double evaluated = 0;
  agd_network_evaluate(f.network, f.x, f.y, ROWS, &evaluated);
  assert_true(fabs(evaluated - expected) < 1e-12 * expected);
  tear_down(&f);
}

/* Prediction agrees with a plain evaluation of the equations, for row counts around the size of a piece, and the
 * evaluated loss with the predictions. */
static void test_predict_and_evaluate(void **state) {
  (void)state;
  enum { MANY = 600, HIDDEN = 4 };
  fixture f;
  set_up(&f, (agd_model_spec){.hidden_count = 1, .hidden = {HIDDEN}, .activation = AGD_SIGMOID, .batch_norm = true});
  mean_loss(&f);
  const agd_layer *h = &f.model->layers[0], *o = &f.model->layers[1];
  const agd_real *w = f.model->weights, *a = f.model->averages;
  agd_real *x = test_calloc(MANY * INPUTS, sizeof *x), *y = test_calloc(MANY * OUTPUTS, sizeof *y),
           *target = test_calloc(MANY * OUTPUTS, sizeof *target);
  for (size_t i = 0; i < MANY * INPUTS; i++) x[i] = (agd_real)random_value(5, i);
  for (size_t i = 0; i < MANY * OUTPUTS; i++) target[i] = (agd_real)random_value(6, i);
  const size_t sizes[] = {0, 1, 255, 256, 257, MANY};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
    agd_network_predict(f.network, x, sizes[s], y);
    double loss = 0;
    for (size_t j = 0; j < sizes[s]; j++) {
      double activated[HIDDEN];
      for (size_t u = 0; u < HIDDEN; u++) {
        double sum = (double)w[h->bias + u];
        for (size_t c = 0; c < INPUTS; c++) {
          const double x_hat =
              ((double)x[j * INPUTS + c] - (double)a[h->mean + c]) / sqrt((double)a[h->variance + c] + 1e-3);
          sum += ((double)w[h->gamma + c] * x_hat + (double)w[h->beta + c]) * (double)w[h->kernel + c * HIDDEN + u];
        }
        activated[u] = 1 / (1 + exp(-sum));
      }
      for (size_t t = 0; t < OUTPUTS; t++) {
        double sum = (double)w[o->bias + t];
        for (size_t u = 0; u < HIDDEN; u++) sum += activated[u] * (double)w[o->kernel + u * OUTPUTS + t];
        assert_true(fabs((double)y[j * OUTPUTS + t] - sum) < 1e-12);
        loss += pow(sum - (double)target[j * OUTPUTS + t], 2) / OUTPUTS;
      }
    }
    double losses[MANY / AGD_PIECE + 1], evaluated = 0;
    agd_network_evaluate(f.network, x, target, sizes[s], losses);
    for (size_t p = 0; p * AGD_PIECE < sizes[s]; p++) evaluated += losses[p];
    assert_true(fabs(evaluated - loss) <= 1e-11 * (1 + loss));
  }
  test_free(x);
  test_free(y);
  test_free(target);
  tear_down(&f);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_gradients_of_every_activation),
                                     cmocka_unit_test(test_gradients_behind_dropout),
                                     cmocka_unit_test(test_gradients_of_shallow_models),
                                     cmocka_unit_test(test_batch_of_one_row),
                                     cmocka_unit_test(test_lanes_of_a_batch_add_up),
                                     cmocka_unit_test(test_dropout_is_drawn_by_batch),
                                     cmocka_unit_test(test_ready_slices_cover_the_gradients_once),
                                     cmocka_unit_test(test_running_averages),
                                     cmocka_unit_test(test_moments_of_a_population),
                                     cmocka_unit_test(test_predict_and_evaluate)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
