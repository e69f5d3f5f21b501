/** @file network.h
 * The passes over a model: forward and backward of one training batch, and inference.
 *
 * A network is a workspace for one rank's slice of global batches. It never sees MPI: when the rows of a batch are
 * spread over ranks it is handed an #agd_exchange, whose functions make sums global, and which is told as soon as a
 * slice of the gradients is final on this rank.
 */
#ifndef ALLEGRAD_NETWORK_H
#define ALLEGRAD_NETWORK_H

#include <stddef.h>

#include "allegrad/lanes.h"
#include "allegrad/model.h"
#include "allegrad/real.h"
#include "allegrad/status.h"

/** What a network needs from the world: sums over all lanes of the rows that share statistics (agd_sync): as a rule the
 * global batch. The local lanes come as parts, one after another; the result stands in the first. All members are
 * called in the same order on every rank. */
typedef struct agd_exchange {
  void *context;
  double groups; /**< row sets with statistics of their own: 1, or the number of nodes or ranks */
  /** Merges the statistics of all lanes: parts of 1 + 2C doubles (see moments.h). NULL when this rank's rows are all
   * that share statistics, in one lane. Collective. */
  void (*moments)(void *context, double *parts, size_t C);
  /** The same in two halves for the input of the batch to come, which needs no result of this step: other members may
   * be called in between; parts stay until input_finish. NULL when moments is. Collective. */
  void (*input_start)(void *context, double *parts, size_t C);
  void (*input_finish)(void *context, double *parts, size_t C);
  /** Starts to sum all lanes' n doubles; values may not be touched until sum_finish. At most one sum is under way. NULL
   * when moments is. Collective. */
  void (*sum_start)(void *context, double *values, size_t n);
  void (*sum_finish)(void *context);
  /** Gradients [offset, offset + count) are final on this rank, in all its runs. May be NULL. Not collective, same
   * order on all ranks. The slices of one backward pass cover the gradient array once, gaps included. */
  void (*gradient_ready)(void *context, size_t offset, size_t count);
  void *gradient_context; /**< of gradient_ready */
} agd_exchange;

/** This rank's rows of a global batch. */
typedef struct agd_batch {
  const agd_real *x; /**< [rows, inputs] row-major, borrowed */
  const agd_real *y; /**< [rows, outputs] row-major, borrowed */
  uint64_t noise;    /**< what dropout draws from: another for every batch, equal on all ranks */
  size_t step_rows;  /**< rows of all global batches whose gradients are added up for one step, this one's among them */
  size_t global_rows; /**< rows of the global batch, 1 to capacity: how many are this rank's follows (lanes.h) */
} agd_batch;

typedef struct agd_network agd_network;

/** Makes a workspace for training `model`.
 * @param model      borrowed; must outlive the network
 * @param lanes      how global batches are cut; this is `rank`'s workspace. With fixed lanes every product is computed
 *                   by our own kernel, and results do not depend on the number of ranks.
 * @param capacity   rows of the largest global batch
 * @param gradients  memory for the gradients, agd_lanes_runs(lanes, rank) arrays of model->weight_count elements,
 *                   borrowed (other ranks may read it); NULL: the network has its own
 * @param out        receives the network, released with agd_network_destroy; NULL on failure
 * @return AGD_OK or AGD_EDATA (memory). Not collective. */
agd_code agd_network_create(agd_model *model, const agd_lanes *lanes, uint64_t rank, size_t capacity,
                            agd_real *gradients, agd_network **out, agd_status *st);

/** Releases a network and nulls the pointer; NULL is fine. */
void agd_network_destroy(agd_network **network);

/** Gives other memory for the gradients, as agd_network_create takes it. Not between the batches of a step whose
 * gradients are still wanted. */
void agd_network_set_gradients(agd_network *network, agd_real *gradients);

/** The gradient array of the network's first run of lanes, laid out as model->weights; that of run i stands
 * i * model->weight_count further. Borrowed. */
agd_real *agd_network_gradients(agd_network *network);

/** Takes up the batch of the next agd_network_train: copies its rows and starts the reduction of its input's
 * statistics. Between a step's agd_network_train and the wait for its gradients the statistics travel for nothing. The
 * network must not be used otherwise before that agd_network_train. Collective through `exchange`. */
void agd_network_prepare(agd_network *network, const agd_batch *batch, const agd_exchange *exchange);

/** One training pass over the prepared batch: forward with batch statistics, loss, backward. The gradients of (sum over
 * the global batch of the squared error, mean over targets) / step_rows go to the gradient arrays: each run's share of
 * the sum, but gamma and beta beyond model->exchange_count, which are global already, to the first. Running averages
 * are updated. Collective through `exchange`.
 * @param losses  receives for each of this rank's lanes the sum over its rows of the per-row loss */
void agd_network_train(agd_network *network, const agd_exchange *exchange, double *losses);

/** Rows of a piece of agd_network_evaluate and agd_network_predict. */
enum { AGD_PIECE = 256 };

/** Inference with the running averages: y = model(x).
 * @param x     [rows, inputs] row-major, any number of rows (taken in pieces)
 * @param y     [rows, outputs] row-major, overwritten
 * Not collective. Deterministic for given rows; the last bits of a row may depend on its place in its piece. */
void agd_network_predict(agd_network *network, const agd_real *x, size_t rows, agd_real *y);

/** Adds the rows of a batch to the statistics of what the BN of layer l receives in inference mode, for
 * agd_model_set_averages: so that its running averages can be those of the training rows instead.
 * @param parts  [this rank's lanes, 1 + 2 in]: row count, mean, M2 (moments.h); zero before the first batch
 * Not collective. */
void agd_network_add_moments(agd_network *network, const agd_batch *batch, size_t l, double *parts);

/** Squared errors in inference mode: for every piece of AGD_PIECE rows (the last may be short) the sum over its rows of
 * the per-row loss (mean over targets), in double and in order of rows, into losses[piece]. Not collective. */
void agd_network_evaluate(agd_network *network, const agd_real *x, const agd_real *y, size_t rows, double *losses);

#endif
