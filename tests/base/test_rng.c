#include "allegrad/rng.h"
#include "cmocka_all.h"

/* Known answers of Random123's kat_vectors for philox4x32-10. */
static void test_philox_known_answers(void **state) {
  (void)state;
  const uint32_t zero[4] = {0}, ones[4] = {~0u, ~0u, ~0u, ~0u};
  const uint32_t pi[4] = {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, key[2] = {0xa4093822, 0x299f31d0};
  const uint32_t expected[3][4] = {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
                                   {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
                                   {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}};
  uint32_t out[4];
  agd_philox(zero, zero, out);
  assert_memory_equal(out, expected[0], sizeof out);
  agd_philox(ones, ones, out);
  assert_memory_equal(out, expected[1], sizeof out);
  agd_philox(pi, key, out);
  assert_memory_equal(out, expected[2], sizeof out);
}

static void test_uniform_moments(void **state) {
  (void)state;
  enum { N = 100000 };
  double sum = 0, square = 0;
  for (uint64_t i = 0; i < N; i++) {
    const double u = agd_random_uniform(7, agd_stream(AGD_STREAM_INIT, 3), i);
    assert_true(u >= 0 && u < 1);
    sum += u, square += u * u;
  }
  const double mean = sum / N, variance = square / N - mean * mean;
  assert_true(mean > 0.495 && mean < 0.505);
  assert_true(variance > 0.0825 && variance < 0.0842);
}

static void test_streams_and_seeds_differ(void **state) {
  (void)state;
  assert_int_not_equal(agd_random_bits(1, agd_stream(AGD_STREAM_INIT, 0), 0),
                       agd_random_bits(1, agd_stream(AGD_STREAM_INIT, 1), 0));
  assert_int_not_equal(agd_random_bits(1, agd_stream(AGD_STREAM_INIT, 0), 0),
                       agd_random_bits(1, agd_stream(AGD_STREAM_SHUFFLE, 0), 0));
  assert_int_not_equal(agd_random_bits(1, 0, 0), agd_random_bits(2, 0, 0));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_philox_known_answers),
                                     cmocka_unit_test(test_uniform_moments),
                                     cmocka_unit_test(test_streams_and_seeds_differ)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
