/** @file optimizer.h
 * Update rules on flat arrays, by Keras' formulas. Not collective.
 */
#ifndef ALLEGRAD_OPTIMIZER_H
#define ALLEGRAD_OPTIMIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allegrad/kernels.h"
#include "allegrad/real.h"
#include "allegrad/status.h"

typedef enum agd_optimizer_name { AGD_SGD, AGD_ADAM } agd_optimizer_name;

/** Hyperparameters; plain value. Adam reads beta_1, beta_2, epsilon; SGD reads momentum, nesterov. */
typedef struct agd_optimizer_spec {
  agd_optimizer_name name;
  double learning_rate;
  double momentum;
  bool nesterov;
  double beta_1, beta_2, epsilon;
  double weight_decay; /**< 0: none */
} agd_optimizer_spec;

/** An optimizer and its slots: flat arrays parallel to the weights. */
typedef struct agd_optimizer {
  agd_optimizer_spec spec;
  const agd_kernels *kernels;
  uint64_t iteration;   /**< updates done */
  double learning_rate; /**< of the last update; before the first the spec's */
  agd_real step_size;   /**< the same with Adam's corrections */
  size_t count;         /**< elements of the weight array */
  size_t slot_count;    /**< 0: plain SGD, 1: velocity, 2: Adam's m and v */
  agd_real *slots[2];   /**< owned; count elements each, zero at first */
} agd_optimizer;

/** Makes an optimizer for `count` weights. Release with agd_optimizer_destroy. AGD_EDATA when memory is short. */
agd_code agd_optimizer_create(const agd_optimizer_spec *spec, size_t count, agd_optimizer **out, agd_status *st);

/** Releases an optimizer and nulls the pointer; NULL is fine. */
void agd_optimizer_destroy(agd_optimizer **optimizer);

/** Begins one update with this learning rate: call once a step, before its agd_optimizer_update calls. */
void agd_optimizer_begin(agd_optimizer *optimizer, double learning_rate);

/** Takes the weight decay off, as Keras' optimizers do (decoupled: Loshchilov & Hutter 2019, arXiv 1711.05101): weight
 * -= weight_decay * learning_rate * weight, every weight, gamma, beta and bias; then updates weights[offset .. offset +
 * count) from the same slice of gradients. The slices of one step may come in any order; the result does not depend on
 * how a step is sliced. */
void agd_optimizer_update(agd_optimizer *optimizer, agd_real *weights, const agd_real *gradients, size_t offset,
                          size_t count);

/** Slots that a spec has: 0, 1 or 2. */
size_t agd_optimizer_slot_count(const agd_optimizer_spec *spec);

#endif
