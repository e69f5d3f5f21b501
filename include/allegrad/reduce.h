/** @file reduce.h
 * What a training step sums over ranks, behind one interface: batch statistics, BN's backward sums, the gradients.
 *
 * Three ways, chosen by rule from where the ranks run (agd_reduce_create), never by a stopwatch:
 * - allreduce: plain collectives; the reference the other two are held to;
 * - buckets: gradients leave in non-blocking allreduces as soon as enough of them are final, during the backward pass;
 * - window: the ranks of a node read each other's sums and gradients in shared memory, and hold one array of weights
 * between them: each adds up and updates its share of it; several nodes exchange the shares. Sums are formed in the
 * order of the lanes (lanes.h, fold.h), the same on every rank. With fixed lanes the result does not depend on way or
 * number of ranks.
 *
 * A step: agd_network_train with agd_reduce_exchange's callbacks; agd_reduce_gradients; update of agd_reduce_share,
 * slice by slice on the way or at once; agd_reduce_publish. With statistics per node or rank (agd_sync) running
 * averages are a rank's own until agd_reduce_merge_averages.
 */
#ifndef ALLEGRAD_REDUCE_H
#define ALLEGRAD_REDUCE_H

#include <stddef.h>

#include "allegrad/comm.h"
#include "allegrad/lanes.h"
#include "allegrad/model.h"
#include "allegrad/network.h"
#include "allegrad/real.h"
#include "allegrad/status.h"

typedef enum agd_exchange_way {
  AGD_EXCHANGE_AUTO,
  AGD_EXCHANGE_ALLREDUCE,
  AGD_EXCHANGE_BUCKETS,
  AGD_EXCHANGE_WINDOW
} agd_exchange_way;

typedef struct agd_reduce agd_reduce;

/** Makes the reductions for a model. Collective on comm (borrowed); the outcome is agreed.
 * @param model  borrowed; with windows its weights are moved into memory that all ranks of the node share: they must
 * only be written as agd_reduce_share says, or by all ranks with the same values
 * @param lanes  equal on all ranks
 * @param way    AGD_EXCHANGE_AUTO: one rank needs none; ranks of one node: window; several nodes: window when every
 * node has several ranks, else buckets; with fixed lanes on several nodes: allreduce
 * @return AGD_OK, or AGD_EDATA (memory, shared memory) */
agd_code agd_reduce_create(const agd_comm *comm, agd_model *model, const agd_lanes *lanes, agd_exchange_way way,
                           agd_reduce **out, agd_status *st);

/** Releases and nulls; NULL is fine. The model must be gone or not be used again. Collective. */
void agd_reduce_destroy(agd_reduce **reduce);

/** The way taken and why, e.g. "window: 2 ranks on one node". Borrowed. */
const char *agd_reduce_describe(const agd_reduce *reduce);

/** Memory for agd_network_create's gradients. Borrowed; agd_reduce_adapt may change it. */
agd_real *agd_reduce_gradient_memory(agd_reduce *reduce);

/** How the ranks of a node hold their weights and gradients: in memory that all read, or each its own, with what others
 * need streamed past the caches; or as the time that a cache line needs from core to core tells. */
typedef enum agd_adaption { AGD_ADAPT_MEASURED, AGD_ADAPT_TOGETHER, AGD_ADAPT_APART } agd_adaption;

/** Chooses between them, between two steps; without a window there is nothing to choose. The bits of all results are
 * the same. Afterwards the gradients' memory and the model's weights may be elsewhere: agd_network_set_gradients. A
 * measurement takes some microseconds. Collective. */
void agd_reduce_adapt(agd_reduce *reduce, agd_adaption how);

/** The callbacks for agd_network_prepare and agd_network_train. Those for statistics are NULL where this rank's rows,
 * in one lane, share them with no other's.
 * @param ready  called with slices [offset, offset + count) of this rank's share as soon as their gradients are global,
 * while they are in cache: before agd_reduce_gradients returns every element was in one. NULL for none */
agd_exchange agd_reduce_exchange(agd_reduce *reduce, void (*ready)(void *context, size_t offset, size_t count),
                                 void *context);

/** Seconds that the callbacks for statistics have waited and added up since they were last taken. Not collective. */
double agd_reduce_take_seconds(agd_reduce *reduce);

/** Sums values [this rank's lanes, n] over all lanes into values[0 .. n), in the order of fold.h: the same bits on
 * every rank. n is at most 1 + 2 times the widest layer, or 64. Collective. */
void agd_reduce_sum(agd_reduce *reduce, double *values, size_t n);

/** Merges the statistics of all lanes, parts [this rank's lanes, 1 + 2C] as in moments.h, into the first part: the same
 * bits on every rank. C is at most the widest layer's. Collective. */
void agd_reduce_moments(agd_reduce *reduce, double *parts, size_t C);

/** Makes the model's running averages those of the whole batches on every rank (see agd_sync): the mean over nodes or
 * ranks. Nothing to do with statistics of the global batch. Collective. */
void agd_reduce_merge_averages(agd_reduce *reduce);

/** Completes the sum of the gradients over ranks: afterwards those of agd_reduce_share are global, and no rank reads
 * the weights any more in this step. Collective. */
void agd_reduce_gradients(agd_reduce *reduce);

/** The Euclidean norm of the global gradient, after agd_reduce_gradients: the same bits on every rank, and with fixed
 * lanes for any number of ranks. Collective. */
double agd_reduce_norm(agd_reduce *reduce);

/** The part of the weights that this rank has to update: all, or its share. */
agd_range agd_reduce_share(const agd_reduce *reduce);

/** Waits for the weights that other ranks update. Collective. */
void agd_reduce_publish(agd_reduce *reduce);

/** Completes an array parallel to the weights (an optimizer's slot) of which every rank has only its share. Collective.
 */
void agd_reduce_collect(agd_reduce *reduce, agd_real *values);

#endif
