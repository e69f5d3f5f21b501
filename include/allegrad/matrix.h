/** @file matrix.h
 * How matrices lie in memory. Activations are feature-major, [features, batch]: a row is one feature over the batch,
 * contiguous; element (i, j) is data[i * ld + j], with a leading dimension ld that lets every row start on a cache
 * line.
 */
#ifndef ALLEGRAD_MATRIX_H
#define ALLEGRAD_MATRIX_H

#include <stddef.h>

#include "allegrad/real.h"

/** The leading dimension that rows of `cols` elements get: padded to a cache line, and moved off large powers of two,
 * whose rows would all fall into the same cache sets. */
static inline size_t agd_padded_ld(size_t cols) {
  const size_t line = 64 / sizeof(agd_real);
  const size_t ld = (cols + line - 1) / line * line;
  return ld >= 128 && ld % 128 == 0 ? ld + line : (ld > 0 ? ld : line);
}

#endif
