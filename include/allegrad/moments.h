/** @file moments.h
 * Exact merging of batch statistics.
 * Source: Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances".
 */
#ifndef ALLEGRAD_MOMENTS_H
#define ALLEGRAD_MOMENTS_H

#include <stddef.h>

/** Merges the statistics of `parts` row sets into those of their union, folding in order 0, 1, 2, ...
 * A part is 1 + 2C doubles: row count n, mean[C], M2[C] (sum of squared deviations). Parts without rows count nothing;
 * if no part has rows the result is n = 0 and zeros. `out` (1 + 2C doubles) may alias part 0. Cannot fail. */
void agd_moments_fold(size_t parts, size_t C, const double *part, double *out);

#endif
