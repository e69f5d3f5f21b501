/** @file gemm.h
 * The three matrix products of a dense layer, and the only place that knows a BLAS.
 *
 * A product is planned once per shape and executed many times. Which library computes a shape is a fixed rule of the
 * shape (agd_gemm_rule), never a measurement: the same job on the same machine gives the same bits. Not collective.
 */
#ifndef ALLEGRAD_GEMM_H
#define ALLEGRAD_GEMM_H

#include <stdbool.h>
#include <stddef.h>

#include "allegrad/real.h"

/** The products of a dense layer y = W^T x + b with W [in, out], x [in, batch], y [out, batch]; all row-major. */
typedef enum agd_product {
  AGD_FORWARD,        /**< Y [out, batch] = W^T X                   (A = W [in, out],  B = X [in, batch]) */
  AGD_BACKWARD_INPUT, /**< dX [in, batch] = W dY                    (A = W [in, out],  B = dY [out, batch]) */
  AGD_BACKWARD_KERNEL /**< dW [in, out]   = X (dY^T), from dY^T     (A = X [in, batch], B = dY^T [batch, out]) */
} agd_product;

/** Who computes a product: our kernel, whose bits in an element of C do not depend on the extents around it, or
 * OpenBLAS. */
typedef enum agd_gemm_library { AGD_GEMM_OWN, AGD_GEMM_OPENBLAS } agd_gemm_library;

/** Rows of a batch that are summed apart and then added by the tree of fold.h. */
typedef struct agd_gemm_lanes {
  size_t count;       /**< a power of two, at most 1024 */
  size_t width;       /**< distance between the first rows of two lanes */
  const size_t *rows; /**< [count]: rows of each, at most width; 0 is fine */
} agd_gemm_lanes;

struct agd_product_operands; /* private to gemm.c */

/** A planned product: plain value, no ownership; valid as long as the process. */
typedef struct agd_gemm {
  agd_product product;
  size_t in, out, batch;
  size_t lda, ldb, ldc;
  agd_gemm_library library;
  void (*kernel)(const struct agd_product_operands *operands); /**< ours, for this CPU */
} agd_gemm;

/** The library that computes a shape: a pure function of its arguments. */
agd_gemm_library agd_gemm_rule(agd_product product, size_t in, size_t out, size_t batch);

/** Plans a product by agd_gemm_rule. Leading dimensions in elements; every extent must be below 2^31 (a programmer's
 * error otherwise). in, out and batch may be 0: then executing writes zeros or nothing. */
agd_gemm agd_gemm_plan(agd_product product, size_t in, size_t out, size_t batch, size_t lda, size_t ldb, size_t ldc);

/** The same with the library given: for reproducible mode, which needs ours, and for tests. */
agd_gemm agd_gemm_plan_with(agd_gemm_library library, agd_product product, size_t in, size_t out, size_t batch,
                            size_t lda, size_t ldb, size_t ldc);

/** Computes c = the product of a and b (overwrites c; c aliases neither). Shapes as in #agd_product. Rows of b are read
 * to the end of their last cache line (see agd_padded_ld): what stands there never counts. c is written exactly. */
void agd_gemm_run(const agd_gemm *g, const agd_real *a, const agd_real *b, agd_real *c);

/** AGD_BACKWARD_KERNEL by our kernel with the batch cut into lanes: the planned batch is not looked at. */
void agd_gemm_run_lanes(const agd_gemm *g, const agd_gemm_lanes *lanes, const agd_real *a, const agd_real *b,
                        agd_real *c);

/** The plain reference twin: three loops, sums in double, in order of the inner index. */
void agd_gemm_reference(const agd_gemm *g, const agd_real *a, const agd_real *b, agd_real *c);

/** Name of the BLAS kernel set that OpenBLAS chose for this CPU, e.g. "Zen". Static storage. */
const char *agd_gemm_blas_kernel(void);

/** Version and kernel set of the BLAS, e.g. "OpenBLAS 0.3.21 (Zen)". Writes at most
 * size bytes into text and returns text. */
const char *agd_gemm_describe(char *text, size_t size);

/** Threads that OpenBLAS may use in this process, at least 1. Call once before the first product. */
void agd_gemm_set_threads(int threads);

#endif
