/* What a training leaves does not depend on how many ranks there were nor on how they talked. */
#include "allegrad/trainer.h"

#include <math.h>
#include <string.h>

#include "allegrad/dataset.h"
#include "allegrad/weights.h"
#include "temporary_mpi.h"

enum { ROWS = 61, FEATURES = 3, TARGETS = 2 };

static void make_data(const char *path) {
  agd_names x_names = {0}, y_names = {0};
  double x[ROWS * FEATURES], y[ROWS * TARGETS];
  for (size_t i = 0; i < FEATURES; i++) assert_int_equal(agd_names_add(&x_names, "x", NULL), AGD_OK);
  for (size_t i = 0; i < TARGETS; i++) assert_int_equal(agd_names_add(&y_names, "y", NULL), AGD_OK);
  for (size_t r = 0; r < ROWS; r++) {
    for (size_t c = 0; c < FEATURES; c++) x[r * FEATURES + c] = (double)((r * (7 + c)) % 31) - 9;
    for (size_t t = 0; t < TARGETS; t++) y[r * TARGETS + t] = x[r * FEATURES + t] / 4 + 1;
  }
  assert_int_equal(agd_dataset_write(path, ROWS, &x_names, x, &y_names, y, false, NULL), AGD_OK);
  agd_names_clear(&x_names);
  agd_names_clear(&y_names);
}

/* Trains the job, overridden, on comm and leaves a run in folder/name. Collective on comm. */
static void train_with(const agd_comm *comm, const char *folder, const char *name, const char *const *overrides,
                       size_t count) {
  agd_status st = {0};
  agd_config job;
  agd_trainer *trainer;
  agd_run *run = NULL;
  char data[TEMPORARY_SIZE], place[TEMPORARY_SIZE], text[2 * TEMPORARY_SIZE];
  const char *batch = "batch: 16, ";
  for (size_t i = 0; i < count; i++)
    if (strncmp(overrides[i], "train.batch_per_rank", 20) == 0) batch = "";
  snprintf(text, sizeof text,
           "data: {file: %s}\n"
           "model: {hidden: [9, 17]}\n"
           "train: {optimizer: {name: adam}, %smax_steps: 5, reproducible: 4}\n"
           "log: {progress: off}\n",
           temporary_path(data, folder, "data.h5"), batch);
  assert_int_equal(agd_config_parse(text, "job.yaml", overrides, count, &job, &st), AGD_OK);
  assert_int_equal(agd_trainer_create(comm, &job, &trainer, &st), AGD_OK);
  if (comm->rank == 0) assert_int_equal(agd_run_create(temporary_path(place, folder, name), &job, &run, &st), AGD_OK);
  assert_int_equal(agd_trainer_run(trainer, run, &st), AGD_OK);
  assert_int_equal(agd_run_close(&run, AGD_RUN_FINISHED, "", &st), AGD_OK);
  agd_trainer_destroy(&trainer);
}

static void train(const agd_comm *comm, const char *folder, const char *name, const char *exchange) {
  char override[64];
  const char *const overrides[] = {override};
  snprintf(override, sizeof override, "comm.exchange=%s", exchange);
  train_with(comm, folder, name, overrides, 1);
}

/* Two weights files hold the same bits: weights, running averages, and the optimizer's slots. */
static void assert_same_state(const char *folder, const char *one, const char *other) {
  const agd_optimizer_spec adam = {.name = AGD_ADAM};
  agd_model *model[2];
  agd_optimizer *optimizer[2];
  for (int i = 0; i < 2; i++) {
    char path[TEMPORARY_SIZE];
    temporary_path(path, folder, i == 0 ? one : other);
    assert_int_equal(agd_weights_load(path, NULL, &model[i], NULL, NULL), AGD_OK);
    assert_int_equal(agd_optimizer_create(&adam, model[i]->weight_count, &optimizer[i], NULL), AGD_OK);
    assert_int_equal(agd_weights_load_optimizer(path, model[i], optimizer[i], NULL), AGD_OK);
  }
  const size_t size = model[0]->weight_count * sizeof(agd_real);
  assert_memory_equal(model[0]->weights, model[1]->weights, size);
  assert_memory_equal(model[0]->averages, model[1]->averages, model[0]->average_count * sizeof(agd_real));
  assert_int_equal(optimizer[0]->iteration, optimizer[1]->iteration);
  for (size_t s = 0; s < optimizer[0]->slot_count; s++)
    assert_memory_equal(optimizer[0]->slots[s], optimizer[1]->slots[s], size);
  for (int i = 0; i < 2; i++) {
    agd_optimizer_destroy(&optimizer[i]);
    agd_model_destroy(&model[i]);
  }
}

static void test_every_exchange_leaves_the_same_files(void **state) {
  static const char *const exchanges[] = {"allreduce", "buckets", "window"};
  static const char *const files[] = {"checkpoints/step-00000003.weights.h5",
                                      "final.weights.h5"}; /* 3 steps an epoch */
  char path[TEMPORARY_SIZE];
  if (world.rank == 0) {
    agd_comm alone;
    agd_comm_create(MPI_COMM_SELF, &alone);
    make_data(temporary_path(path, *state, "data.h5"));
    train(&alone, *state, "alone", "auto");
    agd_comm_destroy(&alone);
  }
  MPI_Barrier(world.mpi);
  for (size_t e = 0; e < sizeof exchanges / sizeof *exchanges; e++) {
    train(&world, *state, exchanges[e], exchanges[e]);
    if (world.rank != 0) continue;
    for (size_t f = 0; f < sizeof files / sizeof *files; f++) {
      char expected[TEMPORARY_SIZE];
      temporary_path(expected, "alone", files[f]);
      assert_same_state(*state, expected, temporary_path(path, exchanges[e], files[f]));
    }
  }
}

/* Recalibration and dropout count rows by the batch, not by the rank: the same bits, and before the validation or not
 * at all the same final averages. */
static void test_recalibrated_files_are_the_same(void **state) {
  static const char *const modes[] = {"model.batch_norm.recalibrate=end", "model.batch_norm.recalibrate=eval"};
  char path[TEMPORARY_SIZE];
  if (world.rank == 0) make_data(temporary_path(path, *state, "data.h5"));
  MPI_Barrier(world.mpi);
  for (size_t m = 0; m < 2; m++) {
    const char *const overrides[] = {modes[m], "model.dropout=0.25", "train.max_steps=6"};
    agd_comm alone;
    agd_comm_create(MPI_COMM_SELF, &alone);
    if (world.rank == 0) train_with(&alone, *state, m == 0 ? "alone_end" : "alone_eval", overrides, 3);
    agd_comm_destroy(&alone);
    train_with(&world, *state, m == 0 ? "end" : "eval", overrides, 3);
  }
  if (world.rank != 0) return;
  assert_same_state(*state, "alone_end/final.weights.h5", "end/final.weights.h5");
  assert_same_state(*state, "alone_eval/final.weights.h5", "eval/final.weights.h5");
  assert_same_state(*state, "end/final.weights.h5", "eval/final.weights.h5");
}

/* Everything that makes a step larger, at once: the same bits on any number of ranks, by every way. */
static void test_larger_steps_are_the_same(void **state) {
  const char *overrides[] = {
      "train.accumulate=3",      "train.clip_norm=0.05",
      "train.weight_decay=0.01", "train.schedule={name: cosine, warmup_epochs: 1, base_batch: 32}",
      "model.dropout=0.1",       "train.max_steps=4",
      "comm.exchange=auto"};
  enum { COUNT = sizeof overrides / sizeof *overrides };
  static const char *const exchanges[] = {"comm.exchange=allreduce", "comm.exchange=buckets", "comm.exchange=window"};
  char path[TEMPORARY_SIZE];
  if (world.rank == 0) {
    agd_comm alone;
    agd_comm_create(MPI_COMM_SELF, &alone);
    make_data(temporary_path(path, *state, "data.h5"));
    train_with(&alone, *state, "alone", overrides, COUNT);
    agd_comm_destroy(&alone);
  }
  MPI_Barrier(world.mpi);
  for (size_t e = 0; e < 3; e++) {
    const char *name = strchr(exchanges[e], '=') + 1;
    overrides[COUNT - 1] = exchanges[e];
    train_with(&world, *state, name, overrides, COUNT);
    if (world.rank == 0)
      assert_same_state(*state, "alone/final.weights.h5", temporary_path(path, name, "final.weights.h5"));
  }
}

/* The largest difference of two files' weights, and the norm of the difference. */
static double difference(const char *folder, const char *one, const char *other, double *norm) {
  agd_model *model[2];
  double largest = 0, squares = 0;
  for (int i = 0; i < 2; i++) {
    char path[TEMPORARY_SIZE];
    temporary_path(path, folder, i == 0 ? one : other);
    assert_int_equal(agd_weights_load(path, NULL, &model[i], NULL, NULL), AGD_OK);
  }
  for (size_t i = 0; i < model[0]->weight_count; i++) {
    const double d = (double)model[0]->weights[i] - (double)model[1]->weights[i];
    largest = fmax(largest, fabs(d));
    squares += d * d;
  }
  *norm = sqrt(squares);
  for (int i = 0; i < 2; i++) agd_model_destroy(&model[i]);
  return largest;
}

/* Trains on all ranks without lanes, batch norm or Adam, overridden. */
static void train_plainly(const char *folder, const char *name, const char *const *further, size_t count) {
  const char *overrides[16] = {"train.reproducible=0", "model.batch_norm.enabled=false", "model.activation=tanh",
                               "data.standardize=true", "train.optimizer={name: sgd, learning_rate: 0.1}"};
  for (size_t i = 0; i < count; i++) overrides[5 + i] = further[i];
  train_with(&world, folder, name, overrides, 5 + count);
}

/* Two batches of 8 are one of 16, the short end of the epoch included (48 rows of 61 train: 16, 16, 16). */
static void test_accumulated_batches_are_one(void **state) {
  static const char *const ways[] = {"comm.exchange=allreduce", "comm.exchange=buckets", "comm.exchange=window"};
  char path[TEMPORARY_SIZE];
  if (world.rank == 0) make_data(temporary_path(path, *state, "data.h5"));
  MPI_Barrier(world.mpi);
  for (size_t w = 0; w < 3; w++) {
    const char *const whole[] = {"train.batch=20", "train.max_steps=8", ways[w]}, *const parts[] = {
                                                                                      "train.batch=5",
                                                                                      "train.accumulate=4",
                                                                                      "train.max_steps=8", ways[w]};
    char one[32], other[32];
    double norm;
    snprintf(one, sizeof one, "whole%zu", w), snprintf(other, sizeof other, "parts%zu", w);
    train_plainly(*state, one, whole, 3);
    train_plainly(*state, other, parts, 4);
    if (world.rank != 0) continue;
    strcat(one, "/final.weights.h5"), strcat(other, "/final.weights.h5");
    assert_true(difference(*state, one, other, &norm) < 2e-6);
  }
}

/* A job with these overrides leaves the same bits on one rank as on all. */
static void check_same_alone(const char *folder, const char *const *overrides, size_t count) {
  char path[TEMPORARY_SIZE];
  if (world.rank == 0) {
    agd_comm alone;
    agd_comm_create(MPI_COMM_SELF, &alone);
    make_data(temporary_path(path, folder, "data.h5"));
    train_with(&alone, folder, "alone", overrides, count);
    agd_comm_destroy(&alone);
  }
  MPI_Barrier(world.mpi);
  train_with(&world, folder, "many", overrides, count);
  if (world.rank == 0) assert_same_state(folder, "alone/final.weights.h5", "many/final.weights.h5");
}

/* What is held out is drawn by the seed, not by who reads it. */
static void test_a_random_split_is_the_same(void **state) {
  const char *const overrides[] = {"data.split=random", "data.standardize=true", "train.max_steps=7"};
  check_same_alone(*state, overrides, 3);
}

/* Three rows to train, batches of two and of one, and nothing to validate on most ranks. */
static void test_ranks_without_rows(void **state) {
  const char *const overrides[] = {"data.validation_split=0.95",
                                   "train.batch=2",
                                   "train.reproducible=0",
                                   "train.max_steps=5",
                                   "train.optimizer={name: sgd, learning_rate: 0.01}",
                                   "model.activation=tanh"};
  static const char *const ways[] = {"comm.exchange=allreduce", "comm.exchange=buckets", "comm.exchange=window"};
  char path[TEMPORARY_SIZE];
  agd_comm alone;
  agd_comm_create(MPI_COMM_SELF, &alone);
  if (world.rank == 0) {
    make_data(temporary_path(path, *state, "data.h5"));
    train_with(&alone, *state, "alone", overrides, 6);
  }
  agd_comm_destroy(&alone);
  MPI_Barrier(world.mpi);
  for (size_t w = 0; w < 3; w++) {
    const char *all[7];
    double norm;
    char name[8];
    memcpy(all, overrides, sizeof overrides);
    all[6] = ways[w];
    snprintf(name, sizeof name, "way%zu", w);
    train_with(&world, *state, name, all, 7);
    if (world.rank == 0)
      assert_true(difference(*state, "alone/final.weights.h5", temporary_path(path, name, "final.weights.h5"), &norm) <
                  2e-5);
  }
}

/* batch_per_rank is batch divided by the ranks; and a shard that is reshuffled is no file order. */
static void test_batch_per_rank_and_shards(void **state) {
  char path[TEMPORARY_SIZE], batch[32];
  snprintf(batch, sizeof batch, "train.batch=%d", 5 * world.size);
  const char *const global[] = {batch, "train.max_steps=6", "train.shuffle=shard"},
                    *const of_rank[] = {"train.batch_per_rank=5", "train.max_steps=6", "train.shuffle=shard"},
                    *const unshuffled[] = {batch, "train.max_steps=6", "train.shuffle=none"};
  double norm;
  if (world.rank == 0) make_data(temporary_path(path, *state, "data.h5"));
  MPI_Barrier(world.mpi);
  train_plainly(*state, "global", global, 3);
  train_plainly(*state, "of_rank", of_rank, 3);
  train_plainly(*state, "unshuffled", unshuffled, 3);
  if (world.rank != 0) return;
  assert_true(difference(*state, "global/final.weights.h5", "of_rank/final.weights.h5", &norm) == 0);
  assert_true(difference(*state, "global/final.weights.h5", "unshuffled/final.weights.h5", &norm) > 1e-4);
}

/* One step of SGD moves the weights by learning_rate x clip_norm when the gradient is longer, by every way. */
static void test_clipping_bounds_the_step(void **state) {
  static const char *const ways[] = {"comm.exchange=allreduce", "comm.exchange=buckets", "comm.exchange=window"};
  const char *const still[] = {"train.max_steps=1", "train.optimizer.learning_rate=0"};
  char path[TEMPORARY_SIZE];
  if (world.rank == 0) make_data(temporary_path(path, *state, "data.h5"));
  MPI_Barrier(world.mpi);
  train_plainly(*state, "still", still, 2);
  for (size_t w = 0; w < 3; w++) {
    const char *const clipped[] = {"train.max_steps=1", "train.clip_norm=0.125", ways[w]}, *const free_step[] = {
                                                                                               "train.max_steps=1",
                                                                                               ways[w]};
    char one[32], other[32];
    double norm, whole;
    snprintf(one, sizeof one, "clipped%zu", w), snprintf(other, sizeof other, "free%zu", w);
    train_plainly(*state, one, clipped, 3);
    train_plainly(*state, other, free_step, 2);
    if (world.rank != 0) continue;
    strcat(one, "/final.weights.h5"), strcat(other, "/final.weights.h5");
    difference(*state, one, "still/final.weights.h5", &norm);
    difference(*state, other, "still/final.weights.h5", &whole);
    assert_true(fabs(norm - 0.1 * 0.125) < 1e-6 && whole > 2 * norm);
  }
}

/* A loss that stays: the first epoch is the best, and after `patience` more the training ends. */
static void test_early_stopping_and_the_best(void **state) {
  const char *const overrides[] = {"train.max_steps=0", "train.epochs=9", "train.early_stopping.patience=2",
                                   "train.optimizer.learning_rate=0", "checkpoint.keep=0"};
  char path[TEMPORARY_SIZE];
  agd_training best = {0}, last = {0};
  agd_model *model;
  if (world.rank == 0) make_data(temporary_path(path, *state, "data.h5"));
  MPI_Barrier(world.mpi);
  train_plainly(*state, "run", overrides, 5);
  if (world.rank != 0) return;
  assert_int_equal(agd_weights_load(temporary_path(path, *state, "run/best.weights.h5"), NULL, &model, &best, NULL),
                   AGD_OK);
  agd_model_destroy(&model);
  assert_int_equal(agd_weights_load(temporary_path(path, *state, "run/final.weights.h5"), NULL, &model, &last, NULL),
                   AGD_OK);
  agd_model_destroy(&model);
  assert_int_equal(best.epoch, 1);
  assert_int_equal(last.epoch, 3);
  agd_training_clear(&best);
  agd_training_clear(&last);
}

/* The parts of an epoch's seconds add up to them, and slowest and fastest are ranks. */
static void test_times_add_up(void **state) {
  const char *const overrides[] = {"train.max_steps=0", "train.epochs=3"};
  char path[TEMPORARY_SIZE];
  if (world.rank == 0) make_data(temporary_path(path, *state, "data.h5"));
  MPI_Barrier(world.mpi);
  train_with(&world, *state, "run", overrides, 2);
  if (world.rank != 0) return;
  FILE *file = fopen(temporary_path(path, *state, "run/metrics.csv"), "r");
  assert_non_null(file);
  char line[1024];
  assert_non_null(fgets(line, sizeof line, file));
  for (int epoch = 1; epoch <= 3; epoch++) {
    double f[15];
    assert_non_null(fgets(line, sizeof line, file));
    char *rest = line;
    for (int i = 0; i < 15; i++, rest++) f[i] = strtod(rest, &rest);
    assert_true(f[0] == epoch && fabs(f[5] - 0.001) < 1e-9);
    assert_true(fabs(f[6] + f[7] + f[8] + f[9] + f[10] - f[4]) <= 1e-6 * f[4]);
    for (int i = 6; i <= 10; i++) assert_true(f[i] >= 0);
    assert_true(f[11] >= 0 && f[11] < world.size && f[13] >= 0 && f[13] < world.size && f[12] >= f[14]);
    assert_true(world.size == 1 || f[7] > 0);
    assert_true((epoch == 1) == (f[10] == 0)); /* the files of the epoch before */
  }
  fclose(file);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, temporary_mpi_setup, temporary_mpi_teardown)

static const struct CMUnitTest tests[] = {TEST(test_every_exchange_leaves_the_same_files),
                                          TEST(test_recalibrated_files_are_the_same),
                                          TEST(test_larger_steps_are_the_same),
                                          TEST(test_accumulated_batches_are_one),
                                          TEST(test_a_random_split_is_the_same),
                                          TEST(test_ranks_without_rows),
                                          TEST(test_batch_per_rank_and_shards),
                                          TEST(test_clipping_bounds_the_step),
                                          TEST(test_early_stopping_and_the_best),
                                          TEST(test_times_add_up)};
AGD_RUN_MPI_TESTS(tests)
