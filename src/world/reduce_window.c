/* The reductions of the ranks of a node in shared memory. Every rank has a counter that only it raises: after writing
 * what others will read (release), and others wait until it is high enough (acquire). All ranks publish the same things
 * in the same order, so one number says how far a rank is. A slot is written again two gathers of its channel later: by
 * then its writer has seen everyone publish the one between, hence finish reading. */
#include "reduce_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

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

void agd_window_await(const window *w, const _Atomic uint64_t *counter, uint64_t value) {
  for (int turn = 0; atomic_load_explicit(counter, memory_order_acquire) < value; turn++) {
    if (turn < w->spin)
      relax();
    else
      sched_yield();
  }
}

/* Waits until every rank of the node has published so much. */
static void wait_for(const window *w, uint64_t published) {
  for (int r = 0; r < w->size; r++) agd_window_await(w, w->peer[r].published, published);
}

static void wait_for_all(const window *w) { wait_for(w, w->published); }

/* Whether the ranks of a node have at least a core each among those that they may run on. Collective on node. */
static bool cores_for_all(MPI_Comm node, int size) {
  cpu_set_t mine, all;
  CPU_ZERO(&mine);
  sched_getaffinity(0, sizeof mine, &mine);
  MPI_Allreduce(&mine, &all, (int)sizeof mine, MPI_BYTE, MPI_BOR, node);
  return CPU_COUNT(&all) >= size;
}

/* The counters of a rank, each on lines of its own: processors fetch them in pairs. */
enum { COUNTER_SIZE = 2 * AGD_ALIGN, COUNTERS_SIZE = 3 * COUNTER_SIZE };

/* The parts of a segment, by byte offset. */
typedef struct segment {
  size_t slot[CHANNELS][TURNS], gradients, size;
} segment;

static size_t place(size_t *size, size_t bytes) {
  const size_t offset = *size;
  *size += (bytes + AGD_ALIGN - 1) / AGD_ALIGN * AGD_ALIGN;
  return offset;
}

/* Whole pages: a rank's are its own, and near it. */
static size_t pages(size_t bytes) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE);
  return (bytes + page - 1) / page * page;
}

static size_t weights_size(const agd_reduce *r) { return pages(r->model->weight_count * sizeof(agd_real)); }

static segment lay_out(const agd_reduce *r, int world_rank) {
  segment s = {.size = COUNTERS_SIZE};
  const size_t lanes = agd_lanes_of_rank(&r->lanes, (uint64_t)world_rank).count;
  const size_t runs = agd_lanes_runs(&r->lanes, (uint64_t)world_rank);
  for (int slot = 0; slot < CHANNELS * TURNS; slot++)
    s.slot[slot / TURNS][slot % TURNS] = place(&s.size, lanes * r->capacity * sizeof(double));
  s.gradients = place(&s.size, runs * r->model->weight_count * sizeof(agd_real));
  s.size = pages(s.size);
  return s;
}

/* Where the segment of a rank of the node begins, behind the weights; of one past the last: the size of all. */
static size_t segment_start(const agd_reduce *r, const int *world_rank, int node_rank) {
  size_t start = weights_size(r);
  /* NOLINTNEXTLINE(*NullDereference): agreed means allocated */
  for (int peer = 0; peer < node_rank; peer++) start += lay_out(r, world_rank[peer]).size;
  return start;
}

static void find_peers(agd_reduce *r, const int *world_rank) {
  window *w = r->window;
  char *base = w->memory + weights_size(r);
  for (int peer = 0; peer < w->size; peer++) {
    const segment s = lay_out(r, world_rank[peer]); /* NOLINT(*NullDereference): agreed means allocated */
    struct peer *p = &w->peer[peer];
    p->published = (_Atomic uint64_t *)(void *)base;
    p->ping = (_Atomic uint64_t *)(void *)(base + COUNTER_SIZE);
    p->far = (_Atomic uint64_t *)(void *)(base + 2 * COUNTER_SIZE);
    for (int slot = 0; slot < CHANNELS * TURNS; slot++)
      p->slot[slot / TURNS][slot % TURNS] = (double *)(void *)(base + s.slot[slot / TURNS][slot % TURNS]);
    p->gradients = (agd_real *)(void *)(base + s.gradients);
    base += s.size;
  }
}

enum { NAME_SIZE = 64 };

/* Opens the node's shared memory: its first rank creates it, the others find it by its name. -1 and a status on
 * failure. Collective on the node. */
static int open_memory(const agd_reduce *r, char name[NAME_SIZE], agd_status *st) {
  struct timespec now;
  int file = -1;
  if (r->comm->node_rank == 0) {
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(name, NAME_SIZE, "/allegrad-%ld-%lld-%ld", (long)getpid(), (long long)now.tv_sec, now.tv_nsec);
    file = shm_open(name, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (file < 0) agd_fail(st, AGD_EDATA, "shared memory cannot be had: /dev/shm%s: %s", name, strerror(errno));
  }
  MPI_Bcast(name, NAME_SIZE, MPI_CHAR, 0, r->comm->node);
  if (r->comm->node_rank > 0) {
    file = shm_open(name, O_RDWR | O_CLOEXEC, 0);
    if (file < 0 && errno != ENOENT) /* not there: the first rank tells why, or it is in another container */
      agd_fail(st, AGD_EDATA, "shared memory cannot be had: /dev/shm%s: %s", name, strerror(errno));
    else if (file < 0)
      agd_fail(st, AGD_EDATA,
               "ranks of one node do not see each other's /dev/shm; comm.exchange: buckets does without");
  }
  return file;
}

/* Takes this rank's own part of the memory, now, so that a full /dev/shm is an error and no fault later on. */
static void take_memory(agd_reduce *r, int file, size_t start, size_t size, agd_status *st) {
  const int error = posix_fallocate(file, (off_t)start, (off_t)size);
  if (error != 0)
    agd_fail(st, AGD_EDATA,
             "%zu bytes of shared memory cannot be had (/dev/shm: %s); comm.exchange: buckets does without",
             r->window->memory_size, strerror(error));
}

/* Shared memory for all segments, mapped and zero; nameless afterwards, so that it goes with the last rank. Collective;
 * the outcome is agreed. */
static agd_code map_memory(agd_reduce *r, const int *world_rank, agd_status *st) {
  window *w = r->window;
  char name[NAME_SIZE] = "";
  const size_t size = segment_start(r, world_rank, w->size);
  const size_t start = w->rank == 0 ? 0 : segment_start(r, world_rank, w->rank); /* the first takes the weights along */
  w->memory_size = size;
  const int file = open_memory(r, name, st);
  if (file >= 0) take_memory(r, file, start, segment_start(r, world_rank, w->rank + 1) - start, st);
  agd_code code = agd_comm_agree(r->comm, st);
  if (r->comm->node_rank == 0 && file >= 0) shm_unlink(name);
  if (code == AGD_OK) {
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED)
      agd_fail(st, AGD_EDATA, "%zu bytes of shared memory cannot be mapped: %s", size, strerror(errno));
    else
      w->memory = memory;
    code = agd_comm_agree(r->comm, st);
  }
  if (file >= 0) close(file);
  return code;
}

/* Ranks with the same share on all nodes: as many shares as the smallest node has ranks. Collective on comm. */
static void connect_shares(agd_reduce *r) {
  window *w = r->window;
  w->shares = r->comm->node_smallest;
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

void agd_window_point_own_runs(agd_reduce *r) {
  for (size_t run = 0, of_rank = 0; run < r->plan.run_count; run++)
    if (r->plan.run_rank[run] == (size_t)r->comm->rank) r->run[run] = r->gradients + of_rank++ * r->model->weight_count;
}

agd_code agd_window_create(agd_reduce *r, agd_status *st) {
  const agd_comm *comm = r->comm;
  const size_t size = (size_t)comm->node_size;
  window *w = NULL;
  int *world_rank = NULL;
  if (agd_allocate(1, sizeof *w, "the window", (void **)&w, st) == AGD_OK &&
      agd_allocate(size, sizeof *w->peer, "the window", (void **)&w->peer, st) == AGD_OK)
    agd_allocate(size, sizeof *world_rank, "the window", (void **)&world_rank, st);
  if (w != NULL) {
    w->across = MPI_COMM_NULL;
    w->rank = comm->node_rank;
    w->size = comm->node_size;
    r->window = w;
    agd_window_allocate_apart(r, st);
  }
  agd_code code = agd_comm_agree(comm, st);
  if (code == AGD_OK) {
    MPI_Allgather(&comm->rank, 1, MPI_INT, world_rank, 1, MPI_INT, comm->node);
    w->spin = cores_for_all(comm->node, w->size) ? SPIN : 0; /* NOLINT(*NullDereference): agreed means allocated */
    code = map_memory(r, world_rank, st);
  }
  if (code == AGD_OK) {
    find_peers(r, world_rank);
    r->gradients = w->peer[w->rank].gradients;
    agd_model_move_weights(r->model, (agd_real *)(void *)w->memory);
    connect_shares(r);
    find_runs(r, world_rank);
  }
  agd_release(&world_rank);
  return code;
}

void agd_window_destroy(agd_reduce *r) {
  window *w = r->window;
  if (w->across != MPI_COMM_NULL) MPI_Comm_free(&w->across);
  if (w->memory != NULL) munmap(w->memory, w->memory_size);
  agd_release(&w->own_gradients);
  agd_release(&w->own_weights);
  agd_release(&w->peer);
  agd_release(&r->window);
}

void agd_window_gather_start(agd_reduce *r, channel_name name, const double *values) {
  window *w = r->window;
  channel *c = &r->channel[name];
  c->turn ^= 1;
  memcpy(w->peer[w->rank].slot[name][c->turn], values, r->lane_count * c->n * sizeof *values);
  publish(w);
  c->published = w->published;
}

void agd_window_gather_finish(agd_reduce *r, channel_name name) {
  const window *w = r->window;
  const channel *c = &r->channel[name];
  double *to = c->gathered;
  wait_for(w, c->published);
  for (int peer = 0; peer < w->size; peer++) { /* fixed lanes: the node's ranks are all ranks, in order */
    const size_t count = agd_lanes_of_rank(&r->lanes, (uint64_t)peer).count * c->n;
    memcpy(to, w->peer[peer].slot[name][c->turn], count * sizeof *to);
    to += count;
  }
}

agd_range agd_window_share_of(const agd_reduce *r, int peer) {
  const window *w = r->window;
  if (peer >= w->shares) return (agd_range){0};
  return agd_reduce_slice(r->model->weight_count, (size_t)w->shares, (size_t)peer);
}

agd_range agd_window_share(const agd_reduce *r) { return agd_window_share_of(r, r->window->rank); }

/* On several nodes every rank is one lane: the node's gradients are added up in rank order. */
static void add_up_node(const agd_reduce *r, agd_range share) {
  const window *w = r->window;
  agd_real *restrict mine = r->gradients + share.first;
  for (size_t done = 0; done < share.count; done += FOLD_BLOCK) {
    const size_t n = share.count - done < FOLD_BLOCK ? share.count - done : FOLD_BLOCK;
    agd_real sum[FOLD_BLOCK];
    memset(sum, 0, n * sizeof *sum);
    for (int peer = 0; peer < w->size; peer++) {
      const agd_real *gradients = peer == w->rank ? r->gradients : w->peer[peer].gradients;
      const agd_real *other = gradients + share.first + done;
      for (size_t i = 0; i < n; i++) sum[i] += other[i];
    }
    memcpy(mine + done, sum, n * sizeof *sum);
  }
}

void agd_window_gradients(agd_reduce *r) {
  window *w = r->window;
  const agd_range share = agd_window_share(r);
  const size_t end = share.first + share.count, exchanged = r->model->exchange_count;
  agd_range summed = share; /* the rest are gamma and beta that are global already */
  if (share.first > exchanged) summed.first = exchanged;
  summed.count = (end < exchanged ? end : exchanged) - summed.first;
  if (w->apart) agd_window_stream_gradients(r);
  publish(w);
  wait_for_all(w);
  if (r->comm->node_count == 1) {
    agd_reduce_fold(r, summed.first, summed.count, summed.first, true);
  } else if (summed.count > 0) {
    add_up_node(r, summed);
    MPI_Allreduce(MPI_IN_PLACE, r->gradients + summed.first, (int)summed.count, AGD_MPI_REAL, MPI_SUM, w->across);
    agd_reduce_tell(r, summed.first, summed.count);
  }
  const size_t told = summed.first + summed.count > share.first ? summed.first + summed.count : share.first;
  agd_reduce_tell(r, told, end - told);
}

void agd_window_publish(agd_reduce *r) {
  const window *w = r->window;
  if (w->apart) agd_window_stream_weights(r);
  publish(r->window);
  wait_for_all(w);
  if (w->apart) agd_window_fetch_weights(r);
}

void agd_window_collect(agd_reduce *r, agd_real *values) {
  const window *w = r->window;
  for (int peer = 0; peer < w->shares; peer++) {
    const agd_range share = agd_window_share_of(r, peer);
    MPI_Bcast(values + share.first, (int)share.count, AGD_MPI_REAL, peer, r->comm->node);
  }
}
