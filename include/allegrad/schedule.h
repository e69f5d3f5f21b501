/** @file schedule.h
 * How the learning rate changes from step to step.
 */
#ifndef ALLEGRAD_SCHEDULE_H
#define ALLEGRAD_SCHEDULE_H

#include <stdint.h>

typedef enum agd_schedule_name { AGD_SCHEDULE_CONSTANT, AGD_SCHEDULE_STEP, AGD_SCHEDULE_COSINE } agd_schedule_name;

/** A schedule; plain value. `step` reads step_epochs and step_factor, `cosine` final_factor. */
typedef struct agd_schedule_spec {
  agd_schedule_name name;
  double warmup_epochs; /**< of a linear rise, 0: none */
  uint64_t base_batch;  /**< rows of a step for which the learning rate is meant, 0: those of the job */
  uint64_t step_epochs;
  double step_factor;
  double final_factor;
} agd_schedule_spec;

#endif
