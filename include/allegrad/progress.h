/** @file progress.h
 * How far a training is, for who watches it. On rank 0 only; not collective.
 *
 * Two outputs. *Lines*, one an epoch, go to standard output, so that they can be kept:
 *   epoch  3/30  loss 0.41234  val_loss 0.51201  1.2 s  13000 rows/s
 * A *bar*, redrawn in place at most ten times a second and gone at the end, goes to standard error:
 *   epoch  3/30 [=========>             ] 215/516  loss 0.41402  13000 rows/s  ETA 0:42
 * Modes: `lines` and `bar` (bar and lines) whatever the outputs are; `auto` adds the bar to the lines when standard
 * error is a terminal that can move its cursor (under mpirun it is a pipe); `off` gives neither.
 */
#ifndef ALLEGRAD_PROGRESS_H
#define ALLEGRAD_PROGRESS_H

#include <stdint.h>

#include "allegrad/config.h"
#include "allegrad/metrics.h"

typedef struct agd_meter agd_meter;

/** What lies ahead. */
typedef struct agd_plan {
  uint64_t epochs;
  uint64_t steps_per_epoch;
  uint64_t max_steps;  /**< ends the training earlier; 0: it does not */
  uint64_t steps_done; /**< before: of a training that is resumed */
  uint64_t rows;       /**< training rows, all ranks */
} agd_plan;

/** Starts the clock. With `off` *out is NULL, which every other function takes: it then does nothing.
 * @return AGD_OK or AGD_EDATA (memory) */
agd_code agd_progress_start(agd_progress mode, const agd_plan *plan, agd_meter **out, agd_status *st);

/** A step is done. Cheap: call it after every one.
 * @param loss  running mean of the epoch, to show; NaN: not known */
void agd_progress_step(agd_meter *meter, double loss);

/** An epoch has ended: writes its line and starts the next. Nothing is said of val_loss when it is NaN and the loss is
 * finite. */
void agd_progress_epoch(agd_meter *meter, const agd_epoch_metrics *metrics);

/** Clears the bar, for a message between or after epochs; the next step draws it again. */
void agd_progress_clear(agd_meter *meter);

/** Clears the bar, releases the meter and nulls the pointer. */
void agd_progress_end(agd_meter **meter);

#endif
