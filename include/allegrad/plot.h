/** @file plot.h
 * Pictures of training curves by gnuplot, run as a child process without a shell. Not collective.
 */
#ifndef ALLEGRAD_PLOT_H
#define ALLEGRAD_PLOT_H

#include <stdbool.h>
#include <stddef.h>

#include "allegrad/metrics.h"
#include "allegrad/status.h"

/** One curve pair. Borrowed strings and arrays. */
typedef struct agd_curve {
  const char *label;
  const agd_epoch_metrics *metrics;
  size_t count;
  bool diverged; /**< drawn up to its last finite point, marked, and said so in the legend */
} agd_curve;

/** Draws training loss (left) and validation loss (right) over epochs on logarithmic axes into a PNG that is replaced
 * as a whole. AGD_EDATA when gnuplot is missing or fails, or the file cannot be written. */
agd_code agd_plot_curves(const char *png, const char *title, const agd_curve *curves, size_t count, agd_status *st);

#endif
