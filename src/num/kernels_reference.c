/* The plain twins: each kernel as its equation reads, sums in double in order of the rows of the batch. */
#include "kernels_plain.h"

static agd_real activate(agd_activation act, agd_real x) {
  switch (act) {
  case AGD_LINEAR:
    return x;
  case AGD_RELU:
    return x < 0 ? 0 : x; /* written so that a NaN stays one */
  case AGD_TANH:
    return (agd_real)tanh((double)x);
  case AGD_SIGMOID:
    return (agd_real)(1 / (1 + exp(-(double)x)));
  }
  return x;
}

/* dx act'(u) with act'(u) as a function of the output x = act(u). */
static agd_real through(agd_activation act, agd_real dx, agd_real x) {
  switch (act) {
  case AGD_LINEAR:
    return dx;
  case AGD_RELU:
    return x > 0 ? dx : 0;
  case AGD_TANH:
    return dx * (1 - x * x);
  case AGD_SIGMOID:
    return dx * (x * (1 - x));
  }
  return dx;
}

static void bias_activation(agd_activation act, agd_real *x, size_t ld, size_t C, size_t b, const agd_real *bias) {
  for (size_t c = 0; c < C; c++) {
    for (size_t j = 0; j < b; j++) x[c * ld + j] = activate(act, x[c * ld + j] + bias[c]);
  }
}

static void bias_activation_moments(agd_activation act, agd_real *x, size_t ld, size_t C, size_t b,
                                    const agd_real *bias, double *mean, double *m2) {
  if (bias != NULL) bias_activation(act, x, ld, C, b, bias);
  for (size_t c = 0; c < C; c++) {
    double sum = 0, squares = 0;
    for (size_t j = 0; j < b; j++) sum += (double)x[c * ld + j];
    mean[c] = b > 0 ? sum / (double)b : 0;
    for (size_t j = 0; j < b; j++) {
      const double d = (double)x[c * ld + j] - mean[c];
      squares += d * d;
    }
    m2[c] = squares;
  }
}

static agd_real x_hat(const agd_normalization *n, size_t c, agd_real x) {
  return ((x - n->mean_high[c]) - n->mean_low[c]) * n->inverse_sd[c];
}

static void normalize(const agd_real *x, size_t ld, size_t C, size_t b, agd_normalization n, const agd_real *gamma,
                      const agd_real *beta, agd_real *z, size_t ldz) {
  for (size_t c = 0; c < C; c++) {
    for (size_t j = 0; j < b; j++) z[c * ldz + j] = gamma[c] * x_hat(&n, c, x[c * ld + j]) + beta[c];
  }
}

static void batchnorm_forward(agd_activation act, agd_real *x, size_t ld, size_t C, size_t b, const agd_real *bias,
                              double epsilon, const agd_real *gamma, const agd_real *beta, double *mean,
                              double *variance, agd_normalization n, agd_real *z, size_t ldz) {
  bias_activation_moments(act, x, ld, C, b, bias, mean, variance);
  for (size_t c = 0; c < C && b > 0; c++) variance[c] /= (double)b;
  normalization(C, mean, variance, epsilon, n);
  normalize(x, ld, C, b, n, gamma, beta, z, ldz);
}

static void batchnorm_backward_sums(const agd_real *dz, const agd_real *x, size_t ld, size_t C, size_t b,
                                    agd_normalization n, double *sum_dz, double *sum_dz_xhat) {
  for (size_t c = 0; c < C; c++) {
    sum_dz[c] = sum_dz_xhat[c] = 0;
    for (size_t j = 0; j < b; j++) {
      sum_dz[c] += (double)dz[c * ld + j];
      sum_dz_xhat[c] += (double)dz[c * ld + j] * (double)x_hat(&n, c, x[c * ld + j]);
    }
  }
}

static void transpose(const agd_real *in, size_t ldi, size_t b, size_t C, agd_real *out, size_t ldo) {
  for (size_t c = 0; c < C; c++) {
    for (size_t j = 0; j < b; j++) out[c * ldo + j] = in[j * ldi + c];
  }
}

/* dbias[c] = sum_j dy[c,j] and dy_t[j,c] = dy[c,j]. */
static void finish_gradient(const agd_real *dy, size_t ld, size_t C, size_t b, agd_real *dbias, agd_real *dy_t,
                            size_t ldt) {
  for (size_t c = 0; c < C; c++) {
    double sum = 0;
    for (size_t j = 0; j < b; j++) sum += (double)dy[c * ld + j];
    dbias[c] = (agd_real)sum;
  }
  transpose(dy, ld, C, b, dy_t, ldt);
}

static void activation_backward(agd_activation act, agd_real *dx, const agd_real *x, size_t ld, size_t C, size_t b,
                                agd_real *dbias, agd_real *dy_t, size_t ldt) {
  for (size_t c = 0; c < C; c++) {
    for (size_t j = 0; j < b; j++) dx[c * ld + j] = through(act, dx[c * ld + j], x[c * ld + j]);
  }
  finish_gradient(dx, ld, C, b, dbias, dy_t, ldt);
}

static void batchnorm_backward(agd_activation act, agd_real *dz, const agd_real *x, size_t ld, size_t C, size_t b,
                               agd_normalization n, const agd_real *gamma, const double *sum_dz,
                               const double *sum_dz_xhat, double m, agd_real *dbias, agd_real *dy_t, size_t ldt) {
  for (size_t c = 0; c < C; c++) {
    const agd_real mean_dz = (agd_real)(sum_dz[c] / m), mean_dz_xhat = (agd_real)(sum_dz_xhat[c] / m);
    for (size_t j = 0; j < b; j++) {
      agd_real *d = &dz[c * ld + j];
      *d = gamma[c] * n.inverse_sd[c] * ((*d - mean_dz) - x_hat(&n, c, x[c * ld + j]) * mean_dz_xhat);
    }
  }
  activation_backward(act, dz, x, ld, C, b, dbias, dy_t, ldt);
}

static void batchnorm_backward_local(agd_activation act, agd_real *dz, const agd_real *x, size_t ld, size_t C, size_t b,
                                     agd_normalization n, const agd_real *gamma, double *sum_dz, double *sum_dz_xhat,
                                     double m, agd_real *dbias, agd_real *dy_t, size_t ldt) {
  batchnorm_backward_sums(dz, x, ld, C, b, n, sum_dz, sum_dz_xhat);
  batchnorm_backward(act, dz, x, ld, C, b, n, gamma, sum_dz, sum_dz_xhat, m, dbias, dy_t, ldt);
}

static double mse(agd_real *y, const agd_real *target, size_t ld, size_t T, size_t b, const agd_real *bias,
                  double scale, agd_real *dbias, agd_real *dy_t, size_t ldt) {
  double loss = 0;
  const agd_real factor = (agd_real)(2 * scale / (double)T);
  for (size_t t = 0; t < T; t++) {
    for (size_t j = 0; j < b; j++) {
      const agd_real error = y[t * ld + j] + bias[t] - target[t * ld + j];
      loss += (double)error * (double)error;
      y[t * ld + j] = factor * error;
    }
  }
  finish_gradient(y, ld, T, b, dbias, dy_t, ldt);
  return T > 0 ? loss / (double)T : 0;
}

const agd_kernels agd_kernels_reference = AGD_KERNELS_SET("reference");
