/* The tuned kernels against their plain twins, the plain twins against their equations. Shapes run over all remainders
 * of the vector widths; padding columns hold NaN; arrays of C elements are not aligned. */
#include "cmocka_all.h"

#include "allegrad/kernels.h"
#include "allegrad/matrix.h"
#include "allegrad/memory.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#ifdef ALLEGRAD_DOUBLE
static const double EPSILON = DBL_EPSILON;
#else
static const double EPSILON = FLT_EPSILON;
#endif

static const char *const TUNED[] = {"baseline", "avx2", "avx512"};
enum { TUNED_COUNT = sizeof TUNED / sizeof *TUNED };

/* ---- what a kernel reads and writes ---- */

typedef struct shape {
  size_t C, b, ld, ldt;
} shape;

static shape shape_of(size_t C, size_t b) { return (shape){C, b, agd_padded_ld(b), agd_padded_ld(C)}; }

static void *allocate(size_t count, size_t size) {
  void *memory = NULL;
  assert_int_equal(agd_allocate(count, size, "a test", &memory, NULL), AGD_OK);
  return memory;
}

/* [rows, cols] of offset + scale * U(-1, 1), NaN in the padding. */
static agd_real *matrix(size_t rows, size_t cols, size_t ld, uint64_t stream, double offset, double scale) {
  agd_real *m = allocate(rows * ld, sizeof *m);
  for (size_t i = 0; i < rows * ld; i++) {
    const uint64_t bits = (stream * 1000003 + i + 1) * 0x9e3779b97f4a7c15; /* cheap, and well enough spread */
    const double u = (double)(bits >> 11) * 0x1p-52 - 1;
    m[i] = i % ld < cols ? (agd_real)(offset + scale * u) : (agd_real)NAN;
  }
  return m;
}

/* All arguments of all kernels for one shape, and all that they write. Those of C elements start one element behind a
 * cache line. */
typedef struct arguments {
  shape s;
  agd_real *x, *z, *dz, *target, *dy_t, *rows, *columns; /* matrices */
  agd_real *vectors;                                     /* of C elements: */
  agd_real *bias, *gamma, *beta, *dbias;
  agd_normalization norm;
  double *sums; /* of C elements: */
  double *mean, *m2, *sum_dz, *sum_dz_xhat;
  double loss;
} arguments;

static arguments arguments_create(shape s) {
  arguments a = {.s = s};
  const size_t C = s.C;
  a.x = matrix(C, s.b, s.ld, 1, 0.3, 1);
  a.z = matrix(C, 0, s.ld, 0, 0, 0);
  a.dz = matrix(C, s.b, s.ld, 2, -0.1, 1);
  a.target = matrix(C, s.b, s.ld, 3, 0, 1);
  a.dy_t = matrix(s.b, 0, s.ldt, 0, 0, 0);
  a.rows = matrix(s.b, C, C, 4, 0, 1); /* as a data set: rows without padding */
  a.columns = matrix(C, 0, s.ld, 0, 0, 0);
  a.vectors = matrix(1, 7 * C + 1, 7 * C + 1, 5, 0.2, 0.7);
  agd_real *v = a.vectors + 1;
  a.bias = v, a.gamma = v + C, a.beta = v + 2 * C, a.dbias = v + 3 * C;
  a.norm = (agd_normalization){v + 4 * C, v + 5 * C, v + 6 * C};
  a.sums = allocate(4 * C, sizeof *a.sums);
  for (size_t i = 0; i < 4 * C; i++) a.sums[i] = NAN;
  a.mean = a.sums, a.m2 = a.sums + C, a.sum_dz = a.sums + 2 * C, a.sum_dz_xhat = a.sums + 3 * C;
  return a;
}

static void arguments_clear(arguments *a) {
  agd_real **matrices[] = {&a->x, &a->z, &a->dz, &a->target, &a->dy_t, &a->rows, &a->columns, &a->vectors};
  for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++) agd_release(matrices[i]);
  agd_release(&a->sums);
}

/* ---- the kernels, each as a step of its own on fresh arguments ---- */

typedef void kernel_call(const agd_kernels *k, agd_activation act, arguments *a);

static void call_bias_activation(const agd_kernels *k, agd_activation act, arguments *a) {
  k->bias_activation(act, a->x, a->s.ld, a->s.C, a->s.b, a->bias);
}

static void call_moments(const agd_kernels *k, agd_activation act, arguments *a) {
  k->bias_activation_moments(act, a->x, a->s.ld, a->s.C, a->s.b, NULL, a->mean, a->m2);
}

static void call_bias_activation_moments(const agd_kernels *k, agd_activation act, arguments *a) {
  k->bias_activation_moments(act, a->x, a->s.ld, a->s.C, a->s.b, a->bias, a->mean, a->m2);
}

static void call_normalize(const agd_kernels *k, agd_activation act, arguments *a) {
  (void)act;
  k->normalize(a->x, a->s.ld, a->s.C, a->s.b, a->norm, a->gamma, a->beta, a->z, a->s.ld);
}

static void call_normalize_in_place(const agd_kernels *k, agd_activation act, arguments *a) {
  (void)act;
  k->normalize(a->x, a->s.ld, a->s.C, a->s.b, a->norm, a->gamma, a->beta, a->x, a->s.ld);
}

static void call_batchnorm_forward(const agd_kernels *k, agd_activation act, arguments *a) {
  if (a->s.b == 0) return;
  k->batchnorm_forward(act, a->x, a->s.ld, a->s.C, a->s.b, a->bias, 1e-3, a->gamma, a->beta, a->mean, a->m2, a->norm,
                       a->z, a->s.ld);
}

static void call_batchnorm_backward_sums(const agd_kernels *k, agd_activation act, arguments *a) {
  (void)act;
  k->batchnorm_backward_sums(a->dz, a->x, a->s.ld, a->s.C, a->s.b, a->norm, a->sum_dz, a->sum_dz_xhat);
}

static void call_batchnorm_backward(const agd_kernels *k, agd_activation act, arguments *a) {
  for (size_t c = 0; c < 2 * a->s.C; c++) a->sum_dz[c] = 0.1 * (double)c - 0.4; /* other ranks have rows too */
  k->batchnorm_backward(act, a->dz, a->x, a->s.ld, a->s.C, a->s.b, a->norm, a->gamma, a->sum_dz, a->sum_dz_xhat,
                        (double)a->s.b + 5, a->dbias, a->dy_t, a->s.ldt);
}

static void call_activation_backward(const agd_kernels *k, agd_activation act, arguments *a) {
  k->activation_backward(act, a->dz, a->x, a->s.ld, a->s.C, a->s.b, a->dbias, a->dy_t, a->s.ldt);
}

static void call_batchnorm_backward_local(const agd_kernels *k, agd_activation act, arguments *a) {
  if (a->s.b == 0) return;
  k->batchnorm_backward_local(act, a->dz, a->x, a->s.ld, a->s.C, a->s.b, a->norm, a->gamma, a->sum_dz, a->sum_dz_xhat,
                              (double)a->s.b, a->dbias, a->dy_t, a->s.ldt);
}

static void call_mse(const agd_kernels *k, agd_activation act, arguments *a) {
  (void)act;
  a->loss = k->mse(a->dz, a->target, a->s.ld, a->s.C, a->s.b, a->bias, 1 / 37.0, a->dbias, a->dy_t, a->s.ldt);
}

/* The sums of dy^T's columns are those that a bias gradient is rounded from, to the bit. */
static void call_column_sums(const agd_kernels *k, agd_activation act, arguments *a) {
  k->activation_backward(act, a->dz, a->x, a->s.ld, a->s.C, a->s.b, a->dbias, a->dy_t, a->s.ldt);
  k->column_sums(a->dy_t, a->s.ldt, a->s.b, a->s.C, a->sum_dz);
  for (size_t c = 0; c < a->s.C; c++) assert_true((agd_real)a->sum_dz[c] == a->dbias[c]);
}

static void call_dropout(const agd_kernels *k, agd_activation act, arguments *a) {
  k->dropout(a->x, a->s.ld, a->s.C, a->s.b, (agd_mask){.key = 77, .first_row = 5, .rate = 0.2 * (double)act});
}

static void call_transpose(const agd_kernels *k, agd_activation act, arguments *a) {
  (void)act;
  k->transpose(a->rows, a->s.C, a->s.b, a->s.C, a->columns, a->s.ld);
}

/* The element-wise kernels take the arguments as flat arrays. */
static void call_normalization(const agd_kernels *k, agd_activation act, arguments *a) {
  (void)act;
  for (size_t c = 0; c < a->s.C; c++) a->mean[c] = 1e3 + (double)a->bias[c], a->m2[c] = (double)c / 7;
  k->normalization(a->s.C, a->mean, a->m2, 1e-3, a->norm);
}

static void call_sum_squares(const agd_kernels *k, agd_activation act, arguments *a) {
  double plain = 0;
  a->sum_dz[0] = k->sum_squares(a->s.C, a->bias);
  for (size_t c = 0; c < a->s.C; c++) plain += (double)a->bias[c] * (double)a->bias[c];
  assert_true(fabs(a->sum_dz[0] - plain) <= 1e-14 * plain);
  (void)act;
}

static void call_decay(const agd_kernels *k, agd_activation act, arguments *a) {
  agd_real before = a->bias[0];
  (void)act;
  k->decay(a->s.C, a->bias, (agd_real)0.25);
  assert_true(a->bias[0] == before - (agd_real)0.25 * before);
}

static void call_sgd(const agd_kernels *k, agd_activation act, arguments *a) {
  (void)act;
  k->sgd(a->s.C, a->bias, a->gamma, (agd_real)0.01);
}

static void call_sgd_momentum(const agd_kernels *k, agd_activation act, arguments *a) {
  k->sgd_momentum(a->s.C, a->bias, a->gamma, a->beta, (agd_real)0.01, (agd_real)0.9, act == AGD_RELU);
}

static void call_adam(const agd_kernels *k, agd_activation act, arguments *a) {
  (void)act;
  for (size_t c = 0; c < a->s.C; c++) a->dbias[c] = (agd_real)fabs((double)a->dbias[c]);
  k->adam(a->s.C, a->bias, a->gamma, a->beta, a->dbias, (agd_real)0.002, (agd_real)0.1, (agd_real)0.001,
          (agd_real)1e-7);
}

static const struct {
  const char *name;
  kernel_call *call;
} CALLS[] = {{"bias_activation", call_bias_activation},
             {"moments", call_moments},
             {"bias_activation_moments", call_bias_activation_moments},
             {"normalize", call_normalize},
             {"normalize in place", call_normalize_in_place},
             {"batchnorm_forward", call_batchnorm_forward},
             {"batchnorm_backward_sums", call_batchnorm_backward_sums},
             {"batchnorm_backward", call_batchnorm_backward},
             {"activation_backward", call_activation_backward},
             {"batchnorm_backward_local", call_batchnorm_backward_local},
             {"mse", call_mse},
             {"column_sums", call_column_sums},
             {"dropout", call_dropout},
             {"transpose", call_transpose},
             {"normalization", call_normalization},
             {"sum_squares", call_sum_squares},
             {"decay", call_decay},
             {"sgd", call_sgd},
             {"sgd_momentum", call_sgd_momentum},
             {"adam", call_adam}};
enum { CALL_COUNT = sizeof CALLS / sizeof *CALLS };

/* ---- comparison ---- */

/* Equal within `tolerance` times max(1, |b|); both may be NaN (what a kernel does not write). */
static bool close_to(double a, double b, double tolerance) {
  if (isnan(a) || isnan(b)) return isnan(a) && isnan(b);
  return fabs(a - b) <= tolerance * fmax(1, fabs(b));
}

static bool matrices_agree(const agd_real *a, const agd_real *b, size_t rows, size_t cols, size_t ld,
                           double tolerance) {
  for (size_t i = 0; i < rows; i++) {
    for (size_t j = 0; j < cols; j++) {
      if (!close_to((double)a[i * ld + j], (double)b[i * ld + j], tolerance)) return false;
    }
  }
  return true;
}

/* Everything that counts in a equals everything in b; tolerance 0 means to the bit. */
static bool arguments_agree(const arguments *a, const arguments *b, double tolerance) {
  const size_t C = a->s.C, rows = a->s.b, ld = a->s.ld;
  bool same =
      matrices_agree(a->x, b->x, C, rows, ld, tolerance) && matrices_agree(a->z, b->z, C, rows, ld, tolerance) &&
      matrices_agree(a->dz, b->dz, C, rows, ld, tolerance) && matrices_agree(a->columns, b->columns, C, rows, ld, 0) &&
      matrices_agree(a->dy_t, b->dy_t, rows, C, a->s.ldt, tolerance) &&
      matrices_agree(a->vectors, b->vectors, 1, 7 * C + 1, 1, tolerance * (double)(rows + 1)) &&
      close_to(a->loss, b->loss, tolerance * (double)(rows * C + 1));
  for (size_t i = 0; i < 4 * C; i++) same = same && close_to(a->sums[i], b->sums[i], tolerance * (double)(rows + 1));
  return same;
}

static void check_call(size_t call, agd_activation act, shape s) {
  const double tolerance = 16 * EPSILON + (double)s.b * 4 * DBL_EPSILON; /* of an element, and of a sum in double */
  arguments expected = arguments_create(s), first = {0};
  CALLS[call].call(agd_kernels_named("reference"), act, &expected);
  for (int t = 0; t < TUNED_COUNT; t++) {
    const agd_kernels *k = agd_kernels_named(TUNED[t]);
    if (k == NULL) continue; /* not of this CPU */
    arguments a = arguments_create(s);
    CALLS[call].call(k, act, &a);
    if (!arguments_agree(&a, &expected, tolerance))
      fail_msg("%s of %s, activation %d, C %zu, b %zu: not as the reference", CALLS[call].name, k->isa, (int)act, s.C,
               s.b);
    if (first.x == NULL) {
      first = a;
      continue;
    }
    if (!arguments_agree(&a, &first, 0))
      fail_msg("%s of %s, activation %d, C %zu, b %zu: other bits than %s", CALLS[call].name, k->isa, (int)act, s.C,
               s.b, TUNED[0]);
    arguments_clear(&a);
  }
  arguments_clear(&first);
  arguments_clear(&expected);
}

static void tuned_kernels_equal_their_twins(void **state) {
  (void)state;
  const size_t widths[] = {1, 7, 16, 21, 70}, rows[] = {1, 8, 31, 64, 256};
  for (size_t call = 0; call < CALL_COUNT; call++) {
    for (size_t i = 0; i < 5; i++) {
      for (size_t b = 0; b <= 70; b++) check_call(call, AGD_RELU, shape_of(widths[i], b));
      for (size_t C = 1; C <= 70; C++) check_call(call, AGD_RELU, shape_of(C, rows[i]));
      for (int act = AGD_LINEAR; act <= AGD_SIGMOID; act++)
        for (size_t j = 0; j < 5; j++) check_call(call, (agd_activation)act, shape_of(widths[i], rows[j]));
    }
  }
}

/* ---- the reference kernels against their equations ---- */

static const agd_kernels *reference(void) { return agd_kernels_named("reference"); }

/* L = sum_cj w[c,j] z[c,j] with z = BN(act(u + bias)); scratch is overwritten with the arguments of the pass. */
static double weighted_output(agd_activation act, const arguments *at, const agd_real *w, arguments *scratch) {
  const shape s = at->s;
  memcpy(scratch->x, at->x, s.C * s.ld * sizeof *at->x);
  memcpy(scratch->vectors, at->vectors, (7 * s.C + 1) * sizeof *at->vectors);
  call_batchnorm_forward(reference(), act, scratch);
  double sum = 0;
  for (size_t i = 0; i < s.C * s.ld; i++) {
    if (i % s.ld < s.b) sum += (double)w[i] * (double)scratch->z[i];
  }
  return sum;
}

/* (L(v + h) - L(v - h)) / 2h for one of the arguments. */
static double slope(agd_activation act, arguments *at, agd_real *v, double h, const agd_real *w, arguments *scratch) {
  const agd_real before = *v;
  *v = before + (agd_real)h;
  const double above = weighted_output(act, at, w, scratch), v_above = (double)*v;
  *v = before - (agd_real)h;
  const double below = weighted_output(act, at, w, scratch), v_below = (double)*v;
  *v = before;
  return (above - below) / (v_above - v_below);
}

static void the_backward_pass_is_the_derivative_of_the_forward_pass(void **state) {
  (void)state;
  const double h = cbrt(EPSILON), tolerance = 2000 * h * h;
  for (int act = AGD_LINEAR; act <= AGD_SIGMOID; act++) {
    const shape s = shape_of(3, 9);
    arguments at = arguments_create(s), pass = arguments_create(s), scratch = arguments_create(s);
    const agd_real *w = at.dz;
    weighted_output((agd_activation)act, &at, w, &pass);
    call_batchnorm_backward_local(reference(), (agd_activation)act, &pass);
    for (size_t c = 0; c < s.C; c++) {
      for (size_t j = 0; j < s.b; j++) {
        const size_t i = c * s.ld + j;
        if (act == AGD_RELU && fabs((double)at.x[i] + (double)at.bias[c]) < 2 * h) continue; /* the kink */
        const double expected = slope((agd_activation)act, &at, &at.x[i], h, w, &scratch);
        assert_true(close_to((double)pass.dz[i], expected, tolerance));
        assert_true(pass.dy_t[j * s.ldt + c] == pass.dz[i]);
      }
      assert_true(close_to(pass.sum_dz[c], slope((agd_activation)act, &at, &at.beta[c], h, w, &scratch), tolerance));
      assert_true(
          close_to(pass.sum_dz_xhat[c], slope((agd_activation)act, &at, &at.gamma[c], h, w, &scratch), tolerance));
      if (act != AGD_RELU)
        assert_true(
            close_to((double)pass.dbias[c], slope((agd_activation)act, &at, &at.bias[c], h, w, &scratch), tolerance));
    }
    arguments_clear(&at), arguments_clear(&pass), arguments_clear(&scratch);
  }
}

/* Sums over a part of the batch and the count of all of it: two halves give what the whole gives. */
static void the_backward_pass_of_a_split_batch_is_that_of_the_whole(void **state) {
  (void)state;
  const shape s = shape_of(5, 40);
  const size_t first = 16; /* a whole cache line, for float and for double */
  arguments whole = arguments_create(s), split = arguments_create(s);
  call_batchnorm_backward_local(reference(), AGD_RELU, &whole);
  const size_t begin[2] = {0, first}, rows[2] = {first, s.b - first};
  double sums[2][5] = {{0}}, part[2][5];
  for (int r = 0; r < 2; r++) {
    reference()->batchnorm_backward_sums(split.dz + begin[r], split.x + begin[r], s.ld, s.C, rows[r], split.norm,
                                         part[0], part[1]);
    for (size_t c = 0; c < s.C; c++) sums[0][c] += part[0][c], sums[1][c] += part[1][c];
  }
  double dbias[5] = {0};
  for (int r = 0; r < 2; r++) {
    reference()->batchnorm_backward(AGD_RELU, split.dz + begin[r], split.x + begin[r], s.ld, s.C, rows[r], split.norm,
                                    split.gamma, sums[0], sums[1], (double)s.b, split.dbias,
                                    split.dy_t + begin[r] * s.ldt, s.ldt);
    for (size_t c = 0; c < s.C; c++) dbias[c] += (double)split.dbias[c];
  }
  assert_true(matrices_agree(split.dz, whole.dz, s.C, s.b, s.ld, 4 * EPSILON));
  assert_true(matrices_agree(split.dy_t, whole.dy_t, s.b, s.C, s.ldt, 4 * EPSILON));
  for (size_t c = 0; c < s.C; c++) assert_true(close_to(dbias[c], (double)whole.dbias[c], 40 * EPSILON));
  arguments_clear(&whole), arguments_clear(&split);
}

/* Features far from zero: mean and M2 to the last digits of a double, and x_hat to those of a real. */
static void statistics_are_centred(void **state) {
  (void)state;
  const shape s = shape_of(1, 200);
  for (double offset = 1; offset < 1e6; offset *= 10) {
    arguments a = arguments_create(s);
    agd_release(&a.x);
    a.x = matrix(1, s.b, s.ld, 9, offset, 1);
    long double mean = 0, m2 = 0;
    for (size_t j = 0; j < s.b; j++) mean += (long double)a.x[j] / (long double)s.b;
    for (size_t j = 0; j < s.b; j++) m2 += ((long double)a.x[j] - mean) * ((long double)a.x[j] - mean);
    call_moments(reference(), AGD_LINEAR, &a);
    assert_true(fabsl((long double)a.mean[0] - mean) <= 1e-14L * mean);
    assert_true(fabsl((long double)a.m2[0] - m2) <= 1e-9L * m2);
    a.m2[0] /= (double)s.b;
    reference()->normalization(1, a.mean, a.m2, 0, a.norm);
    a.gamma[0] = 1, a.beta[0] = 0;
    call_normalize(reference(), AGD_LINEAR, &a);
    for (size_t j = 0; j < s.b; j++) {
      const long double x_hat = ((long double)a.x[j] - mean) / sqrtl(m2 / (long double)s.b);
      assert_true(fabsl((long double)a.z[j] - x_hat) <= (8 * EPSILON + 2e-14 * offset) * fmaxl(1, fabsl(x_hat)));
    }
    arguments_clear(&a);
  }
}

static void no_rows_and_one_row(void **state) {
  (void)state;
  arguments none = arguments_create(shape_of(3, 0)), one = arguments_create(shape_of(3, 1));
  call_bias_activation_moments(reference(), AGD_RELU, &none);
  call_batchnorm_forward(reference(), AGD_RELU, &one);
  for (size_t c = 0; c < 3; c++) {
    assert_true(none.mean[c] == 0 && none.m2[c] == 0);
    assert_true(one.z[c * one.s.ld] == one.beta[c]);
  }
  arguments_clear(&none), arguments_clear(&one);
}

static void the_loss_and_its_gradient(void **state) {
  (void)state;
  const shape s = shape_of(2, 5);
  arguments a = arguments_create(s), before = arguments_create(s);
  call_mse(reference(), AGD_LINEAR, &a);
  double loss = 0;
  for (size_t t = 0; t < s.C; t++) {
    double dbias = 0;
    for (size_t j = 0; j < s.b; j++) {
      const size_t i = t * s.ld + j;
      const double error = (double)before.dz[i] + (double)before.bias[t] - (double)before.target[i];
      loss += error * error / (double)s.C;
      dbias += 2 * error / (double)s.C / 37;
      assert_true(close_to((double)a.dz[i], 2 * error / (double)s.C / 37, 4 * EPSILON));
      assert_true(a.dy_t[j * s.ldt + t] == a.dz[i]);
    }
    assert_true(close_to((double)a.dbias[t], dbias, 4 * EPSILON));
  }
  assert_true(close_to(a.loss, loss, 8 * EPSILON));
  arguments_clear(&a), arguments_clear(&before);
}

/* tanh and sigmoid to four units in the last place over their range, of every set; relu lets a NaN through. */
static void activations_are_accurate(void **state) {
  (void)state;
  const char *const sets[] = {"reference", "baseline", "avx2", "avx512"};
  enum { N = 4096 };
  for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
    const agd_kernels *k = agd_kernels_named(sets[i]);
    if (k == NULL) continue;
    agd_real *x = matrix(3, N, N, 11, 0, 25);
    const agd_real zero[3] = {0};
    agd_real *u = matrix(3, N, N, 11, 0, 25);
    x[2 * N] = (agd_real)NAN;
    k->bias_activation(AGD_TANH, x, N, 1, N, zero);
    k->bias_activation(AGD_SIGMOID, x + N, N, 1, N, zero);
    k->bias_activation(AGD_RELU, x + 2 * N, N, 1, N, zero);
    assert_true(isnan(x[2 * N]));
    for (size_t j = 0; j < N; j++) {
      const long double th = tanhl((long double)u[j]), sg = 1 / (1 + expl(-(long double)u[N + j]));
      assert_true(fabsl((long double)x[j] - th) <= 4 * EPSILON * fabsl(th));
      assert_true(fabsl((long double)x[N + j] - sg) <= 4 * EPSILON * sg);
      assert_true(j == 0 || x[2 * N + j] == (u[2 * N + j] > 0 ? u[2 * N + j] : 0));
    }
    agd_release(&x), agd_release(&u);
  }
}

static void updates_follow_their_formulas(void **state) {
  (void)state;
  const shape s = shape_of(29, 0);
  arguments before = arguments_create(s), sgd = arguments_create(s), heavy = arguments_create(s),
            nesterov = arguments_create(s), adam = arguments_create(s);
  call_sgd(reference(), AGD_LINEAR, &sgd);
  call_sgd_momentum(reference(), AGD_LINEAR, &heavy);
  call_sgd_momentum(reference(), AGD_RELU, &nesterov);
  call_adam(reference(), AGD_LINEAR, &adam);
  for (size_t i = 0; i < s.C; i++) {
    const double w = (double)before.bias[i], g = (double)before.gamma[i], slot = (double)before.beta[i];
    const double v = 0.9 * slot - 0.01 * g;
    assert_true(close_to((double)sgd.bias[i], w - 0.01 * g, 2 * EPSILON));
    assert_true(close_to((double)heavy.beta[i], v, 2 * EPSILON));
    assert_true(close_to((double)heavy.bias[i], w + v, 2 * EPSILON));
    assert_true(close_to((double)nesterov.beta[i], v, 2 * EPSILON));
    assert_true(close_to((double)nesterov.bias[i], w + 0.9 * v - 0.01 * g, 2 * EPSILON));
    const double m1 = 0.9 * slot + 0.1 * g, v1 = 0.999 * fabs((double)before.dbias[i]) + 0.001 * g * g;
    assert_true(close_to((double)adam.beta[i], m1, 2 * EPSILON));
    assert_true(close_to((double)adam.dbias[i], v1, 2 * EPSILON));
    assert_true(close_to((double)adam.bias[i], w - 0.002 * m1 / (sqrt(v1) + 1e-7), 4 * EPSILON));
  }
  arguments *all[] = {&before, &sgd, &heavy, &nesterov, &adam};
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) arguments_clear(all[i]);
}

/* However an update is sliced, the bits are the same. */
static void updates_can_be_sliced(void **state) {
  (void)state;
  enum { N = 203 };
  const agd_kernels *k = agd_kernels_select();
  arguments whole = arguments_create(shape_of(N, 0)), sliced = arguments_create(shape_of(N, 0));
  call_adam(k, AGD_LINEAR, &whole);
  for (size_t i = 0; i < N; i++) sliced.dbias[i] = (agd_real)fabs((double)sliced.dbias[i]);
  for (size_t first = 0, count; first < N; first += count) {
    count = first + 17 < N ? 17 : N - first;
    k->adam(count, sliced.bias + first, sliced.gamma + first, sliced.beta + first, sliced.dbias + first,
            (agd_real)0.002, (agd_real)0.1, (agd_real)0.001, (agd_real)1e-7);
  }
  assert_memory_equal(whole.vectors, sliced.vectors, (7 * N + 1) * sizeof *whole.vectors);
  arguments_clear(&whole), arguments_clear(&sliced);
}

/* As many as asked for are dropped, in every row and column alike; the others are scaled; and a mask goes by row of the
 * batch, not by who holds it. */
static void dropout_is_a_fair_draw(void **state) {
  (void)state;
  enum { C = 64, B = 256 };
  const agd_kernels *k = agd_kernels_select();
  static agd_real x[C * B], part[C * B], other[C * B];
  const double rates[] = {0, 0.1, 0.5, 0.9};
  for (size_t r = 0; r < sizeof rates / sizeof *rates; r++) {
    const double rate = rates[r], sd = sqrt(rate * (1 - rate));
    agd_mask mask = {.key = 0x123456789abcdefU + r, .rate = rate};
    size_t dropped = 0, in_row[B] = {0}, differing = 0;
    for (size_t i = 0; i < (size_t)C * B; i++) x[i] = part[i] = other[i] = 1;
    k->dropout(x, B, C, B, mask);
    for (size_t c = 0; c < C; c++) {
      size_t in_feature = 0;
      for (size_t j = 0; j < B; j++) {
        const agd_real value = x[c * B + j];
        assert_true(value == 0 || value == (agd_real)(1 / (1 - rate)));
        in_feature += value == 0, in_row[j] += value == 0;
      }
      dropped += in_feature;
      assert_true(fabs((double)in_feature - rate * B) <= 5 * sd * sqrt(B));
    }
    for (size_t j = 0; j < B; j++) assert_true(fabs((double)in_row[j] - rate * C) <= 5 * sd * sqrt(C));
    assert_true(fabs((double)dropped - rate * C * B) <= 4 * sd * sqrt(C * B));
    for (size_t first = 0; first < B; first += 32) { /* eight ranks */
      mask.first_row = first;
      k->dropout(part + first, B, C, 32, mask);
    }
    assert_memory_equal(x, part, sizeof x);
    mask.key++, mask.first_row = 0;
    k->dropout(other, B, C, B, mask);
    for (size_t i = 0; i < (size_t)C * B; i++) differing += x[i] != other[i];
    assert_true(fabs((double)differing - 2 * sd * sd * C * B) <= 6 * sd * sqrt(C * B));
  }
}

static void a_set_is_chosen_by_cpu_and_environment(void **state) {
  (void)state;
  assert_int_equal(unsetenv("ALLEGRAD_ISA"), 0);
  const agd_kernels *best = agd_kernels_select();
  assert_string_not_equal(best->isa, "reference");
  assert_ptr_equal(agd_kernels_named(best->isa), best);
  assert_null(agd_kernels_named("mmx"));
  assert_int_equal(setenv("ALLEGRAD_ISA", "baseline", 1), 0);
  assert_string_equal(agd_kernels_select()->isa, "baseline");
  assert_int_equal(setenv("ALLEGRAD_ISA", "mmx", 1), 0);
  assert_ptr_equal(agd_kernels_select(), best);
  assert_int_equal(unsetenv("ALLEGRAD_ISA"), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(tuned_kernels_equal_their_twins),
      cmocka_unit_test(the_backward_pass_is_the_derivative_of_the_forward_pass),
      cmocka_unit_test(the_backward_pass_of_a_split_batch_is_that_of_the_whole),
      cmocka_unit_test(statistics_are_centred),
      cmocka_unit_test(no_rows_and_one_row),
      cmocka_unit_test(the_loss_and_its_gradient),
      cmocka_unit_test(activations_are_accurate),
      cmocka_unit_test(updates_follow_their_formulas),
      cmocka_unit_test(updates_can_be_sliced),
      cmocka_unit_test(dropout_is_a_fair_draw),
      cmocka_unit_test(a_set_is_chosen_by_cpu_and_environment),
  };
  return cmocka_run_group_tests_name("kernels", tests, NULL, NULL);
}
