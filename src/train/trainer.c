#include "allegrad/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "allegrad/checkpoint.h"
#include "allegrad/replicas.h"
#include "allegrad/rng.h"
#include "allegrad/weights.h"
#include "trainer_internal.h"

/* The next rows travel during the last 1/TRAVEL_SHARE of an epoch. */
enum { TRAVEL_SHARE = 8 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

agd_batch agd_trainer_batch(const agd_trainer *t, uint64_t step) {
  const agd_range slice = agd_plan_local(&t->plan, t->comm->rank, step);
  const uint64_t steps_done = t->training.epoch * agd_plan_steps(&t->plan) + step;
  return (agd_batch){.x = t->rows.x + slice.first * t->rows.features,
                     .y = t->rows.y + slice.first * t->rows.targets,
                     .noise = agd_random_bits(t->config.seed, agd_stream(AGD_STREAM_DROPOUT, 0), steps_done),
                     .global_rows = agd_plan_step_rows(&t->plan, step)};
}

/* Hands the network the rows of a step to come. */
static void prepare_step(agd_trainer *t, uint64_t step) {
  const agd_batch batch = agd_trainer_batch(t, step);
  agd_network_prepare(t->network, &batch, &t->exchange);
}

/* Forward, loss, backward, sum of the gradients over ranks, and on the way the update (update_slice). The statistics of
 * the next step's input travel while the gradients do. */
static void train_step(agd_trainer *t, uint64_t step, bool last) {
  agd_optimizer_begin(t->optimizer);
  agd_network_train(t->network, &t->exchange, t->lane_losses);
  if (!last) prepare_step(t, step + 1);
  agd_reduce_gradients(t->reduce);
  agd_reduce_publish(t->reduce);
  t->training.step++;
}

/* Keeps the losses of a step until they are shared. */
static void note_losses(agd_trainer *t) {
  const size_t lanes = agd_lanes_of_rank(&t->lanes, (uint64_t)t->comm->rank).count;
  for (size_t i = 0; i < lanes; i++) t->window[i * LOSS_WINDOW + t->window_count] = t->lane_losses[i];
  t->window_count++;
}

/* Whether max_steps ends the training after so many steps. */
static bool ends_after(const agd_trainer *t, uint64_t steps) {
  return t->config.max_steps > 0 && steps >= t->config.max_steps;
}

/* Sums the losses of the last steps over ranks, logs them (rank 0) and looks for the first that is not finite. The last
 * step of the window is step `last` of the epoch. Collective. A divergence is the same on every rank; a file error of
 * rank 0 stays in its status until the ranks agree at the end of the epoch. */
static void share_losses(agd_trainer *t, uint64_t last, agd_run *run, agd_status *st) {
  const uint64_t first = last + 1 - t->window_count, first_count = t->training.step + 1 - t->window_count;
  agd_reduce_sum(t->reduce, t->window, LOSS_WINDOW);
  for (size_t i = 0; i < t->window_count && st->code != AGD_EDIVERGED; i++) {
    const uint64_t rows = agd_plan_step_rows(&t->plan, first + i), count = first_count + i;
    const double loss = t->window[i] / (double)rows;
    t->epoch_loss += t->window[i];
    t->epoch_rows += rows;
    if (run != NULL && st->code == AGD_OK) agd_run_step(run, count, loss, st);
    if (!isfinite(loss))
      agd_fail(st, AGD_EDIVERGED,
               "the training diverged: the loss is %g at step %llu; a smaller learning_rate, data.standardize or "
               "model.batch_norm may help",
               loss, (unsigned long long)count);
  }
  t->window_count = 0;
}

/* Sends for the rows of the next epoch, if there will be one: they travel while the last steps of this one run. Without
 * shuffling rows stay where they are. Collective; the outcome is agreed. */
static agd_code send_for_rows(agd_trainer *t, uint64_t next_epoch, agd_status *st) {
  if (next_epoch >= t->config.epochs || t->config.shuffle != AGD_SHUFFLE_GLOBAL) return AGD_OK;
  const agd_permutation order = agd_epoch_order(t->plan.rows, true, t->config.seed, next_epoch);
  AGD_TRY(agd_rows_create(t->comm, &t->plan, &order, t->rows.features, t->rows.targets, &t->next_rows, st));
  return agd_transfer_start(t->comm, &t->rows, &t->next_rows, &t->transfer, st);
}

/* Waits for the rows of the next epoch and lets go of those of this one. */
static void receive_rows(agd_trainer *t) {
  if (t->transfer == NULL) return;
  agd_transfer_finish(&t->transfer);
  agd_rows_clear(&t->rows);
  t->rows = t->next_rows;
  t->next_rows = (agd_rows){0};
}

/* The steps of one epoch, or what max_steps leaves of it. */
static void train_epoch(agd_trainer *t, uint64_t epoch, agd_run *run, agd_status *st) {
  const uint64_t steps = agd_plan_steps(&t->plan), departure = steps - steps / TRAVEL_SHARE - 1;
  t->epoch_loss = 0;
  t->epoch_rows = 0;
  prepare_step(t, 0);
  for (uint64_t s = 0; s < steps && st->code != AGD_EDIVERGED; s++) {
    const bool last = s + 1 == steps || ends_after(t, t->training.step + 1);
    if (s == departure && send_for_rows(t, epoch + 1, st) != AGD_OK) break;
    train_step(t, s, last);
    note_losses(t);
    agd_transfer_poke(t->transfer);
    if (last || t->window_count == LOSS_WINDOW) share_losses(t, s, run, st);
    const uint64_t every = t->config.check_every;
    if (every > 0 && t->training.step % every == 0 &&
        agd_replicas_check(t->comm, t->model, t->training.step, st) != AGD_OK)
      break;
    agd_progress_step(t->meter, t->epoch_rows > 0 ? t->epoch_loss / (double)t->epoch_rows : NAN);
    if (last) break;
  }
}

/* Loss over the validation rows of all ranks in inference mode; NaN when there are none. The pieces' losses are added
 * in the order of the file, so the sum does not depend on who computed them. */
static double validate(agd_trainer *t) {
  const agd_rows *v = &t->validation;
  if (v->plan.rows == 0) return NAN;
  memset(t->piece_losses, 0, t->piece_count * sizeof *t->piece_losses);
  const uint64_t first = v->count > 0 ? agd_plan_position(&v->plan, t->comm->rank, 0) / AGD_PIECE : 0;
  agd_network_evaluate(t->network, v->x, v->y, v->count, t->piece_losses + first);
  agd_comm_sum(t->comm, t->piece_losses, t->piece_count);
  double loss = 0;
  for (size_t p = 0; p < t->piece_count; p++) loss += t->piece_losses[p];
  return loss / (double)v->plan.rows;
}

static bool weights_are_finite(const agd_model *model) {
  for (size_t i = 0; i < model->weight_count; i++)
    if (!isfinite(model->weights[i])) return false;
  return true;
}

static agd_code append_history(agd_training *training, const agd_epoch_metrics *metrics, agd_status *st) {
  agd_epoch_metrics *grown = realloc(training->history, (training->epoch_count + 1) * sizeof *grown);
  if (grown == NULL) return agd_fail(st, AGD_EDATA, "out of memory: the history of %zu epochs", training->epoch_count);
  grown[training->epoch_count++] = *metrics;
  training->history = grown;
  return AGD_OK;
}

static bool checkpoint_is_due(const agd_trainer *t) {
  const uint64_t every = t->config.checkpoint_every_epochs;
  return every > 0 && t->training.epoch % every == 0;
}

/* Completes the optimizer's slots for a weights file: a rank may have only its share of them up to date. Collective. */
static void collect_slots(agd_trainer *t) {
  for (size_t s = 0; s < t->optimizer->slot_count; s++) agd_reduce_collect(t->reduce, t->optimizer->slots[s]);
}

static agd_code save_checkpoint(const agd_trainer *t, const agd_run *run, agd_status *st) {
  char path[AGD_PATH_MAX];
  agd_run_checkpoint_path(run, t->training.step, path, sizeof path);
  AGD_TRY(agd_weights_save(path, t->model, t->optimizer, &t->training, st));
  *strrchr(path, '/') = '\0';
  return agd_checkpoints_prune(path, t->config.checkpoint_keep, st);
}

/* Rank 0's part of the end of an epoch: history, logs, perhaps a checkpoint. */
static agd_code record_epoch(agd_trainer *t, const agd_epoch_metrics *metrics, bool saves, agd_run *run,
                             agd_status *st) {
  AGD_TRY(append_history(&t->training, metrics, st));
  if (run == NULL) return AGD_OK;
  AGD_TRY(agd_run_epoch(run, metrics, st));
  return saves ? save_checkpoint(t, run, st) : AGD_OK;
}

/* One epoch from rows to record. The outcome is agreed. */
static agd_code run_epoch(agd_trainer *t, uint64_t epoch, agd_run *run, agd_status *st) {
  const double start = now();
  train_epoch(t, epoch, run, st);
  receive_rows(t);
  agd_reduce_merge_averages(t->reduce);
  if (st->code != AGD_EDIVERGED) AGD_TRY(agd_replicas_check(t->comm, t->model, t->training.step, st));
  if (st->code != AGD_EDIVERGED && !weights_are_finite(t->model))
    agd_fail(st, AGD_EDIVERGED, "the training diverged: a weight is no finite number any more after step %llu",
             (unsigned long long)t->training.step);
  const bool diverged = st->code == AGD_EDIVERGED, whole = !diverged && t->epoch_rows == t->plan.rows;
  if (whole) t->training.epoch = epoch + 1;
  if (!diverged && t->config.recalibrate == AGD_RECALIBRATE_EVAL) AGD_TRY(agd_trainer_recalibrate(t, st));
  const bool saves = whole && checkpoint_is_due(t);
  if (saves) collect_slots(t);
  agd_epoch_metrics metrics = {.epoch = epoch + 1, .step = t->training.step};
  metrics.loss = t->epoch_loss / (double)t->epoch_rows;
  metrics.val_loss = diverged ? NAN : validate(t);
  metrics.seconds = now() - start;
  if (t->comm->rank == 0 && (st->code == AGD_OK || diverged)) {
    agd_status recorded = {0};
    if (record_epoch(t, &metrics, saves, run, &recorded) != AGD_OK && !diverged) *st = recorded;
    agd_progress_epoch(t->meter, &metrics);
  }
  return agd_comm_agree(t->comm, st);
}

agd_code agd_trainer_run(agd_trainer *t, agd_run *run, agd_status *st) {
  const agd_plan plan = {.epochs = t->config.epochs,
                         .steps_per_epoch = agd_plan_steps(&t->plan),
                         .max_steps = t->config.max_steps,
                         .rows = t->plan.rows};
  if (t->comm->rank == 0) agd_progress_start(t->config.progress, &plan, &t->meter, st);
  agd_code code = agd_comm_agree(t->comm, st);
  for (uint64_t epoch = 0; code == AGD_OK && epoch < t->config.epochs && !ends_after(t, t->training.step); epoch++)
    code = run_epoch(t, epoch, run, st);
  agd_progress_end(&t->meter);
  if (code != AGD_OK) return code;
  if (t->config.recalibrate == AGD_RECALIBRATE_END) AGD_TRY(agd_trainer_recalibrate(t, st));
  collect_slots(t);
  if (run != NULL) {
    char path[AGD_PATH_MAX];
    agd_run_final_path(run, path, sizeof path);
    agd_weights_save(path, t->model, t->optimizer, &t->training, st);
  }
  return agd_comm_agree(t->comm, st);
}
