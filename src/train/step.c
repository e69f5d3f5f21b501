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
  agd_network_prepare(t->network, &rows, &t->watched);
}

/* ---- the exchange as the network sees it: watched for the time it takes, and with gradients accumulated ---- */

static void moments(void *context, double *parts, size_t C) {
  agd_trainer *t = context;
  const double start = agd_clock();
  t->exchange.moments(t->exchange.context, parts, C);
  t->spent[AGD_SPENT_BATCH_NORM] += agd_clock() - start;
}

static void input_start(void *context, double *parts, size_t C) {
  agd_trainer *t = context;
  t->exchange.input_start(t->exchange.context, parts, C);
}

static void input_finish(void *context, double *parts, size_t C) {
  agd_trainer *t = context;
  const double start = agd_clock();
  t->exchange.input_finish(t->exchange.context, parts, C);
  t->spent[AGD_SPENT_BATCH_NORM] += agd_clock() - start;
}

static void sum_start(void *context, double *values, size_t n) {
  agd_trainer *t = context;
  t->exchange.sum_start(t->exchange.context, values, n);
}

static void sum_finish(void *context) {
  agd_trainer *t = context;
  const double start = agd_clock();
  t->exchange.sum_finish(t->exchange.context);
  t->spent[AGD_SPENT_BATCH_NORM] += agd_clock() - start;
}

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
static void gradient_ready(void *context, size_t offset, size_t count) {
  agd_trainer *t = context;
  const bool last = t->batch_of_step + 1 == t->batches_of_step;
  if (t->batches_of_step > 1) accumulate(t, agd_network_gradients(t->network) + offset, t->accumulated + offset, count);
  if (last && t->exchange.gradient_ready != NULL) t->exchange.gradient_ready(t->exchange.context, offset, count);
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

static agd_exchange watch(agd_trainer *t) {
  agd_exchange watched = {.context = t, .groups = t->exchange.groups};
  if (!exchanges_each_batch(t)) watched.gradient_ready = gradient_ready;
  if (t->exchange.moments == NULL) return watched;
  watched.moments = moments;
  watched.input_start = input_start;
  watched.input_finish = input_finish;
  watched.sum_start = sum_start;
  watched.sum_finish = sum_finish;
  return watched;
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

void agd_trainer_take_exchange(agd_trainer *t) {
  t->updates_on_the_way = t->config.clip_norm == 0 && !exchanges_each_batch(t);
  t->exchange = agd_reduce_exchange(t->reduce, t->updates_on_the_way ? update_slice : NULL, t);
  t->watched = watch(t);
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
  const size_t lanes = agd_lanes_of_rank(&t->lanes, (uint64_t)t->comm->rank).count;
  agd_optimizer_begin(t->optimizer, learning_rate(t));
  memset(t->lane_losses, 0, lanes * sizeof *t->lane_losses);
  t->batches_of_step = batches.count;
  for (t->batch_of_step = 0; t->batch_of_step < batches.count; t->batch_of_step++) {
    agd_network_train(t->network, &t->watched, t->batch_losses);
    for (size_t i = 0; i < lanes; i++) t->lane_losses[i] += t->batch_losses[i];
    if (exchanges_each_batch(t)) exchange_batch(t);
    if (!last || t->batch_of_step + 1 < batches.count) agd_trainer_prepare(t, batches.first + t->batch_of_step + 1);
  }
  const double start = agd_clock();
  if (!exchanges_each_batch(t)) agd_reduce_gradients(t->reduce);
  if (!t->updates_on_the_way) clip_and_update(t);
  agd_reduce_publish(t->reduce);
  t->spent[AGD_SPENT_GRADIENTS] += agd_clock() - start;
  t->training.step++;
}
