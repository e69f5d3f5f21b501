/** @file replicas.h
 * Whether replicas are still replicas: a digest of weights and running averages, compared over ranks.
 */
#ifndef ALLEGRAD_REPLICAS_H
#define ALLEGRAD_REPLICAS_H

#include <stdint.h>

#include "allegrad/comm.h"
#include "allegrad/model.h"
#include "allegrad/status.h"

/** Compares the models of all ranks bit by bit through their SHA-256. Collective on comm; the outcome is agreed.
 * @param step  steps done, for the message
 * @return AGD_OK, or AGD_EINTERNAL naming the first rank that does not hold what most ranks hold (of two equal halves,
 *         rank 0's is taken for right): its memory, its core or this program is at fault */
agd_code agd_replicas_check(const agd_comm *comm, const agd_model *model, uint64_t step, agd_status *st);

#endif
