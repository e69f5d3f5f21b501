#include "allegrad/moments.h"

#include <string.h>

void agd_moments_merge(size_t C, double *into, const double *other) {
  const double n_a = into[0], n_b = other[0];
  if (n_b == 0) return;
  if (n_a == 0) {
    memcpy(into, other, (1 + 2 * C) * sizeof *into);
    return;
  }
  const double n = n_a + n_b, share = n_b / n, weight = n_a * share;
  double *mean = into + 1, *m2 = mean + C;
  const double *mean_b = other + 1, *m2_b = mean_b + C;
  for (size_t c = 0; c < C; c++) {
    const double delta = mean_b[c] - mean[c];
    mean[c] += delta * share;
    m2[c] += m2_b[c] + delta * delta * weight;
  }
  into[0] = n;
}
