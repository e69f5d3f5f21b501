/** @file moments.h
 * Exact merging of batch statistics.
 * Source: Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances".
 */
#ifndef ALLEGRAD_MOMENTS_H
#define ALLEGRAD_MOMENTS_H

#include <stddef.h>

/** Merges the statistics of another row set into those of one: `into` becomes the statistics of the union. Each is
 * 1 + 2C doubles: row count n, mean[C], M2[C] (sum of squared deviations). A set without rows counts nothing. */
void agd_moments_merge(size_t C, double *into, const double *other);

#endif
