#include "allegrad/fold.h"

#include "allegrad/moments.h"

/* Runs the statement for every merge of part `from` into part `into`, in the order of the tree: subtrees of width 1, 2,
 * 4,
 * ... An odd one out waits, as what is left over, for the next width. */
#define FOR_MERGES(parts, ...)                                                                                         \
  for (size_t width = 1; width < (parts); width *= 2) {                                                                \
    for (size_t into = 0, from = width; from < (parts); into += 2 * width, from += 2 * width) __VA_ARGS__              \
  }

void agd_fold_doubles(size_t parts, size_t n, size_t stride, double *values) {
  FOR_MERGES(parts, {
    for (size_t i = 0; i < n; i++) values[into * stride + i] += values[from * stride + i];
  })
}

void agd_fold_reals(size_t parts, size_t n, size_t stride, agd_real *values) {
  FOR_MERGES(parts, {
    for (size_t i = 0; i < n; i++) values[into * stride + i] += values[from * stride + i];
  })
}

void agd_fold_moments(size_t parts, size_t C, size_t stride, double *values) {
  FOR_MERGES(parts, agd_moments_merge(C, values + into * stride, values + from * stride);)
}
