/* What the reduction's files share: reduce.c (interface and plain collectives), reduce_window.c (shared memory),
 * reduce_fold.c (the order of the sums). */
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

/* A node's shared memory. A rank's segment: its counter; two slots for sums, used by turns; gradients; weights. */
typedef struct window {
  MPI_Comm node, across; /* across: the ranks of all nodes that own the same share; MPI_COMM_NULL without a share */
  int rank, size;        /* in node */
  int shares, nodes;
  int spin; /* turns of waiting before the core is yielded */
  MPI_Win win;
  struct peer {
    _Atomic uint64_t *published; /* how much this rank has published: sums, gradients, weights alike */
    double *slot[2];
    agd_real *gradients, *weights;
  } * peer; /* [size] */
  uint64_t published;
  size_t turn;
} window;

struct agd_reduce {
  const agd_comm *comm;
  agd_model *model;
  agd_lanes lanes;
  agd_exchange_way way;
  char description[128];
  size_t lane_count;   /* this rank's */
  size_t capacity;     /* doubles of one lane's part */
  double *gathered;    /* [lanes.count, capacity] */
  int *count, *offset; /* [ranks]: of an allgather */
  double *travelling;  /* the sum under way, NULL when none */
  size_t travelling_count;
  MPI_Request request;

  fold_plan plan;
  agd_real *gradients;  /* [runs of this rank, weight_count] */
  agd_real *received;   /* fixed lanes without a window: [all runs, most of a share] */
  agd_real *scratch;    /* [all runs, FOLD_BLOCK] */
  const agd_real **run; /* [all runs]: where the gradients of each run start */

  MPI_Request *bucket; /* requests of the buckets under way */
  size_t bucket_count, bucket_start, bucket_end;

  window *window; /* NULL without */
};

enum { FOLD_BLOCK = 256 };

/* Lists all runs, and the merges of fold.h's tree that are left between them, in reduce->plan. */
agd_code agd_reduce_plan(agd_reduce *reduce, agd_status *st);

/* The part of [0, total) that is share `part` of `parts`, in whole cache lines. */
agd_range agd_reduce_slice(size_t total, size_t parts, size_t part);

/* to[0 .. count) = the fold over all runs of run[r][offset ..]; `to` may be any run's own place. */
void agd_reduce_fold(agd_reduce *reduce, size_t offset, size_t count, agd_real *to);

agd_code agd_window_create(agd_reduce *reduce, MPI_Comm node, agd_status *st);
void agd_window_destroy(agd_reduce *reduce);
void agd_window_sum_start(agd_reduce *reduce, const double *values, size_t n);
/* Waits for all ranks and copies their lanes' parts, in order, to reduce->gathered. */
void agd_window_sum_wait(agd_reduce *reduce, size_t n);
void agd_window_gradients(agd_reduce *reduce);
agd_range agd_window_share(const agd_reduce *reduce);
/* Copies the other ranks' shares: of the weights from their segments, once all have published. */
void agd_window_publish(agd_reduce *reduce);
void agd_window_collect(agd_reduce *reduce, agd_real *values);

#endif
