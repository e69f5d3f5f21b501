/* What a second rank brings, and what synchronising and lanes cost: mpirun -n 2 bench_ranks [ROUNDS] (scaling.sh).
 *
 * The contestants take turns in every round: the same step on one rank, while the other sleeps, and on two, by each way
 * of exchange. Between them the round trip of a cache line between the two cores is measured, for it changes by itself
 * and decides much: a round is near (below 200 ns) or far by what stands before and behind it. Printed are medians over
 * rounds of ratios within a round. */
#include <math.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allegrad/clock.h"
#include "allegrad/gemm.h"
#include "allegrad/memory.h"
#include "allegrad/optimizer.h"
#include "allegrad/reduce.h"
#include "allegrad/rng.h"
#include "reference_model.h"

enum { ROUNDS_MAX = 99, PINGS = 2000, NEAR = 200, ADAPT_EVERY = 16 }; /* the latter as the trainer does */

/* ---- between the two ranks ---- */

typedef struct meeting {
  _Alignas(128) _Atomic int ping;
  _Alignas(128) _Atomic int pong;
  _Alignas(128) sem_t awake; /* a rank that has nothing to do sleeps here: MPI would spin */
} meeting;

static agd_comm world, alone;
static meeting *shared;

static void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

static void meet(MPI_Win *window) {
  MPI_Aint size;
  int unit;
  void *base;
  MPI_Win_allocate_shared(world.rank == 0 ? (MPI_Aint)sizeof(meeting) + 128 : 0, 1, MPI_INFO_NULL, world.mpi, &base,
                          window);
  MPI_Win_shared_query(*window, 0, &size, &unit, &base);
  shared = (meeting *)(void *)((char *)base + (128 - (size_t)base % 128) % 128);
  if (world.rank == 0) {
    memset(shared, 0, sizeof *shared);
    sem_init(&shared->awake, 1, 0);
  }
  MPI_Barrier(world.mpi);
}

/* Nanoseconds for a cache line to the other core and back; the same on both ranks. */
static double round_trip(void) {
  MPI_Barrier(world.mpi);
  if (world.rank == 0) atomic_store(&shared->ping, 0), atomic_store(&shared->pong, 0);
  MPI_Barrier(world.mpi);
  const double start = agd_clock();
  for (int i = 1; i <= PINGS; i++) {
    if (world.rank == 0) atomic_store_explicit(&shared->ping, i, memory_order_release);
    while (atomic_load_explicit(world.rank == 0 ? &shared->pong : &shared->ping, memory_order_acquire) < i) relax();
    if (world.rank == 1) atomic_store_explicit(&shared->pong, i, memory_order_release);
  }
  double ns = (agd_clock() - start) / PINGS * 1e9;
  MPI_Bcast(&ns, 1, MPI_DOUBLE, 0, world.mpi);
  return ns;
}

/* ---- the contestants ---- */

typedef struct contestant {
  const char *name;
  int ranks;
  agd_exchange_way way;
  agd_sync sync;
  size_t lanes; /* fixed; 0: none */
} contestant;

static const contestant CONTESTANTS[] = {
    {"one rank", 1, AGD_EXCHANGE_AUTO, AGD_SYNC_GLOBAL, 0},
    {"two, window", 2, AGD_EXCHANGE_WINDOW, AGD_SYNC_GLOBAL, 0},
    {"two, buckets", 2, AGD_EXCHANGE_BUCKETS, AGD_SYNC_GLOBAL, 0},
    {"two, allreduce", 2, AGD_EXCHANGE_ALLREDUCE, AGD_SYNC_GLOBAL, 0},
    {"two, window, BN of each rank", 2, AGD_EXCHANGE_WINDOW, AGD_SYNC_NONE, 0},
    {"one rank, 4 lanes", 1, AGD_EXCHANGE_AUTO, AGD_SYNC_GLOBAL, 4},
    {"one rank, 8 lanes", 1, AGD_EXCHANGE_AUTO, AGD_SYNC_GLOBAL, 8},
    {"two, window, 4 lanes", 2, AGD_EXCHANGE_WINDOW, AGD_SYNC_GLOBAL, 4},
    {"two, window, 8 lanes", 2, AGD_EXCHANGE_WINDOW, AGD_SYNC_GLOBAL, 8},
};
enum { ONE, WINDOW, BUCKETS, ALLREDUCE, OWN_BN, ONE_4, ONE_8, TWO_4, TWO_8, COUNT };

typedef struct training {
  const agd_comm *comm;
  agd_lanes lanes;
  agd_model *model;
  agd_network *network;
  agd_reduce *reduce;
  agd_optimizer *optimizer;
  agd_exchange exchange;
  size_t batch, next;
  double batch_norm, gradients; /* seconds so far in BN's sums and in the exchange and update */
} training;

static agd_real *x, *y; /* [ROWS, inputs] and [ROWS, 1] */

static void update(void *context, size_t offset, size_t count) {
  training *t = context;
  agd_optimizer_update(t->optimizer, t->model->weights, agd_network_gradients(t->network), offset, count);
}

static void training_create(training *t, const contestant *c, size_t batch) {
  agd_model_spec spec = reference_model();
  spec.sync = c->sync;
  const uint64_t ranks = (uint64_t)c->ranks;
  agd_status st = {0};
  *t = (training){.comm = c->ranks == 2 ? &world : &alone, .batch = batch};
  t->lanes = c->lanes > 0 ? agd_lanes_fixed(c->lanes, ranks) : agd_lanes_of_ranks(ranks);
  if (agd_model_create(&spec, &t->model, &st) == AGD_OK &&
      agd_reduce_create(t->comm, t->model, &t->lanes, c->way, &t->reduce, &st) == AGD_OK &&
      agd_network_create(t->model, &t->lanes, (uint64_t)t->comm->rank, batch, agd_reduce_gradient_memory(t->reduce),
                         &t->network, &st) == AGD_OK)
    agd_optimizer_create(&REFERENCE_SGD, t->model->weight_count, &t->optimizer, &st);
  if (st.code != AGD_OK) {
    fprintf(stderr, "bench_ranks: %s\n", st.message);
    MPI_Abort(MPI_COMM_WORLD, (int)st.code);
  }
  agd_model_initialize(t->model, AGD_GLOROT_UNIFORM, 1);
  t->exchange = agd_reduce_exchange(t->reduce, update, t);
}

static void training_clear(training *t) {
  agd_optimizer_destroy(&t->optimizer);
  agd_network_destroy(&t->network);
  agd_model_destroy(&t->model);
  agd_reduce_destroy(&t->reduce);
}

static void prepare(training *t) {
  const agd_range slice = agd_rank_rows(&t->lanes, t->batch, t->batch, (uint64_t)t->comm->rank);
  if (t->next + t->batch > ROWS) t->next = 0;
  const agd_batch batch = {.x = x + (t->next + slice.first) * WIDTH[0],
                           .y = y + (t->next + slice.first) * WIDTH[LAYERS],
                           .step_rows = t->batch,
                           .global_rows = t->batch};
  agd_network_prepare(t->network, &batch, &t->exchange);
  t->next += t->batch;
}

/* Seconds a step, as the trainer takes it. */
static double time_steps(training *t, int steps) {
  double losses[8];
  agd_reduce_take_seconds(t->reduce);
  t->gradients = 0;
  prepare(t);
  const double start = agd_clock();
  for (int s = 0; s < steps; s++) {
    if (s % ADAPT_EVERY == 0) {
      agd_reduce_adapt(t->reduce, AGD_ADAPT_MEASURED);
      agd_network_set_gradients(t->network, agd_reduce_gradient_memory(t->reduce));
    }
    agd_optimizer_begin(t->optimizer, t->optimizer->spec.learning_rate);
    agd_network_train(t->network, &t->exchange, losses);
    if (s + 1 < steps) prepare(t);
    const double exchange = agd_clock();
    agd_reduce_gradients(t->reduce);
    agd_reduce_publish(t->reduce);
    t->gradients += agd_clock() - exchange;
  }
  t->batch_norm = agd_reduce_take_seconds(t->reduce);
  return (agd_clock() - start) / steps;
}

/* One turn of a contestant; with one rank the other sleeps meanwhile. The slower rank's time, on both. */
static double turn(training *t, int steps) {
  double seconds = 0;
  MPI_Barrier(world.mpi);
  if (t->comm == &world || world.rank == 0) {
    time_steps(t, 2);
    seconds = time_steps(t, steps);
    if (t->comm == &alone) sem_post(&shared->awake);
  } else {
    while (sem_wait(&shared->awake) != 0) {
    }
  }
  MPI_Allreduce(MPI_IN_PLACE, &seconds, 1, MPI_DOUBLE, MPI_MAX, world.mpi);
  return seconds;
}

/* ---- what is printed ---- */

static int ascending(const void *a, const void *b) {
  const double left = *(const double *)a, right = *(const double *)b;
  return (left > right) - (left < right);
}

typedef struct rounds {
  int count;
  double trip[ROUNDS_MAX], seconds[ROUNDS_MAX][COUNT];
  double batch_norm[ROUNDS_MAX], gradients[ROUNDS_MAX]; /* of the window's step */
} rounds;

/* Median over the near (or far) rounds of seconds[a] / seconds[b]; NaN when there are none. */
static double median_ratio(const rounds *r, int far, int a, int b, int *count) {
  double ratios[ROUNDS_MAX];
  *count = 0;
  for (int i = 0; i < r->count; i++)
    if ((r->trip[i] >= NEAR) == far) ratios[(*count)++] = r->seconds[i][a] / r->seconds[i][b];
  qsort(ratios, (size_t)*count, sizeof *ratios, ascending);
  return *count > 0 ? ratios[*count / 2] : NAN;
}

static double median_of(const double *values, int count) {
  double sorted[ROUNDS_MAX];
  memcpy(sorted, values, (size_t)count * sizeof *sorted);
  qsort(sorted, (size_t)count, sizeof *sorted, ascending);
  return sorted[count / 2];
}

static void print_ratio(const char *what, double ratio, const char *unit, double target, int at_least) {
  printf("  %-46s %6.2f%s", what, ratio, unit);
  if (!isnan(target))
    printf("  (target: at %s %g%s, %s)", at_least ? "least" : "most", target, unit,
           (at_least ? ratio >= target : ratio <= target) ? "ok" : "missed");
  putchar('\n');
}

static void report(const rounds *r, size_t batch, int far) {
  int count;
  const double window = median_ratio(r, far, ONE, WINDOW, &count);
  if (count == 0) return;
  const int small = batch == 32;
  printf("batch %zu, %d rounds with a round trip of %s 200 ns\n", batch, count, far ? "at least" : "below");
  print_ratio("two ranks over one: window", window, " x", far ? (small ? 1.15 : 1.55) : small ? 1.45 : 1.8, 1);
  print_ratio("two ranks over one: buckets", median_ratio(r, far, ONE, BUCKETS, &count), " x", NAN, 1);
  print_ratio("two ranks over one: allreduce", median_ratio(r, far, ONE, ALLREDUCE, &count), " x", NAN, 1);
  print_ratio("synchronising BN, of the step", 100 * (1 - 1 / median_ratio(r, far, WINDOW, OWN_BN, &count)), " %",
              small ? 8 : 4, 0);
  const double most = small ? 15 : 5;
  print_ratio("4 lanes on one rank", 100 * (median_ratio(r, far, ONE_4, ONE, &count) - 1), " %", most, 0);
  print_ratio("8 lanes on one rank", 100 * (median_ratio(r, far, ONE_8, ONE, &count) - 1), " %", most, 0);
  print_ratio("4 lanes on two ranks", 100 * (median_ratio(r, far, TWO_4, WINDOW, &count) - 1), " %", most, 0);
  print_ratio("8 lanes on two ranks", 100 * (median_ratio(r, far, TWO_8, WINDOW, &count) - 1), " %", most, 0);
}

static void run_batch(size_t batch, int steps, int count) {
  static training trainings[COUNT];
  rounds r = {.count = count};
  for (int c = 0; c < COUNT; c++)
    if (CONTESTANTS[c].ranks == 2 || world.rank == 0)
      training_create(&trainings[c], &CONTESTANTS[c], batch);
    else
      trainings[c] = (training){.comm = &alone};
  double before = round_trip();
  for (int i = 0; i < count; i++) {
    for (int c = 0; c < COUNT; c++) {
      r.seconds[i][c] = turn(&trainings[c], steps);
      if (c == WINDOW)
        r.batch_norm[i] = trainings[c].batch_norm / steps, r.gradients[i] = trainings[c].gradients / steps;
    }
    const double behind = round_trip();
    r.trip[i] = (before + behind) / 2;
    before = behind;
  }
  if (world.rank == 0) {
    double one[ROUNDS_MAX], two[ROUNDS_MAX];
    for (int i = 0; i < count; i++) one[i] = r.seconds[i][ONE], two[i] = r.seconds[i][WINDOW];
    printf("batch %zu: one rank %.1f us a step, two %.1f us (of it waiting for BN's sums and adding them up %.1f us, "
           "gradients and update %.1f us); round trip %.0f ns\n",
           batch, 1e6 * median_of(one, count), 1e6 * median_of(two, count), 1e6 * median_of(r.batch_norm, count),
           1e6 * median_of(r.gradients, count), median_of(r.trip, count));
    report(&r, batch, 0);
    report(&r, batch, 1);
  }
  for (int c = 0; c < COUNT; c++)
    if (CONTESTANTS[c].ranks == 2 || world.rank == 0) training_clear(&trainings[c]);
}

static agd_real *random_reals(size_t count, uint64_t stream) {
  agd_real *values = NULL;
  agd_status st = {0};
  if (agd_allocate(count, sizeof *values, "the data", (void **)&values, &st) != AGD_OK) MPI_Abort(MPI_COMM_WORLD, 2);
  for (size_t i = 0; i < count; i++) values[i] = (agd_real)(2 * agd_random_uniform(1, stream, i) - 1);
  return values;
}

int main(int argc, char **argv) {
  const int count = argc > 1 ? atoi(argv[1]) : 31;
  MPI_Win window;
  MPI_Init(&argc, &argv);
  agd_comm_create(MPI_COMM_WORLD, &world);
  agd_comm_create(MPI_COMM_SELF, &alone);
  if (world.size != 2 || count < 1 || count > ROUNDS_MAX) {
    if (world.rank == 0) fprintf(stderr, "usage: mpirun -n 2 bench_ranks [ROUNDS, at most %d]\n", ROUNDS_MAX);
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  char libraries[128];
  if (world.rank == 0)
    printf("%s, our kernels %s; %d rounds\n", agd_gemm_describe(libraries, sizeof libraries), agd_kernels_select()->isa,
           count);
  x = random_reals(ROWS * WIDTH[0], 1);
  y = random_reals(ROWS * WIDTH[LAYERS], 2);
  meet(&window);
  run_batch(32, 100, count);
  run_batch(256, 16, count);
  agd_release(&x);
  agd_release(&y);
  MPI_Win_free(&window);
  agd_comm_destroy(&alone);
  agd_comm_destroy(&world);
  MPI_Finalize();
  return 0;
}
