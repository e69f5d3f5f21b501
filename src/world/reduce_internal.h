/* What the reduction's files share: reduce.c (interface and plain collectives), reduce_window.c (shared memory),
 * reduce_apart.c (what is held in it), reduce_fold.c (the order of the sums). */
#ifndef ALLEGRAD_REDUCE_INTERNAL_H
#define ALLEGRAD_REDUCE_INTERNAL_H

#include <stdatomic.h>

#include "allegrad/reduce.h"

/* The runs of all ranks' lanes in order, and the merges that fold them: into[i] += from[i], i = 0, 1, ... */
typedef struct fold_plan {
  size_t run_count;
  size_t *run_rank; /* [run_count] */
  size_t *into, *from;
} fold_plan;

/* Two gathers may be under way at a time: one for the step's sums, one for the statistics of the input to come. Each
 * has two slots in a window, used by turns. */
typedef enum channel_name { STEP_CHANNEL, INPUT_CHANNEL, CHANNELS } channel_name;
enum { TURNS = 2 };

/* Ranks that gather what each has. */
typedef struct circle {
  MPI_Comm mpi;
  int size;
  bool by_window; /* they share the window */
} circle;

/* A gather under way: every lane's part, in order. */
typedef struct channel {
  const circle *circle; /* NULL when none is under way */
  size_t n;             /* doubles of a lane's part */
  double *gathered;     /* [lanes.count, capacity] */
  double *parts;        /* where all of them are: there, or with one rank where they came from */
  int *count, *offset;  /* [ranks]: of an allgather */
  MPI_Request request;
  size_t turn;
  uint64_t published; /* what all must have published before it is complete */
} channel;

/* A node's shared memory: the weights, and for every rank a segment with its counter, slots for sums, and gradients. */
typedef struct window {
  MPI_Comm across; /* the ranks of all nodes that own the same share; MPI_COMM_NULL without a share */
  int rank, size;  /* in the node */
  int shares;
  int spin;     /* turns of waiting before the core is yielded */
  char *memory; /* the common array of weights, then the segments */
  size_t memory_size;
  bool apart;                            /* else together; see reduce_apart.c */
  agd_real *own_gradients, *own_weights; /* as long as all runs' gradients and the weights; used apart */
  struct peer {
    _Atomic uint64_t *ping, *far; /* of measurements: a round trip's, and what was found */
    _Atomic uint64_t *published;  /* how much this rank has published: sums, gradients, weights alike */
    double *slot[CHANNELS][TURNS];
    agd_real *gradients;
  } * peer; /* [size] */
  uint64_t published;
} window;

struct agd_reduce {
  const agd_comm *comm;
  const agd_kernels *kernels;
  agd_model *model;
  agd_lanes lanes;
  agd_exchange_way way;
  char description[128];
  size_t lane_count;   /* this rank's */
  size_t capacity;     /* doubles of one lane's part */
  int *count, *offset; /* [ranks]: of an exchange of shares */
  circle all, sharing; /* all ranks; those whose rows share statistics */
  channel channel[CHANNELS];
  double *squares;    /* [AGD_BLOCKS] */
  double *travelling; /* where the sum under way goes */
  double seconds;     /* see agd_reduce_take_seconds */

  fold_plan plan;
  void (*ready)(void *context, size_t offset, size_t count); /* see agd_reduce_exchange */
  void *ready_context;
  agd_real *gradients;   /* [runs of this rank, weight_count] */
  agd_real *received;    /* fixed lanes without a window: [all runs, most of a share] */
  agd_real *scratch;     /* [all runs, FOLD_BLOCK] */
  const agd_real **part; /* [all runs]: of a block, the sums so far */
  const agd_real **run;  /* [all runs]: where the gradients of each run start */

  MPI_Request *bucket; /* requests of the buckets under way */
  size_t *bucket_ends; /* one past the last element of each */
  size_t bucket_count, bucket_start, bucket_end;

  window *window; /* NULL without */
};

enum { FOLD_BLOCK = 1024 };

/* Lists all runs, and the merges of fold.h's tree that are left between them, in reduce->plan. */
agd_code agd_reduce_plan(agd_reduce *reduce, agd_status *st);

/* Blocks of a gradient array of `total` elements, AGD_BLOCKS at most, whatever the number of shares: all whole cache
 * lines and as long as agd_reduce_block says, but for the last. */
enum { AGD_BLOCKS = 1024 };
size_t agd_reduce_block(size_t total);

/* The part of [0, total) that is share `part` of `parts`, in whole blocks. */
agd_range agd_reduce_slice(size_t total, size_t parts, size_t part);

/* gradients[to ..) = the fold over all runs of run[r][from ..), `count` elements; that may be any run's own place.
 * Tells of each block as soon as it is folded, if asked to. */
void agd_reduce_fold(agd_reduce *reduce, size_t from, size_t count, size_t to, bool tells);

/* Tells of global gradients, when somebody wants to know. */
void agd_reduce_tell(agd_reduce *reduce, size_t offset, size_t count);

/* Collective on reduce->comm; the outcome is agreed. */
agd_code agd_window_create(agd_reduce *reduce, agd_status *st);
void agd_window_destroy(agd_reduce *reduce);
agd_code agd_window_allocate_apart(agd_reduce *reduce, agd_status *st);
/* This rank's runs, where its gradients are. */
void agd_window_point_own_runs(agd_reduce *reduce);
/* Waits until a counter has come so far. */
void agd_window_await(const window *window, const _Atomic uint64_t *counter, uint64_t value);
/* Apart: what other ranks need of the gradients goes to where they read it, and the own share of the weights to the
 * common array; from there come the others', once all have published. */
void agd_window_stream_gradients(const agd_reduce *reduce);
void agd_window_stream_weights(const agd_reduce *reduce);
void agd_window_fetch_weights(agd_reduce *reduce);
/* Publishes this rank's lanes' parts of a gather. */
void agd_window_gather_start(agd_reduce *reduce, channel_name name, const double *values);
/* Waits for all ranks of the node and copies their lanes' parts, in order, to the channel. */
void agd_window_gather_finish(agd_reduce *reduce, channel_name name);
void agd_window_gradients(agd_reduce *reduce);
/* The share of a rank of the node, and this rank's. */
agd_range agd_window_share_of(const agd_reduce *reduce, int peer);
agd_range agd_window_share(const agd_reduce *reduce);
/* Waits until all have updated their shares. */
void agd_window_publish(agd_reduce *reduce);
/* Completes an array of which every rank has its share. */
void agd_window_collect(agd_reduce *reduce, agd_real *values);

#endif
