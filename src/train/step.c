/* One step of the optimizer: accumulate, exchange, clip, update. */
#include <string.h>

#include "allegrad/clock.h"
#include "allegrad/rng.h"
#include "trainer_internal.h"

uint64_t agd_trainer_steps(const agd_trainer *t) {
  const uint64_t batches = agd_plan_batches(&t->plan), of_step = t->config.accumulate;
  return batches / of_step + (batches % of_step > 0);
}

/* The batches [first, first + count) of step `step` of an epoch. */
static agd_range batches_of_step(const agd_trainer *t, uint64_t step) {
  const uint64_t first = step * t->config.accumulate, left = agd_plan_batches(&t->plan) - first;
  return (agd_range){.first = first, .count = left < t->config.accumulate ? left : t->config.accumulate};
}

uint64_t agd_trainer_step_rows(const agd_trainer *t, uint64_t step) {
  const agd_range batches = batches_of_step(t, step);
  const uint64_t before = batches.first * t->plan.batch, rows = batches.count * t->plan.batch;
  return rows < t->plan.rows - before ? rows : t->plan.rows - before;
}

agd_batch agd_trainer_batch(const agd_trainer *t, uint64_t batch) {
  const agd_range slice = agd_plan_local(&t->plan, t->comm->rank, batch);
  const uint64_t done = t->training.epoch * agd_plan_batches(&t->plan) + batch;
  return (agd_batch){.x = t->rows.x + slice.first * t->rows.features,
                     .y = t->rows.y + slice.first * t->rows.targets,
                     .noise = agd_random_bits(t->config.seed, agd_stream(AGD_STREAM_DROPOUT, 0), done),
                     .global_rows = agd_plan_batch_rows(&t->plan, batch),
                     .step_rows = agd_trainer_step_rows(t, batch / t->config.accumulate)};
}

void agd_trainer_prepare(agd_trainer *t, uint64_t batch) {
  const agd_batch rows = agd_trainer_batch(t, batch);
  agd_network_prepare(t->network, &rows, &t->exchange);
}

/* ---- gradients ---- */

/* Adds a slice of gradients to what the step's batches before have given; with the last batch it is their sum. */
static void accumulate(const agd_trainer *t, agd_real *restrict gradients, agd_real *restrict sums, size_t count) {
  if (t->batch_of_step == 0)
    memcpy(sums, gradients, count * sizeof *sums);
  else if (t->batch_of_step + 1 == t->batches_of_step)
    for (size_t i = 0; i < count; i++) gradients[i] += sums[i];
  else
    for (size_t i = 0; i < count; i++) sums[i] += gradients[i];
}

/* This rank's gradients are accumulated before they travel, once a step. */
static void accumulate_and_pass(void *context, size_t offset, size_t count) {
  agd_trainer *t = context;
  const bool last = t->batch_of_step + 1 == t->batches_of_step;
  if (t->batches_of_step > 1) accumulate(t, agd_network_gradients(t->network) + offset, t->accumulated + offset, count);
  if (last && t->pass != NULL) t->pass(t->pass_context, offset, count);
}

/* With several fixed lanes the sum over lanes comes first, batch by batch: the other order would depend on which lanes
 * are one rank's. */
static bool exchanges_each_batch(const agd_trainer *t) {
  return t->config.accumulate > 1 && t->lanes.fixed && t->lanes.count > 1;
}

static void exchange_batch(agd_trainer *t) {
  const agd_range share = agd_reduce_share(t->reduce);
  const double start = agd_clock();
  agd_reduce_gradients(t->reduce);
  if (t->batches_of_step > 1)
    accumulate(t, agd_network_gradients(t->network) + share.first, t->accumulated + share.first, share.count);
  if (t->batch_of_step + 1 < t->batches_of_step) agd_reduce_publish(t->reduce);
  t->spent[AGD_SPENT_GRADIENTS] += agd_clock() - start;
}

void agd_trainer_adapt(agd_trainer *t) {
  const double start = agd_clock();
  agd_reduce_adapt(t->reduce, AGD_ADAPT_MEASURED);
  agd_network_set_gradients(t->network, agd_reduce_gradient_memory(t->reduce));
  t->spent[AGD_SPENT_GRADIENTS] += agd_clock() - start;
}

/* ---- the update ---- */

static void update_slice(void *context, size_t offset, size_t count) {
  agd_trainer *t = context;
  agd_optimizer_update(t->optimizer, t->model->weights, agd_network_gradients(t->network), offset, count);
}

/* Whether a slice of the weights is updated as soon as its gradient is global: no norm is needed first. */
static bool updates_on_the_way(const agd_trainer *t) { return t->config.clip_norm == 0 && !exchanges_each_batch(t); }

void agd_trainer_take_exchange(agd_trainer *t) {
  t->exchange = agd_reduce_exchange(t->reduce, updates_on_the_way(t) ? update_slice : NULL, t);
  if (t->config.accumulate == 1) return;
  t->pass = t->exchange.gradient_ready;
  t->pass_context = t->exchange.gradient_context;
  t->exchange.gradient_ready = exchanges_each_batch(t) ? NULL : accumulate_and_pass;
  t->exchange.gradient_context = t;
}

/* Clipping by the global norm (Pascanu, Mikolov, Bengio 2013, arXiv 1211.5063): the gradient is scaled to the norm
 * clip_norm when it is longer. A norm that is no number is left to the search for a divergence. */
static void clip_and_update(agd_trainer *t) {
  const agd_range share = agd_reduce_share(t->reduce);
  const double longest = t->config.clip_norm, norm = longest > 0 ? agd_reduce_norm(t->reduce) : 0;
  if (norm > longest && isfinite(norm)) {
    agd_real *gradients = agd_network_gradients(t->network) + share.first;
    const agd_real scale = (agd_real)(longest / norm);
    for (size_t i = 0; i < share.count; i++) gradients[i] *= scale;
  }
  update_slice(t, share.first, share.count);
}

/* The learning rate of the next step. */
static double learning_rate(const agd_trainer *t) {
  const uint64_t of_epoch = agd_trainer_steps(t), most = t->config.max_steps, all = t->config.epochs * of_epoch;
  return agd_schedule_rate(&t->config.schedule, t->config.optimizer.learning_rate,
                           t->config.batch * t->config.accumulate, of_epoch, most > 0 && most < all ? most : all,
                           t->training.step);
}

void agd_trainer_step(agd_trainer *t, uint64_t step, bool last) {
  const agd_range batches = batches_of_step(t, step);
  const size_t lanes = agd_trainer_lanes(t);
  agd_optimizer_begin(t->optimizer, learning_rate(t));
  memset(t->lane_losses, 0, lanes * sizeof *t->lane_losses);
  t->batches_of_step = batches.count;
  for (t->batch_of_step = 0; t->batch_of_step < batches.count; t->batch_of_step++) {
    agd_network_train(t->network, &t->exchange, t->batch_losses);
    for (size_t i = 0; i < lanes; i++) t->lane_losses[i] += t->batch_losses[i];
    if (exchanges_each_batch(t)) exchange_batch(t);
    if (!last || t->batch_of_step + 1 < batches.count) agd_trainer_prepare(t, batches.first + t->batch_of_step + 1);
  }
  const double start = agd_clock();
  if (!exchanges_each_batch(t)) agd_reduce_gradients(t->reduce);
  if (!updates_on_the_way(t)) clip_and_update(t);
  agd_reduce_publish(t->reduce);
  t->spent[AGD_SPENT_GRADIENTS] += agd_clock() - start;
  t->training.step++;
}
