/** @file report.h
 * Runs side by side: what `compare` and `info` show of a run folder. Not collective.
 */
#ifndef ALLEGRAD_REPORT_H
#define ALLEGRAD_REPORT_H

#include <stddef.h>
#include <stdio.h>

#include "allegrad/metrics.h"
#include "allegrad/run.h"
#include "allegrad/status.h"

/** A run as its folder tells it. Release with agd_reports_destroy. */
typedef struct agd_report {
  char *name; /**< the folder's path without the parts that all runs share: "bn-raw" */
  agd_epoch_metrics *metrics;
  size_t count;
  agd_run_state state;
  char explanation[256];
} agd_report;

/** Reads the metrics and the status of run folders.
 * @param folders  `count` paths, at least one
 * @param out      receives `count` reports, in that order
 * @return AGD_OK, or AGD_EDATA naming the file at fault */
agd_code agd_reports_read(const char *const *folders, size_t count, agd_report **out, agd_status *st);

void agd_reports_destroy(agd_report **reports, size_t count);

/** Prints a table: name, epochs, final and best loss, final and best validation loss, seconds per epoch (the mean), how
 * the run ended. "-" stands for what there is not. */
void agd_reports_print(FILE *out, const agd_report *reports, size_t count);

/** Draws all runs into one picture, see agd_plot_curves. */
agd_code agd_reports_plot(const char *png, const char *title, const agd_report *reports, size_t count, agd_status *st);

#endif
