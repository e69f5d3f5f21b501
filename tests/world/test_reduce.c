/* P ranks train as one: random networks, batches and splits, against the same batches on a single rank. In double
 * within 1e-10 after ten steps; in float within 2e-5, with smooth activations: a ReLU's input may be rounded to either
 * side. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "allegrad/network.h"
#include "allegrad/optimizer.h"
#include "allegrad/reduce.h"
#include "allegrad/rng.h"
#include "allegrad/shard.h"
#include "cmocka_mpi.h"
#include "random_training.h"

enum { CASES = 60, STEPS = 10, MAX_ROWS = 40, MAX_FEATURES = 12, LANES = 8 };

#ifdef ALLEGRAD_DOUBLE
static const double TOLERANCE = 1e-10, RATE = 0.01;
static const agd_activation ACTIVATIONS[] = {AGD_LINEAR, AGD_RELU, AGD_TANH, AGD_SIGMOID};
#else
static const double TOLERANCE = 2e-5, RATE = 0.002; /* a batch of a few rows amplifies rounding with every step */
static const agd_activation ACTIVATIONS[] = {AGD_LINEAR, AGD_TANH, AGD_SIGMOID};
#endif
enum { ACTIVATION_COUNT = sizeof ACTIVATIONS / sizeof *ACTIVATIONS };

typedef struct job {
  agd_model_spec model;
  agd_optimizer_spec optimizer;
  uint64_t seed;
  size_t rows; /* of every global batch; the last is short */
} job;

static job random_job(uint64_t seed) {
  job j = {.seed = seed, .rows = 1 + draw(seed, 0, MAX_ROWS)};
  j.model = (agd_model_spec){.inputs = 1 + draw(seed, 1, MAX_FEATURES),
                             .outputs = 1 + draw(seed, 2, 3),
                             .hidden_count = draw(seed, 3, 4),
                             .activation = ACTIVATIONS[draw(seed, 4, ACTIVATION_COUNT)],
                             .batch_norm = draw(seed, 5, 4) > 0,
                             .momentum = 0.9,
                             .epsilon = 1e-3};
  for (size_t h = 0; h < j.model.hidden_count; h++) j.model.hidden[h] = 1 + draw(seed, 10 + h, 24);
  j.optimizer = (agd_optimizer_spec){.name = draw(seed, 6, 3) == 0 ? AGD_ADAM : AGD_SGD,
                                     .learning_rate =
                                         j.model.batch_norm ? RATE : 1e-5, /* raw features without BN diverge easily */
                                     .momentum = draw(seed, 7, 2) > 0 ? 0.9 : 0,
                                     .nesterov = draw(seed, 8, 2) > 0,
                                     .beta_1 = 0.9,
                                     .beta_2 = 0.999,
                                     .epsilon = 1e-3};
  return j;
}

/* Feature c of global row r of step s: shifted and scaled, as raw data is; before BN some are constant, and some have a
 * mean of a thousand standard deviations. */
static agd_real feature(const job *j, size_t s, size_t r, size_t c) {
  const double u = agd_random_uniform(j->seed, 2, (s * MAX_ROWS + r) * MAX_FEATURES + c), sd = sqrt(1.0 / 12);
  const size_t kind =
      j->model.batch_norm && c > 0 ? draw(j->seed, 50 + c, 6) : 5; /* of the first the targets are made */
  if (kind == 0) return 3;
  if (kind == 1) return (agd_real)(u - 0.5 + 1000 * sd);
  return (agd_real)((double)(c + 1) * u + 3 * (double)c);
}

typedef struct update {
  agd_optimizer *optimizer;
  agd_model *model;
  const agd_real *gradients;
} update;

static void update_slice(void *context, size_t offset, size_t count) {
  const update *u = context;
  agd_optimizer_update(u->optimizer, u->model->weights, u->gradients, offset, count);
}

/* Trains the job's steps with this communicator's slices; returns the summed losses of all steps over its ranks. */
static double train(const job *j, const agd_comm *comm, const agd_lanes *lanes, agd_exchange_way way, agd_model **out) {
  agd_status st = {0};
  agd_model *model = NULL;
  agd_network *network = NULL;
  agd_optimizer *optimizer = NULL;
  agd_reduce *reduce = NULL;
  assert_int_equal(agd_model_create(&j->model, &model, &st), AGD_OK);
  agd_model_initialize(model, AGD_GLOROT_UNIFORM, j->seed);
  assert_int_equal(agd_optimizer_create(&j->optimizer, model->weight_count, &optimizer, &st), AGD_OK);
  assert_int_equal(agd_reduce_create(comm, model, lanes, way, &reduce, &st), AGD_OK);
  assert_int_equal(agd_network_create(model, lanes, (uint64_t)comm->rank, j->rows, agd_reduce_gradient_memory(reduce),
                                      &network, &st),
                   AGD_OK);
  update updating = {optimizer, model, agd_network_gradients(network)};
  const bool at_once = draw(j->seed, 9, 2) > 0; /* else slice by slice, on the way */
  const agd_exchange exchange = agd_reduce_exchange(reduce, at_once ? NULL : update_slice, &updating);
  agd_real x[MAX_ROWS * MAX_FEATURES], y[MAX_ROWS * 3];
  double sum = 0;
  for (size_t s = 0; s < STEPS; s++) {
    const size_t global = s + 1 < STEPS ? j->rows : 1 + j->rows / 2;
    const agd_range slice = agd_rank_rows(lanes, j->rows, global, (uint64_t)comm->rank);
    const agd_batch batch = {.x = x, .y = y, .global_rows = global, .step_rows = global};
    double losses[LANES] = {0};
    for (size_t r = 0; r < slice.count; r++) {
      for (size_t c = 0; c < model->spec.inputs; c++) x[r * model->spec.inputs + c] = feature(j, s, slice.first + r, c);
      for (size_t t = 0; t < model->spec.outputs; t++)
        y[r * model->spec.outputs + t] = (agd_real)sin((double)feature(j, s, slice.first + r, 0) + (double)t);
    }
    agd_optimizer_begin(optimizer, j->optimizer.learning_rate);
    adapt_somehow(reduce, network, j->seed, 70 + s);
    updating.gradients = agd_network_gradients(network);
    agd_network_prepare(network, &batch, &exchange);
    agd_network_train(network, &exchange, losses);
    agd_reduce_gradients(reduce);
    if (at_once) update_slice(&updating, agd_reduce_share(reduce).first, agd_reduce_share(reduce).count);
    agd_reduce_publish(reduce);
    agd_reduce_sum(reduce, losses, 1);
    sum += losses[0];
  }
  /* the weights must outlive the window that they may lie in */
  assert_int_equal(agd_model_create(&j->model, out, &st), AGD_OK);
  memcpy((*out)->weights, model->weights, model->weight_count * sizeof(agd_real));
  memcpy((*out)->averages, model->averages, model->average_count * sizeof(agd_real));
  agd_network_destroy(&network);
  agd_optimizer_destroy(&optimizer);
  agd_model_destroy(&model);
  agd_reduce_destroy(&reduce);
  return sum;
}

static const agd_exchange_way WAYS[] = {AGD_EXCHANGE_ALLREDUCE, AGD_EXCHANGE_BUCKETS, AGD_EXCHANGE_WINDOW};
enum { WAY_COUNT = sizeof WAYS / sizeof *WAYS };

static void check(uint64_t seed) {
  const job j = random_job(seed);
  const agd_lanes one_lane = agd_lanes_of_ranks(1), lanes = agd_lanes_of_ranks((uint64_t)world.size);
  agd_comm alone;
  agd_comm_create(MPI_COMM_SELF, &alone);
  agd_model *one = NULL, *many = NULL;
  const double loss_one = train(&j, &alone, &one_lane, AGD_EXCHANGE_AUTO, &one);
  const double loss_many = train(&j, &world, &lanes, WAYS[seed % WAY_COUNT], &many);
  const double weights = largest_difference(many->weights, one->weights, one->weight_count),
               averages = largest_difference(many->averages, one->averages, one->average_count);
  if (!(weights <= TOLERANCE && averages <= TOLERANCE &&
        fabs(loss_many - loss_one) <= TOLERANCE * (1 + fabs(loss_one))))
    fail_msg("case %llu: weights differ by %g, averages by %g, losses %.15g and %.15g", (unsigned long long)seed,
             weights, averages, loss_many, loss_one);
  agd_model_destroy(&one);
  agd_model_destroy(&many);
  agd_comm_destroy(&alone);
}

static void test_many_ranks_are_one(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= CASES; seed++) check(seed * 1000 + (uint64_t)world.size);
  if (world.rank == 0) printf("%d random jobs on %d ranks agree with one rank\n", (int)CASES, world.size);
}

/* Fixed lanes: the same bits as one rank, by every way. */
static void test_fixed_lanes_give_the_same_bits(void **state) {
  (void)state;
  agd_comm alone;
  agd_comm_create(MPI_COMM_SELF, &alone);
  for (uint64_t seed = 1; seed <= 6; seed++) {
    job j = random_job(seed);
    j.rows = 8 * (1 + j.rows / 8);
    const agd_lanes at_home = agd_lanes_fixed(LANES, 1), spread = agd_lanes_fixed(LANES, (uint64_t)world.size);
    agd_model *one = NULL;
    const double loss_one = train(&j, &alone, &at_home, AGD_EXCHANGE_AUTO, &one);
    for (size_t w = 0; w < WAY_COUNT; w++) {
      agd_model *many = NULL;
      const double loss_many = train(&j, &world, &spread, WAYS[w], &many);
      assert_memory_equal(&loss_many, &loss_one, sizeof loss_one);
      assert_memory_equal(many->weights, one->weights, one->weight_count * sizeof *one->weights);
      assert_memory_equal(many->averages, one->averages, one->average_count * sizeof *one->averages);
      agd_model_destroy(&many);
    }
    agd_model_destroy(&one);
  }
  agd_comm_destroy(&alone);
}

/* Replicas hold the same bits after training, whatever the rank and the way. */
static void test_replicas_are_equal(void **state) {
  (void)state;
  const job j = random_job(77);
  const agd_lanes lanes = agd_lanes_of_ranks((uint64_t)world.size);
  for (size_t w = 0; w < WAY_COUNT; w++) {
    agd_model *model = NULL;
    train(&j, &world, &lanes, WAYS[w], &model);
    agd_real *root = test_calloc(model->weight_count, sizeof *root);
    memcpy(root, model->weights, model->weight_count * sizeof *root);
    agd_comm_broadcast(&world, root, model->weight_count * sizeof *root);
    assert_memory_equal(root, model->weights, model->weight_count * sizeof *root);
    test_free(root);
    agd_model_destroy(&model);
  }
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(test_many_ranks_are_one),
                                          cmocka_unit_test(test_fixed_lanes_give_the_same_bits),
                                          cmocka_unit_test(test_replicas_are_equal)};
AGD_RUN_MPI_TESTS(tests)
