/** @file model.h
 * A batch-normalised multilayer perceptron: its shape, its weights and its running averages.
 *
 * Hidden layer i is [BatchNorm] -> Dense -> activation; the output layer is a linear Dense. All weights live in one
 * flat array, all running averages in another, so that an exchange between ranks takes a slice and no copy. Knows
 * neither MPI nor HDF5. Nothing here is collective.
 */
#ifndef ALLEGRAD_MODEL_H
#define ALLEGRAD_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allegrad/kernels.h"
#include "allegrad/real.h"
#include "allegrad/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { AGD_HIDDEN_MAX = 64 };

/** Whose rows a batch statistic is taken over: those of the global batch, of the node, of the rank. With the latter two
 * every node (rank) normalises by statistics of its own. A running average is then that of the batch's mean over nodes
 * (ranks), weighted by their rows, of their means and of their variances: of what normalised, without the spread of the
 * means. */
typedef enum agd_sync { AGD_SYNC_GLOBAL, AGD_SYNC_NODE, AGD_SYNC_NONE } agd_sync;

typedef enum agd_initializer { AGD_GLOROT_UNIFORM } agd_initializer;

/** The shape of a model. Plain value: can be copied and sent as bytes. */
typedef struct agd_model_spec {
  size_t inputs, outputs;
  size_t hidden_count; /**< 0 (a linear model) to AGD_HIDDEN_MAX */
  size_t hidden[AGD_HIDDEN_MAX];
  agd_activation activation; /**< of the hidden layers; the output is linear */
  bool batch_norm;           /**< a BatchNorm before every hidden Dense */
  double momentum;           /**< alpha: running = alpha running + (1 - alpha) batch */
  double epsilon;            /**< added to the variance */
  agd_sync sync;             /**< not of the shape: it changes nothing in inference */
  double dropout;            /**< share of each hidden layer's outputs that a training pass sets to 0, below 1 */
  bool unbiased_variance;    /**< the running variance takes M2/(m-1) (PyTorch) instead of M2/m (Keras) */
} agd_model_spec;

/** One Dense and the BatchNorm before it, as offsets into the flat arrays. */
typedef struct agd_layer {
  size_t in, out;
  bool batch_norm;
  size_t kernel;         /**< in weights: [in, out] row-major, as Keras */
  size_t bias;           /**< in weights: [out] */
  size_t gamma, beta;    /**< in weights: [in] each; meaningless without batch_norm */
  size_t mean, variance; /**< in averages: [in] each; meaningless without batch_norm */
} agd_layer;

/** Weights are laid out in backward order: kernel and bias of the output layer, then of the last hidden layer, ... the
 * first, then gamma and beta of the input BN (they travel with the gradients); then gamma and beta of the other BNs,
 * whose gradients are global already when statistics are (AGD_SYNC_GLOBAL), and travel, too, when they are not. Every
 * tensor starts on a cache line; the gaps stay 0. */
typedef struct agd_model {
  agd_model_spec spec;
  size_t layer_count;    /**< hidden_count + 1 */
  agd_layer *layers;     /**< owned; first hidden layer first */
  size_t weight_count;   /**< elements of weights, gaps included */
  size_t norm_start;     /**< where gamma and beta of the other BNs begin */
  size_t exchange_count; /**< the leading part of a gradient array that has to be summed over ranks */
  size_t average_count;  /**< elements of averages, gaps included */
  agd_real *weights;     /**< owned, unless moved */
  bool weights_moved;    /**< see agd_model_move_weights */
  agd_real *averages;    /**< owned: moving mean and variance of every BN */
} agd_model;

/** Makes a model: kernels and biases 0, gamma 1, beta 0, moving mean 0, moving variance 1.
 * @param out  receives the model, to be released with agd_model_destroy; NULL on failure
 * @return AGD_OK, or AGD_EDATA when memory is short. A spec with an extent of 0 is a programmer's error. */
agd_code agd_model_create(const agd_model_spec *spec, agd_model **out, agd_status *st);

/** Moves the weights into memory of the caller, weight_count elements on a cache line, that outlives the model: so that
 * other processes can read them there. */
void agd_model_move_weights(agd_model *model, agd_real *memory);

/** Gives a model the weights and running averages of another one of its shape. */
void agd_model_copy(agd_model *to, const agd_model *from);

/** Releases a model and nulls the pointer; NULL is fine. */
void agd_model_destroy(agd_model **model);

/** Makes the running averages of layer l, which has a BN, those of a row set.
 * @param moments  1 + 2 in doubles: row count above 0, mean, M2 (moments.h) */
void agd_model_set_averages(agd_model *model, size_t l, const double *moments);

/** The most inputs of any layer. */
size_t agd_model_widest_input(const agd_model *model);

/** Draws the kernels: glorot_uniform is U(-l, l) with l = sqrt(6 / (in + out)) (Glorot & Bengio 2010, eq. 16). A value
 * depends on (seed, layer, index) only, so it is the same on any number of ranks. */
void agd_model_initialize(agd_model *model, agd_initializer initializer, uint64_t seed);

/** Numbers of parameters as Keras counts them: all (running averages included), and the trainable ones. */
size_t agd_model_parameter_count(const agd_model_spec *spec);
size_t agd_model_trainable_count(const agd_model_spec *spec);

/** Whether two shapes hold the same tensors (widths and BN; not activation, momentum or epsilon). */
bool agd_model_same_shape(const agd_model_spec *a, const agd_model_spec *b);

/** Name of an activation ("relu") and back; the latter returns false for an unknown name. */
const char *agd_activation_name(agd_activation activation);
bool agd_activation_parse(const char *name, agd_activation *out);

#ifdef __cplusplus
}
#endif

#endif
