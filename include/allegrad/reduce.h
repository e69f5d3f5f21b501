/** @file reduce.h
 * The sums of a training step over ranks, behind the callbacks that network.h asks for: batch statistics merged exactly
 * and in rank order, BN's backward sums, and the gradients.
 */
#ifndef ALLEGRAD_REDUCE_H
#define ALLEGRAD_REDUCE_H

#include <stddef.h>

#include "allegrad/comm.h"
#include "allegrad/network.h"
#include "allegrad/real.h"
#include "allegrad/status.h"

typedef struct agd_reduce agd_reduce;

/** Makes the reductions for layers of up to max_features features. Collective on comm (which is borrowed and must
 * outlive the reduction). The outcome is agreed. */
agd_code agd_reduce_create(const agd_comm *comm, size_t max_features, agd_reduce **out, agd_status *st);

/** Releases and nulls; NULL is fine. Not collective. */
void agd_reduce_destroy(agd_reduce **reduce);

/** The callbacks for agd_network_train: moments, sum_start, sum_finish (all NULL on one rank, where local rows are the
 * batch); gradient_ready is left NULL for the trainer. */
agd_exchange agd_reduce_exchange(agd_reduce *reduce);

/** Replaces gradients[0 .. count) by their sum over ranks: the same bits on every rank. Collective. */
void agd_reduce_gradients(agd_reduce *reduce, agd_real *gradients, size_t count);

#endif
