#include "allegrad/permute.h"

#include "allegrad/rng.h"
#include "allegrad/status.h"

enum { FEISTEL_ROUNDS = 4 };

agd_permutation agd_permutation_init(uint64_t n, uint64_t seed, uint64_t stream) {
  unsigned half_bits = 1;
  while (half_bits < 32 && (UINT64_C(1) << (2 * half_bits)) < n) half_bits++;
  return (agd_permutation){n, seed, stream, half_bits};
}

agd_permutation agd_permutation_identity(uint64_t n) { return (agd_permutation){n, 0, 0, 0}; }

static uint64_t round_function(const agd_permutation *p, unsigned round, uint64_t half) {
  const uint64_t mask = (UINT64_C(1) << p->half_bits) - 1;
  return agd_random_bits(p->seed, p->stream, (uint64_t)round << 32 | half) & mask;
}

static uint64_t encrypt(const agd_permutation *p, uint64_t value) {
  const uint64_t mask = (UINT64_C(1) << p->half_bits) - 1;
  uint64_t left = value >> p->half_bits, right = value & mask;
  for (unsigned round = 0; round < FEISTEL_ROUNDS; round++) {
    const uint64_t next = left ^ round_function(p, round, right);
    left = right;
    right = next;
  }
  return left << p->half_bits | right;
}

static uint64_t decrypt(const agd_permutation *p, uint64_t value) {
  const uint64_t mask = (UINT64_C(1) << p->half_bits) - 1;
  uint64_t left = value >> p->half_bits, right = value & mask;
  for (unsigned round = FEISTEL_ROUNDS; round-- > 0;) {
    const uint64_t previous = right ^ round_function(p, round, left);
    right = left;
    left = previous;
  }
  return left << p->half_bits | right;
}

uint64_t agd_permute(const agd_permutation *p, uint64_t i) {
  AGD_REQUIRE(i < p->n);
  if (p->half_bits == 0) return i;
  do i = encrypt(p, i);
  while (i >= p->n);
  return i;
}

uint64_t agd_permute_inverse(const agd_permutation *p, uint64_t j) {
  AGD_REQUIRE(j < p->n);
  if (p->half_bits == 0) return j;
  do j = decrypt(p, j);
  while (j >= p->n);
  return j;
}
