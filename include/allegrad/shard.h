/** @file shard.h
 * Which rank holds which rows when: pure arithmetic, no MPI, no table of N.
 *
 * An epoch is the sequence of positions 0 .. rows-1. Position p belongs to batch p / batch; the global batch is cut
 * into contiguous slices, rank 0 first, that differ by one row at most (the first ranks get the extra
 * ones). The row at position p is agd_permute(order, p). Not collective.
 */
#ifndef ALLEGRAD_SHARD_H
#define ALLEGRAD_SHARD_H

#include <stddef.h>
#include <stdint.h>

#include "allegrad/lanes.h"
#include "allegrad/permute.h"

/** The training rows of an epoch over ranks. Plain value. */
typedef struct agd_shard_plan {
  uint64_t rows;  /**< training rows */
  uint64_t batch; /**< global batch */
  agd_lanes lanes;
} agd_shard_plan;

/** Batches of an epoch: ceil(rows / batch). */
uint64_t agd_plan_batches(const agd_shard_plan *plan);

/** Rows of a global batch (the last of the epoch may be short). */
uint64_t agd_plan_batch_rows(const agd_shard_plan *plan, uint64_t batch);

/** Rows that `rank` holds in an epoch. */
uint64_t agd_plan_shard_rows(const agd_shard_plan *plan, int rank);

/** Where the slice of `rank` of a batch starts in its shard, and how many rows it has. */
agd_range agd_plan_local(const agd_shard_plan *plan, int rank, uint64_t batch);

/** The position in the epoch of the local row `index` of `rank`; index < agd_plan_shard_rows. */
uint64_t agd_plan_position(const agd_shard_plan *plan, int rank, uint64_t index);

/** Rank and local index of a position; position < rows. */
void agd_plan_owner(const agd_shard_plan *plan, uint64_t position, int *rank, uint64_t *index);

/** The order of rows of an epoch (0, 1, ...): a fresh keyed permutation, or the identity when not shuffled. */
agd_permutation agd_epoch_order(uint64_t rows, int shuffled, uint64_t seed, uint64_t epoch);

/** Training rows of N: floor(N (1 - validation_split)), as Keras computes it. */
uint64_t agd_training_rows(uint64_t n, double validation_split);

#endif
