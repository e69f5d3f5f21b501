/** @file metrics.h
 * What is known of an epoch when it has ended.
 */
#ifndef ALLEGRAD_METRICS_H
#define ALLEGRAD_METRICS_H

#include <stdint.h>

/** What an epoch has come to: kept in the history of a weights file, and the first columns of metrics.csv. */
typedef struct agd_epoch_metrics {
  uint64_t epoch;        /**< from 1 */
  uint64_t step;         /**< optimizer steps done at its end */
  double loss, val_loss; /**< val_loss is NaN when there are no validation rows */
  double seconds;        /**< wall time from the end of the epoch before, its files not yet written, to its own */
} agd_epoch_metrics;

/** The other columns. The seconds, but for the slowest and the fastest, are the mean over ranks of where those of the
 * epoch went, and add up to them. */
typedef struct agd_epoch_details {
  double learning_rate; /**< of its last step */
  double compute;       /**< everything but: */
  double batch_norm;    /**< waiting for the sums of BN, and adding them up */
  double gradients;     /**< waiting for gradients, weights and losses, adding them up, and the update with it */
  double rows;          /**< moving rows to where the next epoch needs them */
  double io;            /**< writing the files at the end of the epoch before, or waiting for the rank that does */
  int slowest_rank, fastest_rank; /**< by their own seconds of compute: */
  double slowest_compute, fastest_compute;
} agd_epoch_details;

#endif
