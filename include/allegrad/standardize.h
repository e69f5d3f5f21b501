/** @file standardize.h
 * Standardisation of features by mean and population standard deviation, in double. Rows are row-major [rows, C].
 * Not collective: the statistics of rows spread over ranks are merged by the caller (moments.h).
 */
#ifndef ALLEGRAD_STANDARDIZE_H
#define ALLEGRAD_STANDARDIZE_H

#include <stddef.h>

#include "allegrad/real.h"

/** Statistics of local rows as a part for agd_moments_fold: 1 + 2C doubles n, mean[C], M2[C]; two-pass. */
void agd_row_moments(const agd_real *x, size_t rows, size_t C, double *part);

/** sd[c] = sqrt(M2[c] / n) from a merged part; an sd of 0 (a constant column), or no rows, counts as 1. */
void agd_population_sd(const double *part, size_t C, double *sd);

/** x[j,c] = (x[j,c] - mean[c]) / sd[c], in place, computed in double and rounded once. */
void agd_standardize(agd_real *x, size_t rows, size_t C, const double *mean, const double *sd);

#endif
