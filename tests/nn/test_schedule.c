#include <math.h>

#include "allegrad/schedule.h"
#include "cmocka_all.h"

enum { STEPS_PER_EPOCH = 10, EPOCHS = 8, ALL = STEPS_PER_EPOCH * EPOCHS, ROWS = 256 };
static const double RATE = 0.1;

static double rate(const agd_schedule_spec *spec, uint64_t step) {
  return agd_schedule_rate(spec, RATE, ROWS, STEPS_PER_EPOCH, ALL, step);
}

static void assert_near(double a, double b) {
  if (!(fabs(a - b) <= 1e-15)) fail_msg("%.17g is not %.17g", a, b);
}

static void test_constant_is_the_rate_itself(void **state) {
  (void)state;
  const agd_schedule_spec spec = {.name = AGD_SCHEDULE_CONSTANT, .step_epochs = 10, .step_factor = 0.1};
  for (uint64_t s = 0; s < ALL; s++) assert_true(rate(&spec, s) == RATE);
}

/* In equal parts: neither 0 nor full on the way, full at the first step behind it. */
static void test_warmup(void **state) {
  (void)state;
  const agd_schedule_spec spec = {.warmup_epochs = 0.9}, longest = {.warmup_epochs = 1e9};
  for (uint64_t s = 0; s <= 9; s++) assert_near(rate(&spec, s), RATE * (double)(s + 1) / 10);
  assert_true(rate(&spec, 9) == RATE && rate(&spec, ALL - 1) == RATE);
  assert_true(rate(&longest, ALL - 1) > 0 && rate(&longest, ALL - 1) < 1e-6);
}

/* Twice base_batch: twice the rate, reached from the one that is written. */
static void test_linear_scaling(void **state) {
  (void)state;
  const agd_schedule_spec at_once = {.base_batch = ROWS / 2}, slowly = {.base_batch = ROWS / 2, .warmup_epochs = 1};
  assert_near(rate(&at_once, 0), 2 * RATE);
  for (uint64_t s = 0; s < 10; s++) assert_near(rate(&slowly, s), RATE * (1 + (double)(s + 1) / 11));
  assert_near(rate(&slowly, 10), 2 * RATE);
}

static void test_step(void **state) {
  (void)state;
  const agd_schedule_spec spec = {.name = AGD_SCHEDULE_STEP, .step_epochs = 3, .step_factor = 0.5};
  assert_true(rate(&spec, 0) == RATE && rate(&spec, 29) == RATE);
  assert_near(rate(&spec, 30), RATE / 2);
  assert_near(rate(&spec, 59), RATE / 2);
  assert_near(rate(&spec, 60), RATE / 4);
}

static void test_cosine(void **state) {
  (void)state;
  const agd_schedule_spec spec = {.name = AGD_SCHEDULE_COSINE, .final_factor = 0.01, .warmup_epochs = 1};
  assert_near(rate(&spec, 9), RATE * 10 / 11);
  assert_near(rate(&spec, 10), RATE);
  for (uint64_t s = 11; s < ALL; s++) assert_true(rate(&spec, s) < rate(&spec, s - 1));
  const double middle = 10 + (ALL - 1 - 10) / 2.0;
  assert_near(rate(&spec, (uint64_t)floor(middle)) + rate(&spec, (uint64_t)ceil(middle)), RATE * 1.01);
  assert_near(rate(&spec, ALL - 1), RATE * 0.01);
  const agd_schedule_spec all_warmup = {.name = AGD_SCHEDULE_COSINE, .warmup_epochs = EPOCHS};
  assert_true(rate(&all_warmup, ALL - 1) > 0);
  assert_near(agd_schedule_rate(&spec, RATE, ROWS, 1, 1, 0), RATE / 2); /* one step in all, of the warm-up */
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_constant_is_the_rate_itself), cmocka_unit_test(test_warmup),
                                     cmocka_unit_test(test_linear_scaling), cmocka_unit_test(test_step),
                                     cmocka_unit_test(test_cosine)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
