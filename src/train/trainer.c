#include "allegrad/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "allegrad/clock.h"
#include "allegrad/memory.h"
#include "allegrad/replicas.h"
#include "allegrad/signals.h"
#include "allegrad/watchdog.h"
#include "allegrad/weights.h"
#include "trainer_internal.h"

/* Seconds from one look around to the next, where a step does not take longer. */
static const double LONGEST_LOOK = 0.1;

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

bool agd_trainer_has_epoch(const agd_trainer *t, uint64_t epoch) {
  return epoch < t->config.epochs && !ends_after(t, epoch * agd_trainer_steps(t));
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
    t->training.epoch_loss += t->window[i];
    t->training.epoch_rows += rows;
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
  if (!shuffles || !agd_trainer_has_epoch(t, next_epoch)) return AGD_OK;
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

/* Whether `every` (0: never) makes a checkpoint due after so many. */
static bool is_due(uint64_t every, uint64_t count) { return every > 0 && count % every == 0; }

/* Completes the optimizer's slots for a weights file: a rank may have only its share of them up to date. Collective. */
static void collect_slots(agd_trainer *t) {
  for (size_t s = 0; s < t->optimizer->slot_count; s++) agd_reduce_collect(t->reduce, t->optimizer->slots[s]);
}

/* What the end of an epoch writes. */
typedef struct saves {
  bool checkpoint, best;
} saves;

/* A checkpoint that could not be written ends the training, or is told and done without. */
static agd_code judge_write(const agd_trainer *t, agd_code code, agd_status *failed, agd_status *st) {
  if (code == AGD_OK) return AGD_OK;
  if (t->config.checkpoint_on_error == AGD_ON_ERROR_STOP) return agd_fail(st, code, "%s", failed->message);
  agd_progress_clear(t->meter);
  fprintf(stderr, "allegrad: warning: no checkpoint: %s\n", failed->message);
  return AGD_OK;
}

/* What the writes so far have come to. On rank 0. */
static agd_code finish_writes(const agd_trainer *t, bool wait, agd_status *st) {
  agd_status failed = {0};
  return judge_write(t, agd_writer_finish(t->writer, wait, &failed), &failed, st);
}

static agd_code sync_logs(void *run, agd_status *st) { return agd_run_sync(run, st); }

/* Takes one copy of the training for the files that are due; they are written while it goes on. On rank 0. */
static agd_code save_weights(agd_trainer *t, agd_run *run, saves due, agd_status *st) {
  agd_write_job job = {.model = t->model,
                       .optimizer = t->optimizer,
                       .training = &t->training,
                       .keep = t->config.checkpoint_keep,
                       .before = sync_logs,
                       .context = run};
  agd_status failed = {0};
  if (!due.checkpoint && !due.best) return AGD_OK;
  AGD_TRY(agd_run_flush_steps(run, st));
  AGD_TRY(finish_writes(t, true, st)); /* also: one copy at a time */
  if (due.best) agd_run_best_path(run, job.best, sizeof job.best);
  if (due.checkpoint) agd_run_checkpoint_path(run, t->training.step, job.checkpoint, sizeof job.checkpoint);
  return judge_write(t, agd_writer_start(t->writer, &job, &failed), &failed, st);
}

/* Writes a checkpoint in the middle of an epoch. Collective; the outcome is agreed. */
static agd_code save_between_steps(agd_trainer *t, agd_run *run, bool wait, agd_status *st) {
  const double start = agd_clock();
  agd_watchdog_beat(t->comm, t->training.step, "a checkpoint");
  agd_reduce_merge_averages(t->reduce);
  collect_slots(t);
  if (run != NULL && st->code == AGD_OK) save_weights(t, run, (saves){.checkpoint = true}, st);
  if (run != NULL && st->code == AGD_OK && wait) finish_writes(t, true, st);
  t->last_save = agd_clock();
  t->spent[AGD_SPENT_IO] += t->last_save - start;
  return agd_comm_agree(t->comm, st);
}

/* What the ranks tell each other between two steps, of which the largest counts. */
enum { LOOK_SIGNAL, LOOK_LATE, LOOK_DUE, LOOK_SECONDS, LOOK_COUNT };

/* Looks for whatever asks for a checkpoint or an end: signals of any rank, the clock of rank 0. Between two steps.
 * Collective; the outcome is agreed: AGD_EINTERRUPTED after a checkpoint, AGD_EDATA when it could not be written. */
static agd_code look_around(agd_trainer *t, uint64_t steps, bool due, agd_run *run, agd_status *st) {
  const double now = agd_clock(), longest = t->config.max_seconds, minutes = t->config.checkpoint_every_minutes;
  const bool first = t->comm->rank == 0;
  double look[LOOK_COUNT] = {[LOOK_SIGNAL] = agd_signals_take(),
                             [LOOK_LATE] = first && longest > 0 && now - t->created >= longest,
                             [LOOK_DUE] = first && minutes > 0 && now - t->last_save >= 60 * minutes,
                             [LOOK_SECONDS] = (now - t->last_look) / (double)steps};
  agd_comm_max(t->comm, look, LOOK_COUNT);
  t->spent[AGD_SPENT_GRADIENTS] += agd_clock() - now;
  t->last_look = now;
  const double pace = LONGEST_LOOK / fmax(look[LOOK_SECONDS], 1e-9);
  t->pace = pace >= LOSS_WINDOW ? LOSS_WINDOW : pace < 1 ? 1 : (uint64_t)pace;
  const bool stops = look[LOOK_SIGNAL] > 0 || look[LOOK_LATE] > 0;
  if (!stops && !due && look[LOOK_DUE] == 0) return AGD_OK;
  AGD_TRY(save_between_steps(t, run, stops, st));
  if (!stops) return AGD_OK;
  char limit[64];
  snprintf(limit, sizeof limit, "train.max_seconds: %g", longest);
  return agd_fail(st, AGD_EINTERRUPTED, "stopped after step %llu by %s; --resume goes on from there",
                  (unsigned long long)t->training.step,
                  look[LOOK_SIGNAL] > 0 ? agd_signals_name((int)look[LOOK_SIGNAL]) : limit);
}

/* The steps of one epoch from where the training stands, or what max_steps leaves of them. The outcome is the same on
 * all ranks, but for a file error of rank 0. */
static void train_epoch(agd_trainer *t, uint64_t epoch, agd_run *run, agd_status *st) {
  const uint64_t steps = agd_trainer_steps(t), departure = steps - steps / TRAVEL_SHARE - 1;
  const uint64_t first = t->training.step - epoch * steps, sends = first > departure ? first : departure;
  agd_trainer_prepare(t, first * t->config.accumulate);
  t->last_look = agd_clock();
  for (uint64_t s = first; s < steps; s++) {
    const bool last = s + 1 == steps || ends_after(t, t->training.step + 1);
    const bool due = is_due(t->config.checkpoint_every_steps, t->training.step + 1);
    if (s == sends && send_for_rows(t, epoch + 1, st) != AGD_OK) break;
    agd_watchdog_beat(t->comm, t->training.step, "a training step");
    agd_trainer_step(t, s, last);
    note_losses(t);
    poke_rows(t);
    const uint64_t looked = t->window_count;
    if (last || due || looked >= t->pace) share_losses(t, s, run, st);
    if (st->code == AGD_EDIVERGED) break;
    if (is_due(t->config.check_every, t->training.step) &&
        agd_replicas_check(t->comm, t->model, t->training.step, st) != AGD_OK)
      break;
    agd_progress_step(t->meter,
                      t->training.epoch_rows > 0 ? t->training.epoch_loss / (double)t->training.epoch_rows : NAN);
    if (last || (t->window_count == 0 && look_around(t, looked, due, run, st) != AGD_OK)) break;
  }
}

/* Rank 0's part of the end of an epoch: history, logs, perhaps weights. */
static agd_code record_epoch(agd_trainer *t, const agd_epoch_metrics *metrics, const agd_epoch_details *details,
                             saves due, agd_run *run, agd_status *st) {
  AGD_TRY(append_history(&t->training, metrics, st));
  if (run == NULL) return AGD_OK;
  AGD_TRY(finish_writes(t, false, st));
  AGD_TRY(agd_run_epoch(run, metrics, details, st));
  return save_weights(t, run, due, st);
}

/* One epoch from rows to record. The outcome is agreed. */
static agd_code run_epoch(agd_trainer *t, uint64_t epoch, agd_run *run, agd_status *st) {
  train_epoch(t, epoch, run, st);
  receive_rows(t);
  if (st->code == AGD_EINTERRUPTED) return st->code;
  agd_watchdog_beat(t->comm, t->training.step, "the end of an epoch");
  agd_reduce_merge_averages(t->reduce);
  if (st->code != AGD_EDIVERGED) AGD_TRY(agd_replicas_check(t->comm, t->model, t->training.step, st));
  if (st->code != AGD_EDIVERGED && !weights_are_finite(t->model))
    agd_fail(st, AGD_EDIVERGED, "the training diverged: a weight is no finite number any more after step %llu",
             (unsigned long long)t->training.step);
  const bool diverged = st->code == AGD_EDIVERGED, whole = !diverged && t->training.epoch_rows == t->plan.rows;
  if (whole) t->training.epoch = epoch + 1;
  if (!diverged && t->config.recalibrate == AGD_RECALIBRATE_EVAL) AGD_TRY(agd_trainer_recalibrate(t, st));
  agd_epoch_metrics metrics = {.epoch = epoch + 1, .step = t->training.step};
  agd_epoch_details details = {0};
  metrics.loss = t->training.epoch_loss / (double)t->training.epoch_rows;
  agd_watchdog_beat(t->comm, t->training.step, "the validation");
  metrics.val_loss = diverged ? NAN : validate(t);
  t->rows_trained += t->training.epoch_rows;
  if (whole) t->training.epoch_loss = 0, t->training.epoch_rows = 0;
  const saves due = {.checkpoint = whole && is_due(t->config.checkpoint_every_epochs, t->training.epoch),
                     .best = !diverged && agd_trainer_take_best(t, &metrics) && t->config.checkpoint_best};
  if (due.checkpoint || due.best) collect_slots(t);
  if (due.checkpoint) t->last_save = agd_clock();
  agd_times_collect(t, &metrics, &details);
  const double start = agd_clock();
  if (t->comm->rank == 0 && (st->code == AGD_OK || diverged)) {
    agd_status recorded = {0};
    if (record_epoch(t, &metrics, &details, due, run, &recorded) != AGD_OK && !diverged) *st = recorded;
    agd_progress_epoch(t->meter, &metrics);
  }
  agd_watchdog_beat(t->comm, t->training.step, "writing the files of an epoch");
  const agd_code code = agd_comm_agree(t->comm, st);
  t->spent[AGD_SPENT_IO] += agd_clock() - start;
  return code;
}

/* Whether nothing is left to train after the epochs done. */
static bool is_over(const agd_trainer *t) {
  const uint64_t epochs = t->training.epoch;
  return epochs >= t->config.epochs || ends_after(t, t->training.step) || agd_trainer_stops_early(t, epochs);
}

static agd_code run_epochs(agd_trainer *t, agd_run *run, agd_status *st) {
  const agd_plan plan = {.epochs = t->config.epochs,
                         .steps_per_epoch = agd_trainer_steps(t),
                         .max_steps = t->config.max_steps,
                         .steps_done = t->training.step,
                         .rows = t->plan.rows};
  if (t->comm->rank == 0 && agd_progress_start(t->config.progress, &plan, &t->meter, st) == AGD_OK)
    agd_writer_create(t->model, t->optimizer, &t->writer, st);
  agd_code code = agd_comm_agree(t->comm, st);
  t->epoch_start = t->last_save = agd_clock();
  while (code == AGD_OK && !is_over(t)) {
    const uint64_t epoch = t->training.epoch;
    code = run_epoch(t, epoch, run, st);
    if (t->training.epoch == epoch) break; /* max_steps has ended it within */
  }
  if (st->code == AGD_OK) finish_writes(t, true, st);
  t->write_costs = agd_writer_costs(t->writer);
  agd_writer_destroy(&t->writer);
  agd_progress_end(&t->meter);
  return code == AGD_OK ? agd_comm_agree(t->comm, st) : code;
}

/* What failed between two steps says after which. */
static agd_code name_step(const agd_trainer *t, agd_status *st) {
  const agd_status failed = *st;
  if (failed.code != AGD_EDATA) return failed.code;
  return agd_fail(st, failed.code, "%s (after step %llu)", failed.message, (unsigned long long)t->training.step);
}

agd_code agd_trainer_run(agd_trainer *t, agd_run *run, agd_status *st) {
  if (run_epochs(t, run, st) != AGD_OK) return name_step(t, st);
  if (t->config.recalibrate == AGD_RECALIBRATE_END) AGD_TRY(agd_trainer_recalibrate(t, st));
  agd_watchdog_beat(t->comm, t->training.step, "writing the final weights");
  collect_slots(t);
  if (run != NULL) {
    char path[AGD_PATH_MAX];
    agd_run_final_path(run, path, sizeof path);
    agd_weights_save(path, t->model, t->optimizer, &t->training, st);
  }
  const agd_code code = agd_comm_agree(t->comm, st);
  agd_watchdog_beat(t->comm, t->training.step, "closing the run");
  return code;
}
