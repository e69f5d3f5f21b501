/* Statistics per node and per rank, and exchanges between nodes: ranks of one machine, cut into nodes of 1, 2 and 3
 * ranks. In double, against groups of rows taken one by one on a single rank. */
#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/types.h>

#include "allegrad/network.h"
#include "allegrad/reduce.h"
#include "allegrad/rng.h"
#include "cmocka_mpi.h"
#include "random_training.h"

enum { STEPS = 6, MAX_ROWS = 24, MAX_FEATURES = 9, MAX_GROUPS = 16, LANES = 8 };
static const double RATE = 0.02, MOMENTUM = 0.9;

typedef struct job {
  agd_model_spec model;
  uint64_t seed;
  size_t rows; /* of every global batch; the last has one */
} job;

static job random_job(uint64_t seed, agd_sync sync) {
  job j = {.seed = seed, .rows = 1 + draw(seed, 0, MAX_ROWS)};
  j.model =
      (agd_model_spec){.inputs = 1 + draw(seed, 1, MAX_FEATURES),
                       .outputs = 1 + draw(seed, 2, 3),
                       .hidden_count = 1 + draw(seed, 3, 3),
                       .activation = draw(seed, 4, 2) ? AGD_TANH : AGD_SIGMOID,
                       .batch_norm = draw(seed, 5, 4) > 0,
                       .momentum = MOMENTUM,
                       .epsilon = 1e-3,
                       .sync = sync,
                       .dropout = sync == AGD_SYNC_GLOBAL && draw(seed, 7, 2) ? 0.3 : 0, /* groups have no place */
                       .unbiased_variance = draw(seed, 6, 2) > 0};
  for (size_t h = 0; h < j.model.hidden_count; h++) j.model.hidden[h] = 1 + draw(seed, 10 + h, 20);
  return j;
}

static size_t rows_of_step(const job *j, size_t s) { return s + 1 < STEPS ? j->rows : 1; }

/* Rows [first, first + count) of the global batch of step s. */
static void fill_rows(const job *j, size_t s, size_t first, size_t count, agd_real *x, agd_real *y) {
  for (size_t r = 0; r < count; r++) {
    const uint64_t row = s * MAX_ROWS + first + r;
    for (size_t c = 0; c < j->model.inputs; c++)
      x[r * j->model.inputs + c] = (agd_real)(agd_random_uniform(j->seed, 2, row * MAX_FEATURES + c) * (double)(c + 1));
    for (size_t t = 0; t < j->model.outputs; t++)
      y[r * j->model.outputs + t] = (agd_real)agd_random_uniform(j->seed, 3 + t, row);
  }
}

static agd_model *new_model(const job *j) {
  agd_model *model = NULL;
  agd_status st = {0};
  assert_int_equal(agd_model_create(&j->model, &model, &st), AGD_OK);
  agd_model_initialize(model, AGD_GLOROT_UNIFORM, j->seed);
  return model;
}

/* One group's pass on a copy of the model whose averages are zero: they become (1 - alpha) of its statistics. */
static double pass_of_group(const job *j, const agd_model *model, size_t s, agd_range rows, agd_real *gradients,
                            agd_real *averages) {
  const agd_lanes one = agd_lanes_of_ranks(1);
  const agd_exchange nothing = {.groups = 1};
  agd_real x[MAX_ROWS * MAX_FEATURES], y[MAX_ROWS * 3];
  agd_status st = {0};
  agd_network *network = NULL;
  agd_model *copy = new_model(j);
  double loss = 0;
  memcpy(copy->weights, model->weights, model->weight_count * sizeof *copy->weights);
  memset(copy->averages, 0, model->average_count * sizeof *copy->averages);
  fill_rows(j, s, rows.first, rows.count, x, y);
  assert_int_equal(agd_network_create(copy, &one, 0, MAX_ROWS, NULL, &network, &st), AGD_OK);
  agd_network_prepare(
      network, &(agd_batch){.x = x, .y = y, .noise = s, .global_rows = rows.count, .step_rows = rows.count}, &nothing);
  agd_network_train(network, &nothing, &loss);
  memcpy(gradients, agd_network_gradients(network), model->weight_count * sizeof *gradients);
  memcpy(averages, copy->averages, model->average_count * sizeof *averages);
  agd_network_destroy(&network);
  agd_model_destroy(&copy);
  return loss;
}

/* What groups of `ranks_per_group` of `ranks` ranks must compute: gradients and averages weighted by rows. */
static double train_by_groups(const job *j, int ranks, int ranks_per_group, agd_model *model) {
  const agd_lanes lanes = agd_lanes_of_ranks((uint64_t)ranks);
  agd_real *gradients = test_calloc(model->weight_count, sizeof *gradients),
           *averages = test_calloc(model->average_count + 1, sizeof *averages);
  double sum = 0;
  for (size_t s = 0; s < STEPS; s++) {
    const size_t global = rows_of_step(j, s);
    double *total = test_calloc(model->weight_count, sizeof *total);
    for (size_t i = 0; i < model->average_count; i++) model->averages[i] *= (agd_real)MOMENTUM;
    for (int first = 0; first < ranks; first += ranks_per_group) {
      const int last = first + ranks_per_group < ranks ? first + ranks_per_group - 1 : ranks - 1;
      const agd_range from = agd_rank_rows(&lanes, j->rows, global, (uint64_t)first),
                      to = agd_rank_rows(&lanes, j->rows, global, (uint64_t)last);
      const agd_range rows = {from.first, to.first + to.count - from.first};
      const double part = (double)rows.count / (double)global;
      if (rows.count == 0) continue;
      sum += pass_of_group(j, model, s, rows, gradients, averages);
      for (size_t i = 0; i < model->weight_count; i++) total[i] += part * (double)gradients[i];
      for (size_t i = 0; i < model->average_count; i++) model->averages[i] += (agd_real)(part * (double)averages[i]);
    }
    for (size_t i = 0; i < model->weight_count; i++) model->weights[i] -= (agd_real)(RATE * total[i]);
    test_free(total);
  }
  test_free(gradients);
  test_free(averages);
  return sum;
}

/* The same by this communicator's ranks. The model outlives its window as `out`. */
static double train(const job *j, const agd_comm *comm, const agd_lanes *lanes, agd_exchange_way way, agd_model **out) {
  agd_status st = {0};
  agd_model *model = new_model(j);
  agd_reduce *reduce = NULL;
  agd_network *network = NULL;
  assert_int_equal(agd_reduce_create(comm, model, lanes, way, &reduce, &st), AGD_OK);
  assert_int_equal(agd_network_create(model, lanes, (uint64_t)comm->rank, j->rows, agd_reduce_gradient_memory(reduce),
                                      &network, &st),
                   AGD_OK);
  const agd_exchange exchange = agd_reduce_exchange(reduce, NULL, NULL);
  agd_real x[MAX_ROWS * MAX_FEATURES], y[MAX_ROWS * 3];
  double sum = 0;
  for (size_t s = 0; s < STEPS; s++) {
    const size_t global = rows_of_step(j, s);
    const agd_range slice = agd_rank_rows(lanes, j->rows, global, (uint64_t)comm->rank);
    double losses[LANES] = {0};
    fill_rows(j, s, slice.first, slice.count, x, y);
    adapt_somehow(reduce, network, j->seed, 70 + s);
    agd_network_prepare(network, &(agd_batch){.x = x, .y = y, .noise = s, .global_rows = global, .step_rows = global},
                        &exchange);
    agd_network_train(network, &exchange, losses);
    agd_reduce_gradients(reduce);
    const agd_range share = agd_reduce_share(reduce);
    const agd_real *gradients = agd_network_gradients(network);
    for (size_t i = share.first; i < share.first + share.count; i++)
      model->weights[i] -= (agd_real)(RATE * (double)gradients[i]);
    agd_reduce_publish(reduce);
    agd_reduce_sum(reduce, losses, 1);
    sum += losses[0];
    if (draw(j->seed, 30 + s, 3) == 0) agd_reduce_merge_averages(reduce); /* whenever it is done */
  }
  agd_reduce_merge_averages(reduce);
  *out = new_model(j);
  memcpy((*out)->weights, model->weights, model->weight_count * sizeof *model->weights);
  memcpy((*out)->averages, model->averages, model->average_count * sizeof *model->averages);
  agd_network_destroy(&network);
  agd_model_destroy(&model);
  agd_reduce_destroy(&reduce);
  return sum;
}

static const agd_exchange_way WAYS[] = {AGD_EXCHANGE_AUTO, AGD_EXCHANGE_ALLREDUCE, AGD_EXCHANGE_BUCKETS,
                                        AGD_EXCHANGE_WINDOW};
enum { WAY_COUNT = sizeof WAYS / sizeof *WAYS };

/* Nodes of 1, 2, 3 ranks, and all ranks on one. */
static const int NODES[] = {1, 2, 3, 64};
enum { NODES_COUNT = sizeof NODES / sizeof *NODES };

static int ranks_per_group(agd_sync sync, int ranks_per_node) {
  return sync == AGD_SYNC_NONE ? 1 : sync == AGD_SYNC_NODE ? ranks_per_node : world.size;
}

static void check(uint64_t seed, agd_sync sync, int ranks_per_node) {
  const job j = random_job(seed, sync);
  const agd_lanes lanes = agd_lanes_of_ranks((uint64_t)world.size);
  agd_comm nodes;
  agd_comm_create_with_nodes(world.mpi, ranks_per_node, &nodes);
  agd_model *expected = new_model(&j);
  const double loss = train_by_groups(&j, world.size, ranks_per_group(sync, ranks_per_node), expected);
  for (size_t w = 0; w < WAY_COUNT; w++) {
    agd_model *model = NULL;
    const double sum = train(&j, &nodes, &lanes, WAYS[w], &model);
    const double weights = largest_difference(model->weights, expected->weights, expected->weight_count),
                 averages = largest_difference(model->averages, expected->averages, expected->average_count);
    if (!(weights <= 1e-10 && averages <= 1e-10 && fabs(sum - loss) <= 1e-10 * (1 + fabs(loss))))
      fail_msg("case %llu, sync %d, %d ranks a node, way %d: weights differ by %g, averages by %g, losses %.15g, %.15g",
               (unsigned long long)seed, (int)sync, ranks_per_node, (int)WAYS[w], weights, averages, sum, loss);
    agd_model_destroy(&model);
  }
  agd_model_destroy(&expected);
  agd_comm_destroy(&nodes);
}

static void test_statistics_of_every_circle(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 8; seed++)
    for (int sync = AGD_SYNC_GLOBAL; sync <= AGD_SYNC_NONE; sync++)
      check(seed, (agd_sync)sync, NODES[seed % NODES_COUNT]);
}

/* Replicas on several nodes hold the same bits, averages too once they are merged. */
static void test_replicas_are_equal(void **state) {
  (void)state;
  const agd_lanes lanes = agd_lanes_of_ranks((uint64_t)world.size);
  agd_comm nodes;
  agd_comm_create_with_nodes(world.mpi, 2, &nodes);
  for (int sync = AGD_SYNC_GLOBAL; sync <= AGD_SYNC_NONE; sync++) {
    for (size_t w = 0; w < WAY_COUNT; w++) {
      const job j = random_job(77, (agd_sync)sync);
      agd_model *model = NULL, *root = new_model(&j);
      train(&j, &nodes, &lanes, WAYS[w], &model);
      memcpy(root->weights, model->weights, model->weight_count * sizeof *root->weights);
      memcpy(root->averages, model->averages, model->average_count * sizeof *root->averages);
      agd_comm_broadcast(&world, root->weights, model->weight_count * sizeof *root->weights);
      agd_comm_broadcast(&world, root->averages, model->average_count * sizeof *root->averages);
      assert_memory_equal(root->weights, model->weights, model->weight_count * sizeof *root->weights);
      assert_memory_equal(root->averages, model->averages, model->average_count * sizeof *root->averages);
      agd_model_destroy(&root);
      agd_model_destroy(&model);
    }
  }
  agd_comm_destroy(&nodes);
}

/* Fixed lanes give the bits of one rank on several nodes, too. */
static void test_fixed_lanes_on_nodes(void **state) {
  (void)state;
  agd_comm alone;
  agd_comm_create(MPI_COMM_SELF, &alone);
  const agd_lanes at_home = agd_lanes_fixed(LANES, 1), spread = agd_lanes_fixed(LANES, (uint64_t)world.size);
  for (size_t n = 0; n < NODES_COUNT; n++) {
    job j = random_job(90 + n, AGD_SYNC_GLOBAL);
    j.rows = LANES * (1 + j.rows / LANES / 2);
    agd_comm nodes;
    agd_comm_create_with_nodes(world.mpi, NODES[n], &nodes);
    agd_model *one = NULL;
    const double loss_one = train(&j, &alone, &at_home, AGD_EXCHANGE_AUTO, &one);
    for (size_t w = 0; w < WAY_COUNT; w++) {
      agd_model *many = NULL;
      const double loss_many = train(&j, &nodes, &spread, WAYS[w], &many);
      assert_memory_equal(&loss_many, &loss_one, sizeof loss_one);
      assert_memory_equal(many->weights, one->weights, one->weight_count * sizeof *one->weights);
      assert_memory_equal(many->averages, one->averages, one->average_count * sizeof *one->averages);
      agd_model_destroy(&many);
    }
    agd_model_destroy(&one);
    agd_comm_destroy(&nodes);
  }
  agd_comm_destroy(&alone);
}

/* ---- shared memory that cannot be had ---- */

static int failing; /* the call that fails on this rank: 0 none, 1 opening, 2 taking */

int __real_shm_open(const char *name, int flags, mode_t mode);
int __wrap_shm_open(const char *name, int flags, mode_t mode);
int __wrap_shm_open(const char *name, int flags, mode_t mode) {
  if (failing != 1) return __real_shm_open(name, flags, mode);
  errno = EMFILE;
  return -1;
}

int __real_posix_fallocate(int file, off_t offset, off_t length);
int __wrap_posix_fallocate(int file, off_t offset, off_t length);
int __wrap_posix_fallocate(int file, off_t offset, off_t length) {
  return failing == 2 ? ENOSPC : __real_posix_fallocate(file, offset, length);
}

/* Whichever rank cannot have it, all get the same message, and everything is as before. */
static void test_shared_memory_that_cannot_be_had(void **state) {
  (void)state;
  const job j = random_job(5, AGD_SYNC_GLOBAL);
  const agd_lanes lanes = agd_lanes_of_ranks((uint64_t)world.size);
  for (int rank = 0; world.size > 1 && rank < world.size; rank++) {
    for (int call = 1; call <= 2; call++) {
      agd_status st = {0};
      agd_reduce *reduce = NULL;
      agd_model *model = new_model(&j);
      failing = world.rank == rank ? call : 0;
      assert_int_equal(agd_reduce_create(&world, model, &lanes, AGD_EXCHANGE_WINDOW, &reduce, &st), AGD_EDATA);
      failing = 0;
      assert_null(reduce);
      assert_non_null(strstr(st.message, call == 1 ? "Too many open files" : "No space left on device"));
      agd_model_destroy(&model);
    }
  }
  agd_model *model = NULL;
  train(&j, &world, &lanes, AGD_EXCHANGE_WINDOW, &model);
  agd_model_destroy(&model);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_statistics_of_every_circle), cmocka_unit_test(test_replicas_are_equal),
    cmocka_unit_test(test_fixed_lanes_on_nodes), cmocka_unit_test(test_shared_memory_that_cannot_be_had)};
AGD_RUN_MPI_TESTS(tests)
