#include "reduce_internal.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "allegrad/fold.h"
#include "allegrad/memory.h"

/* Elements of a bucket: large enough that an allreduce runs at bandwidth, small enough that several leave during one
 * backward pass. */
enum { BUCKET = 1 << 16, SMALLEST_CAPACITY = 64 };

/* ---- creation ---- */

static bool has_window(const agd_reduce *r) { return r->window != NULL; }

/* One rank and one lane: there is nothing to sum. */
static bool alone(const agd_reduce *r) { return r->lanes.count == 1; }

static size_t widest_input(const agd_model *model) {
  size_t widest = 0;
  for (size_t l = 0; l < model->layer_count; l++) {
    if (model->layers[l].in > widest) widest = model->layers[l].in;
  }
  return widest;
}

static agd_code allocate(agd_reduce *r, agd_status *st) {
  const size_t widest = widest_input(r->model), ranks = (size_t)r->comm->size;
  r->lane_count = agd_lanes_of_rank(&r->lanes, (uint64_t)r->comm->rank).count;
  r->capacity = 1 + 2 * widest > SMALLEST_CAPACITY ? 1 + 2 * widest : SMALLEST_CAPACITY;
  if (r->capacity > INT_MAX / r->lanes.count)
    return agd_fail(st, AGD_EDATA, "the statistics of a layer of %zu features do not fit one MPI message", widest);
  AGD_TRY(agd_reduce_plan(r, st));
  const char *what = "the reductions";
  AGD_TRY(agd_allocate(r->lanes.count, r->capacity * sizeof(double), what, (void **)&r->gathered, st));
  AGD_TRY(agd_allocate(ranks, sizeof *r->count, what, (void **)&r->count, st));
  AGD_TRY(agd_allocate(ranks, sizeof *r->offset, what, (void **)&r->offset, st));
  AGD_TRY(agd_allocate(r->plan.run_count, sizeof *r->run, what, (void **)&r->run, st));
  AGD_TRY(agd_allocate(r->plan.run_count, FOLD_BLOCK * sizeof(agd_real), what, (void **)&r->scratch, st));
  return agd_allocate(r->model->exchange_count / BUCKET + 2, sizeof *r->bucket, what, (void **)&r->bucket, st);
}

/* How many nodes there are and the least number of ranks on any. Collective. */
static void survey(const agd_comm *comm, MPI_Comm node, int *nodes, int *fewest) {
  int rank = 0, size = 0, leader;
  MPI_Comm_rank(node, &rank);
  MPI_Comm_size(node, &size);
  leader = rank == 0;
  MPI_Allreduce(&leader, nodes, 1, MPI_INT, MPI_SUM, comm->mpi);
  MPI_Allreduce(&size, fewest, 1, MPI_INT, MPI_MIN, comm->mpi);
}

/* The rule: see reduce.h. */
static agd_exchange_way choose(const agd_reduce *r, agd_exchange_way way, int nodes, int fewest) {
  if (way == AGD_EXCHANGE_AUTO) way = nodes == 1 || fewest > 1 ? AGD_EXCHANGE_WINDOW : AGD_EXCHANGE_BUCKETS;
  if (r->lanes.fixed && (nodes > 1 || way == AGD_EXCHANGE_BUCKETS)) way = AGD_EXCHANGE_ALLREDUCE;
  return way;
}

static void describe(agd_reduce *r, int nodes) {
  static const char *const NAME[] = {"auto", "allreduce", "buckets", "window"};
  if (r->comm->size == 1)
    snprintf(r->description, sizeof r->description, "none: one rank");
  else
    snprintf(r->description, sizeof r->description, "%s: %d ranks on %d node%s", NAME[r->way], r->comm->size, nodes,
             nodes > 1 ? "s" : "");
}

/* Gradients in memory of this rank's own, and where fixed lanes are exchanged by messages, room for what comes. */
static agd_code allocate_gradients(agd_reduce *r, agd_status *st) {
  const size_t runs = agd_lanes_runs(&r->lanes, (uint64_t)r->comm->rank), count = r->model->weight_count;
  AGD_TRY(agd_allocate(runs * count, sizeof *r->gradients, "the gradients", (void **)&r->gradients, st));
  if (!r->lanes.fixed) return AGD_OK;
  const size_t share = agd_reduce_slice(r->model->exchange_count, (size_t)r->comm->size, 0).count;
  return agd_allocate(r->plan.run_count * share, sizeof *r->received, "the gradients", (void **)&r->received, st);
}

agd_code agd_reduce_create(const agd_comm *comm, agd_model *model, const agd_lanes *lanes, agd_exchange_way way,
                           agd_reduce **out, agd_status *st) {
  *out = NULL;
  agd_reduce *r = NULL;
  if (agd_allocate(1, sizeof *r, "the reductions", (void **)&r, st) == AGD_OK) {
    *r = (agd_reduce){.comm = comm, .model = model, .lanes = *lanes, .request = MPI_REQUEST_NULL};
    allocate(r, st);
  }
  agd_code code = agd_comm_agree(comm, st);
  if (code == AGD_OK) {
    MPI_Comm node;
    int nodes = 1, fewest = 1;
    MPI_Comm_split_type(comm->mpi, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL, &node);
    survey(comm, node, &nodes, &fewest);
    r->way = choose(r, way, nodes, fewest);
    if (comm->size == 1) r->way = AGD_EXCHANGE_ALLREDUCE;
    describe(r, nodes);
    if (r->way == AGD_EXCHANGE_WINDOW) {
      code = agd_window_create(r, node, st);
    } else {
      MPI_Comm_free(&node);
      allocate_gradients(r, st);
      code = agd_comm_agree(comm, st);
    }
  }
  if (code != AGD_OK) agd_reduce_destroy(&r);
  *out = r;
  return code;
}

void agd_reduce_destroy(agd_reduce **reduce) {
  agd_reduce *r = *reduce;
  if (r == NULL) return;
  if (has_window(r))
    agd_window_destroy(r);
  else
    agd_release(&r->gradients);
  agd_release(&r->received);
  agd_release(&r->bucket);
  agd_release(&r->scratch);
  agd_release(&r->run);
  agd_release(&r->offset);
  agd_release(&r->count);
  agd_release(&r->gathered);
  agd_release(&r->plan.run_rank);
  agd_release(&r->plan.into);
  agd_release(&r->plan.from);
  agd_release(reduce);
}

const char *agd_reduce_describe(const agd_reduce *reduce) { return reduce->description; }

agd_real *agd_reduce_gradient_memory(agd_reduce *reduce) { return reduce->gradients; }

/* ---- sums of statistics ---- */

/* Starts to bring the parts of all lanes, n doubles each, to every rank's `gathered`, in the order of the lanes. */
static void gather_start(agd_reduce *r, double *values, size_t n) {
  AGD_REQUIRE(r->travelling == NULL && n <= r->capacity);
  r->travelling = values;
  r->travelling_count = n;
  if (r->comm->size == 1) {
    memcpy(r->gathered, values, r->lane_count * n * sizeof *values);
  } else if (has_window(r) && r->window->nodes == 1) {
    agd_window_sum_start(r, values, n);
  } else {
    for (int rank = 0; rank < r->comm->size; rank++) {
      const agd_range own = agd_lanes_of_rank(&r->lanes, (uint64_t)rank);
      r->count[rank] = (int)(own.count * n);
      r->offset[rank] = (int)(own.first * n);
    }
    MPI_Iallgatherv(values, (int)(r->lane_count * n), MPI_DOUBLE, r->gathered, r->count, r->offset, MPI_DOUBLE,
                    r->comm->mpi, &r->request);
  }
}

static void gather_finish(agd_reduce *r) {
  if (has_window(r) && r->window->nodes == 1)
    agd_window_sum_wait(r, r->travelling_count);
  else
    MPI_Wait(&r->request, MPI_STATUS_IGNORE); /* NOLINT(*MPI-Checker): of gather_start */
}

/* Gathers every lane's triples and folds them in the same order on every rank: an MPI reduction may hand other bits to
 * other ranks, and replicas would drift. */
static void merge_moments(void *context, double *parts, size_t C) {
  agd_reduce *r = context;
  const size_t n = 1 + 2 * C;
  gather_start(r, parts, n);
  gather_finish(r);
  agd_fold_moments(r->lanes.count, C, n, r->gathered);
  memcpy(parts, r->gathered, n * sizeof *parts);
  r->travelling = NULL;
}

static void sum_start(void *context, double *values, size_t n) { gather_start(context, values, n); }

static void sum_finish(void *context) {
  agd_reduce *r = context;
  gather_finish(r);
  agd_fold_doubles(r->lanes.count, r->travelling_count, r->travelling_count, r->gathered);
  memcpy(r->travelling, r->gathered, r->travelling_count * sizeof *r->gathered);
  r->travelling = NULL;
}

void agd_reduce_sum(agd_reduce *reduce, double *values, size_t n) {
  if (alone(reduce)) return;
  sum_start(reduce, values, n);
  sum_finish(reduce);
}

/* ---- gradients ---- */

/* Fixed lanes by messages: every rank is sent its share of all runs, folds it in order, and all shares are gathered. */
static void fold_by_messages(agd_reduce *r) {
  const size_t ranks = (size_t)r->comm->size, total = r->model->exchange_count, weights = r->model->weight_count;
  const agd_range own = agd_reduce_slice(total, ranks, (size_t)r->comm->rank);
  size_t my_run = 0, arrived = 0;
  for (size_t run = 0; run < r->plan.run_count; run++) {
    const int owner = (int)r->plan.run_rank[run];
    const agd_real *mine = owner == r->comm->rank ? r->gradients + my_run++ * weights : NULL;
    for (size_t rank = 0; rank < ranks; rank++) {
      const agd_range share = agd_reduce_slice(total, ranks, rank);
      r->count[rank] = (int)share.count;
      r->offset[rank] = (int)share.first;
    }
    MPI_Scatterv(mine, r->count, r->offset, AGD_MPI_REAL, r->received + arrived, (int)own.count, AGD_MPI_REAL, owner,
                 r->comm->mpi);
    r->run[run] = r->received + arrived;
    arrived += own.count;
  }
  agd_reduce_fold(r, 0, own.count, r->gradients + own.first);
  MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, r->gradients, r->count, r->offset, AGD_MPI_REAL, r->comm->mpi);
}

/* Fixed lanes on one rank: its runs are folded where they are. */
static void fold_at_home(agd_reduce *r) {
  for (size_t run = 0; run < r->plan.run_count; run++) r->run[run] = r->gradients + run * r->model->weight_count;
  if (r->plan.run_count > 1) agd_reduce_fold(r, 0, r->model->exchange_count, r->gradients);
}

static void send_bucket(agd_reduce *r) {
  const size_t count = r->bucket_end - r->bucket_start;
  MPI_Iallreduce(MPI_IN_PLACE, r->gradients + r->bucket_start, (int)count, AGD_MPI_REAL, MPI_SUM, r->comm->mpi,
                 &r->bucket[r->bucket_count++]);
  r->bucket_start = r->bucket_end;
}

/* Dense slices become final from the front of the array on; those of gamma and beta behind exchange_count stay here. */
static void bucket_ready(void *context, size_t offset, size_t count) {
  agd_reduce *r = context;
  if (offset >= r->model->exchange_count) return;
  AGD_REQUIRE(offset == r->bucket_end);
  r->bucket_end = offset + count;
  while (r->bucket_end - r->bucket_start > INT_MAX) { /* a slice beyond one message */
    const size_t end = r->bucket_end;
    r->bucket_end = r->bucket_start + (INT_MAX - AGD_ALIGN);
    send_bucket(r);
    r->bucket_end = end;
  }
  if (r->bucket_end - r->bucket_start >= BUCKET || r->bucket_end == r->model->exchange_count) send_bucket(r);
}

static void wait_for_buckets(agd_reduce *r) {
  MPI_Waitall((int)r->bucket_count, r->bucket, MPI_STATUSES_IGNORE);
  r->bucket_count = r->bucket_start = r->bucket_end = 0;
}

static void allreduce(agd_reduce *r) {
  agd_real *gradients = r->gradients;
  for (size_t left = r->model->exchange_count; left > 0;) {
    const size_t piece = left < INT_MAX ? left : INT_MAX;
    MPI_Allreduce(MPI_IN_PLACE, gradients, (int)piece, AGD_MPI_REAL, MPI_SUM, r->comm->mpi);
    gradients += piece;
    left -= piece;
  }
}

agd_exchange agd_reduce_exchange(agd_reduce *r) {
  if (alone(r)) return (agd_exchange){.context = r};
  return (agd_exchange){.context = r,
                        .moments = merge_moments,
                        .sum_start = sum_start,
                        .sum_finish = sum_finish,
                        .gradient_ready = r->way == AGD_EXCHANGE_BUCKETS ? bucket_ready : NULL};
}

void agd_reduce_gradients(agd_reduce *r) {
  if (alone(r)) return;
  if (has_window(r))
    agd_window_gradients(r);
  else if (r->comm->size == 1)
    fold_at_home(r);
  else if (r->lanes.fixed)
    fold_by_messages(r);
  else if (r->way == AGD_EXCHANGE_BUCKETS)
    wait_for_buckets(r);
  else
    allreduce(r);
}

agd_range agd_reduce_share(const agd_reduce *r) {
  if (has_window(r)) return agd_window_share(r);
  return (agd_range){.first = 0, .count = r->model->exchange_count};
}

void agd_reduce_publish(agd_reduce *r) {
  if (has_window(r)) agd_window_publish(r);
}

void agd_reduce_collect(agd_reduce *r, agd_real *values) {
  if (has_window(r)) agd_window_collect(r, values);
}
