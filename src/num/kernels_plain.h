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

/* A mixer of 32 bits ("lowbias32" of Wellons, "Prospecting for hash functions", 2018): every bit of the result depends
 * on every bit of h, and a vector of them costs a few operations. */
static inline uint32_t mix(uint32_t h) {
  h = (h ^ h >> 16) * 0x7feb352dU;
  h = (h ^ h >> 15) * 0x846ca68bU;
  return h ^ h >> 16;
}

static void dropout(agd_real *restrict x, size_t ld, size_t C, size_t b, agd_mask mask) {
  const uint32_t threshold = (uint32_t)(mask.rate * 0x1p32), first = (uint32_t)mask.first_row;
  const uint32_t low = (uint32_t)mask.key, high = (uint32_t)(mask.key >> 32);
  const agd_real scale = (agd_real)(1 / (1 - mask.rate));
  for (size_t c = 0; c < C; c++) {
    const uint32_t row_key = mix(low + mix((uint32_t)c));
    agd_real *restrict xc = x + c * ld;
    for (size_t j = 0; j < b; j++) {
      const uint32_t u = mix(row_key ^ mix(high + first + (uint32_t)j));
      xc[j] = u < threshold ? 0 : xc[j] * scale;
    }
  }
}

static void column_sums(const agd_real *restrict rows, size_t ld, size_t b, size_t C, double *restrict sums) {
  for (size_t c = 0; c < C; c++) sums[c] = 0;
  for (size_t j = 0; j < b; j++)
    for (size_t c = 0; c < C; c++) sums[c] += (double)rows[j * ld + c];
}

/* A sum for each place in a line of 16, which are folded by halves. */
static double sum_squares(size_t n, const agd_real *restrict g) {
  enum { LINE = 16 };
  double sum[LINE] = {0};
  size_t i = 0;
  for (; i + LINE <= n; i += LINE)
    for (size_t j = 0; j < LINE; j++) sum[j] += (double)g[i + j] * (double)g[i + j];
  for (size_t j = 0; i < n; i++, j++) sum[j] += (double)g[i] * (double)g[i];
  for (size_t half = LINE / 2; half > 0; half /= 2)
    for (size_t j = 0; j < half; j++) sum[j] += sum[j + half];
  return sum[0];
}

static void decay(size_t n, agd_real *restrict w, agd_real share) {
  for (size_t i = 0; i < n; i++) w[i] -= share * w[i];
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
