/** @file kernels.h
 * Everything of a training step that is no matrix product: activation, batch normalisation, loss, transposition.
 *
 * Matrices are feature-major [C, b] (a row is one feature over the batch); `ld` is padded to whole cache lines (see
 * agd_padded_ld) and columns b..ld-1 may be read and overwritten with anything, never interpreted. All sums over rows
 * accumulate in double. Each kernel exists twice: tuned, compiled for several instruction sets and chosen once by the
 * CPU, and as a plain reference twin; the tests hold the first to the second. Kernels do not allocate, do not
 * communicate and cannot fail. Arguments must not alias unless said.
 *
 * Batch normalisation: Ioffe & Szegedy 2015 (arXiv 1502.03167), algorithm 1 and its gradient.
 */
#ifndef ALLEGRAD_KERNELS_H
#define ALLEGRAD_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "allegrad/real.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum agd_activation { AGD_LINEAR, AGD_RELU, AGD_TANH, AGD_SIGMOID } agd_activation;

/** A feature's affine normalisation in the centred form x_hat = ((x - mean_high) - mean_low) * inverse_sd. The mean is
 * kept as two reals so that features with |mean| >> sd lose nothing. Arrays of C elements each, borrowed. */
typedef struct agd_normalization {
  agd_real *mean_high, *mean_low, *inverse_sd;
} agd_normalization;

/** Which outputs dropout keeps: element c of row r of the global batch, whatever rank holds it. */
typedef struct agd_mask {
  uint64_t key;       /**< of the batch and the layer: equal on all ranks */
  uint64_t first_row; /**< of the global batch: that of column 0 */
  double rate;        /**< share that is dropped, at least 0 and below 1 */
} agd_mask;

/** One set of kernels. Every member documents equation and shapes; x, z, dz, dy: [C, b]. */
typedef struct agd_kernels {
  const char *isa; /**< "reference", "baseline", "avx2" or "avx512" */

  /** x[c,j] = act(x[c,j] + bias[c]), in place. */
  void (*bias_activation)(agd_activation act, agd_real *x, size_t ld, size_t C, size_t b, const agd_real *bias);

  /** bias_activation, unless bias is NULL (then x is not touched: the input's statistics), followed by the moments
   * mean[c] = sum_j x[c,j] / b and m2[c] = sum_j (x[c,j] - mean[c])^2, in two passes, feature block by feature block
   * while it is in cache. b = 0 gives zeros. */
  void (*bias_activation_moments)(agd_activation act, agd_real *x, size_t ld, size_t C, size_t b, const agd_real *bias,
                                  double *mean, double *m2);

  /** From statistics to a normalisation: inverse_sd = 1/sqrt(variance + epsilon), mean split in two. variance is the
   * biased one, M2/m. */
  void (*normalization)(size_t C, const double *mean, const double *variance, double epsilon, agd_normalization out);

  /** z = gamma * x_hat + beta; z [C, b] with its own ldz; z may be x itself. */
  void (*normalize)(const agd_real *x, size_t ld, size_t C, size_t b, agd_normalization n, const agd_real *gamma,
                    const agd_real *beta, agd_real *z, size_t ldz);

  /** bias_activation_moments, normalization and normalize in one sweep over feature blocks, for when the local rows are
   * the whole batch (no reduction needed, b >= 1). mean and variance [C] are written too. */
  void (*batchnorm_forward)(agd_activation act, agd_real *x, size_t ld, size_t C, size_t b, const agd_real *bias,
                            double epsilon, const agd_real *gamma, const agd_real *beta, double *mean, double *variance,
                            agd_normalization n, agd_real *z, size_t ldz);

  /** The local sums of the BN backward pass: sum_dz[c] = sum_j dz[c,j] (this is dbeta) and
   * sum_dz_xhat[c] = sum_j dz[c,j] x_hat[c,j] (this is dgamma). */
  void (*batchnorm_backward_sums)(const agd_real *dz, const agd_real *x, size_t ld, size_t C, size_t b,
                                  agd_normalization n, double *sum_dz, double *sum_dz_xhat);

  /** Gradient before the activation of the layer below, in place over dz:
   * dx = gamma inverse_sd (dz - sum_dz/m - x_hat sum_dz_xhat/m), dy = dx * act'(x) with act' from the output x.
   * m is the row count of the whole batch, the sums are the whole batch's. Also writes the local bias gradient
   * sum_j dy[c,j] into dbias[c], and dy^T [b, C] with leading dimension ldt into dy_t. */
  void (*batchnorm_backward)(agd_activation act, agd_real *dz, const agd_real *x, size_t ld, size_t C, size_t b,
                             agd_normalization n, const agd_real *gamma, const double *sum_dz,
                             const double *sum_dz_xhat, double m, agd_real *dbias, agd_real *dy_t, size_t ldt);

  /** The same for a layer without BN above it: dy = dx * act'(x), dbias, dy_t. In place over dx. */
  void (*activation_backward)(agd_activation act, agd_real *dx, const agd_real *x, size_t ld, size_t C, size_t b,
                              agd_real *dbias, agd_real *dy_t, size_t ldt);

  /** batchnorm_backward_sums and batchnorm_backward in one sweep over feature blocks, for when the local rows are the
   * whole batch; the sums are written too. */
  void (*batchnorm_backward_local)(agd_activation act, agd_real *dz, const agd_real *x, size_t ld, size_t C, size_t b,
                                   agd_normalization n, const agd_real *gamma, double *sum_dz, double *sum_dz_xhat,
                                   double m, agd_real *dbias, agd_real *dy_t, size_t ldt);

  /** Mean squared error over T targets, y is the prediction before the bias, in place:
   * p[t,j] = y[t,j] + bias[t]; returns sum_{t,j} (p - target)^2 / T (the sum over local rows of the per-row loss);
   * y becomes its gradient scale * 2 (p - target) / T with scale = 1 / rows of the global batch; also dbias and dy_t as
   * in activation_backward. target: [T, b], leading dimension ld too. */
  double (*mse)(agd_real *y, const agd_real *target, size_t ld, size_t T, size_t b, const agd_real *bias, double scale,
                agd_real *dbias, agd_real *dy_t, size_t ldt);

  /** Inverted dropout, in place: x[c,j] = u(c, first_row + j) < rate ? 0 : x[c,j] / (1 - rate), u uniform in [0, 1) by
   * a hash of key, c and row. The same call on the gradient of the result gives the gradient of x. Source: Srivastava
   * et al. 2014, JMLR 15, section 10 (scaled in training, as Keras does). */
  void (*dropout)(agd_real *x, size_t ld, size_t C, size_t b, agd_mask mask);

  /** sums[c] = sum_j rows[j,c] over b rows of C, in double and in order of j: of dy^T, and rounded to a real, the very
   * bits of a dbias. */
  void (*column_sums)(const agd_real *rows, size_t ld, size_t b, size_t C, double *sums);

  /** Transposes rows: out[c, j] = in[j, c] for j < b, c < C; in row-major [b, ldi] (a data set's rows), out [C, ldo].
   */
  void (*transpose)(const agd_real *in, size_t ldi, size_t b, size_t C, agd_real *out, size_t ldo);

  /** sum_i g[i]^2, n elements, in double and in an order that depends on n only. */
  double (*sum_squares)(size_t n, const agd_real *g);

  /** Weight decay: w -= share * w, n elements. */
  void (*decay)(size_t n, agd_real *w, agd_real share);

  /** Plain SGD: w -= rate * g, n elements. */
  void (*sgd)(size_t n, agd_real *w, const agd_real *g, agd_real rate);

  /** SGD with momentum, Keras' form: v = momentum v - rate g; w += nesterov ? momentum v - rate g : v. */
  void (*sgd_momentum)(size_t n, agd_real *w, const agd_real *g, agd_real *v, agd_real rate, agd_real momentum,
                       int nesterov);

  /** Adam, Keras' form (Kingma & Ba 2015, section 2 with alpha_t): m += gain_1 (g - m); v += gain_2 (g^2 - v);
   * w -= alpha_t m / (sqrt(v) + epsilon). The caller computes gain_k = 1 - beta_k and
   * alpha_t = rate sqrt(1-beta_2^t)/(1-beta_1^t) in double: 1 - 0.999f is 1e-5 off. */
  void (*adam)(size_t n, agd_real *w, const agd_real *g, agd_real *m, agd_real *v, agd_real alpha_t, agd_real gain_1,
               agd_real gain_2, agd_real epsilon);
} agd_kernels;

/** The tuned kernels for this CPU: a fixed choice by its features. The environment variable ALLEGRAD_ISA (baseline,
 * avx2, avx512, reference) overrides it downwards. Static storage. */
const agd_kernels *agd_kernels_select(void);

/** The kernels of one instruction set, or NULL when this build or CPU has none of that name. */
const agd_kernels *agd_kernels_named(const char *isa);

#ifdef __cplusplus
}
#endif

#endif
