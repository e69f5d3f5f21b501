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

/** One rank's rows of an order of all rows, spread by a plan: local row i is row agd_permute(&order, p) of the data
 * with p = agd_plan_position(&plan, rank, i). Contiguous blocks in file order are the plan with batch == rows and the
 * identity. */
typedef struct agd_rows {
  agd_shard_plan plan;
  agd_permutation order;
  size_t features, targets;
  uint64_t count; /**< local rows */
  agd_real *x;    /**< [count, features], owned */
  agd_real *y;    /**< [count, targets], owned */
} agd_rows;

/** Allocates the local rows of a plan, zeroed. Collective on comm; the outcome is agreed (AGD_OK or AGD_EDATA).
 * @param out  released with agd_rows_clear; empty on failure */
agd_code agd_rows_create(const agd_comm *comm, const agd_shard_plan *plan, const agd_permutation *order,
                         size_t features, size_t targets, agd_rows *out, agd_status *st);

/** Releases the arrays. Not collective. */
void agd_rows_clear(agd_rows *rows);

/** Rows on their way. */
typedef struct agd_transfer agd_transfer;

/** Starts to fill `to` (its plan and order say who needs what) from `from`: the same rows in another order, each sent
 * once and straight from place to place (no packed copy). Until agd_transfer_finish, `from` may be read and `to` may
 * not be touched; both must stay. Collective on comm; the outcome is agreed.
 * @param out  NULL on failure
 * @return AGD_OK or AGD_EDATA (memory) */
agd_code agd_transfer_start(const agd_comm *comm, const agd_rows *from, agd_rows *to, agd_transfer **out,
                            agd_status *st);

/** Lets MPI go on with a transfer; NULL is fine. Not collective. */
void agd_transfer_poke(agd_transfer *transfer);

/** Waits until all rows have arrived, releases the transfer and nulls the pointer; NULL is fine. Collective. */
void agd_transfer_finish(agd_transfer **transfer);

#endif
