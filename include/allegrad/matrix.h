/** @file matrix.h
 * A borrowed view of a row-major matrix. Activations are feature-major, [features, batch]: a row is one feature over
 * the batch, contiguous; the leading dimension is padded so that every row starts on a cache line.
 */
#ifndef ALLEGRAD_MATRIX_H
#define ALLEGRAD_MATRIX_H

#include <stddef.h>

#include "allegrad/real.h"

/** Borrowed: never owns `data`. Element (i, j) is data[i * ld + j]; ld >= cols. */
typedef struct agd_matrix {
  agd_real *data;
  size_t rows, cols;
  size_t ld; /**< distance between rows, in elements */
} agd_matrix;

/** A view of `data` as rows x cols with leading dimension ld. */
static inline agd_matrix agd_matrix_view(agd_real *data, size_t rows, size_t cols, size_t ld) {
  return (agd_matrix){data, rows, cols, ld};
}

/** The leading dimension that rows of `cols` elements get: padded to a cache line, and moved off large powers of two,
 * whose rows would all fall into the same cache sets. */
static inline size_t agd_padded_ld(size_t cols) {
  const size_t line = 64 / sizeof(agd_real);
  const size_t ld = (cols + line - 1) / line * line;
  return ld >= 128 && ld % 128 == 0 ? ld + line : (ld > 0 ? ld : line);
}

#endif
