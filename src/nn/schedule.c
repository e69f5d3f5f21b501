#include "allegrad/schedule.h"

#include <math.h>
#include <stdbool.h>

/* Share of the full rate that is left at a step after the warm-up. */
static double remaining(const agd_schedule_spec *spec, uint64_t steps_per_epoch, uint64_t warmup, uint64_t all_steps,
                        uint64_t step) {
  const double pi = 3.14159265358979323846, f = spec->final_factor;
  const uint64_t epoch = step / steps_per_epoch;
  double progress = 1;
  switch (spec->name) {
  case AGD_SCHEDULE_CONSTANT:
    break;
  case AGD_SCHEDULE_STEP:
    return pow(spec->step_factor, floor((double)epoch / (double)spec->step_epochs));
  case AGD_SCHEDULE_COSINE:
    if (warmup + 1 < all_steps) progress = fmin(1, (double)(step - warmup) / (double)(all_steps - 1 - warmup));
    return f + (1 - f) * (1 + cos(pi * progress)) / 2;
  }
  return 1;
}

double agd_schedule_rate(const agd_schedule_spec *spec, double learning_rate, uint64_t step_rows,
                         uint64_t steps_per_epoch, uint64_t all_steps, uint64_t step) {
  const bool scales = spec->base_batch > 0;
  const double full = scales ? learning_rate * (double)step_rows / (double)spec->base_batch : learning_rate;
  const double start = scales ? learning_rate : 0;
  const double warmup = floor(spec->warmup_epochs * (double)steps_per_epoch + 0.5);
  if ((double)step < warmup) return start + (full - start) * (double)(step + 1) / (warmup + 1);
  return full * remaining(spec, steps_per_epoch, (uint64_t)warmup, all_steps, step);
}
