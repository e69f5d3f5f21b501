#include "allegrad/lanes.h"

#include "allegrad/status.h"

agd_range agd_slice(uint64_t total, uint64_t parts, uint64_t part) {
  AGD_REQUIRE(part < parts);
  const uint64_t base = total / parts, extra = total % parts;
  return (agd_range){.first = part * base + (part < extra ? part : extra), .count = base + (part < extra)};
}

uint64_t agd_slice_owner(uint64_t total, uint64_t parts, uint64_t index) {
  AGD_REQUIRE(parts > 0 && index < total);
  const uint64_t base = total / parts, extra = total % parts, in_long = extra * (base + 1);
  return index < in_long ? index / (base + 1) : extra + (index - in_long) / base;
}

agd_lanes agd_lanes_of_ranks(uint64_t ranks) { return (agd_lanes){.count = ranks, .fixed = false, .ranks = ranks}; }

agd_lanes agd_lanes_fixed(uint64_t count, uint64_t ranks) {
  AGD_REQUIRE(ranks <= count);
  return (agd_lanes){.count = count, .fixed = true, .ranks = ranks};
}

agd_range agd_lanes_of_rank(const agd_lanes *lanes, uint64_t rank) {
  return agd_slice(lanes->count, lanes->ranks, rank);
}

uint64_t agd_lanes_most(const agd_lanes *lanes) { return agd_lanes_of_rank(lanes, 0).count; }

/* Length of the subtree that starts at lane `first`, within [first, end): the largest aligned power of two. */
static uint64_t subtree(uint64_t first, uint64_t end) {
  uint64_t length = 1;
  while (first % (2 * length) == 0 && first + 2 * length <= end) length *= 2;
  return length;
}

agd_range agd_lanes_run(const agd_lanes *lanes, uint64_t rank, uint64_t index) {
  const agd_range own = agd_lanes_of_rank(lanes, rank);
  const uint64_t end = own.first + own.count;
  agd_range run = {.first = own.first, .count = subtree(own.first, end)};
  for (; index > 0 && run.first < end; index--) {
    run.first += run.count;
    run.count = run.first < end ? subtree(run.first, end) : 0;
  }
  return run;
}

uint64_t agd_lanes_runs(const agd_lanes *lanes, uint64_t rank) {
  uint64_t runs = 0;
  while (agd_lanes_run(lanes, rank, runs).count > 0) runs++;
  return runs;
}

uint64_t agd_lanes_most_runs(const agd_lanes *lanes) {
  uint64_t most = 0;
  for (uint64_t rank = 0; rank < lanes->ranks; rank++) {
    const uint64_t runs = agd_lanes_runs(lanes, rank);
    if (runs > most) most = runs;
  }
  return most;
}

uint64_t agd_lane_width(const agd_lanes *lanes, uint64_t capacity) {
  return capacity / lanes->count + (capacity % lanes->count > 0);
}

/* The row at which fixed lane `lane` of this width starts, or would. */
static uint64_t fill(uint64_t width, uint64_t rows, uint64_t lane) {
  const uint64_t first = lane * width;
  return first < rows ? first : rows;
}

agd_range agd_lane_rows(const agd_lanes *lanes, uint64_t capacity, uint64_t rows, uint64_t lane) {
  AGD_REQUIRE(rows <= capacity && lane < lanes->count);
  if (!lanes->fixed) return agd_slice(rows, lanes->count, lane);
  const uint64_t width = agd_lane_width(lanes, capacity), first = fill(width, rows, lane);
  return (agd_range){.first = first, .count = fill(width, rows, lane + 1) - first};
}

agd_range agd_rank_rows(const agd_lanes *lanes, uint64_t capacity, uint64_t rows, uint64_t rank) {
  const agd_range own = agd_lanes_of_rank(lanes, rank);
  const agd_range first = agd_lane_rows(lanes, capacity, rows, own.first),
                  last = agd_lane_rows(lanes, capacity, rows, own.first + own.count - 1);
  return (agd_range){.first = first.first, .count = last.first + last.count - first.first};
}

uint64_t agd_row_owner(const agd_lanes *lanes, uint64_t capacity, uint64_t rows, uint64_t index) {
  AGD_REQUIRE(index < rows);
  if (!lanes->fixed) return agd_slice_owner(rows, lanes->ranks, index);
  return agd_slice_owner(lanes->count, lanes->ranks, index / agd_lane_width(lanes, capacity));
}
