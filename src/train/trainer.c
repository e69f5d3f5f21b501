#include "allegrad/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "allegrad/checkpoint.h"
#include "allegrad/clock.h"
#include "allegrad/memory.h"
#include "allegrad/replicas.h"
#include "allegrad/weights.h"
#include "trainer_internal.h"

/* The next rows travel during the last 1/TRAVEL_SHARE of an epoch. */
enum { TRAVEL_SHARE = 8 };

/* Keeps the losses of a step until they are shared. */
static void note_losses(agd_trainer *t) {
  const size_t lanes = agd_trainer_lanes(t);
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
  const double start = agd_clock();
  agd_reduce_sum(t->reduce, t->window, LOSS_WINDOW);
  t->spent[AGD_SPENT_GRADIENTS] += agd_clock() - start;
  for (size_t i = 0; i < t->window_count && st->code != AGD_EDIVERGED; i++) {
    const uint64_t rows = agd_trainer_step_rows(t, first + i), count = first_count + i;
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
  agd_trainer_adapt(t);
}

/* Sends for the rows of the next epoch, if there will be one: they travel while the last steps of this one run. Without
 * shuffling rows stay where they are. Collective; the outcome is agreed. */
static agd_code send_for_rows(agd_trainer *t, uint64_t next_epoch, agd_status *st) {
  const bool shuffles = t->config.shuffle != AGD_SHUFFLE_NONE, moves = t->config.shuffle == AGD_SHUFFLE_GLOBAL;
  if (next_epoch >= t->config.epochs || !shuffles || ends_after(t, next_epoch * agd_trainer_steps(t))) return AGD_OK;
  const double start = agd_clock();
  const uint64_t epoch = next_epoch - 1;
  const agd_permutation order = agd_epoch_order(t->plan.rows, moves, t->config.seed, next_epoch);
  AGD_TRY(agd_rows_create(t->comm, &t->plan, &order, 0, t->rows.features, t->rows.targets, &t->next_rows, st));
  agd_code code = AGD_OK;
  if (moves)
    code = agd_transfer_start(t->comm, &t->rows, &t->next_rows, &t->transfer, st);
  else
    agd_rows_reshuffle(&t->rows, &epoch, &t->next_rows, next_epoch, t->config.seed, t->comm->rank);
  t->spent[AGD_SPENT_ROWS] += agd_clock() - start;
  return code;
}

static void poke_rows(agd_trainer *t) {
  if (t->transfer == NULL) return;
  const double start = agd_clock();
  agd_transfer_poke(t->transfer);
  t->spent[AGD_SPENT_ROWS] += agd_clock() - start;
}

/* Waits for the rows of the next epoch and lets go of those of this one. */
static void receive_rows(agd_trainer *t) {
  if (t->next_rows.x == NULL) return;
  const double start = agd_clock();
  agd_transfer_finish(&t->transfer);
  agd_rows_clear(&t->rows);
  t->rows = t->next_rows;
  t->next_rows = (agd_rows){0};
  t->spent[AGD_SPENT_ROWS] += agd_clock() - start;
}

/* The steps of one epoch, or what max_steps leaves of it. */
static void train_epoch(agd_trainer *t, uint64_t epoch, agd_run *run, agd_status *st) {
  const uint64_t steps = agd_trainer_steps(t), departure = steps - steps / TRAVEL_SHARE - 1;
  t->epoch_loss = 0;
  t->epoch_rows = 0;
  agd_trainer_prepare(t, 0);
  for (uint64_t s = 0; s < steps && st->code != AGD_EDIVERGED; s++) {
    const bool last = s + 1 == steps || ends_after(t, t->training.step + 1);
    if (s == departure && send_for_rows(t, epoch + 1, st) != AGD_OK) break;
    agd_trainer_step(t, s, last);
    note_losses(t);
    poke_rows(t);
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
  const double start = agd_clock();
  agd_comm_sum(t->comm, t->piece_losses, t->piece_count);
  t->spent[AGD_SPENT_GRADIENTS] += agd_clock() - start;
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

/* What the end of an epoch writes. */
typedef struct saves {
  bool checkpoint, best;
} saves;

/* One image for both files. */
static agd_code save_weights(const agd_trainer *t, const agd_run *run, saves due, agd_status *st) {
  char path[AGD_PATH_MAX];
  void *image;
  size_t size;
  if (!due.checkpoint && !due.best) return AGD_OK;
  AGD_TRY(agd_weights_image(t->model, t->optimizer, &t->training, &image, &size, st));
  agd_code code = AGD_OK;
  if (due.best) {
    agd_run_best_path(run, path, sizeof path);
    code = agd_file_replace(path, image, size, true, st);
  }
  if (due.checkpoint && code == AGD_OK) {
    agd_run_checkpoint_path(run, t->training.step, path, sizeof path);
    code = agd_file_replace(path, image, size, true, st);
    *strrchr(path, '/') = '\0';
    if (code == AGD_OK) code = agd_checkpoints_prune(path, t->config.checkpoint_keep, st);
  }
  agd_release(&image);
  return code;
}

/* Rank 0's part of the end of an epoch: history, logs, perhaps weights. */
static agd_code record_epoch(agd_trainer *t, const agd_epoch_metrics *metrics, const agd_epoch_details *details,
                             saves due, agd_run *run, agd_status *st) {
  AGD_TRY(append_history(&t->training, metrics, st));
  if (run == NULL) return AGD_OK;
  AGD_TRY(agd_run_epoch(run, metrics, details, st));
  return save_weights(t, run, due, st);
}

/* Whether this epoch is the best so far, by what was held out or, when nothing was, by the loss; the same on all ranks.
 * A loss that is no number is never better. */
static bool is_best(agd_trainer *t, const agd_epoch_metrics *metrics) {
  const double loss = t->validation.plan.rows > 0 ? metrics->val_loss : metrics->loss;
  if (!(loss < t->best_loss)) return false;
  t->best_loss = loss;
  t->best_epoch = metrics->epoch;
  return true;
}

/* One epoch from rows to record. The outcome is agreed. */
static agd_code run_epoch(agd_trainer *t, uint64_t epoch, agd_run *run, agd_status *st) {
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
  agd_epoch_metrics metrics = {.epoch = epoch + 1, .step = t->training.step};
  agd_epoch_details details = {0};
  metrics.loss = t->epoch_loss / (double)t->epoch_rows;
  metrics.val_loss = diverged ? NAN : validate(t);
  t->rows_trained += t->epoch_rows;
  const saves due = {.checkpoint = whole && checkpoint_is_due(t),
                     .best = !diverged && is_best(t, &metrics) && t->config.checkpoint_best};
  if (due.checkpoint || due.best) collect_slots(t);
  agd_times_collect(t, &metrics, &details);
  const double start = agd_clock();
  if (t->comm->rank == 0 && (st->code == AGD_OK || diverged)) {
    agd_status recorded = {0};
    if (record_epoch(t, &metrics, &details, due, run, &recorded) != AGD_OK && !diverged) *st = recorded;
    agd_progress_epoch(t->meter, &metrics);
  }
  const agd_code code = agd_comm_agree(t->comm, st);
  t->spent[AGD_SPENT_IO] += agd_clock() - start;
  return code;
}

agd_code agd_trainer_run(agd_trainer *t, agd_run *run, agd_status *st) {
  const agd_plan plan = {.epochs = t->config.epochs,
                         .steps_per_epoch = agd_trainer_steps(t),
                         .max_steps = t->config.max_steps,
                         .rows = t->plan.rows};
  if (t->comm->rank == 0) agd_progress_start(t->config.progress, &plan, &t->meter, st);
  agd_code code = agd_comm_agree(t->comm, st);
  t->epoch_start = agd_clock();
  for (uint64_t epoch = 0; code == AGD_OK && epoch < t->config.epochs && !ends_after(t, t->training.step) &&
                           !agd_trainer_stops_early(t, epoch);
       epoch++)
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
