/** @file fold.h
 * The order in which parts of a sum are added: a fixed binary tree, the same whoever holds the parts.
 *
 * Parts 0, 1, 2, ... are merged as a counter carries: ((0+1)+(2+3))+((4+5)+...); what is left over when the count is no
 * power of two is merged from the right. An aligned run of 2^k parts is a subtree, so that its holder may merge it
 * first. Not collective; cannot fail.
 */
#ifndef ALLEGRAD_FOLD_H
#define ALLEGRAD_FOLD_H

#include <stddef.h>

#include "allegrad/real.h"

/** Sums `parts` vectors of n doubles, vector p at values + p * stride, into values[0 .. n). Destroys the others. */
void agd_fold_doubles(size_t parts, size_t n, size_t stride, double *values);

/** The same for reals. */
void agd_fold_reals(size_t parts, size_t n, size_t stride, agd_real *values);

/** Merges the statistics of `parts` row sets, part p at values + p * stride, into values[0 .. 1 + 2C): counts, means
 * and M2 (Chan et al. 1979, see moments.h). Destroys the others. */
void agd_fold_moments(size_t parts, size_t C, size_t stride, double *values);

#endif
