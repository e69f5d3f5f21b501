/* What the trainer's files share: trainer_setup.c makes it, trainer.c conducts, step.c takes a step; times.c and
 * recalibrate.c serve. */
#ifndef ALLEGRAD_TRAINER_INTERNAL_H
#define ALLEGRAD_TRAINER_INTERNAL_H

#include <math.h>
#include <stdio.h>

#include "allegrad/network.h"
#include "allegrad/progress.h"
#include "allegrad/reduce.h"
#include "allegrad/rows.h"
#include "allegrad/trainer.h"
#include "allegrad/training.h"
#include "allegrad/writer.h"

/* Losses are summed over ranks, and signals and clocks looked at, once in this many steps, or sooner where steps are
 * long: often enough to stop soon and to show progress, seldom enough to cost nothing. */
enum { LOSS_WINDOW = 16 };

/* What a rank spends its time on besides computing; see agd_epoch_details. */
typedef enum agd_spent {
  AGD_SPENT_BATCH_NORM,
  AGD_SPENT_GRADIENTS,
  AGD_SPENT_ROWS,
  AGD_SPENT_IO,
  AGD_SPENT_KINDS
} agd_spent;

/* What every rank tells in the end: the seconds of each kind and of compute, those of the start, and its memory. */
enum { AGD_TIMES_TOLD = 1 + AGD_SPENT_KINDS + 2 };

struct agd_trainer {
  const agd_comm *comm;
  agd_config config;
  agd_model *model;
  agd_optimizer *optimizer;
  agd_network *network;
  agd_reduce *reduce;
  agd_exchange exchange;

  agd_lanes lanes;
  agd_shard_plan plan;
  agd_rows rows;          /* this rank's training rows in the order of the epoch */
  agd_rows next_rows;     /* those of the next epoch, while they arrive */
  agd_transfer *transfer; /* NULL while none are on their way */
  agd_rows validation;    /* this rank's validation rows, in file order */
  agd_training training;  /* what a checkpoint tells: counters, names, standardisation, history */

  uint64_t fingerprint; /* of the rows read by this rank */
  size_t piece_count;   /* pieces of the validation rows */
  double *piece_losses; /* [piece_count] */
  agd_meter *meter;     /* on rank 0, while it runs */

  agd_real *accumulated; /* [weight_count]: gradients of the step's batches so far; NULL without
                            train.accumulate */
  void (*pass)(void *context, size_t offset,
               size_t count); /* with train.accumulate: what takes the sums; may be NULL */
  void *pass_context;
  uint64_t batch_of_step, batches_of_step;

  double *batch_losses; /* [this rank's lanes]: of one batch */
  double *lane_losses;  /* [this rank's lanes]: of one step */
  double *
      window; /* [this rank's lanes, LOSS_WINDOW] summed losses of the last steps, of this rank until they are shared */
  size_t window_count;

  uint64_t pace;               /* steps from one look to the next, 1 to LOSS_WINDOW; equal on all ranks */
  double last_look;            /* when */
  double created;              /* when the trainer was: train.max_seconds */
  double last_save;            /* when a checkpoint was begun: checkpoint.every_minutes */
  agd_writer *writer;          /* on rank 0, while it runs */
  agd_write_costs write_costs; /* of rank 0, once it has run */
  char note[512];              /* what a resumed training differs in from the one that was left */
  uint64_t resumed_at;         /* step; 0: begun anew */

  double best_loss; /* lowest val_loss so far; loss, when nothing is held out */
  uint64_t best_epoch;

  double spent[AGD_SPENT_KINDS];      /* since the last epoch's metrics */
  double totals[1 + AGD_SPENT_KINDS]; /* compute and all that, of the epochs so far */
  double epoch_start, start_seconds;
  double *told; /* [ranks, AGD_TIMES_TOLD] on rank 0 */
  uint64_t rows_trained;
};

/* This rank's lanes. */
static inline size_t agd_trainer_lanes(const agd_trainer *trainer) {
  return agd_lanes_of_rank(&trainer->lanes, (uint64_t)trainer->comm->rank).count;
}

/* Whether early stopping ends the training after this many epochs. */
static inline bool agd_trainer_stops_early(const agd_trainer *trainer, uint64_t epochs) {
  return trainer->config.patience > 0 && epochs - trainer->best_epoch >= trainer->config.patience;
}

/* Whether an epoch is the best so far, by what was held out or, when nothing was, by the loss; then it is kept in mind.
 * The same on all ranks. A loss that is no number is never better. */
static inline bool agd_trainer_take_best(agd_trainer *trainer, const agd_epoch_metrics *metrics) {
  const double loss = trainer->piece_count > 0 ? metrics->val_loss : metrics->loss;
  if (!(loss < trainer->best_loss)) return false;
  trainer->best_loss = loss;
  trainer->best_epoch = metrics->epoch;
  return true;
}

/* ---- resume.c ---- */

/* Puts the trainer where a weights file of ours was written: weights, optimizer, counters, history; nothing is done
 * without a path. The rows are not there yet. Collective; the outcome is agreed: AGD_OK, AGD_EDATA (file), AGD_EUSAGE
 * (what may not differ). */
agd_code agd_trainer_restore(agd_trainer *trainer, const char *path, agd_status *st);

/* Gives every rank the optimizer's state of rank 0. Collective. */
void agd_trainer_share_optimizer(agd_trainer *trainer);

/* Holds the rows to those of the training that is resumed, or notes which they are. Collective; agreed. */
agd_code agd_trainer_check_rows(agd_trainer *trainer, uint64_t fingerprint, agd_status *st);

/* ---- step.c ---- */

/* Steps of an epoch: train.accumulate batches each, the last perhaps fewer. */
uint64_t agd_trainer_steps(const agd_trainer *trainer);

/* Whether an epoch, from 0, begins before epochs or max_steps end the training. Not collective. */
bool agd_trainer_has_epoch(const agd_trainer *trainer, uint64_t epoch);

/* Rows of a step of the epoch over all ranks. */
uint64_t agd_trainer_step_rows(const agd_trainer *trainer, uint64_t step);

/* This rank's rows of a batch of the epoch. */
agd_batch agd_trainer_batch(const agd_trainer *trainer, uint64_t batch);

/* Sets the exchange, once the reductions are there. */
void agd_trainer_take_exchange(agd_trainer *trainer);

/* Adapts the exchange to what the cores' traffic costs just now. Collective; between two steps. */
void agd_trainer_adapt(agd_trainer *trainer);

/* Hands the network its rows of a batch to come. Collective. */
void agd_trainer_prepare(agd_trainer *trainer, uint64_t batch);

/* Forward, loss, backward, for each of the step's batches, sum of the gradients over ranks, update. The first batch is
 * prepared; unless it is the last step, that of the next will be, while the gradients travel. Collective. */
void agd_trainer_step(agd_trainer *trainer, uint64_t step, bool last);

/* ---- times.c ---- */

agd_code agd_times_create(agd_trainer *trainer, agd_status *st);

/* Ends the epoch's clocks: metrics->seconds on every rank, the times of details on rank 0. Collective. */
void agd_times_collect(agd_trainer *trainer, agd_epoch_metrics *metrics, agd_epoch_details *details);

/* ---- recalibrate.c ---- */

/* Replaces the running averages by the statistics of all training rows (model.batch_norm.recalibrate), BN by BN from
 * the first: each those of what it receives in inference mode, which is then what it makes mean 0 and variance 1 of.
 * Costs a forward pass of the layers below for each. Collective; the outcome is agreed (AGD_OK or AGD_EDATA: memory).
 * The idea: Wu & Johnson 2021, "Rethinking 'Batch' in BatchNorm" (arXiv 2105.07576), section 3. */
agd_code agd_trainer_recalibrate(agd_trainer *trainer, agd_status *st);

#endif
