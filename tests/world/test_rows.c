#include "allegrad/rows.h"
#include "cmocka_mpi.h"

enum { FEATURES = 3, TARGETS = 2 };

/* Feature c of row r, so that a row shows where it came from. */
static agd_real cell(uint64_t row, size_t c) { return (agd_real)(row * 16 + c); }

static void fill(agd_rows *rows) {
  for (uint64_t i = 0; i < rows->count; i++) {
    const uint64_t row = agd_permute(&rows->order, agd_plan_position(&rows->plan, world.rank, i));
    for (size_t c = 0; c < FEATURES; c++) rows->x[i * FEATURES + c] = cell(row, c);
    for (size_t c = 0; c < TARGETS; c++) rows->y[i * TARGETS + c] = cell(row, 8 + c);
  }
}

static void assert_filled(const agd_rows *rows) {
  for (uint64_t i = 0; i < rows->count; i++) {
    const uint64_t row = agd_permute(&rows->order, agd_plan_position(&rows->plan, world.rank, i));
    for (size_t c = 0; c < FEATURES; c++) assert_true(rows->x[i * FEATURES + c] == cell(row, c));
    for (size_t c = 0; c < TARGETS; c++) assert_true(rows->y[i * TARGETS + c] == cell(row, 8 + c));
  }
}

/* Blocks in file order -> epoch 0 -> epoch 1 -> another batch size, each row at its place every time. */
static void check(uint64_t n, uint64_t batch, agd_lanes lanes) {
  agd_status st = {0};
  const agd_shard_plan blocks = {n, n, lanes}, plan = {n, batch, lanes}, other = {n, batch + 3, lanes};
  const agd_permutation file = agd_permutation_identity(n), first = agd_epoch_order(n, 1, 5, 0),
                        second = agd_epoch_order(n, 1, 5, 1);
  agd_rows rows[4];
  assert_int_equal(agd_rows_create(&world, &blocks, &file, FEATURES, TARGETS, &rows[0], &st), AGD_OK);
  assert_int_equal(agd_rows_create(&world, &plan, &first, FEATURES, TARGETS, &rows[1], &st), AGD_OK);
  assert_int_equal(agd_rows_create(&world, &plan, &second, FEATURES, TARGETS, &rows[2], &st), AGD_OK);
  assert_int_equal(agd_rows_create(&world, &other, &file, FEATURES, TARGETS, &rows[3], &st), AGD_OK);
  fill(&rows[0]);
  for (int i = 1; i < 4; i++) {
    agd_transfer *transfer = NULL;
    assert_int_equal(agd_transfer_start(&world, &rows[i - 1], &rows[i], &transfer, &st), AGD_OK);
    agd_transfer_poke(transfer);
    agd_transfer_finish(&transfer);
    assert_null(transfer);
    assert_filled(&rows[i]);
  }
  for (int i = 0; i < 4; i++) agd_rows_clear(&rows[i]);
}

static void test_rows_reach_their_places(void **state) {
  (void)state;
  const uint64_t n[] = {1, 2, 3, 5, 32, 33, 100, 1001}, batch[] = {1, 2, 7, 32, 2000};
  for (size_t i = 0; i < sizeof n / sizeof *n; i++)
    for (size_t j = 0; j < sizeof batch / sizeof *batch; j++) {
      check(n[i], batch[j], agd_lanes_of_ranks((uint64_t)world.size));
      check(n[i], batch[j], agd_lanes_fixed(8, (uint64_t)world.size));
    }
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows_reach_their_places)};
AGD_RUN_MPI_TESTS(tests)
