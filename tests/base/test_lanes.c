#include "allegrad/lanes.h"
#include "cmocka_all.h"

static void slices_cover_and_differ_by_one(void **state) {
  (void)state;
  for (uint64_t parts = 1; parts <= 17; parts++) {
    for (uint64_t total = 0; total <= 70; total++) {
      uint64_t next = 0;
      for (uint64_t part = 0; part < parts; part++) {
        const agd_range slice = agd_slice(total, parts, part);
        assert_int_equal(slice.first, next);
        assert_in_range(slice.count, total / parts, total / parts + 1);
        for (uint64_t i = slice.first; i < slice.first + slice.count; i++)
          assert_int_equal(agd_slice_owner(total, parts, i), part);
        next += slice.count;
      }
      assert_int_equal(next, total);
    }
  }
}

/* The ranks' rows are their lanes' rows, in order; every row has one owner. */
static void check_rows(const agd_lanes *lanes, uint64_t capacity, uint64_t rows) {
  uint64_t next = 0;
  for (uint64_t rank = 0; rank < lanes->ranks; rank++) {
    const agd_range own = agd_lanes_of_rank(lanes, rank), all = agd_rank_rows(lanes, capacity, rows, rank);
    if (all.count > 0) assert_int_equal(all.first, next);
    for (uint64_t lane = own.first; lane < own.first + own.count; lane++) {
      const agd_range part = agd_lane_rows(lanes, capacity, rows, lane);
      if (part.count > 0) assert_int_equal(part.first, next);
      assert_true(part.count <= agd_lane_width(lanes, capacity));
      for (uint64_t i = part.first; i < part.first + part.count; i++)
        assert_int_equal(agd_row_owner(lanes, capacity, rows, i), rank);
      next += part.count;
    }
    assert_int_equal(next, all.count > 0 ? all.first + all.count : next);
  }
  assert_int_equal(next, rows);
}

static void rows_follow_the_lanes(void **state) {
  (void)state;
  for (uint64_t ranks = 1; ranks <= 8; ranks++) {
    const agd_lanes even = agd_lanes_of_ranks(ranks), fixed = agd_lanes_fixed(8, ranks);
    for (uint64_t rows = 0; rows <= 40; rows++) {
      check_rows(&even, 40, rows);
      check_rows(&fixed, 40, rows);
    }
  }
}

/* With fixed lanes a lane's rows do not depend on the number of ranks. */
static void fixed_lanes_do_not_know_the_ranks(void **state) {
  (void)state;
  const agd_lanes one = agd_lanes_fixed(16, 1);
  for (uint64_t ranks = 2; ranks <= 16; ranks++) {
    const agd_lanes many = agd_lanes_fixed(16, ranks);
    for (uint64_t rows = 0; rows <= 64; rows++) {
      for (uint64_t lane = 0; lane < 16; lane++) {
        const agd_range a = agd_lane_rows(&one, 64, rows, lane), b = agd_lane_rows(&many, 64, rows, lane);
        assert_true(a.first == b.first && a.count == b.count);
      }
    }
  }
}

/* A rank's runs are aligned powers of two that tile its lanes. */
static void runs_are_aligned_subtrees(void **state) {
  (void)state;
  for (uint64_t count = 1; count <= 64; count *= 2) {
    for (uint64_t ranks = 1; ranks <= count; ranks++) {
      const agd_lanes lanes = agd_lanes_fixed(count, ranks);
      for (uint64_t rank = 0; rank < ranks; rank++) {
        const agd_range own = agd_lanes_of_rank(&lanes, rank);
        uint64_t next = own.first;
        for (uint64_t i = 0; i < agd_lanes_runs(&lanes, rank); i++) {
          const agd_range run = agd_lanes_run(&lanes, rank, i);
          assert_int_equal(run.first, next);
          assert_int_equal(run.count & (run.count - 1), 0);
          assert_int_equal(run.first % run.count, 0);
          next += run.count;
        }
        assert_int_equal(next, own.first + own.count);
        assert_int_equal(agd_lanes_run(&lanes, rank, agd_lanes_runs(&lanes, rank)).count, 0);
      }
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(slices_cover_and_differ_by_one), cmocka_unit_test(rows_follow_the_lanes),
      cmocka_unit_test(fixed_lanes_do_not_know_the_ranks), cmocka_unit_test(runs_are_aligned_subtrees)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
