#include <math.h>
#include <string.h>

#include "allegrad/fold.h"
#include "cmocka_all.h"

enum { MOST = 21, N = 3 };

/* An aligned run of 2^k parts may be folded first, by whoever holds it: the bits are the same. */
static void subtrees_may_be_folded_first(void **state) {
  (void)state;
  for (size_t parts = 1; parts <= MOST; parts++) {
    agd_real whole[MOST * N], split[MOST * N];
    for (size_t i = 0; i < parts * N; i++) whole[i] = split[i] = (agd_real)sin((double)(i * i + 1));
    agd_fold_reals(parts, N, N, whole);
    for (size_t width = 2; width <= parts; width *= 2) {
      agd_real work[MOST * N];
      memcpy(work, split, sizeof work);
      size_t kept = 0;
      for (size_t first = 0; first < parts; first += width) { /* complete subtrees shrink to one part */
        const size_t count = parts - first < width ? parts - first : width;
        agd_fold_reals(count, N, N, work + first * N);
        memmove(work + kept++ * N, work + first * N, N * sizeof *work);
      }
      agd_fold_reals(kept, N, N, work);
      assert_memory_equal(work, whole, N * sizeof *work);
    }
  }
}

static void sums_are_sums(void **state) {
  (void)state;
  for (size_t parts = 1; parts <= MOST; parts++) {
    double values[MOST * N], sum[N] = {0};
    for (size_t i = 0; i < parts * N; i++) {
      values[i] = (double)(i * i);
      sum[i % N] += (double)(i * i);
    }
    agd_fold_doubles(parts, N, N, values);
    assert_memory_equal(values, sum, sizeof sum);
  }
}

/* Statistics of parts of every size, empty ones included, merge to those of all rows. */
static void moments_merge_to_those_of_the_whole(void **state) {
  (void)state;
  for (size_t parts = 1; parts <= MOST; parts++) {
    double value[MOST * MOST], part[MOST * 3], mean = 0, m2 = 0;
    size_t rows = 0;
    for (size_t p = 0; p < parts; p++) {
      const size_t first = rows, count = (p * 5) % 4;
      double part_mean = 0, part_m2 = 0;
      for (size_t i = 0; i < count; i++, rows++) value[rows] = 1000 + sin((double)rows);
      for (size_t i = first; i < rows; i++) part_mean += value[i] / (double)count;
      for (size_t i = first; i < rows; i++) part_m2 += pow(value[i] - part_mean, 2);
      part[p * 3] = (double)count, part[p * 3 + 1] = part_mean, part[p * 3 + 2] = part_m2;
    }
    for (size_t i = 0; i < rows; i++) mean += value[i] / (double)rows;
    for (size_t i = 0; i < rows; i++) m2 += pow(value[i] - mean, 2);
    agd_fold_moments(parts, 1, 3, part);
    assert_true(part[0] == (double)rows);
    if (rows == 0) continue;
    assert_true(fabs(part[1] - mean) < 1e-11 && fabs(part[2] - m2) < 1e-9);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(subtrees_may_be_folded_first), cmocka_unit_test(sums_are_sums),
                                     cmocka_unit_test(moments_merge_to_those_of_the_whole)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
