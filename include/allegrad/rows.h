/** @file rows.h
 * The rows that a rank holds, and moving rows between ranks when the order changes.
 */
#ifndef ALLEGRAD_ROWS_H
#define ALLEGRAD_ROWS_H

#include <stdint.h>

#include "allegrad/comm.h"
#include "allegrad/permute.h"
#include "allegrad/real.h"
#include "allegrad/shard.h"
#include "allegrad/status.h"

/** One rank's rows of an order of plan.rows rows, spread by a plan: local row i is row first + agd_permute(&order, p)
 * with p = agd_plan_position(&plan, rank, i). Rows have a number of their own, by which they are told apart wherever
 * they are. Contiguous blocks are the plan with batch == rows and the identity. */
typedef struct agd_rows {
  agd_shard_plan plan;
  agd_permutation order;
  uint64_t first;
  size_t features, targets;
  uint64_t count; /**< local rows */
  agd_real *x;    /**< [count, features], owned */
  agd_real *y;    /**< [count, targets], owned */
} agd_rows;

/** Allocates the local rows of a plan, zeroed. Collective on comm; the outcome is agreed (AGD_OK or AGD_EDATA).
 * @param out  released with agd_rows_clear; empty on failure */
agd_code agd_rows_create(const agd_comm *comm, const agd_shard_plan *plan, const agd_permutation *order, uint64_t first,
                         size_t features, size_t targets, agd_rows *out, agd_status *st);

/** Releases the arrays. Not collective. */
void agd_rows_clear(agd_rows *rows);

/** A number that tells these rows from others: the sum, modulo 2^64, of a CRC-64 of every row that begins with its
 * number in the file. Sums of parts of a file add up to that of the whole, whoever holds them. Not collective.
 * @param start  number in the file of the first of the rows, which are in its order */
uint64_t agd_rows_fingerprint(const agd_rows *rows, uint64_t start);

/** Fills `to` with this rank's own rows in the order of an epoch, for which no other rank is asked: row i is the row
 * that was in place p(i) before the first epoch, p a permutation by (seed, rank, epoch).
 * @param from           the same rows in the order of another epoch
 * @param epoch_of_from  that epoch; NULL: the places before the first
 * @param to             as many rows, allocated
 * Not collective. */
void agd_rows_reshuffle(const agd_rows *from, const uint64_t *epoch_of_from, agd_rows *to, uint64_t epoch,
                        uint64_t seed, int rank);

/** Rows on their way: in rounds, each of which brings every rank a like part of what it waits for, packed. Needs 16
 * bytes for each row that is sent, and two buffers of a round. */
typedef struct agd_transfer agd_transfer;

/** Rounds in which the rows of a shard arrive: 16 as a rule, fewer for few rows, and more where a round would not be
 * far below 2^31 rows. */
uint64_t agd_transfer_rounds(uint64_t largest_shard);

/** Starts to fill `to` (its plan and order say who needs what) from `from`, which has these rows and maybe more in
 * another order; each is sent once. Until agd_transfer_finish, `from` may be read and `to` may not be touched; both
 * must stay. Collective on comm; the outcome is agreed.
 * @param out  NULL on failure, and when there is nothing to wait for (one rank)
 * @return AGD_OK or AGD_EDATA (memory) */
agd_code agd_transfer_start(const agd_comm *comm, const agd_rows *from, agd_rows *to, agd_transfer **out,
                            agd_status *st);

/** Completes a round and starts the next, if there are any left; NULL is fine. Collective: in the same order among the
 * communicator's collectives on all ranks. */
void agd_transfer_poke(agd_transfer *transfer);

/** Waits until all rows have arrived, releases the transfer and nulls the pointer; NULL is fine. Collective. */
void agd_transfer_finish(agd_transfer **transfer);

#endif
