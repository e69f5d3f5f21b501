/* What a training leaves does not depend on how many ranks there were nor on how they talked. */
#include "allegrad/trainer.h"

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
  snprintf(text, sizeof text,
           "data: {file: %s}\n"
           "model: {hidden: [9, 17]}\n"
           "train: {optimizer: {name: adam}, batch: 16, max_steps: 5, reproducible: 4}\n"
           "log: {progress: off}\n",
           temporary_path(data, folder, "data.h5"));
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

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(test_recalibrated_files_are_the_same, temporary_mpi_setup, temporary_mpi_teardown),
    cmocka_unit_test_setup_teardown(test_every_exchange_leaves_the_same_files, temporary_mpi_setup,
                                    temporary_mpi_teardown)};
AGD_RUN_MPI_TESTS(tests)
