/* What tests of random trainings share. */
#ifndef ALLEGRAD_RANDOM_TRAINING_H
#define ALLEGRAD_RANDOM_TRAINING_H

#include <math.h>

#include "allegrad/network.h"
#include "allegrad/reduce.h"
#include "allegrad/rng.h"

/* A number below n for draw i of a case. */
static inline size_t draw(uint64_t seed, uint64_t i, size_t n) { return (size_t)(agd_random_bits(seed, 1, i) % n); }

/* Lets the ranks hold their arrays now this way and now that, by draw i. */
static inline void adapt_somehow(agd_reduce *reduce, agd_network *network, uint64_t seed, uint64_t i) {
  static const agd_adaption how[] = {AGD_ADAPT_MEASURED, AGD_ADAPT_TOGETHER, AGD_ADAPT_APART};
  agd_reduce_adapt(reduce, how[draw(seed, i, 3)]);
  agd_network_set_gradients(network, agd_reduce_gradient_memory(reduce));
}

static inline double largest_difference(const agd_real *a, const agd_real *b, size_t n) {
  double largest = 0;
  for (size_t i = 0; i < n; i++) {
    const double difference = fabs((double)a[i] - (double)b[i]) / (1 + fabs((double)b[i]));
    if (!(difference <= largest)) largest = difference;
  }
  return largest;
}

#endif
