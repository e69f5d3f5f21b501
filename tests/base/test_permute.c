#include <stdlib.h>

#include "allegrad/permute.h"
#include "cmocka_all.h"

static void check_bijection(agd_permutation p) {
  unsigned char *seen = calloc(p.n + 1, 1);
  assert_non_null(seen);
  for (uint64_t i = 0; i < p.n; i++) {
    const uint64_t j = agd_permute(&p, i);
    assert_true(j < p.n);
    assert_int_equal(seen[j], 0);
    seen[j] = 1;
    assert_int_equal(agd_permute_inverse(&p, j), i);
  }
  free(seen);
}

static void test_each_index_once(void **state) {
  (void)state;
  const uint64_t sizes[] = {0, 1, 2, 3, 4, 5, 7, 16, 17, 64, 65, 100, 255, 256, 257, 1000, 4097, 16512};
  for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
    for (uint64_t seed = 0; seed < 3; seed++) check_bijection(agd_permutation_init(sizes[s], seed, 9));
  check_bijection(agd_permutation_identity(100));
}

static void test_large_range_round_trip(void **state) {
  (void)state;
  const agd_permutation p = agd_permutation_init((UINT64_C(1) << 40) + 12345, 3, 4);
  for (uint64_t i = 0; i < 10000; i++) assert_int_equal(agd_permute_inverse(&p, agd_permute(&p, i << 20)), i << 20);
}

/* Every index should land everywhere: chi-square of (place of index 0) over many keys. */
static void test_first_index_is_uniform(void **state) {
  (void)state;
  enum { N = 10, KEYS = 20000 };
  unsigned count[N] = {0};
  for (uint64_t key = 0; key < KEYS; key++) {
    const agd_permutation p = agd_permutation_init(N, key, 1);
    count[agd_permute(&p, 0)]++;
  }
  double chi = 0;
  for (int i = 0; i < N; i++) chi += ((double)count[i] - KEYS / N) * ((double)count[i] - KEYS / N) / (KEYS / N);
  assert_true(chi < 27.9); /* 9 degrees of freedom, p = 0.001 */
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_index_once),
                                     cmocka_unit_test(test_large_range_round_trip),
                                     cmocka_unit_test(test_first_index_is_uniform)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
