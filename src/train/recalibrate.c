#include <string.h>

#include "allegrad/memory.h"
#include "allegrad/watchdog.h"
#include "trainer_internal.h"

/* Statistics of what the BN of layer l receives from all training rows, in the first part. */
static void population_moments(agd_trainer *t, size_t l, double *parts) {
  const size_t C = t->model->layers[l].in, lanes = agd_trainer_lanes(t);
  memset(parts, 0, lanes * (1 + 2 * C) * sizeof *parts);
  for (uint64_t step = 0; step < agd_plan_batches(&t->plan); step++) {
    const agd_batch batch = agd_trainer_batch(t, step);
    agd_watchdog_beat(t->comm, t->training.step, "the recalibration");
    agd_network_add_moments(t->network, &batch, l, parts);
  }
  agd_reduce_moments(t->reduce, parts, C);
}

agd_code agd_trainer_recalibrate(agd_trainer *t, agd_status *st) {
  const size_t lanes = agd_trainer_lanes(t);
  const size_t widest = agd_model_widest_input(t->model);
  double *parts = NULL;
  agd_allocate(lanes, (1 + 2 * widest) * sizeof *parts, "the recalibration", (void **)&parts, st);
  const agd_code code = agd_comm_agree(t->comm, st);
  for (size_t l = 0; l < t->model->layer_count && code == AGD_OK; l++) {
    if (!t->model->layers[l].batch_norm) continue;
    population_moments(t, l, parts);
    agd_model_set_averages(t->model, l, parts);
  }
  agd_release(&parts);
  return code;
}
