/** @file network.h
 * The passes over a model: forward and backward of one training batch, and inference.
 *
 * A network is a workspace for batches of up to `capacity` local rows. It never sees MPI: when the rows of a batch are
 * spread over ranks it is handed an #agd_exchange, whose functions make sums global, and which is told as soon as a
 * slice of the gradients is final on this rank.
 */
#ifndef ALLEGRAD_NETWORK_H
#define ALLEGRAD_NETWORK_H

#include <stddef.h>

#include "allegrad/model.h"
#include "allegrad/real.h"
#include "allegrad/status.h"

/** What a network needs from the world. All members are called in the same order on every rank. */
typedef struct agd_exchange {
  void *context;
  /** Replaces the statistics of the local rows (1 + 2C doubles, see moments.h) by those of the global batch; NULL when
   * the local rows are the whole batch. Collective. */
  void (*moments)(void *context, double *part, size_t C);
  /** Starts to replace n doubles by their sum over ranks; values may not be touched until sum_finish. At most one sum
   * is under way. NULL when the local rows are the whole batch. Collective. */
  void (*sum_start)(void *context, double *values, size_t n);
  void (*sum_finish)(void *context);
  /** Gradients [offset, offset + count) are final on this rank. May be NULL. Not collective, same order on all ranks.
   * The slices of one backward pass cover the whole gradient array once, gaps included. */
  void (*gradient_ready)(void *context, size_t offset, size_t count);
} agd_exchange;

typedef struct agd_network agd_network;

/** Makes a workspace for training `model` with up to `capacity` local rows a batch.
 * @param model  borrowed; must outlive the network
 * @param out    receives the network, released with agd_network_destroy; NULL on failure
 * @return AGD_OK or AGD_EDATA (memory). Not collective. */
agd_code agd_network_create(agd_model *model, size_t capacity, agd_network **out, agd_status *st);

/** Releases a network and nulls the pointer; NULL is fine. */
void agd_network_destroy(agd_network **network);

/** The gradient array of the network, model->weight_count elements, laid out as model->weights. Borrowed. */
agd_real *agd_network_gradients(agd_network *network);

/** One training pass: forward with batch statistics, loss, backward. Gradients of (sum of squared errors over the
 * global batch / targets / global_rows) go to the gradient array (this rank's share; gamma and beta beyond
 * model->exchange_count are global already), running averages are updated. Collective through `exchange`.
 * @param x            [rows, inputs] row-major, this rank's slice of the global batch; rows 0..capacity
 * @param y            [rows, outputs] row-major
 * @param global_rows  rows of the global batch, at least 1
 * @param exchange     NULL members (and no ranks) when rows == global_rows
 * @return the sum over the local rows of the per-row loss (mean over targets of the squared error) */
double agd_network_train(agd_network *network, const agd_real *x, const agd_real *y, size_t rows, size_t global_rows,
                         const agd_exchange *exchange);

/** Inference with the running averages: y = model(x).
 * @param x     [rows, inputs] row-major, any number of rows (taken in pieces)
 * @param y     [rows, outputs] row-major, overwritten
 * Not collective. Deterministic for given rows; the last bits of a row may depend on its place in its piece. */
void agd_network_predict(agd_network *network, const agd_real *x, size_t rows, agd_real *y);

/** Sum over rows of the per-row squared error (mean over targets), in inference mode, in double. Not collective. */
double agd_network_evaluate(agd_network *network, const agd_real *x, const agd_real *y, size_t rows);

#endif
