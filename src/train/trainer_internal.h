/* What the trainer's two files share: trainer_setup.c makes it, trainer.c runs it. */
#ifndef ALLEGRAD_TRAINER_INTERNAL_H
#define ALLEGRAD_TRAINER_INTERNAL_H

#include "allegrad/network.h"
#include "allegrad/progress.h"
#include "allegrad/reduce.h"
#include "allegrad/rows.h"
#include "allegrad/trainer.h"
#include "allegrad/training.h"

/* Losses are summed over ranks once in this many steps: often enough to stop soon after a divergence and to show
 * progress, seldom enough to cost nothing. */
enum { LOSS_WINDOW = 16 };

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

  size_t piece_count;   /* pieces of the validation rows */
  double *piece_losses; /* [piece_count] */
  agd_meter *meter;     /* on rank 0, while it runs */

  double *lane_losses; /* [this rank's lanes]: of one step */
  double *
      window; /* [this rank's lanes, LOSS_WINDOW] summed losses of the last steps, of this rank until they are shared */
  size_t window_count;
  double epoch_loss;   /* sum over the rows of the epoch so far, over all ranks */
  uint64_t epoch_rows; /* rows of that sum */
};

/* This rank's rows of step `step` of the epoch. */
agd_batch agd_trainer_batch(const agd_trainer *trainer, uint64_t step);

/* Replaces the running averages by the statistics of all training rows (model.batch_norm.recalibrate), BN by BN from
 * the first: each those of what it receives in inference mode, which is then what it makes mean 0 and variance 1 of.
 * Costs a forward pass of the layers below for each. Collective; the outcome is agreed (AGD_OK or AGD_EDATA: memory).
 * The idea: Wu & Johnson 2021, "Rethinking 'Batch' in BatchNorm" (arXiv 2105.07576), section 3. */
agd_code agd_trainer_recalibrate(agd_trainer *trainer, agd_status *st);

#endif
