/* The tuned kernels, in GNU vector extensions. Each kernels_<isa>.c compiles this file for its instruction set, with
 * the widest vectors that it has.
 *
 * A block of features is taken through a whole kernel while it is in cache; within a block a row (one feature over the
 * batch) is taken chunk by chunk. A chunk is one cache line on every instruction set, and a sum over a row has one
 * accumulator for each position in the chunk, folded by halves at the end: so the order of summation, and with it every
 * bit, is the same for all instruction sets (the build forbids contraction to fused multiply-adds here). */
#include "kernels_plain.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

#ifdef ALLEGRAD_DOUBLE
#define REAL_BYTES 8
typedef int64_t lane_int;
#else
#define REAL_BYTES 4
typedef int32_t lane_int;
#endif

#define LANES (VECTOR_BYTES / REAL_BYTES)
#define WIDE_LANES (VECTOR_BYTES / 8)
#define CHUNK (64 / REAL_BYTES)    /* elements of a chunk */
#define PARTS (CHUNK / LANES)      /* vectors of a chunk */
#define WIDES (CHUNK / WIDE_LANES) /* vectors of a chunk's doubles */
#define WIDES_PER_PART (WIDES / PARTS)
#define BLOCK 16 /* features of a block: with 256 rows of float, 16 KB */

typedef agd_real vec __attribute__((vector_size(VECTOR_BYTES)));
typedef lane_int mask __attribute__((vector_size(VECTOR_BYTES))); /* all bits of a lane set, or none */
typedef double wide __attribute__((vector_size(VECTOR_BYTES)));
typedef int64_t wide_mask __attribute__((vector_size(VECTOR_BYTES)));
typedef double wides __attribute__((vector_size(WIDES_PER_PART * VECTOR_BYTES))); /* the doubles of a vec */

/* ---- vectors ---- */

INLINE vec load(const agd_real *p) {
  vec v;
  memcpy(&v, p, sizeof v);
  return v;
}

INLINE void store(agd_real *p, vec v) { memcpy(p, &v, sizeof v); }

INLINE vec spread(agd_real x) { return x - (vec){0}; }

INLINE vec where(mask m, vec v) { return (vec)((mask)v & m); }

/* ---- sums ---- */

/* A sum in the making is an array of WIDES vectors: an accumulator for each position in the chunk. */
INLINE void clear(wide sum[WIDES]) {
  for (size_t i = 0; i < WIDES; i++) sum[i] = (wide){0};
}

/* Vector i of a chunk's doubles without the positions from `count` on, which become +0 whatever they held. */
INLINE wide clip(wide w, size_t i, size_t count) {
  static const int64_t position[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  if (count == CHUNK) return w;
  wide_mask m;
  memcpy(&m, position + i * WIDE_LANES, sizeof m);
  return (wide)((wide_mask)w & (m < (int64_t)count));
}

INLINE void widen(vec v, wide out[WIDES_PER_PART]) {
  const wides w = __builtin_convertvector(v, wides);
  memcpy(out, &w, sizeof w);
}

/* Adds part p of a chunk whose first `count` positions count. */
INLINE void add(wide sum[WIDES], size_t p, size_t count, vec v) {
  wide w[WIDES_PER_PART];
  widen(v, w);
  for (size_t h = 0, i = p * WIDES_PER_PART; h < WIDES_PER_PART && i * WIDE_LANES < count; h++, i++)
    sum[i] += clip(w[h], i, count);
}

/* Adds v - center, in double, and its squares. */
INLINE void add_centred(wide sum[WIDES], wide squares[WIDES], size_t p, size_t count, vec v, double center) {
  wide w[WIDES_PER_PART];
  widen(v, w);
  for (size_t h = 0, i = p * WIDES_PER_PART; h < WIDES_PER_PART && i * WIDE_LANES < count; h++, i++) {
    const wide d = clip(w[h] - center, i, count);
    sum[i] += d;
    squares[i] += d * d;
  }
}

/* The accumulators folded by halves as long as they fill whole vectors. */
INLINE wide folded(wide sum[WIDES]) {
  for (size_t n = WIDES / 2; n > 0; n /= 2) {
    for (size_t i = 0; i < n; i++) sum[i] += sum[i + n];
  }
  return sum[0];
}

/* Folds by halves go on within vectors, two rows at a time: groups of 2, 4, 8 lanes of a and of b are halved, and a's
 * lanes are put before b's. */
#if VECTOR_BYTES == 64
#define FOLD_8(a, b)                                                                                                   \
  (__builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11) + __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15))
#define FOLD_4(a, b)                                                                                                   \
  (__builtin_shufflevector(a, b, 0, 1, 4, 5, 8, 9, 12, 13) + __builtin_shufflevector(a, b, 2, 3, 6, 7, 10, 11, 14, 15))
#define FOLD_2(a, b)                                                                                                   \
  (__builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14) + __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15))
#elif VECTOR_BYTES == 32
#define FOLD_4(a, b) (__builtin_shufflevector(a, b, 0, 1, 4, 5) + __builtin_shufflevector(a, b, 2, 3, 6, 7))
#define FOLD_2(a, b) (__builtin_shufflevector(a, b, 0, 2, 4, 6) + __builtin_shufflevector(a, b, 1, 3, 5, 7))
#else
#define FOLD_2(a, b) (__builtin_shufflevector(a, b, 0, 2) + __builtin_shufflevector(a, b, 1, 3))
#endif

INLINE wide totals(const wide row[WIDE_LANES]) {
#if VECTOR_BYTES == 64
  const wide ab = FOLD_8(row[0], row[1]), cd = FOLD_8(row[2], row[3]);
  const wide ef = FOLD_8(row[4], row[5]), gh = FOLD_8(row[6], row[7]);
  const wide abcd = FOLD_4(ab, cd), efgh = FOLD_4(ef, gh);
  return FOLD_2(abcd, efgh);
#elif VECTOR_BYTES == 32
  const wide ab = FOLD_4(row[0], row[1]), cd = FOLD_4(row[2], row[3]);
  return FOLD_2(ab, cd);
#else
  return FOLD_2(row[0], row[1]);
#endif
}

/* The sums of a block's rows in the making: out[i] becomes the sum of the lanes of row[i], i < n. */
typedef struct block_sums {
  wide row[BLOCK];
} block_sums;

INLINE void finish(block_sums *s, size_t n, double *out) {
  size_t i = 0;
  for (; i + WIDE_LANES <= n; i += WIDE_LANES) {
    const wide t = totals(s->row + i);
    memcpy(out + i, &t, sizeof t);
  }
  if (i == n) return;
  for (size_t k = n; k < i + WIDE_LANES; k++) s->row[k] = (wide){0};
  const wide t = totals(s->row + i);
  for (size_t k = 0; i + k < n; k++) out[i + k] = t[k];
}

/* ---- formulas ---- */

/* tanh or sigmoid */
INLINE agd_real smooth(agd_activation act, agd_real u) { return act == AGD_TANH ? tanh(u) : 1 / (1 + exp(-u)); }

INLINE vec activate(agd_activation act, vec u) {
  switch (act) {
  case AGD_LINEAR:
    return u;
  case AGD_RELU:
    return where(~(u < 0), u); /* a NaN stays one */
  case AGD_TANH:
  case AGD_SIGMOID:
    for (size_t i = 0; i < LANES; i++) u[i] = smooth(act, u[i]);
  }
  return u;
}

/* The same for one element; as a vector, or a compiler makes a branch of relu. */
INLINE agd_real activate_one(agd_activation act, agd_real u) {
  return act == AGD_LINEAR || act == AGD_RELU ? activate(act, spread(u))[0] : smooth(act, u);
}

/* dx act'(u) with act'(u) as a function of the output x = act(u). */
INLINE vec through(agd_activation act, vec dx, vec x) {
  switch (act) {
  case AGD_LINEAR:
    return dx;
  case AGD_RELU:
    return where(x > 0, dx);
  case AGD_TANH:
    return dx * (1 - x * x);
  case AGD_SIGMOID:
    return dx * (x * (1 - x));
  }
  return dx;
}

/* ---- rows: one feature over the batch ---- */

/* Runs the statement for every vector of a row of b elements: at element j, part p of a chunk of which `count`
 * positions count. The last, shorter chunk has its own copy, so that clipping costs the others nothing. */
#define FOR_PARTS(...)                                                                                                 \
  do {                                                                                                                 \
    size_t j = 0, count = CHUNK;                                                                                       \
    while (j + CHUNK <= b) {                                                                                           \
      for (size_t p = 0; p < PARTS; p++, j += LANES) __VA_ARGS__                                                       \
    }                                                                                                                  \
    count = b - j;                                                                                                     \
    for (size_t p = 0; count > 0 && p < PARTS; p++, j += LANES) __VA_ARGS__                                            \
  } while (0)

INLINE void row_bias_activation(agd_activation act, agd_real *x, size_t b, agd_real bias) {
  for (size_t j = 0; j < b; j += LANES) store(x + j, activate(act, load(x + j) + bias));
}

/* sum_j (x[j] - center) and sum_j (x[j] - center)^2 */
INLINE void row_moments(const agd_real *x, size_t b, double center, wide *sum, wide *squares) {
  wide s[WIDES], q[WIDES];
  clear(s);
  clear(q);
  FOR_PARTS({ add_centred(s, q, p, count, load(x + j), center); });
  *sum = folded(s);
  *squares = folded(q);
}

INLINE void row_bias_activation_moments(agd_activation act, agd_real *x, size_t b, agd_real bias, double center,
                                        wide *sum, wide *squares) {
  wide s[WIDES], q[WIDES];
  clear(s);
  clear(q);
  FOR_PARTS({
    const vec v = activate(act, load(x + j) + bias);
    store(x + j, v);
    add_centred(s, q, p, count, v, center);
  });
  *sum = folded(s);
  *squares = folded(q);
}

/* z = scale (x - center) + shift */
INLINE void row_normalize(const agd_real *x, size_t b, agd_real center, agd_real scale, agd_real shift, agd_real *z) {
  for (size_t j = 0; j < b; j += LANES) store(z + j, (load(x + j) - center) * scale + shift);
}

/* sum_j dz[j] and sum_j dz[j] (x[j] - center) */
INLINE void row_backward_sums(const agd_real *dz, const agd_real *x, size_t b, agd_real center, wide *sum_dz,
                              wide *sum_dz_x) {
  wide s[WIDES], s_x[WIDES];
  clear(s);
  clear(s_x);
  FOR_PARTS({
    const vec d = load(dz + j);
    add(s, p, count, d);
    add(s_x, p, count, d * (load(x + j) - center));
  });
  *sum_dz = folded(s);
  *sum_dz_x = folded(s_x);
}

/* dz becomes dy = scale (dz - shift - slope (x - center)) act'. */
INLINE void row_batchnorm_backward(agd_activation act, agd_real *dz, const agd_real *x, size_t b, agd_real center,
                                   agd_real scale, agd_real shift, agd_real slope) {
  for (size_t j = 0; j < b; j += LANES) {
    const vec v = load(x + j);
    store(dz + j, through(act, ((load(dz + j) - shift) - (v - center) * slope) * scale, v));
  }
}

INLINE void row_activation_backward(agd_activation act, agd_real *dx, const agd_real *x, size_t b) {
  for (size_t j = 0; j < b; j += LANES) store(dx + j, through(act, load(dx + j), load(x + j)));
}

/* y becomes the gradient factor (y + bias - target); returns the sum of (y + bias - target)^2. */
INLINE wide row_mse(agd_real *y, const agd_real *target, size_t b, agd_real bias, agd_real factor) {
  wide s[WIDES], q[WIDES];
  clear(s);
  clear(q);
  FOR_PARTS({
    const vec error = load(y + j) + bias - load(target + j);
    store(y + j, factor * error);
    add_centred(s, q, p, count, error, 0);
  });
  return folded(q);
}

/* ---- tiles: LANES x LANES ---- */

/* The lanes of two vectors by turns: those of their lower halves, and of their upper halves. */
#if LANES == 16
#define LOWER_BY_TURNS 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define UPPER_BY_TURNS 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif LANES == 8
#define LOWER_BY_TURNS 0, 8, 1, 9, 2, 10, 3, 11
#define UPPER_BY_TURNS 4, 12, 5, 13, 6, 14, 7, 15
#elif LANES == 4
#define LOWER_BY_TURNS 0, 4, 1, 5
#define UPPER_BY_TURNS 2, 6, 3, 7
#else
#define LOWER_BY_TURNS 0, 2
#define UPPER_BY_TURNS 1, 3
#endif

INLINE void riffle(vec r[LANES]) {
  vec t[LANES];
  for (size_t i = 0; i < LANES / 2; i++) {
    t[2 * i] = __builtin_shufflevector(r[i], r[i + LANES / 2], LOWER_BY_TURNS);
    t[2 * i + 1] = __builtin_shufflevector(r[i], r[i + LANES / 2], UPPER_BY_TURNS);
  }
  memcpy(r, t, sizeof t);
}

/* out[i,j] = in[j,i] for a tile of which the first `rows` rows of in and `rows_out` rows of out exist; adds in's
 * columns to sum, one after the other. out or sum may be NULL. The rows of a 2^k x 2^k matrix riffled k times are its
 * columns.
 */
INLINE void transpose_tile(const agd_real *in, size_t ldi, size_t rows, agd_real *out, size_t ldo, size_t rows_out,
                           wide sum[WIDES_PER_PART]) {
  vec r[LANES];
  for (size_t i = 0; i < LANES; i++) r[i] = i < rows ? load(in + i * ldi) : (vec){0};
  riffle(r);
  if (LANES > 2) riffle(r);
  if (LANES > 4) riffle(r);
  if (LANES > 8) riffle(r);
  for (size_t i = 0; i < LANES; i++) {
    if (i >= rows_out) break;
    if (out != NULL) store(out + i * ldo, r[i]);
    if (sum == NULL) continue;
    wide w[WIDES_PER_PART];
    widen(r[i], w);
    for (size_t h = 0; h < WIDES_PER_PART; h++) sum[h] += w[h];
  }
}

/* The same for LANES rows, or the last `rows`, of `cols` elements. Reads and writes whole vectors. */
INLINE void transpose_rows(const agd_real *in, size_t ldi, size_t rows, size_t cols, agd_real *out, size_t ldo,
                           wide sum[WIDES_PER_PART]) {
  for (size_t j = 0; j < cols; j += LANES) {
    agd_real *to = out != NULL ? out + j * ldo : NULL;
    if (rows >= LANES && j + LANES <= cols)
      transpose_tile(in + j, ldi, LANES, to, ldo, LANES, sum);
    else
      transpose_tile(in + j, ldi, rows, to, ldo, cols - j, sum);
  }
}

static void transpose(const agd_real *in, size_t ldi, size_t b, size_t C, agd_real *out, size_t ldo) {
  const size_t whole = C - C % LANES; /* in is not padded */
  for (size_t j = 0; j < b; j += LANES) transpose_rows(in + j * ldi, ldi, b - j, whole, out + j, ldo, NULL);
  for (size_t c = whole; c < C; c++) {
    for (size_t j = 0; j < b; j++) out[c * ldo + j] = in[j * ldi + c];
  }
}

/* x_t = x^T, unless it is NULL, and sums[c] = sum_j x[c,j] in order of j. */
INLINE void transpose_and_sum(const agd_real *x, size_t ld, size_t C, size_t b, agd_real *x_t, size_t ldt,
                              double *sums) {
  for (size_t c = 0; c < C; c += LANES) {
    wide sum[WIDES_PER_PART] = {{0}};
    transpose_rows(x + c * ld, ld, C - c, b, x_t != NULL ? x_t + c : NULL, ldt, sum);
    double lane[LANES];
    memcpy(lane, sum, sizeof lane);
    for (size_t i = 0; i < LANES && c + i < C; i++) sums[c + i] = lane[i];
  }
}

/* dy_t and dbias of a block of n features. */
static void finish_gradient(const agd_real *dy, size_t ld, size_t n, size_t b, agd_real *dbias, agd_real *dy_t,
                            size_t ldt) {
  double sums[BLOCK];
  transpose_and_sum(dy, ld, n, b, dy_t, ldt, sums);
  for (size_t i = 0; i < n; i++) dbias[i] = (agd_real)sums[i];
}

/* ---- the kernels: block by block of n features, the first of them c ---- */

INLINE size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

#define FOR_BLOCKS for (size_t c = 0, n; n = smaller(C - c, BLOCK), c < C; c += BLOCK)

/* Runs the statement with the literal activation A, so that the compiler makes a copy for each. */
#define CASE_ACTIVATION(name, ...)                                                                                     \
  case name: {                                                                                                         \
    const agd_activation A = name;                                                                                     \
    __VA_ARGS__                                                                                                        \
  } break;
#define FOR_ACTIVATION(act, ...)                                                                                       \
  do {                                                                                                                 \
    switch (act) {                                                                                                     \
      CASE_ACTIVATION(AGD_LINEAR, __VA_ARGS__)                                                                         \
      CASE_ACTIVATION(AGD_RELU, __VA_ARGS__)                                                                           \
      CASE_ACTIVATION(AGD_TANH, __VA_ARGS__)                                                                           \
      CASE_ACTIVATION(AGD_SIGMOID, __VA_ARGS__)                                                                        \
    }                                                                                                                  \
  } while (0)

static void bias_activation(agd_activation act, agd_real *x, size_t ld, size_t C, size_t b, const agd_real *bias) {
  FOR_ACTIVATION(act, {
    for (size_t c = 0; c < C; c++) row_bias_activation(A, x + c * ld, b, bias[c]);
  });
}

/* bias_activation (unless bias is NULL) and moments of one block; x, bias, mean and m2 start at the block. With d the
 * distance from a feature's first value, in double: mean = first + sum d / b and m2 = sum d^2 - (sum d)^2 / b. One d is
 * 0, so m2 is at least sum d^2 / b: cancellation costs no more than log10 b of sixteen digits, wherever the values lie.
 */
static void block_moments(agd_activation act, agd_real *x, size_t ld, size_t n, size_t b, const agd_real *bias,
                          double *restrict mean, double *restrict m2) {
  double first[BLOCK], sum[BLOCK];
  block_sums s, q;
  if (bias == NULL) {
    for (size_t i = 0; i < n; i++) {
      first[i] = b > 0 ? (double)x[i * ld] : 0;
      row_moments(x + i * ld, b, first[i], &s.row[i], &q.row[i]);
    }
  } else {
    FOR_ACTIVATION(act, {
      for (size_t i = 0; i < n; i++) {
        first[i] = b > 0 ? (double)activate_one(A, x[i * ld] + bias[i]) : 0;
        row_bias_activation_moments(A, x + i * ld, b, bias[i], first[i], &s.row[i], &q.row[i]);
      }
    });
  }
  finish(&s, n, sum);
  finish(&q, n, m2);
  for (size_t i = 0; i < n; i++) {
    const double mean_d = sum[i] / (b > 0 ? (double)b : 1);
    mean[i] = first[i] + mean_d;
    m2[i] -= sum[i] * mean_d;
  }
}

static void bias_activation_moments(agd_activation act, agd_real *x, size_t ld, size_t C, size_t b,
                                    const agd_real *bias, double *mean, double *m2) {
  FOR_BLOCKS block_moments(act, x + c * ld, ld, n, b, bias != NULL ? bias + c : NULL, mean + c, m2 + c);
}

static agd_normalization from(agd_normalization norm, size_t c) {
  return (agd_normalization){norm.mean_high + c, norm.mean_low + c, norm.inverse_sd + c};
}

/* Here and below x_hat = ((x - mean_high) - mean_low) inverse_sd is multiplied out, so that all that is the same for a
 * feature's rows is computed once; x - mean_high stays the first step. */
static void normalize(const agd_real *x, size_t ld, size_t C, size_t b, agd_normalization norm, const agd_real *gamma,
                      const agd_real *beta, agd_real *z, size_t ldz) {
  for (size_t c = 0; c < C; c++) {
    const agd_real scale = gamma[c] * norm.inverse_sd[c], shift = beta[c] - norm.mean_low[c] * scale;
    row_normalize(x + c * ld, b, norm.mean_high[c], scale, shift, z + c * ldz);
  }
}

static void batchnorm_forward(agd_activation act, agd_real *x, size_t ld, size_t C, size_t b, const agd_real *bias,
                              double epsilon, const agd_real *gamma, const agd_real *beta, double *mean,
                              double *variance, agd_normalization norm, agd_real *z, size_t ldz) {
  FOR_BLOCKS {
    block_moments(act, x + c * ld, ld, n, b, bias != NULL ? bias + c : NULL, mean + c, variance + c);
    for (size_t i = c; i < c + n; i++) variance[i] /= (double)b;
    normalization(n, mean + c, variance + c, epsilon, from(norm, c));
    normalize(x + c * ld, ld, n, b, from(norm, c), gamma + c, beta + c, z + c * ldz, ldz);
  }
}

static void batchnorm_backward_sums(const agd_real *dz, const agd_real *x, size_t ld, size_t C, size_t b,
                                    agd_normalization norm, double *sum_dz, double *sum_dz_xhat) {
  FOR_BLOCKS {
    block_sums s, s_x;
    for (size_t i = 0, k = c; i < n; i++, k++)
      row_backward_sums(dz + k * ld, x + k * ld, b, norm.mean_high[k], &s.row[i], &s_x.row[i]);
    finish(&s, n, sum_dz + c);
    finish(&s_x, n, sum_dz_xhat + c);
    for (size_t k = c; k < c + n; k++)
      sum_dz_xhat[k] = (sum_dz_xhat[k] - (double)norm.mean_low[k] * sum_dz[k]) * (double)norm.inverse_sd[k];
  }
}

static void batchnorm_backward(agd_activation act, agd_real *dz, const agd_real *x, size_t ld, size_t C, size_t b,
                               agd_normalization norm, const agd_real *gamma, const double *sum_dz,
                               const double *sum_dz_xhat, double m, agd_real *dbias, agd_real *dy_t, size_t ldt) {
  FOR_BLOCKS {
    agd_real scale[BLOCK], shift[BLOCK], slope[BLOCK];
    for (size_t i = 0, k = c; i < n; i++, k++) {
      const double slope_k = sum_dz_xhat[k] / m * (double)norm.inverse_sd[k];
      slope[i] = (agd_real)slope_k;
      shift[i] = (agd_real)(sum_dz[k] / m - slope_k * (double)norm.mean_low[k]);
      scale[i] = gamma[k] * norm.inverse_sd[k];
    }
    FOR_ACTIVATION(act, {
      for (size_t i = 0, k = c; i < n; i++, k++)
        row_batchnorm_backward(A, dz + k * ld, x + k * ld, b, norm.mean_high[k], scale[i], shift[i], slope[i]);
    });
    finish_gradient(dz + c * ld, ld, n, b, dbias + c, dy_t + c, ldt);
  }
}

static void activation_backward(agd_activation act, agd_real *dx, const agd_real *x, size_t ld, size_t C, size_t b,
                                agd_real *dbias, agd_real *dy_t, size_t ldt) {
  FOR_BLOCKS {
    FOR_ACTIVATION(act, {
      for (size_t k = c; k < c + n; k++) row_activation_backward(A, dx + k * ld, x + k * ld, b);
    });
    finish_gradient(dx + c * ld, ld, n, b, dbias + c, dy_t + c, ldt);
  }
}

static void batchnorm_backward_local(agd_activation act, agd_real *dz, const agd_real *x, size_t ld, size_t C, size_t b,
                                     agd_normalization norm, const agd_real *gamma, double *sum_dz, double *sum_dz_xhat,
                                     double m, agd_real *dbias, agd_real *dy_t, size_t ldt) {
  FOR_BLOCKS {
    batchnorm_backward_sums(dz + c * ld, x + c * ld, ld, n, b, from(norm, c), sum_dz + c, sum_dz_xhat + c);
    batchnorm_backward(act, dz + c * ld, x + c * ld, ld, n, b, from(norm, c), gamma + c, sum_dz + c, sum_dz_xhat + c, m,
                       dbias + c, dy_t + c, ldt);
  }
}

static double mse(agd_real *y, const agd_real *target, size_t ld, size_t C, size_t b, const agd_real *bias,
                  double scale, agd_real *dbias, agd_real *dy_t, size_t ldt) {
  const agd_real factor = (agd_real)(2 * scale / (double)C);
  double loss = 0;
  FOR_BLOCKS {
    double squares[BLOCK];
    block_sums q;
    for (size_t i = 0, k = c; i < n; i++, k++) q.row[i] = row_mse(y + k * ld, target + k * ld, b, bias[k], factor);
    finish(&q, n, squares);
    for (size_t i = 0; i < n; i++) loss += squares[i];
    finish_gradient(y + c * ld, ld, n, b, dbias + c, dy_t + c, ldt);
  }
  return loss / (double)C;
}
