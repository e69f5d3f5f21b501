/* The reductions of the ranks of a node in shared memory. Every rank has a counter that only it raises: after writing
 * what others will read (release), and others wait until it is high enough (acquire). All ranks publish the same things
 * in the same order, so one number says how far a rank is. A slot is written again two sums later: by then its writer
 * has seen everyone publish the sum between, hence finish reading. */
#include "reduce_internal.h"

#include <sched.h>
#include <string.h>

#include "allegrad/memory.h"

/* Turns of waiting before the core is yielded, when there is a core for every rank. */
enum { SPIN = 4000 };

static void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static void publish(window *w) {
  atomic_store_explicit(w->peer[w->rank].published, ++w->published, memory_order_release);
}

/* Waits until every rank of the node has published as much as this one. */
static void wait_for_all(const window *w) {
  for (int r = 0; r < w->size; r++) {
    for (int turn = 0; atomic_load_explicit(w->peer[r].published, memory_order_acquire) < w->published; turn++) {
      if (turn < w->spin)
        relax();
      else
        sched_yield();
    }
  }
}

/* Whether the ranks of a node have at least a core each among those that they may run on. Collective on node. */
static bool cores_for_all(MPI_Comm node, int size) {
  cpu_set_t mine, all;
  CPU_ZERO(&mine);
  sched_getaffinity(0, sizeof mine, &mine);
  MPI_Allreduce(&mine, &all, (int)sizeof mine, MPI_BYTE, MPI_BOR, node);
  return CPU_COUNT(&all) >= size;
}

/* The parts of a segment, by byte offset. */
typedef struct segment {
  size_t slot[2], gradients, weights, size;
} segment;

static size_t place(size_t *size, size_t bytes) {
  const size_t offset = *size;
  *size += (bytes + AGD_ALIGN - 1) / AGD_ALIGN * AGD_ALIGN;
  return offset;
}

static segment lay_out(const agd_reduce *r, int world_rank) {
  segment s = {.size = 2 * AGD_ALIGN}; /* the counter, on lines of its own */
  const size_t lanes = agd_lanes_of_rank(&r->lanes, (uint64_t)world_rank).count;
  const size_t runs = agd_lanes_runs(&r->lanes, (uint64_t)world_rank), weights = r->model->weight_count;
  for (int turn = 0; turn < 2; turn++) s.slot[turn] = place(&s.size, lanes * r->capacity * sizeof(double));
  s.gradients = place(&s.size, runs * weights * sizeof(agd_real));
  s.weights = place(&s.size, weights * sizeof(agd_real));
  return s;
}

static void find_peers(agd_reduce *r, const int *world_rank) {
  window *w = r->window;
  for (int peer = 0; peer < w->size; peer++) {
    MPI_Aint bytes;
    int unit;
    char *base = NULL;
    MPI_Win_shared_query(w->win, peer, &bytes, &unit, &base);
    base += (AGD_ALIGN - (size_t)base % AGD_ALIGN) % AGD_ALIGN;
    const segment s = lay_out(r, world_rank[peer]); /* NOLINT(*NullDereference): agreed means allocated */
    w->peer[peer] = (struct peer){.published = (_Atomic uint64_t *)(void *)base,
                                  .slot = {(double *)(void *)(base + s.slot[0]), (double *)(void *)(base + s.slot[1])},
                                  .gradients = (agd_real *)(void *)(base + s.gradients),
                                  .weights = (agd_real *)(void *)(base + s.weights)};
  }
}

/* Ranks with the same share on all nodes: as many shares as the smallest node has ranks. Collective on comm. */
static void connect_shares(agd_reduce *r) {
  window *w = r->window;
  int leader = w->rank == 0;
  MPI_Allreduce(&w->size, &w->shares, 1, MPI_INT, MPI_MIN, r->comm->mpi);
  MPI_Allreduce(&leader, &w->nodes, 1, MPI_INT, MPI_SUM, r->comm->mpi);
  MPI_Comm_split(r->comm->mpi, w->rank < w->shares ? w->rank : MPI_UNDEFINED, r->comm->rank, &w->across);
}

/* The runs of the node's ranks, each read where its rank writes it. On several nodes only those of this one. */
static void find_runs(agd_reduce *r, const int *world_rank) {
  const window *w = r->window;
  for (size_t run = 0, of_rank = 0; run < r->plan.run_count; run++) {
    of_rank = run > 0 && r->plan.run_rank[run] == r->plan.run_rank[run - 1] ? of_rank + 1 : 0;
    for (int peer = 0; peer < w->size; peer++) {
      if ((size_t)world_rank[peer] == r->plan.run_rank[run]) /* NOLINT(*NullDereference): agreed means allocated */
        r->run[run] = w->peer[peer].gradients + of_rank * r->model->weight_count;
    }
  }
}

agd_code agd_window_create(agd_reduce *r, MPI_Comm node, agd_status *st) {
  window *w = NULL;
  int *world_rank = NULL, size = 0;
  MPI_Comm_size(node, &size);
  if (agd_allocate(1, sizeof *w, "the window", (void **)&w, st) == AGD_OK &&
      agd_allocate((size_t)size, sizeof *w->peer, "the window", (void **)&w->peer, st) == AGD_OK)
    agd_allocate((size_t)size, sizeof *world_rank, "the window", (void **)&world_rank, st);
  agd_code code = agd_comm_agree(r->comm, st);
  if (code == AGD_OK) {
    char *base = NULL;
    const segment s = lay_out(r, r->comm->rank);
    r->window = w;
    w->node = node;
    w->size = size;
    MPI_Comm_rank(node, &w->rank);
    MPI_Allgather(&r->comm->rank, 1, MPI_INT, world_rank, 1, MPI_INT, node);
    w->spin = cores_for_all(node, size) ? SPIN : 0;
    MPI_Comm_set_errhandler(node, MPI_ERRORS_RETURN);
    if (MPI_Win_allocate_shared((MPI_Aint)(s.size + AGD_ALIGN), 1, MPI_INFO_NULL, node, &base, &w->win) !=
        MPI_SUCCESS) {
      w->win = MPI_WIN_NULL;
      agd_fail(st, AGD_EDATA,
               "%zu bytes of shared memory cannot be had (is /dev/shm full?); comm.exchange: buckets does without",
               s.size);
    }
    code = agd_comm_agree(r->comm, st);
  }
  if (code == AGD_OK) {
    MPI_Comm_set_errhandler(node, MPI_ERRORS_ARE_FATAL);
    find_peers(r, world_rank);
    memset(w->peer[w->rank].published, 0, lay_out(r, r->comm->rank).size);
    r->gradients = w->peer[w->rank].gradients;
    agd_model_move_weights(r->model, w->peer[w->rank].weights);
    connect_shares(r);
    find_runs(r, world_rank);
    MPI_Barrier(node);
  } else if (r->window == NULL) {
    if (w != NULL) agd_release(&w->peer);
    agd_release(&w);
    MPI_Comm_free(&node);
  }
  agd_release(&world_rank);
  return code;
}

void agd_window_destroy(agd_reduce *r) {
  window *w = r->window;
  if (w->across != MPI_COMM_NULL) MPI_Comm_free(&w->across);
  if (w->win != MPI_WIN_NULL) MPI_Win_free(&w->win);
  MPI_Comm_free(&w->node);
  agd_release(&w->peer);
  agd_release(&r->window);
}

void agd_window_sum_start(agd_reduce *r, const double *values, size_t n) {
  window *w = r->window;
  w->turn ^= 1;
  memcpy(w->peer[w->rank].slot[w->turn], values, r->lane_count * n * sizeof *values);
  publish(w);
}

void agd_window_sum_wait(agd_reduce *r, size_t n) {
  const window *w = r->window;
  double *to = r->gathered;
  wait_for_all(w);
  for (int peer = 0; peer < w->size; peer++) { /* one node: its ranks are all ranks, in order */
    const size_t count = agd_lanes_of_rank(&r->lanes, (uint64_t)peer).count * n;
    memcpy(to, w->peer[peer].slot[w->turn], count * sizeof *to);
    to += count;
  }
}

agd_range agd_window_share(const agd_reduce *r) {
  const window *w = r->window;
  if (w->rank >= w->shares) return (agd_range){0};
  return agd_reduce_slice(r->model->exchange_count, (size_t)w->shares, (size_t)w->rank);
}

/* On several nodes every rank is one lane: the node's gradients are added up in rank order. */
static void add_up_node(const agd_reduce *r, agd_range share) {
  const window *w = r->window;
  agd_real *restrict mine = w->peer[w->rank].gradients + share.first;
  for (size_t done = 0; done < share.count; done += FOLD_BLOCK) {
    const size_t n = share.count - done < FOLD_BLOCK ? share.count - done : FOLD_BLOCK;
    agd_real sum[FOLD_BLOCK];
    memcpy(sum, w->peer[0].gradients + share.first + done, n * sizeof *sum);
    for (int peer = 1; peer < w->size; peer++) {
      const agd_real *restrict other = w->peer[peer].gradients + share.first + done;
      for (size_t i = 0; i < n; i++) sum[i] += other[i];
    }
    memcpy(mine + done, sum, n * sizeof *sum);
  }
}

void agd_window_gradients(agd_reduce *r) {
  window *w = r->window;
  const agd_range share = agd_window_share(r);
  publish(w);
  wait_for_all(w);
  if (w->nodes == 1) {
    agd_reduce_fold(r, share.first, share.count, r->gradients + share.first);
    return;
  }
  add_up_node(r, share);
  if (share.count > 0)
    MPI_Allreduce(MPI_IN_PLACE, r->gradients + share.first, (int)share.count, AGD_MPI_REAL, MPI_SUM, w->across);
}

void agd_window_publish(agd_reduce *r) {
  window *w = r->window;
  publish(w);
  wait_for_all(w);
  for (int peer = 0; peer < w->shares; peer++) {
    if (peer == w->rank) continue;
    const agd_range share = agd_reduce_slice(r->model->exchange_count, (size_t)w->shares, (size_t)peer);
    memcpy(r->model->weights + share.first, w->peer[peer].weights + share.first, share.count * sizeof(agd_real));
  }
}

void agd_window_collect(agd_reduce *r, agd_real *values) {
  const window *w = r->window;
  for (int peer = 0; peer < w->shares; peer++) {
    const agd_range share = agd_reduce_slice(r->model->exchange_count, (size_t)w->shares, (size_t)peer);
    MPI_Bcast(values + share.first, (int)share.count, AGD_MPI_REAL, peer, w->node);
  }
}
