#include "reduce_internal.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "allegrad/clock.h"
#include "allegrad/fold.h"
#include "allegrad/memory.h"
#include "allegrad/watchdog.h"

/* Elements of a bucket: large enough that an allreduce runs at bandwidth, small enough that several leave during one
 * backward pass. */
enum { BUCKET = 1 << 16, SMALLEST_CAPACITY = 64 };

/* ---- creation ---- */

static bool has_window(const agd_reduce *r) { return r->window != NULL; }

/* One rank and one lane: there is nothing to sum. */
static bool alone(const agd_reduce *r) { return r->lanes.count == 1; }

/* One rank, whose lanes are summed where they are computed: nothing travels. */
static bool at_home(const agd_reduce *r) { return r->comm->size == 1; }

static agd_code allocate(agd_reduce *r, agd_status *st) {
  const size_t widest = agd_model_widest_input(r->model), ranks = (size_t)r->comm->size;
  r->lane_count = agd_lanes_of_rank(&r->lanes, (uint64_t)r->comm->rank).count;
  r->capacity = 1 + 2 * widest > SMALLEST_CAPACITY ? 1 + 2 * widest : SMALLEST_CAPACITY;
  if (r->capacity > INT_MAX / r->lanes.count)
    return agd_fail(st, AGD_EDATA, "the statistics of a layer of %zu features do not fit one MPI message", widest);
  AGD_TRY(agd_reduce_plan(r, st));
  const char *what = "the reductions";
  AGD_TRY(agd_allocate(AGD_BLOCKS, sizeof *r->squares, what, (void **)&r->squares, st));
  for (channel *c = r->channel; c < r->channel + CHANNELS; c++) {
    AGD_TRY(agd_allocate(r->lanes.count, r->capacity * sizeof(double), what, (void **)&c->gathered, st));
    AGD_TRY(agd_allocate(ranks, sizeof *c->count, what, (void **)&c->count, st));
    AGD_TRY(agd_allocate(ranks, sizeof *c->offset, what, (void **)&c->offset, st));
  }
  AGD_TRY(agd_allocate(ranks, sizeof *r->count, what, (void **)&r->count, st));
  AGD_TRY(agd_allocate(ranks, sizeof *r->offset, what, (void **)&r->offset, st));
  AGD_TRY(agd_allocate(r->plan.run_count, sizeof *r->run, what, (void **)&r->run, st));
  AGD_TRY(agd_allocate(r->plan.run_count, sizeof *r->part, what, (void **)&r->part, st));
  AGD_TRY(agd_allocate(r->plan.run_count, FOLD_BLOCK * sizeof(agd_real), what, (void **)&r->scratch, st));
  const size_t buckets = r->model->exchange_count / BUCKET + 2;
  AGD_TRY(agd_allocate(buckets, sizeof *r->bucket_ends, what, (void **)&r->bucket_ends, st));
  return agd_allocate(buckets, sizeof *r->bucket, what, (void **)&r->bucket, st);
}

/* The rule: see reduce.h. */
static agd_exchange_way choose(const agd_reduce *r, agd_exchange_way way) {
  const agd_comm *comm = r->comm;
  if (comm->size == 1) return AGD_EXCHANGE_ALLREDUCE;
  if (way == AGD_EXCHANGE_AUTO)
    way = comm->node_count == 1 || comm->node_smallest > 1 ? AGD_EXCHANGE_WINDOW : AGD_EXCHANGE_BUCKETS;
  if (r->lanes.fixed && (comm->node_count > 1 || way == AGD_EXCHANGE_BUCKETS)) way = AGD_EXCHANGE_ALLREDUCE;
  return way;
}

static void describe(agd_reduce *r, agd_exchange_way asked) {
  static const char *const name[] = {"auto", "allreduce", "buckets", "window"};
  const agd_comm *comm = r->comm;
  const char *reason = asked == r->way ? ", as the job asks" : "";
  if (r->lanes.fixed && asked != AGD_EXCHANGE_AUTO && asked != r->way) reason = ", as fixed lanes need";
  if (comm->size == 1)
    snprintf(r->description, sizeof r->description, "none: one rank");
  else if (comm->node_count == 1)
    snprintf(r->description, sizeof r->description, "%s: %d ranks on one node%s", name[r->way], comm->size, reason);
  else
    snprintf(r->description, sizeof r->description, "%s: %d ranks on %d nodes, at least %d on each%s", name[r->way],
             comm->size, comm->node_count, comm->node_smallest, reason);
}

/* Whose sums go where. */
static void draw_circles(agd_reduce *r) {
  const agd_comm *comm = r->comm;
  r->all = (circle){.mpi = comm->mpi, .size = comm->size, .by_window = has_window(r) && comm->node_count == 1};
  r->sharing = r->all;
  if (r->model->spec.sync == AGD_SYNC_NODE)
    r->sharing =
        (circle){.mpi = comm->node, .size = comm->node_size, .by_window = has_window(r) && comm->node_size > 1};
  if (r->model->spec.sync == AGD_SYNC_NONE) r->sharing = (circle){.mpi = MPI_COMM_SELF, .size = 1};
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
    *r = (agd_reduce){.comm = comm, .kernels = agd_kernels_select(), .model = model, .lanes = *lanes};
    for (channel *c = r->channel; c < r->channel + CHANNELS; c++) c->request = MPI_REQUEST_NULL;
    allocate(r, st);
  }
  agd_code code = agd_comm_agree(comm, st);
  if (code == AGD_OK) {
    r->way = choose(r, way);
    describe(r, way);
    if (r->way == AGD_EXCHANGE_WINDOW) {
      code = agd_window_create(r, st);
    } else {
      allocate_gradients(r, st);
      code = agd_comm_agree(comm, st);
    }
    draw_circles(r);
  }
  if (code != AGD_OK) agd_reduce_destroy(&r);
  *out = r;
  return code;
}

void agd_reduce_destroy(agd_reduce **reduce) {
  agd_reduce *r = *reduce;
  if (r == NULL) return;
  for (channel *c = r->channel; c < r->channel + CHANNELS; c++) {
    MPI_Wait(&c->request, MPI_STATUS_IGNORE); /* NOLINT(*MPI-Checker): of gather_start, for a batch never trained on */
    agd_release(&c->gathered);
    agd_release(&c->count);
    agd_release(&c->offset);
  }
  if (has_window(r))
    agd_window_destroy(r);
  else
    agd_release(&r->gradients);
  agd_release(&r->received);
  agd_release(&r->squares);
  agd_release(&r->bucket_ends);
  agd_release(&r->bucket);
  agd_release(&r->scratch);
  agd_release(&r->run);
  agd_release(&r->part);
  agd_release(&r->offset);
  agd_release(&r->count);
  agd_release(&r->plan.run_rank);
  agd_release(&r->plan.into);
  agd_release(&r->plan.from);
  agd_release(reduce);
}

const char *agd_reduce_describe(const agd_reduce *reduce) { return reduce->description; }

agd_real *agd_reduce_gradient_memory(agd_reduce *reduce) { return reduce->gradients; }

/* ---- sums of statistics ---- */

/* Of fixed lanes the circle is all ranks; else every rank is one. */
static size_t lanes_of_circle(const agd_reduce *r, const circle *c) {
  return r->lanes.fixed ? r->lanes.count : (size_t)c->size;
}

/* Starts to bring the parts of all lanes of a circle, n doubles each, to every rank of it, in the order of the lanes.
 */
static void gather_start(agd_reduce *r, channel_name name, const circle *among, double *values, size_t n) {
  channel *c = &r->channel[name];
  AGD_REQUIRE(c->circle == NULL && n <= r->capacity);
  c->circle = among;
  c->n = n;
  c->parts = among->size == 1 ? values : c->gathered;
  if (among->size == 1) return;
  if (among->by_window) {
    agd_window_gather_start(r, name, values);
  } else {
    for (int rank = 0; rank < among->size; rank++) {
      const agd_range own = agd_lanes_of_rank(&r->lanes, (uint64_t)rank);
      c->count[rank] = (int)(own.count * n);
      c->offset[rank] = (int)(own.first * n);
    }
    MPI_Iallgatherv(values, (int)(r->lane_count * n), MPI_DOUBLE, c->gathered, c->count, c->offset, MPI_DOUBLE,
                    among->mpi, &c->request);
  }
}

/* Completes it: returns the parts, `lanes` of them. */
static double *gather_finish(agd_reduce *r, channel_name name, size_t *lanes) {
  channel *c = &r->channel[name];
  AGD_REQUIRE(c->circle != NULL);
  if (c->circle->by_window)
    agd_window_gather_finish(r, name);
  else
    MPI_Wait(&c->request, MPI_STATUS_IGNORE); /* NOLINT(*MPI-Checker): of gather_start */
  *lanes = lanes_of_circle(r, c->circle);
  c->circle = NULL;
  return c->parts;
}

/* Folds the triples of all lanes in the same order on every rank: an MPI reduction may hand other bits to other ranks,
 * and replicas would drift. */
static void finish_moments(agd_reduce *r, channel_name name, double *parts, size_t C) {
  const size_t n = 1 + 2 * C;
  size_t lanes;
  double *gathered = gather_finish(r, name, &lanes);
  agd_fold_moments(lanes, C, n, gathered);
  if (parts != gathered) memcpy(parts, gathered, n * sizeof *parts);
}

static void moments_of(agd_reduce *r, const circle *among, double *parts, size_t C) {
  gather_start(r, STEP_CHANNEL, among, parts, 1 + 2 * C);
  finish_moments(r, STEP_CHANNEL, parts, C);
}

static void merge_moments(void *context, double *parts, size_t C) {
  agd_reduce *r = context;
  const double start = agd_clock();
  agd_watchdog_note(r->comm, "the statistics of batch normalisation");
  moments_of(r, &r->sharing, parts, C);
  r->seconds += agd_clock() - start;
}

static void input_start(void *context, double *parts, size_t C) {
  agd_reduce *r = context;
  gather_start(r, INPUT_CHANNEL, &r->sharing, parts, 1 + 2 * C);
}

static void input_finish(void *context, double *parts, size_t C) {
  agd_reduce *r = context;
  const double start = agd_clock();
  agd_watchdog_note(r->comm, "the statistics of the input");
  finish_moments(r, INPUT_CHANNEL, parts, C);
  r->seconds += agd_clock() - start;
}

static void start_sum(agd_reduce *r, const circle *among, double *values, size_t n) {
  r->travelling = values;
  gather_start(r, STEP_CHANNEL, among, values, n);
}

static void sum_start(void *context, double *values, size_t n) {
  agd_reduce *r = context;
  start_sum(r, &r->sharing, values, n);
}

static void finish_sum(agd_reduce *r) {
  const size_t n = r->channel[STEP_CHANNEL].n;
  size_t lanes;
  double *gathered = gather_finish(r, STEP_CHANNEL, &lanes);
  agd_fold_doubles(lanes, n, n, gathered);
  if (r->travelling != gathered) memcpy(r->travelling, gathered, n * sizeof *gathered);
}

static void sum_finish(void *context) {
  agd_reduce *r = context;
  const double start = agd_clock();
  agd_watchdog_note(r->comm, "the gradients of batch normalisation");
  finish_sum(r);
  r->seconds += agd_clock() - start;
}

double agd_reduce_take_seconds(agd_reduce *reduce) {
  const double seconds = reduce->seconds;
  reduce->seconds = 0;
  return seconds;
}

void agd_reduce_sum(agd_reduce *reduce, double *values, size_t n) {
  if (alone(reduce)) return;
  agd_watchdog_note(reduce->comm, "the sum of losses");
  start_sum(reduce, &reduce->all, values, n);
  finish_sum(reduce);
}

void agd_reduce_moments(agd_reduce *reduce, double *parts, size_t C) {
  if (!alone(reduce)) moments_of(reduce, &reduce->all, parts, C);
}

/* Groups of ranks whose rows share statistics. */
static int groups(const agd_reduce *r) {
  switch (r->model->spec.sync) {
  case AGD_SYNC_GLOBAL:
    break;
  case AGD_SYNC_NODE:
    return r->comm->node_count;
  case AGD_SYNC_NONE:
    return r->comm->size;
  }
  return 1;
}

/* One rank of each group gives its group's. Rank 0 adds up and tells, so that all ranks hold the same bits. */
void agd_reduce_merge_averages(agd_reduce *r) {
  const bool speaks = r->model->spec.sync == AGD_SYNC_NONE || r->comm->node_rank == 0;
  agd_real *averages = r->model->averages;
  const size_t total = r->model->average_count;
  if (groups(r) == 1) return;
  for (size_t done = 0; done < total; done += r->capacity) {
    const size_t n = total - done < r->capacity ? total - done : r->capacity;
    double *part = r->channel[STEP_CHANNEL].gathered;
    for (size_t i = 0; i < n; i++) part[i] = speaks ? (double)averages[done + i] : 0;
    MPI_Reduce(r->comm->rank == 0 ? MPI_IN_PLACE : part, part, (int)n, MPI_DOUBLE, MPI_SUM, 0, r->comm->mpi);
    MPI_Bcast(part, (int)n, MPI_DOUBLE, 0, r->comm->mpi);
    for (size_t i = 0; i < n; i++) averages[done + i] = (agd_real)(part[i] / groups(r));
  }
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
  agd_reduce_fold(r, 0, own.count, own.first, false);
  MPI_Allgatherv(MPI_IN_PLACE, 0, MPI_DATATYPE_NULL, r->gradients, r->count, r->offset, AGD_MPI_REAL, r->comm->mpi);
  agd_reduce_tell(r, 0, total);
}

static void send_bucket(agd_reduce *r) {
  const size_t count = r->bucket_end - r->bucket_start;
  r->bucket_ends[r->bucket_count] = r->bucket_end;
  MPI_Iallreduce(MPI_IN_PLACE, r->gradients + r->bucket_start, (int)count, AGD_MPI_REAL, MPI_SUM, r->comm->mpi,
                 &r->bucket[r->bucket_count++]);
  r->bucket_start = r->bucket_end;
}

/* Dense slices become final from the front of the array on. Those of gamma and beta behind norm_start come in between:
 * they stay here, or when they travel too, all are final with the last Dense slice and go with it. */
static void bucket_ready(void *context, size_t offset, size_t count) {
  agd_reduce *r = context;
  if (offset >= r->model->norm_start) return;
  AGD_REQUIRE(offset == r->bucket_end);
  r->bucket_end = offset + count;
  if (r->bucket_end == r->model->norm_start) r->bucket_end = r->model->exchange_count;
  while (r->bucket_end - r->bucket_start > INT_MAX) { /* a slice beyond one message */
    const size_t end = r->bucket_end;
    r->bucket_end = r->bucket_start + (INT_MAX - AGD_ALIGN);
    send_bucket(r);
    r->bucket_end = end;
  }
  if (r->bucket_end - r->bucket_start >= BUCKET || r->bucket_end == r->model->exchange_count) send_bucket(r);
}

static void wait_for_buckets(agd_reduce *r) {
  for (size_t b = 0, start = 0; b < r->bucket_count; start = r->bucket_ends[b++]) {
    MPI_Wait(&r->bucket[b], MPI_STATUS_IGNORE); /* NOLINT(*MPI-Checker): of send_bucket */
    agd_reduce_tell(r, start, r->bucket_ends[b] - start);
  }
  r->bucket_count = r->bucket_start = r->bucket_end = 0;
}

static void allreduce(agd_reduce *r) {
  const size_t total = r->model->exchange_count;
  for (size_t done = 0, piece; done < total; done += piece) {
    piece = total - done < INT_MAX ? total - done : INT_MAX;
    MPI_Allreduce(MPI_IN_PLACE, r->gradients + done, (int)piece, AGD_MPI_REAL, MPI_SUM, r->comm->mpi);
    agd_reduce_tell(r, done, piece);
  }
}

/* One rank whose lanes are one run: a slice is global as soon as it is computed. */
static void tell_at_once(void *context, size_t offset, size_t count) { agd_reduce_tell(context, offset, count); }

agd_exchange agd_reduce_exchange(agd_reduce *r, void (*ready)(void *context, size_t offset, size_t count),
                                 void *context) {
  r->ready = ready;
  r->ready_context = context;
  agd_exchange exchange = {.context = r, .groups = groups(r), .gradient_context = r};
  if (at_home(r))
    exchange.gradient_ready = tell_at_once;
  else if (r->way == AGD_EXCHANGE_BUCKETS)
    exchange.gradient_ready = bucket_ready;
  if (lanes_of_circle(r, &r->sharing) == 1) return exchange;
  exchange.moments = merge_moments;
  exchange.input_start = input_start;
  exchange.input_finish = input_finish;
  exchange.sum_start = sum_start;
  exchange.sum_finish = sum_finish;
  return exchange;
}

void agd_reduce_gradients(agd_reduce *r) {
  if (at_home(r)) return;
  agd_watchdog_note(r->comm, "the exchange of gradients");
  const size_t exchanged = r->model->exchange_count;
  if (has_window(r)) {
    agd_window_gradients(r);
    return;
  }
  if (r->lanes.fixed)
    fold_by_messages(r);
  else if (r->way == AGD_EXCHANGE_BUCKETS)
    wait_for_buckets(r);
  else
    allreduce(r);
  agd_reduce_tell(r, exchanged, r->model->weight_count - exchanged); /* gamma and beta that are global already */
}

agd_range agd_reduce_share(const agd_reduce *r) {
  if (has_window(r)) return agd_window_share(r);
  return (agd_range){.first = 0, .count = r->model->weight_count};
}

void agd_reduce_publish(agd_reduce *r) {
  if (has_window(r)) agd_window_publish(r);
}

void agd_reduce_collect(agd_reduce *r, agd_real *values) {
  if (has_window(r)) agd_window_collect(r, values);
}
