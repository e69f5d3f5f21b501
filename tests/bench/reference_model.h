/* The reference model of the benchmarks: six batch normalisations, plain SGD, as many rows as its job trains on. */
#ifndef ALLEGRAD_REFERENCE_MODEL_H
#define ALLEGRAD_REFERENCE_MODEL_H

#include "allegrad/model.h"
#include "allegrad/optimizer.h"

enum { ROWS = 16512, LAYERS = 7 };
static const size_t WIDTH[LAYERS + 1] = {8, 300, 256, 128, 100, 500, 100, 1};

static inline agd_model_spec reference_model(void) {
  agd_model_spec spec = {.inputs = WIDTH[0],
                         .outputs = WIDTH[LAYERS],
                         .hidden_count = LAYERS - 1,
                         .activation = AGD_RELU,
                         .batch_norm = true,
                         .momentum = 0.99,
                         .epsilon = 1e-3};
  for (size_t i = 0; i < spec.hidden_count; i++) spec.hidden[i] = WIDTH[i + 1];
  return spec;
}

static const agd_optimizer_spec REFERENCE_SGD = {.name = AGD_SGD, .learning_rate = 0.01};

#endif
