/* Where the time went: collected over ranks once an epoch, and told at the end. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "allegrad/clock.h"
#include "allegrad/memory.h"
#include "trainer_internal.h"

/* What every rank tells rank 0 of an epoch: its compute, then what it spent. */
enum { COMPUTE, SPENT, TOLD = SPENT + AGD_SPENT_KINDS };

agd_code agd_times_create(agd_trainer *t, agd_status *st) {
  const size_t ranks = t->comm->rank == 0 ? (size_t)t->comm->size : 1;
  return agd_allocate(ranks, AGD_TIMES_TOLD * sizeof *t->told, "the times of the ranks", (void **)&t->told, st);
}

void agd_times_collect(agd_trainer *t, agd_epoch_metrics *metrics, agd_epoch_details *details) {
  const double now = agd_clock();
  double mine[TOLD] = {now - t->epoch_start}, mean[TOLD] = {0};
  metrics->seconds = now - t->epoch_start;
  t->spent[AGD_SPENT_BATCH_NORM] += agd_reduce_take_seconds(t->reduce);
  for (size_t k = 0; k < AGD_SPENT_KINDS; k++) {
    mine[SPENT + k] = t->spent[k];
    mine[COMPUTE] -= t->spent[k];
  }
  for (size_t i = 0; i < TOLD; i++) t->totals[i] += mine[i];
  memset(t->spent, 0, sizeof t->spent);
  t->epoch_start = now;
  agd_comm_gather(t->comm, mine, TOLD, t->told);
  if (t->comm->rank != 0) return;
  const int ranks = t->comm->size;
  int slowest = 0, fastest = 0;
  for (int r = 0; r < ranks; r++) {
    for (size_t i = 0; i < TOLD; i++) mean[i] += t->told[r * TOLD + (int)i] / ranks;
    if (t->told[r * TOLD] > t->told[slowest * TOLD]) slowest = r;
    if (t->told[r * TOLD] < t->told[fastest * TOLD]) fastest = r;
  }
  /* the clocks of the ranks start and stop apart: what the mean lacks to rank 0's seconds is nobody's, and compute */
  double others = 0;
  for (size_t k = 0; k < AGD_SPENT_KINDS; k++) others += mean[SPENT + k];
  *details = (agd_epoch_details){.learning_rate = t->optimizer->learning_rate,
                                 .compute = metrics->seconds - others,
                                 .batch_norm = mean[SPENT + AGD_SPENT_BATCH_NORM],
                                 .gradients = mean[SPENT + AGD_SPENT_GRADIENTS],
                                 .rows = mean[SPENT + AGD_SPENT_ROWS],
                                 .io = mean[SPENT + AGD_SPENT_IO],
                                 .slowest_rank = slowest,
                                 .fastest_rank = fastest,
                                 .slowest_compute = t->told[slowest * TOLD],
                                 .fastest_compute = t->told[fastest * TOLD]};
}

/* Mean, least and most of one figure of all ranks, `told` apart. */
static void print_figure(FILE *out, const char *name, const double *figure, size_t told, int ranks, double total,
                         const char *unit) {
  double mean = 0;
  int least = 0, most = 0;
  for (int r = 0; r < ranks; r++) {
    const double value = figure[(size_t)r * told];
    mean += value / ranks;
    if (value < figure[(size_t)least * told]) least = r;
    if (value > figure[(size_t)most * told]) most = r;
  }
  fprintf(out, "%-34s %9.3f %s", name, mean, unit);
  if (total > 0)
    fprintf(out, " %5.1f %%", 100 * mean / total);
  else
    fprintf(out, "        ");
  if (ranks > 1)
    fprintf(out, "   %9.3f on rank %d to %9.3f on rank %d", figure[(size_t)least * told], least,
            figure[(size_t)most * told], most);
  putc('\n', out);
}

void agd_trainer_print_times(agd_trainer *t, FILE *out) {
  static const char *const names[TOLD] = {[COMPUTE] = "compute",
                                          [SPENT + AGD_SPENT_BATCH_NORM] = "sums of batch norm, waiting",
                                          [SPENT + AGD_SPENT_GRADIENTS] = "gradients and update, waiting",
                                          [SPENT + AGD_SPENT_ROWS] = "moving rows",
                                          [SPENT + AGD_SPENT_IO] = "writing files"};
  struct rusage usage;
  double mine[AGD_TIMES_TOLD], total = 0;
  const size_t start_up = TOLD, memory = TOLD + 1;
  getrusage(RUSAGE_SELF, &usage);
  t->spent[AGD_SPENT_BATCH_NORM] += agd_reduce_take_seconds(t->reduce);
  memcpy(mine, t->totals, sizeof t->totals);
  for (size_t k = 0; k < AGD_SPENT_KINDS; k++) mine[SPENT + k] += t->spent[k]; /* since the last epoch */
  mine[start_up] = t->start_seconds;
  mine[memory] = (double)usage.ru_maxrss / 1024;
  agd_comm_gather(t->comm, mine, AGD_TIMES_TOLD, t->told);
  if (t->comm->rank != 0) return;
  const int ranks = t->comm->size;
  for (int r = 0; r < ranks; r++)
    for (size_t i = 0; i < TOLD; i++) total += t->told[(size_t)r * AGD_TIMES_TOLD + i] / ranks;
  fprintf(out, "where the time went: %.3f s a rank, %.0f rows/s%s\n", total,
          (double)t->rows_trained / (total > 0 ? total : 1), ranks > 1 ? "; the mean over ranks, least and most" : "");
  for (size_t i = 0; i < TOLD; i++) print_figure(out, names[i], t->told + i, AGD_TIMES_TOLD, ranks, total, "s ");
  print_figure(out, "before: start, reading, first rows", t->told + start_up, AGD_TIMES_TOLD, ranks, 0, "s ");
  print_figure(out, "memory at its highest", t->told + memory, AGD_TIMES_TOLD, ranks, 0, "MB");
  const agd_write_costs *w = &t->write_costs;
  if (w->count > 0)
    fprintf(out, "checkpoints: %zu; each took %.3f ms between steps and %.3f ms of a core beside them\n", w->count,
            1e3 * w->copies / (double)w->count, 1e3 * w->core / (double)w->count);
}
