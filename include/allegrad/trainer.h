/** @file trainer.h
 * The conductor: one training job on a communicator. Every function is collective on the trainer's communicator.
 */
#ifndef ALLEGRAD_TRAINER_H
#define ALLEGRAD_TRAINER_H

#include <stdint.h>

#include "allegrad/comm.h"
#include "allegrad/config.h"
#include "allegrad/run.h"
#include "allegrad/status.h"

typedef struct agd_trainer agd_trainer;

/** Opens the data, makes model, optimizer and shards. `config` is equal on all ranks (agd_comm_broadcast). The outcome
 * is agreed. */
agd_code agd_trainer_create(const agd_comm *comm, const agd_config *config, agd_trainer **out, agd_status *st);

void agd_trainer_destroy(agd_trainer **trainer);

/** Trains until the last epoch (or max_steps, or divergence), writing to the run folder (`run` on rank 0; NULL on the
 * others, and nowhere when NULL on all).
 * @return AGD_OK, AGD_EDIVERGED (agreed, metrics kept), AGD_EDATA (a file could not be written) */
agd_code agd_trainer_run(agd_trainer *trainer, agd_run *run, agd_status *st);

#endif
