#include "allegrad/rows.h"

#include "allegrad/rng.h"
#include "cmocka_mpi.h"

enum { FEATURES = 3, TARGETS = 2 };

/* Feature c of row r, so that a row shows where it came from. */
static agd_real cell(uint64_t row, size_t c) { return (agd_real)(row % 500000 * 16 + c); }

static void fill(agd_rows *rows) {
  for (uint64_t i = 0; i < rows->count; i++) {
    const uint64_t row = rows->first + agd_permute(&rows->order, agd_plan_position(&rows->plan, world.rank, i));
    for (size_t c = 0; c < FEATURES; c++) rows->x[i * FEATURES + c] = cell(row, c);
    for (size_t c = 0; c < TARGETS; c++) rows->y[i * TARGETS + c] = cell(row, 8 + c);
  }
}

static void assert_filled(const agd_rows *rows) {
  for (uint64_t i = 0; i < rows->count; i++) {
    const uint64_t row = rows->first + agd_permute(&rows->order, agd_plan_position(&rows->plan, world.rank, i));
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
  assert_int_equal(agd_rows_create(&world, &blocks, &file, 0, FEATURES, TARGETS, &rows[0], &st), AGD_OK);
  assert_int_equal(agd_rows_create(&world, &plan, &first, 0, FEATURES, TARGETS, &rows[1], &st), AGD_OK);
  assert_int_equal(agd_rows_create(&world, &plan, &second, 0, FEATURES, TARGETS, &rows[2], &st), AGD_OK);
  assert_int_equal(agd_rows_create(&world, &other, &file, 0, FEATURES, TARGETS, &rows[3], &st), AGD_OK);
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
      check(n[i], batch[j], agd_lanes_fixed(world.size > 8 ? 16 : 8, (uint64_t)world.size));
    }
}

static void move(const agd_rows *from, agd_rows *to, int pokes) {
  agd_status st = {0};
  agd_transfer *transfer = NULL;
  assert_int_equal(agd_transfer_start(&world, from, to, &transfer, &st), AGD_OK);
  for (int i = 0; i < pokes; i++) agd_transfer_poke(transfer);
  agd_transfer_finish(&transfer);
  assert_null(transfer);
}

/* A random split: of the file's rows, drawn, some go one way and some the other, and no row gets lost. */
static void check_split(uint64_t n, uint64_t held_out, uint64_t batch, agd_lanes lanes, uint64_t seed) {
  agd_status st = {0};
  const uint64_t kept = n - held_out;
  const agd_permutation drawn = agd_permutation_init(n, seed, 3), first = agd_epoch_order(kept, 1, seed, 0),
                        last = agd_permutation_identity(held_out);
  const agd_shard_plan file = {n, n, lanes}, training = {kept, batch, lanes}, pieces = {held_out, 7, lanes};
  agd_rows rows[3];
  assert_int_equal(agd_rows_create(&world, &file, &drawn, 0, FEATURES, TARGETS, &rows[0], &st), AGD_OK);
  assert_int_equal(agd_rows_create(&world, &training, &first, 0, FEATURES, TARGETS, &rows[1], &st), AGD_OK);
  assert_int_equal(agd_rows_create(&world, &pieces, &last, kept, FEATURES, TARGETS, &rows[2], &st), AGD_OK);
  fill(&rows[0]);
  for (int i = 1; i < 3; i++) {
    move(&rows[0], &rows[i], 3);
    assert_filled(&rows[i]);
  }
  double count = (double)(rows[1].count + rows[2].count);
  agd_comm_sum(&world, &count, 1);
  assert_true(count == (double)n);
  for (int i = 0; i < 3; i++) agd_rows_clear(&rows[i]);
}

static void test_random_splits(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 60; seed++) {
    const uint64_t n = 1 + agd_random_bits(seed, 9, 0) % 300, held_out = agd_random_bits(seed, 9, 1) % n;
    const uint64_t batch = 1 + agd_random_bits(seed, 9, 2) % 80, ranks = (uint64_t)world.size;
    check_split(n, held_out, batch, seed % 2 ? agd_lanes_of_ranks(ranks) : agd_lanes_fixed(ranks > 8 ? 16 : 8, ranks),
                seed);
  }
}

/* More rounds than one, and more pokes than rounds. */
static void test_many_rounds(void **state) {
  (void)state;
  enum { ROWS = 30011 };
  assert_true(agd_transfer_rounds(ROWS / 8) > 4);
  check_split(ROWS, ROWS / 5, 32, agd_lanes_of_ranks((uint64_t)world.size), 5);
  check_split(ROWS, 0, 1 << 20, agd_lanes_of_ranks((uint64_t)world.size), 6);
}

static void test_rounds_stay_small(void **state) {
  (void)state;
  const uint64_t shards[] = {0, 1, 255, 256, 4096, 1000000, (uint64_t)1 << 31, (uint64_t)1 << 38};
  for (size_t i = 0; i < sizeof shards / sizeof *shards; i++) {
    const uint64_t rounds = agd_transfer_rounds(shards[i]);
    assert_true(rounds >= 1 && shards[i] / rounds <= 1 << 24);
    assert_true(shards[i] < 4096 || shards[i] / rounds <= shards[i] / 16);
  }
}

/* Every rank keeps its rows; each epoch has another order of them, the same from whatever epoch it is made. */
static void test_a_shard_is_reshuffled(void **state) {
  (void)state;
  agd_status st = {0};
  const agd_shard_plan plan = {1001, 32, agd_lanes_of_ranks((uint64_t)world.size)};
  const agd_permutation order = agd_permutation_identity(plan.rows);
  agd_rows home, epoch[4];
  assert_int_equal(agd_rows_create(&world, &plan, &order, 0, FEATURES, TARGETS, &home, &st), AGD_OK);
  fill(&home);
  for (uint64_t e = 0; e < 4; e++) {
    assert_int_equal(agd_rows_create(&world, &plan, &order, 0, FEATURES, TARGETS, &epoch[e], &st), AGD_OK);
    const uint64_t before = e - 1;
    agd_rows_reshuffle(e == 0 ? &home : &epoch[e - 1], e == 0 ? NULL : &before, &epoch[e], e, 7, world.rank);
  }
  agd_rows again;
  assert_int_equal(agd_rows_create(&world, &plan, &order, 0, FEATURES, TARGETS, &again, &st), AGD_OK);
  agd_rows_reshuffle(&home, NULL, &again, 3, 7, world.rank);
  assert_memory_equal(again.x, epoch[3].x, home.count * FEATURES * sizeof *home.x);
  assert_memory_equal(again.y, epoch[3].y, home.count * TARGETS * sizeof *home.y);
  uint64_t same = 0;
  for (uint64_t i = 0; i < home.count; i++) {
    uint64_t found = 0;
    for (uint64_t j = 0; j < home.count; j++)
      if (again.x[j * FEATURES] == home.x[i * FEATURES] && again.y[j * TARGETS] == home.y[i * TARGETS]) found++;
    assert_int_equal(found, 1);
    same += epoch[2].x[i * FEATURES] == epoch[3].x[i * FEATURES];
  }
  assert_true(same < home.count / 10 + 5);
  for (int e = 0; e < 4; e++) agd_rows_clear(&epoch[e]);
  agd_rows_clear(&again);
  agd_rows_clear(&home);
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows_reach_their_places),
                                          cmocka_unit_test(test_random_splits), cmocka_unit_test(test_many_rounds),
                                          cmocka_unit_test(test_rounds_stay_small),
                                          cmocka_unit_test(test_a_shard_is_reshuffled)};
AGD_RUN_MPI_TESTS(tests)
