/* Kernels whose plain loop is already what a compiler turns into vectors: every set holds them, compiled for its
 * instruction set. Element-wise, so their bits are the same in all sets. */
#include "kernels_set.h"

#include <tgmath.h>

static void normalization(size_t C, const double *restrict mean, const double *restrict variance, double epsilon,
                          agd_normalization out) {
  agd_real *restrict high = out.mean_high, *restrict low = out.mean_low, *restrict inverse_sd = out.inverse_sd;
  for (size_t c = 0; c < C; c++) {
    high[c] = (agd_real)mean[c];
    low[c] = (agd_real)(mean[c] - (double)high[c]);
    inverse_sd[c] = (agd_real)(1 / sqrt(variance[c] + epsilon));
  }
}

static void sgd(size_t n, agd_real *restrict w, const agd_real *restrict g, agd_real rate) {
  for (size_t i = 0; i < n; i++) w[i] -= rate * g[i];
}

static void sgd_momentum(size_t n, agd_real *restrict w, const agd_real *restrict g, agd_real *restrict v,
                         agd_real rate, agd_real momentum, int nesterov) {
  for (size_t i = 0; i < n; i++) {
    v[i] = momentum * v[i] - rate * g[i];
    w[i] += nesterov ? momentum * v[i] - rate * g[i] : v[i];
  }
}

static void adam(size_t n, agd_real *restrict w, const agd_real *restrict g, agd_real *restrict m, agd_real *restrict v,
                 agd_real alpha_t, agd_real gain_1, agd_real gain_2, agd_real epsilon) {
  for (size_t i = 0; i < n; i++) {
    m[i] += gain_1 * (g[i] - m[i]);
    v[i] += gain_2 * (g[i] * g[i] - v[i]);
    w[i] -= alpha_t * m[i] / (sqrt(v[i]) + epsilon);
  }
}
