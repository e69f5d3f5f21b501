#include <math.h>

#include "allegrad/fold.h"
#include "allegrad/standardize.h"
#include "cmocka_all.h"

enum { ROWS = 40, C = 3, PART = 1 + 2 * C };

/* Columns: a large offset, a constant, an ordinary one. */
static void fill(agd_real x[ROWS * C]) {
  for (int j = 0; j < ROWS; j++) {
    x[j * C] = (agd_real)(1000 + j % 7);
    x[j * C + 1] = 5;
    x[j * C + 2] = (agd_real)sin(j);
  }
}

static void test_standardized_rows_have_mean_0_and_sd_1(void **state) {
  (void)state;
  agd_real x[ROWS * C];
  double part[PART], sd[C];
  fill(x);
  agd_row_moments(x, ROWS, C, part);
  agd_population_sd(part, C, sd);
  assert_true(part[0] == ROWS && sd[1] == 1);
  agd_standardize(x, ROWS, C, part + 1, sd);
  for (int c = 0; c < C; c++) {
    double mean = 0, square = 0;
    for (int j = 0; j < ROWS; j++) mean += (double)x[j * C + c] / ROWS, square += pow((double)x[j * C + c], 2) / ROWS;
    assert_true(fabs(mean) < 1e-6);
    assert_true(fabs(square - (c == 1 ? 0 : 1)) < 1e-6);
  }
}

/* Statistics of parts, one of them empty, merge to those of the whole. */
static void test_parts_merge(void **state) {
  (void)state;
  agd_real x[ROWS * C];
  double whole[PART], parts[3 * PART];
  fill(x);
  agd_row_moments(x, ROWS, C, whole);
  agd_row_moments(x, 11, C, parts);
  agd_row_moments(x, 0, C, parts + PART);
  agd_row_moments(x + 11 * C, ROWS - 11, C, parts + 2 * PART);
  agd_fold_moments(3, C, PART, parts);
  for (int i = 0; i < PART; i++) assert_true(fabs(parts[i] - whole[i]) <= 1e-11 * fabs(whole[i]));
}

static void test_no_rows(void **state) {
  (void)state;
  double part[PART], sd[C];
  agd_row_moments(NULL, 0, C, part);
  agd_population_sd(part, C, sd);
  for (int c = 0; c < C; c++) assert_true(part[1 + c] == 0 && sd[c] == 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_standardized_rows_have_mean_0_and_sd_1),
                                     cmocka_unit_test(test_parts_merge), cmocka_unit_test(test_no_rows)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
