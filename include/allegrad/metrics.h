/** @file metrics.h
 * What is known of an epoch when it has ended.
 */
#ifndef ALLEGRAD_METRICS_H
#define ALLEGRAD_METRICS_H

#include <stdint.h>

/** One line of metrics.csv. */
typedef struct agd_epoch_metrics {
  uint64_t epoch;        /**< from 1 */
  uint64_t step;         /**< optimizer steps done at its end */
  double loss, val_loss; /**< val_loss is NaN when there are no validation rows */
  double seconds;        /**< wall time of the epoch */
} agd_epoch_metrics;

#endif
