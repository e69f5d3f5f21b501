/** @file trainer.h
 * The conductor: one training job on a communicator.
 */
#ifndef ALLEGRAD_TRAINER_H
#define ALLEGRAD_TRAINER_H

#include <stdint.h>
#include <stdio.h>

#include "allegrad/comm.h"
#include "allegrad/config.h"
#include "allegrad/run.h"
#include "allegrad/status.h"

typedef struct agd_trainer agd_trainer;

/** What a job turned out to be once its data was seen. */
typedef struct agd_trainer_summary {
  uint64_t training_rows, validation_rows;
  uint64_t steps_per_epoch;
  agd_model_spec model; /**< inputs and outputs filled in */
  const char *exchange; /**< the way of exchange and why (agd_reduce_describe); borrowed */
  uint64_t best_epoch;  /**< of the lowest val_loss so far (loss, when nothing is held out), from 1; 0: none */
  bool stopped_early;   /**< train.early_stopping has ended it */
} agd_trainer_summary;

/** Opens the data, makes model, optimizer and shards. Collective on comm; the outcome is agreed.
 * @param comm    borrowed; must outlive the trainer
 * @param config  equal on all ranks (agd_comm_broadcast); copied
 * @param out     released with agd_trainer_destroy; NULL on failure
 * @return AGD_OK; AGD_EDATA (data file, weights file, memory, no row to train); AGD_EUSAGE (what the number of ranks
 * excludes) */
agd_code agd_trainer_create(const agd_comm *comm, const agd_config *config, agd_trainer **out, agd_status *st);

/** Releases and nulls; NULL is fine. Collective. */
void agd_trainer_destroy(agd_trainer **trainer);

agd_trainer_summary agd_trainer_summarize(const agd_trainer *trainer);

/** Trains until the last epoch, max_steps or divergence. Collective on the trainer's comm; the outcome is agreed.
 * @param run  on rank 0 the run folder to write to, NULL on the other ranks; NULL everywhere writes nothing
 * @return AGD_OK; AGD_EDIVERGED (the metrics are kept, there are no final weights); AGD_EDATA (a file could not be
 *         written) */
agd_code agd_trainer_run(agd_trainer *trainer, agd_run *run, agd_status *st);

/** Prints on rank 0 where the time of the training went, by kind and rank, and the memory that ranks have needed.
 * Collective. */
void agd_trainer_print_times(agd_trainer *trainer, FILE *out);

#endif
