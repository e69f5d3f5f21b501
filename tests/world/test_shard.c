#include <stdlib.h>

#include "allegrad/shard.h"
#include "cmocka_all.h"

/* Over many (N, P, batch): every position has one owner, position and owner are inverses, a step's slices are the
 * global batch in rank order, and the local ranges of the steps tile the shard. */
static void check_plan(const agd_shard_plan *plan) {
  unsigned char *seen = calloc(plan->rows + 1, 1);
  assert_non_null(seen);
  const uint64_t steps = agd_plan_batches(plan);
  for (int rank = 0; rank < (int)plan->lanes.ranks; rank++) {
    uint64_t next = 0;
    for (uint64_t s = 0; s < steps; s++) {
      const agd_range local = agd_plan_local(plan, rank, s);
      if (local.count > 0) assert_int_equal(local.first, next);
      next += local.count;
      for (uint64_t i = local.first; i < local.first + local.count; i++) {
        const uint64_t position = agd_plan_position(plan, rank, i);
        assert_int_equal(position / plan->batch, s);
        assert_int_equal(seen[position]++, 0);
        int owner = -1;
        uint64_t index = 0;
        agd_plan_owner(plan, position, &owner, &index);
        assert_int_equal(owner, rank);
        assert_int_equal(index, i);
      }
    }
    assert_int_equal(next, agd_plan_shard_rows(plan, rank));
  }
  for (uint64_t p = 0; p < plan->rows; p++) assert_int_equal(seen[p], 1);
  free(seen);
}

static void test_each_row_once_an_epoch(void **state) {
  (void)state;
  const uint64_t rows[] = {1, 2, 7, 31, 32, 33, 64, 100, 257}, batches[] = {1, 2, 3, 8, 31, 32, 33, 300};
  for (size_t n = 0; n < sizeof rows / sizeof *rows; n++)
    for (size_t b = 0; b < sizeof batches / sizeof *batches; b++)
      for (uint64_t ranks = 1; ranks <= 16; ranks++) {
        check_plan(&(agd_shard_plan){rows[n], batches[b], agd_lanes_of_ranks(ranks)});
        check_plan(&(agd_shard_plan){rows[n], batches[b], agd_lanes_fixed(16, ranks)});
      }
}

/* Rows and offsets beyond 2^31: place and owner stay inverses, and so do the two ways of an order. */
static void test_more_rows_than_an_int_counts(void **state) {
  (void)state;
  const uint64_t rows = ((uint64_t)3 << 33) + 12345;
  const agd_shard_plan plans[] = {{rows, 1000, agd_lanes_of_ranks(7)},
                                  {rows, rows, agd_lanes_of_ranks(3)},
                                  {rows, (uint64_t)1 << 32, agd_lanes_fixed(16, 5)}};
  const agd_permutation order = agd_epoch_order(rows, 1, 3, 4);
  for (size_t p = 0; p < sizeof plans / sizeof *plans; p++) {
    uint64_t total = 0;
    for (int rank = 0; rank < (int)plans[p].lanes.ranks; rank++) total += agd_plan_shard_rows(&plans[p], rank);
    assert_true(total == rows);
    for (uint64_t i = 0; i < 1000; i++) {
      const uint64_t position = i < 2 ? i * (rows - 1) : agd_permute(&order, i * (rows / 1000));
      int rank = -1;
      uint64_t index = 0;
      agd_plan_owner(&plans[p], position, &rank, &index);
      assert_true(index < agd_plan_shard_rows(&plans[p], rank));
      assert_true(agd_plan_position(&plans[p], rank, index) == position);
      assert_true(agd_permute_inverse(&order, agd_permute(&order, position)) == position);
    }
  }
}

static void test_steps_of_an_epoch(void **state) {
  (void)state;
  const agd_shard_plan plan = {.rows = 16512, .batch = 50, .lanes = agd_lanes_of_ranks(3)};
  assert_int_equal(agd_plan_batches(&plan), 331);
  assert_int_equal(agd_plan_batch_rows(&plan, 0), 50);
  assert_int_equal(agd_plan_batch_rows(&plan, 330), 12);
}

static void test_epoch_orders(void **state) {
  (void)state;
  const agd_permutation a = agd_epoch_order(1000, 1, 7, 0), b = agd_epoch_order(1000, 1, 7, 1),
                        none = agd_epoch_order(1000, 0, 7, 1);
  unsigned same = 0;
  for (uint64_t i = 0; i < 1000; i++) {
    same += agd_permute(&a, i) == agd_permute(&b, i);
    assert_int_equal(agd_permute(&none, i), i);
  }
  assert_true(same < 10);
}

static void test_training_rows_as_keras(void **state) {
  (void)state;
  assert_int_equal(agd_training_rows(20640, 0.2), 16512);
  assert_int_equal(agd_training_rows(1003, 0.2), 802);
  assert_int_equal(agd_training_rows(10, 0), 10);
  assert_int_equal(agd_training_rows(10, 0.3), 7);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_row_once_an_epoch),
                                     cmocka_unit_test(test_more_rows_than_an_int_counts),
                                     cmocka_unit_test(test_steps_of_an_epoch), cmocka_unit_test(test_epoch_orders),
                                     cmocka_unit_test(test_training_rows_as_keras)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
