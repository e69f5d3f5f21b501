/* In which order gradients are added, and by whom. */
#include "reduce_internal.h"

#include <math.h>
#include <string.h>

#include "allegrad/memory.h"

agd_code agd_reduce_plan(agd_reduce *r, agd_status *st) {
  fold_plan *p = &r->plan;
  for (uint64_t rank = 0; rank < r->lanes.ranks; rank++) p->run_count += agd_lanes_runs(&r->lanes, rank);
  size_t *run_at = NULL; /* [lanes]: 1 + the run that starts there, else 0 */
  const char *what = "the order of the sums";
  AGD_TRY(agd_allocate(p->run_count, sizeof *p->run_rank, what, (void **)&p->run_rank, st));
  AGD_TRY(agd_allocate(p->run_count, sizeof *p->into, what, (void **)&p->into, st));
  AGD_TRY(agd_allocate(p->run_count, sizeof *p->from, what, (void **)&p->from, st));
  AGD_TRY(agd_allocate(r->lanes.count, sizeof *run_at, what, (void **)&run_at, st));
  size_t runs = 0, merges = 0;
  for (uint64_t rank = 0; rank < r->lanes.ranks; rank++) {
    for (uint64_t i = 0; i < agd_lanes_runs(&r->lanes, rank); i++) {
      p->run_rank[runs] = rank;
      run_at[agd_lanes_run(&r->lanes, rank, i).first] = ++runs;
    }
  }
  for (size_t width = 1; width < r->lanes.count; width *= 2) {
    for (size_t into = 0; into + width < r->lanes.count; into += 2 * width) {
      if (run_at[into + width] == 0) continue; /* both lie within one run */
      p->into[merges] = run_at[into] - 1;
      p->from[merges++] = run_at[into + width] - 1;
    }
  }
  AGD_REQUIRE(merges + 1 == runs);
  agd_release(&run_at);
  return AGD_OK;
}

size_t agd_reduce_block(size_t total) {
  const size_t line = AGD_ALIGN / sizeof(agd_real), lines = (total + line - 1) / line;
  return (lines + AGD_BLOCKS - 1) / AGD_BLOCKS * line;
}

agd_range agd_reduce_slice(size_t total, size_t parts, size_t part) {
  const size_t block = agd_reduce_block(total);
  const agd_range blocks = agd_slice((total + block - 1) / block, parts, part);
  const size_t first = blocks.first * block, end = first + blocks.count * block;
  return (agd_range){.first = first < total ? first : total,
                     .count = (end < total ? end : total) - (first < total ? first : total)};
}

double agd_reduce_norm(agd_reduce *r) {
  const size_t total = r->model->weight_count, block = agd_reduce_block(total);
  const agd_range share = agd_reduce_share(r);
  double sum = 0;
  memset(r->squares, 0, AGD_BLOCKS * sizeof *r->squares);
  for (size_t first = share.first; first < share.first + share.count; first += block) {
    const size_t left = total - first;
    r->squares[first / block] = r->kernels->sum_squares(left < block ? left : block, r->gradients + first);
  }
  if (r->window != NULL) /* every block is one rank's, so that whatever MPI's order it is added to zeros */
    MPI_Allreduce(MPI_IN_PLACE, r->squares, AGD_BLOCKS, MPI_DOUBLE, MPI_SUM, r->comm->node);
  for (size_t b = 0; b < AGD_BLOCKS; b++) sum += r->squares[b];
  return sqrt(sum);
}

void agd_reduce_tell(agd_reduce *r, size_t offset, size_t count) {
  if (r->ready != NULL && count > 0) r->ready(r->ready_context, offset, count);
}

static void add(size_t n, const agd_real *a, const agd_real *b, agd_real *to) {
  for (size_t i = 0; i < n; i++) to[i] = a[i] + b[i];
}

void agd_reduce_fold(agd_reduce *r, size_t from, size_t count, size_t to, bool tells) {
  const fold_plan *p = &r->plan;
  for (size_t done = 0; done < count; done += FOLD_BLOCK) {
    const size_t n = count - done < FOLD_BLOCK ? count - done : FOLD_BLOCK, merges = p->run_count - 1;
    for (size_t run = 0; run < p->run_count; run++) r->part[run] = r->run[run] + from + done;
    for (size_t m = 0; m < merges; m++) {
      agd_real *sum = m + 1 < merges ? r->scratch + p->into[m] * FOLD_BLOCK : r->gradients + to + done;
      add(n, r->part[p->into[m]], r->part[p->from[m]], sum);
      r->part[p->into[m]] = sum;
    }
    if (tells) agd_reduce_tell(r, to + done, n);
  }
}
