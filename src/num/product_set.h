/* Private to the gemm room: the product kernels that a build may hold. */
#ifndef ALLEGRAD_NUM_PRODUCT_SET_H
#define ALLEGRAD_NUM_PRODUCT_SET_H

#include <stddef.h>

#include "allegrad/real.h"

/* Binary trees of up to 2^AGD_LANE_LEVELS lanes. */
enum { AGD_LANE_LEVELS = 10 };

/* C [rows, cols] = A B, both row-major as far as B and C are concerned; element (i, k) of A is
 * a[i * a_row + k * a_inner]. The inner index is cut into lanes: lane l covers lane_inner[l] indices from
 * l * lane_width on, and the lanes' products are added by the fixed binary tree ((0+1)+(2+3))+...; lanes is a power of
 * two, 1 for a plain product. Rows of B are read to the end of their last cache line; C is written exactly. */
typedef struct agd_product_operands {
  size_t rows, cols;
  const agd_real *a;
  size_t a_row, a_inner;
  const agd_real *b;
  size_t ldb;
  agd_real *c;
  size_t ldc;
  size_t lanes, lane_width;
  const size_t *lane_inner;
} agd_product_operands;

typedef void agd_product_kernel(const agd_product_operands *operands);

agd_product_kernel agd_product_baseline;
#ifdef __x86_64__
agd_product_kernel agd_product_avx2, agd_product_avx512;
#endif

#endif
