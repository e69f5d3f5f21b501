/** @file permute.h
 * A random permutation of [0, n) computed index by index, forwards and backwards, with no table: a four-round keyed
 * Feistel network on the smallest even-bit domain that holds n, walked until it lands inside (cycle walking).
 * Sources: Luby & Rackoff 1988 (Feistel permutations); Black & Rogaway 2002 (cycle walking). Not collective.
 */
#ifndef ALLEGRAD_PERMUTE_H
#define ALLEGRAD_PERMUTE_H

#include <stdint.h>

/** Value type; copy freely. */
typedef struct agd_permutation {
  uint64_t n;         /**< size of the permuted range */
  uint64_t seed;      /**< key */
  uint64_t stream;    /**< see rng.h */
  unsigned half_bits; /**< width of one Feistel half; 0 is the identity */
} agd_permutation;

/** A permutation of [0, n) keyed by (seed, stream); n may be 0. */
agd_permutation agd_permutation_init(uint64_t n, uint64_t seed, uint64_t stream);

/** The identity on [0, n). */
agd_permutation agd_permutation_identity(uint64_t n);

/** Where index i goes; i < n. About four Philox blocks, at most four times that on average. */
uint64_t agd_permute(const agd_permutation *p, uint64_t i);

/** The index that goes to j; j < n: agd_permute(p, agd_permute_inverse(p, j)) == j. */
uint64_t agd_permute_inverse(const agd_permutation *p, uint64_t j);

#endif
