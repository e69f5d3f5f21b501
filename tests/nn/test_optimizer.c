#include <math.h>
#include <string.h>

#include "allegrad/optimizer.h"
#include "cmocka_all.h"

enum { N = 37, STEPS = 5 };

static double gradient_of(int step, int i) { return 0.1 * (step + 1) - 0.03 * i + 0.5 * sin(step * 7 + i); }

/* Keras' formulas, one element at a time in double. */
static void reference(const agd_optimizer_spec *s, double w[N]) {
  double a[N] = {0}, b[N] = {0};
  for (int step = 0; step < STEPS; step++)
    for (int i = 0; i < N; i++) {
      const double g = gradient_of(step, i), t = step + 1, rate = s->learning_rate * (1 - 0.1 * step);
      w[i] -= w[i] * s->weight_decay * rate;
      if (s->name == AGD_ADAM) {
        const double alpha = rate * sqrt(1 - pow(s->beta_2, t)) / (1 - pow(s->beta_1, t));
        a[i] += (g - a[i]) * (1 - s->beta_1);
        b[i] += (g * g - b[i]) * (1 - s->beta_2);
        w[i] -= a[i] * alpha / (sqrt(b[i]) + s->epsilon);
      } else if (s->momentum != 0) {
        a[i] = a[i] * s->momentum - g * rate;
        w[i] += s->nesterov ? s->momentum * a[i] - g * rate : a[i];
      } else {
        w[i] -= rate * g;
      }
    }
}

/* `slices` pieces a step, in an order of their own: the result must not depend on it. */
static void run(const agd_optimizer_spec *spec, size_t slices, agd_real w[N]) {
  agd_status st = {0};
  agd_optimizer *o = NULL;
  assert_int_equal(agd_optimizer_create(spec, N, &o, &st), AGD_OK);
  for (int step = 0; step < STEPS; step++) {
    agd_real g[N];
    for (int i = 0; i < N; i++) g[i] = (agd_real)gradient_of(step, i);
    agd_optimizer_begin(o, spec->learning_rate * (1 - 0.1 * step)); /* as a schedule has it */
    for (size_t s = slices; s-- > 0;) {
      const size_t first = N * s / slices, end = N * (s + 1) / slices;
      agd_optimizer_update(o, w, g, first, end - first);
    }
  }
  assert_int_equal(o->iteration, STEPS);
  agd_optimizer_destroy(&o);
  assert_null(o);
}

static void check(agd_optimizer_spec spec, size_t slots) {
  double expected[N];
  agd_real whole[N], sliced[N];
  for (int i = 0; i < N; i++) expected[i] = whole[i] = sliced[i] = (agd_real)(1 + 0.1 * i);
  assert_int_equal(agd_optimizer_slot_count(&spec), slots);
  reference(&spec, expected);
  run(&spec, 1, whole);
  run(&spec, 5, sliced);
  const double tolerance = sizeof(agd_real) == sizeof(double) ? 1e-14 : 1e-6;
  for (int i = 0; i < N; i++) {
    assert_true(fabs((double)whole[i] - expected[i]) <= tolerance * fabs(expected[i]));
    assert_true(fabs((double)sliced[i] - expected[i]) <= tolerance * fabs(expected[i]));
  }
}

static void test_sgd(void **state) {
  (void)state;
  check((agd_optimizer_spec){.name = AGD_SGD, .learning_rate = 0.01}, 0);
}

static void test_momentum(void **state) {
  (void)state;
  check((agd_optimizer_spec){.name = AGD_SGD, .learning_rate = 0.01, .momentum = 0.9}, 1);
}

static void test_nesterov(void **state) {
  (void)state;
  check((agd_optimizer_spec){.name = AGD_SGD, .learning_rate = 0.01, .momentum = 0.9, .nesterov = true}, 1);
}

static void test_adam(void **state) {
  (void)state;
  check((agd_optimizer_spec){.name = AGD_ADAM, .learning_rate = 0.001, .beta_1 = 0.9, .beta_2 = 0.999, .epsilon = 1e-7},
        2);
}

/* 1 - beta_2 must be taken in double: in float it would be 0.1 % off here. */
static void test_adam_with_long_memory(void **state) {
  (void)state;
  check(
      (agd_optimizer_spec){.name = AGD_ADAM, .learning_rate = 0.01, .beta_1 = 0.9, .beta_2 = 0.99999, .epsilon = 1e-7},
      2);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_sgd), cmocka_unit_test(test_momentum),
                                     cmocka_unit_test(test_nesterov), cmocka_unit_test(test_adam),
                                     cmocka_unit_test(test_adam_with_long_memory)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
