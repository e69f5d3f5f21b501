/** @file lanes.h
 * How a batch is cut for its sums: pure arithmetic.
 *
 * A lane is a slice of the rows over which sums are formed on their own before they are added by the fixed tree of
 * fold.h. As a rule every rank is one lane, and the lanes share the rows evenly. In reproducible mode there are L lanes
 * of equal shape, whatever the number of ranks; rows fill them in order, and a rank owns a run of whole lanes: then
 * nothing that is computed depends on the number of ranks. Not collective; cannot fail.
 */
#ifndef ALLEGRAD_LANES_H
#define ALLEGRAD_LANES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** A contiguous range [first, first + count). */
typedef struct agd_range {
  uint64_t first, count;
} agd_range;

/** The part of [0, total) that belongs to `part` of `parts`; parts differ by one at most, total may be < parts. */
agd_range agd_slice(uint64_t total, uint64_t parts, uint64_t part);

/** The part whose slice of [0, total) holds `index`: the inverse of agd_slice. index < total. */
uint64_t agd_slice_owner(uint64_t total, uint64_t parts, uint64_t index);

/** How sums are cut over ranks. Plain value. */
typedef struct agd_lanes {
  uint64_t count; /**< lanes in all */
  bool fixed;     /**< reproducible mode: lanes of equal shape; else one lane a rank */
  uint64_t ranks;
} agd_lanes;

/** One lane a rank. */
agd_lanes agd_lanes_of_ranks(uint64_t ranks);

/** `count` fixed lanes over `ranks` <= count ranks. */
agd_lanes agd_lanes_fixed(uint64_t count, uint64_t ranks);

/** The lanes of a rank. */
agd_range agd_lanes_of_rank(const agd_lanes *lanes, uint64_t rank);

/** The most lanes that any rank owns. */
uint64_t agd_lanes_most(const agd_lanes *lanes);

/** The lanes of a rank as subtrees of the fold (fold.h): run `index` of a rank, an aligned power of two of lanes; count
 * 0 beyond the last. What is summed within a run never has to be taken apart again. */
agd_range agd_lanes_run(const agd_lanes *lanes, uint64_t rank, uint64_t index);

/** Runs of a rank, at least 1; and the most that any rank has. */
uint64_t agd_lanes_runs(const agd_lanes *lanes, uint64_t rank);
uint64_t agd_lanes_most_runs(const agd_lanes *lanes);

/** Rows of a lane when `capacity` is the largest batch: ceil(capacity / count). */
uint64_t agd_lane_width(const agd_lanes *lanes, uint64_t capacity);

/** The rows of a lane in a batch of `rows` <= capacity rows. */
agd_range agd_lane_rows(const agd_lanes *lanes, uint64_t capacity, uint64_t rows, uint64_t lane);

/** The rows of a rank in such a batch: those of its lanes. */
agd_range agd_rank_rows(const agd_lanes *lanes, uint64_t capacity, uint64_t rows, uint64_t rank);

/** The rank that holds row `index` < rows of such a batch. */
uint64_t agd_row_owner(const agd_lanes *lanes, uint64_t capacity, uint64_t rows, uint64_t index);

#endif
