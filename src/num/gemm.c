#include "allegrad/gemm.h"

#include <cblas.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#ifdef ALLEGRAD_LIBXSMM
#include <libxsmm.h>
#endif

#include "allegrad/status.h"

/* The three extents of C [rows, cols] = op(A) B, row-major, with `inner` the extent that is summed over. */
typedef struct extents {
  size_t rows, cols, inner;
} extents;

static extents extents_of(agd_product product, size_t in, size_t out, size_t batch) {
  switch (product) {
  case AGD_FORWARD:
    return (extents){out, batch, in};
  case AGD_BACKWARD_INPUT:
    return (extents){in, batch, out};
  case AGD_BACKWARD_KERNEL:
    return (extents){in, out, batch};
  }
  agd_bug(__FILE__, __LINE__, "no such product");
}

#ifdef ALLEGRAD_LIBXSMM
enum {
  WEIGHTS_MAX = 1 << 18, /* libxsmm does not pack: its operands should stay in a second-level cache of 1 MB */
  HALF = 8,              /* floats in half an AVX-512 register, all of an AVX2 one: what compiled code fills well */
  PIECE = 64             /* columns of C at a time, so that the panel of B stays in cache for all rows of C */
};
#endif

agd_gemm_library agd_gemm_rule(agd_product product, size_t in, size_t out, size_t batch) {
#ifdef ALLEGRAD_LIBXSMM
  const size_t columns = extents_of(product, in, out, batch).cols;
  if (columns > HALF && (out == 0 || in <= WEIGHTS_MAX / out)) return AGD_GEMM_LIBXSMM;
#else
  (void)product, (void)in, (void)out, (void)batch;
#endif
  return AGD_GEMM_OPENBLAS;
}

static int narrow(size_t extent) {
  AGD_REQUIRE(extent <= INT_MAX);
  return (int)extent;
}

#ifdef ALLEGRAD_LIBXSMM
/* libxsmm is column-major: a row-major C = op(A) B is its C^T = B^T op(A)^T, so A and B change places. NULL when it
 * cannot. */
static agd_compiled_product *compile(const agd_gemm *g, extents e, size_t columns) {
  const int m = narrow(columns), n = narrow(e.rows), k = narrow(e.inner);
  const int ld_first = narrow(g->ldb), ld_second = narrow(g->lda), ldc = narrow(g->ldc);
  const int flags = g->product == AGD_FORWARD ? LIBXSMM_GEMM_FLAG_TRANS_B : LIBXSMM_GEMM_FLAG_NONE;
  const float alpha = 1, beta = 0;
  const int prefetch = LIBXSMM_GEMM_PREFETCH_NONE;
  return libxsmm_smmdispatch(m, n, k, &ld_first, &ld_second, &ldc, &alpha, &beta, &flags, &prefetch);
}

static void plan_libxsmm(agd_gemm *g, extents e) {
  const size_t padded = (e.cols + HALF - 1) / HALF * HALF;
  const bool padding_is_ours = g->product != AGD_BACKWARD_KERNEL && padded <= g->ldb && padded <= g->ldc;
  g->columns = padding_is_ours ? padded : e.cols;
  const size_t pieces = g->columns / PIECE, rest = g->columns % PIECE;
  if (pieces > 0) g->compiled[0] = compile(g, e, PIECE);
  if (rest > 0) g->compiled[1] = compile(g, e, rest);
  if ((pieces == 0 || g->compiled[0] != NULL) && (rest == 0 || g->compiled[1] != NULL)) g->library = AGD_GEMM_LIBXSMM;
}

static void run_libxsmm(const agd_gemm *g, const float *a, const float *b, float *c) {
  size_t j = 0;
  for (; j + PIECE <= g->columns; j += PIECE) g->compiled[0](b + j, a, c + j);
  if (j < g->columns) g->compiled[1](b + j, a, c + j);
}
#endif

agd_gemm agd_gemm_plan_with(agd_gemm_library library, agd_product product, size_t in, size_t out, size_t batch,
                            size_t lda, size_t ldb, size_t ldc) {
  agd_gemm g = {.product = product,
                .in = in,
                .out = out,
                .batch = batch,
                .lda = lda,
                .ldb = ldb,
                .ldc = ldc,
                .library = AGD_GEMM_OPENBLAS};
  const size_t all[] = {in, out, batch, lda, ldb, ldc};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) narrow(all[i]);
#ifdef ALLEGRAD_LIBXSMM
  const extents e = extents_of(product, in, out, batch);
  if (library == AGD_GEMM_LIBXSMM && e.rows > 0 && e.cols > 0 && e.inner > 0) plan_libxsmm(&g, e);
#else
  (void)library;
#endif
  return g;
}

agd_gemm agd_gemm_plan(agd_product product, size_t in, size_t out, size_t batch, size_t lda, size_t ldb, size_t ldc) {
  return agd_gemm_plan_with(agd_gemm_rule(product, in, out, batch), product, in, out, batch, lda, ldb, ldc);
}

static void run_openblas(const agd_gemm *g, extents e, const agd_real *a, const agd_real *b, agd_real *c) {
#ifdef ALLEGRAD_DOUBLE
  cblas_dgemm(
#else
  cblas_sgemm(
#endif
      CblasRowMajor, g->product == AGD_FORWARD ? CblasTrans : CblasNoTrans, CblasNoTrans, (int)e.rows, (int)e.cols,
      (int)e.inner, 1, a, (int)g->lda, b, (int)g->ldb, 0, c, (int)g->ldc);
}

void agd_gemm_run(const agd_gemm *g, const agd_real *a, const agd_real *b, agd_real *c) {
  const extents e = extents_of(g->product, g->in, g->out, g->batch);
#ifdef ALLEGRAD_LIBXSMM
  if (g->library == AGD_GEMM_LIBXSMM) {
    run_libxsmm(g, a, b, c);
    return;
  }
#endif
  if (e.rows == 0 || e.cols == 0) return;
  if (e.inner == 0) {
    for (size_t i = 0; i < e.rows; i++) memset(c + i * g->ldc, 0, e.cols * sizeof *c);
    return;
  }
  run_openblas(g, e, a, b, c);
}

void agd_gemm_reference(const agd_gemm *g, const agd_real *a, const agd_real *b, agd_real *c) {
  const extents e = extents_of(g->product, g->in, g->out, g->batch);
  for (size_t i = 0; i < e.rows; i++) {
    for (size_t j = 0; j < e.cols; j++) {
      double sum = 0;
      for (size_t k = 0; k < e.inner; k++) {
        const agd_real a_ik = g->product == AGD_FORWARD ? a[k * g->lda + i] : a[i * g->lda + k];
        sum += (double)a_ik * (double)b[k * g->ldb + j];
      }
      c[i * g->ldc + j] = (agd_real)sum;
    }
  }
}

const char *agd_gemm_blas_kernel(void) { return openblas_get_corename(); }

const char *agd_gemm_describe(char *text, size_t size) {
  /* openblas_get_config() reads "OpenBLAS 0.3.21 NO_LAPACKE ...": name and version are its first two words. */
  char name[32] = "OpenBLAS", version[32] = "";
  sscanf(openblas_get_config(), "%31s %31s", name, version);
#ifdef ALLEGRAD_LIBXSMM
  snprintf(text, size, "%s %s (%s), libxsmm " LIBXSMM_VERSION " (%s)", name, version, openblas_get_corename(),
           libxsmm_get_target_arch());
#else
  snprintf(text, size, "%s %s (%s), no libxsmm", name, version, openblas_get_corename());
#endif
  return text;
}

void agd_gemm_set_threads(int threads) { openblas_set_num_threads(threads < 1 ? 1 : threads); }
