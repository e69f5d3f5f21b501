/** @file rng.h
 * Counter-based random numbers: a value is a pure function of (seed, stream, index), so that every rank, thread and
 * restart draws the same ones without sharing any state.
 * Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (Philox-4x32-10).
 */
#ifndef ALLEGRAD_RNG_H
#define ALLEGRAD_RNG_H

#include <stdint.h>

/** What a stream of random numbers is for; two purposes never share one. The value of a stream is
 * `AGD_STREAM_x + detail`, with detail (a layer, an epoch) below 2^32. */
enum agd_stream_base { AGD_STREAM_INIT = 1, AGD_STREAM_SHUFFLE = 2, AGD_STREAM_DROPOUT = 3, AGD_STREAM_SPLIT = 4 };

/** The 64-bit stream number of a purpose and a detail. */
uint64_t agd_stream(enum agd_stream_base purpose, uint32_t detail);

/** One block of Philox-4x32-10: 128 random bits from a 128-bit counter and a 64-bit key. */
void agd_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/** 64 random bits for (seed, stream, index). */
uint64_t agd_random_bits(uint64_t seed, uint64_t stream, uint64_t index);

/** A uniform double in [0, 1) with 53 random bits for (seed, stream, index). */
double agd_random_uniform(uint64_t seed, uint64_t stream, uint64_t index);

#endif
