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
  uint64_t resumed_at;  /**< step that a resumed training goes on after; 0: begun anew */
  const char *note;     /**< why its bits may differ from an uninterrupted one's, "" if they do not; borrowed */
  uint64_t best_epoch;  /**< of the lowest val_loss so far (loss, when nothing is held out), from 1; 0: none */
  bool stopped_early;   /**< train.early_stopping has ended it */
} agd_trainer_summary;

/** Opens the data, makes model, optimizer and shards. Collective on comm; the outcome is agreed.
 * @param comm    borrowed; must outlive the trainer. Its watchdog, if it has one, gets a beat for all that is done from
 * here to the end of agd_trainer_run
 * @param config  equal on all ranks (agd_comm_broadcast); copied
 * @param out     released with agd_trainer_destroy; NULL on failure
 * @return AGD_OK; AGD_EDATA (data file, weights file, memory, no row to train); AGD_EUSAGE (what the number of ranks
 * excludes) */
agd_code agd_trainer_create(const agd_comm *comm, const agd_config *config, agd_trainer **out, agd_status *st);

/** The same as agd_trainer_create, then goes to where a weights file of ours was written: weights, optimizer, counters,
 * history, and the place in the epoch. On the same number of ranks, and on any with train.reproducible, the rest of the
 * training has the bits of one that was never interrupted. Collective on comm; the outcome is agreed.
 * @param path  read on rank 0 only; NULL on all ranks to begin anew
 * @return as agd_trainer_create; also AGD_EDATA (a damaged file, other rows than it was trained on), AGD_EUSAGE
 * (another batch; shuffle: shard on another number of ranks; in reproducible mode other kernels or another BLAS). What
 * else a job may not change is agd_config_check_resume's to tell. */
agd_code agd_trainer_resume(const agd_comm *comm, const agd_config *config, const char *path, agd_trainer **out,
                            agd_status *st);

/** Releases and nulls; NULL is fine. Collective. */
void agd_trainer_destroy(agd_trainer **trainer);

agd_trainer_summary agd_trainer_summarize(const agd_trainer *trainer);

/** Trains until the last epoch, max_steps, divergence, a signal that is noted (signals.h) or max_seconds.
 * Collective on the trainer's comm; the outcome is agreed. Checkpoints are written by a thread on rank 0 meanwhile.
 * @param run  on rank 0 the run folder to write to, NULL on the other ranks; NULL everywhere writes nothing
 * @return AGD_OK; AGD_EDIVERGED (the metrics are kept, there are no final weights); AGD_EINTERRUPTED
 *         (by a signal or max_seconds, after a checkpoint, at most 16 steps or a tenth of a second, or one step,
 * later); AGD_EDATA (a file could not be written) */
agd_code agd_trainer_run(agd_trainer *trainer, agd_run *run, agd_status *st);

/** Prints on rank 0 where the time of the training went, by kind and rank, and the memory that ranks have needed.
 * Collective. */
void agd_trainer_print_times(agd_trainer *trainer, FILE *out);

#endif
