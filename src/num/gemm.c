#include "allegrad/gemm.h"

#include <cblas.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "allegrad/kernels.h"
#include "allegrad/status.h"
#include "product_set.h"

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

/* Our kernel streams W once for every two vectors of columns: free as long as W stays in a core's second-level cache of
 * 1 MB; beyond, OpenBLAS' blocking wins. */
enum { CACHED_WEIGHTS = 1 << 18 };

agd_gemm_library agd_gemm_rule(agd_product product, size_t in, size_t out, size_t batch) {
  (void)product, (void)batch;
  return in * out <= CACHED_WEIGHTS ? AGD_GEMM_OWN : AGD_GEMM_OPENBLAS;
}

static int narrow(size_t extent) {
  AGD_REQUIRE(extent <= INT_MAX);
  return (int)extent;
}

static agd_product_kernel *product_kernel(void) {
  const char *isa = agd_kernels_select()->isa;
#ifdef __x86_64__
  if (strcmp(isa, "avx512") == 0) return agd_product_avx512;
  if (strcmp(isa, "avx2") == 0) return agd_product_avx2;
#endif
  (void)isa;
  return agd_product_baseline;
}

agd_gemm agd_gemm_plan_with(agd_gemm_library library, agd_product product, size_t in, size_t out, size_t batch,
                            size_t lda, size_t ldb, size_t ldc) {
  const size_t all[] = {in, out, batch, lda, ldb, ldc};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) narrow(all[i]);
  return (agd_gemm){.product = product,
                    .in = in,
                    .out = out,
                    .batch = batch,
                    .lda = lda,
                    .ldb = ldb,
                    .ldc = ldc,
                    .library = library,
                    .kernel = product_kernel()};
}

agd_gemm agd_gemm_plan(agd_product product, size_t in, size_t out, size_t batch, size_t lda, size_t ldb, size_t ldc) {
  return agd_gemm_plan_with(agd_gemm_rule(product, in, out, batch), product, in, out, batch, lda, ldb, ldc);
}

void agd_gemm_run_lanes(const agd_gemm *g, const agd_gemm_lanes *lanes, const agd_real *a, const agd_real *b,
                        agd_real *c) {
  AGD_REQUIRE(g->product == AGD_BACKWARD_KERNEL && lanes->count <= 1u << AGD_LANE_LEVELS);
  const agd_product_operands operands = {.rows = g->in,
                                         .cols = g->out,
                                         .a = a,
                                         .a_row = g->lda,
                                         .a_inner = 1,
                                         .b = b,
                                         .ldb = g->ldb,
                                         .c = c,
                                         .ldc = g->ldc,
                                         .lanes = lanes->count,
                                         .lane_width = lanes->width,
                                         .lane_inner = lanes->rows};
  g->kernel(&operands);
}

static void run_own(const agd_gemm *g, extents e, const agd_real *a, const agd_real *b, agd_real *c) {
  const bool transposed = g->product == AGD_FORWARD;
  const agd_product_operands operands = {.rows = e.rows,
                                         .cols = e.cols,
                                         .a = a,
                                         .a_row = transposed ? 1 : g->lda,
                                         .a_inner = transposed ? g->lda : 1,
                                         .b = b,
                                         .ldb = g->ldb,
                                         .c = c,
                                         .ldc = g->ldc,
                                         .lanes = 1,
                                         .lane_inner = &e.inner};
  g->kernel(&operands);
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
  if (e.rows == 0 || e.cols == 0) return;
  if (g->library == AGD_GEMM_OWN || e.inner == 0)
    run_own(g, e, a, b, c);
  else
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
  snprintf(text, size, "%s %s (%s)", name, version, openblas_get_corename());
  return text;
}

void agd_gemm_set_threads(int threads) { openblas_set_num_threads(threads < 1 ? 1 : threads); }
