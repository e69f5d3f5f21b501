#include "allegrad/reduce.h"

#include <limits.h>
#include <string.h>

#include "allegrad/memory.h"
#include "allegrad/moments.h"

struct agd_reduce {
  const agd_comm *comm;
  size_t capacity;    /* doubles of one rank's part */
  double *gathered;   /* [size, capacity]: the parts of all ranks, in rank order */
  double *travelling; /* the sum under way: the caller's values, NULL when none */
  size_t travelling_count;
  MPI_Request request;
};

agd_code agd_reduce_create(const agd_comm *comm, size_t max_features, agd_reduce **out, agd_status *st) {
  *out = NULL;
  agd_reduce *reduce = NULL;
  if (agd_allocate(1, sizeof *reduce, "the reductions", (void **)&reduce, st) == AGD_OK) {
    *reduce = (agd_reduce){.comm = comm, .capacity = 1 + 2 * max_features, .request = MPI_REQUEST_NULL};
    if (reduce->capacity > INT_MAX)
      agd_fail(st, AGD_EDATA, "a layer of %zu features is wider than one MPI message", max_features);
    else
      agd_allocate(reduce->capacity, (size_t)comm->size * sizeof(double), "the reductions", (void **)&reduce->gathered,
                   st);
  }
  const agd_code code = agd_comm_agree(comm, st);
  if (code != AGD_OK) agd_reduce_destroy(&reduce);
  *out = reduce;
  return code;
}

void agd_reduce_destroy(agd_reduce **reduce) {
  if (*reduce == NULL) return;
  agd_release(&(*reduce)->gathered);
  agd_release(reduce);
}

/* Gathers every rank's triples and folds them in rank order, the same on every rank: an MPI reduction may hand other
 * bits to other ranks, and replicas would drift. */
static void merge_moments(void *context, double *part, size_t C) {
  agd_reduce *reduce = context;
  const int count = (int)(1 + 2 * C);
  AGD_REQUIRE(1 + 2 * C <= reduce->capacity);
  MPI_Allgather(part, count, MPI_DOUBLE, reduce->gathered, count, MPI_DOUBLE, reduce->comm->mpi);
  agd_moments_fold((size_t)reduce->comm->size, C, reduce->gathered, part);
}

static void sum_start(void *context, double *values, size_t n) {
  agd_reduce *reduce = context;
  AGD_REQUIRE(reduce->travelling == NULL && n <= reduce->capacity);
  reduce->travelling = values;
  reduce->travelling_count = n;
  MPI_Iallgather(values, (int)n, MPI_DOUBLE, reduce->gathered, (int)n, MPI_DOUBLE, reduce->comm->mpi, &reduce->request);
}

static void sum_finish(void *context) {
  agd_reduce *reduce = context;
  const size_t n = reduce->travelling_count;
  double *values = reduce->travelling;
  MPI_Wait(&reduce->request, MPI_STATUS_IGNORE);
  memcpy(values, reduce->gathered, n * sizeof *values);
  for (int r = 1; r < reduce->comm->size; r++)
    for (size_t i = 0; i < n; i++) values[i] += reduce->gathered[(size_t)r * n + i];
  reduce->travelling = NULL;
}

agd_exchange agd_reduce_exchange(agd_reduce *reduce) {
  if (reduce->comm->size == 1) return (agd_exchange){.context = reduce};
  return (agd_exchange){.context = reduce, .moments = merge_moments, .sum_start = sum_start, .sum_finish = sum_finish};
}

void agd_reduce_gradients(agd_reduce *reduce, agd_real *gradients, size_t count) {
  if (reduce->comm->size == 1) return;
  while (count > 0) {
    const size_t piece = count < INT_MAX ? count : INT_MAX;
    MPI_Allreduce(MPI_IN_PLACE, gradients, (int)piece, AGD_MPI_REAL, MPI_SUM, reduce->comm->mpi);
    gradients += piece;
    count -= piece;
  }
}
