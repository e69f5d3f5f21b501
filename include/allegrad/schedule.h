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

/** The learning rate of a step.
 *
 * With base_batch B, a step on step_rows rows takes learning_rate * step_rows / B: the linear scaling rule of Goyal et
 * al. 2017 (arXiv 1706.02677). During the first W = warmup_epochs * steps_per_epoch (rounded) steps the rate rises in
 * equal parts, from learning_rate itself with base_batch, else from 0, and is full at step W. Then
 * - constant: it stays;
 * - step: times step_factor for every step_epochs whole epochs since the start of the training;
 * - cosine: (f + (1 - f) (1 + cos pi p) / 2) times it, f = final_factor, p from 0 at step W to 1 at the last step
 *   (Loshchilov & Hutter 2017, arXiv 1608.03983, without restarts).
 * @param step_rows  rows of a full step, all its batches
 * @param all_steps  steps of the whole training
 * @param step       from 0
 * A constant schedule without warm-up and base_batch gives learning_rate itself. Not collective. */
double agd_schedule_rate(const agd_schedule_spec *spec, double learning_rate, uint64_t step_rows,
                         uint64_t steps_per_epoch, uint64_t all_steps, uint64_t step);

#endif
