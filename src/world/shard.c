#include "allegrad/shard.h"

#include <math.h>

#include "allegrad/rng.h"
#include "allegrad/status.h"

agd_range agd_slice(uint64_t total, int size, int rank) {
  AGD_REQUIRE(size > 0 && rank >= 0 && rank < size);
  const uint64_t parts = (uint64_t)size, part = (uint64_t)rank, base = total / parts, extra = total % parts;
  return (agd_range){.first = part * base + (part < extra ? part : extra), .count = base + (part < extra)};
}

int agd_slice_owner(uint64_t total, int size, uint64_t index) {
  AGD_REQUIRE(size > 0 && index < total);
  const uint64_t base = total / (uint64_t)size, extra = total % (uint64_t)size, in_long = extra * (base + 1);
  return (int)(index < in_long ? index / (base + 1) : extra + (index - in_long) / base);
}

uint64_t agd_plan_steps(const agd_shard_plan *plan) {
  return plan->rows / plan->batch + (plan->rows % plan->batch > 0);
}

uint64_t agd_plan_step_rows(const agd_shard_plan *plan, uint64_t step) {
  const uint64_t full = plan->rows / plan->batch;
  return step < full ? plan->batch : plan->rows % plan->batch;
}

uint64_t agd_plan_shard_rows(const agd_shard_plan *plan, int rank) {
  const uint64_t full = plan->rows / plan->batch;
  return full * agd_slice(plan->batch, plan->size, rank).count +
         agd_slice(plan->rows % plan->batch, plan->size, rank).count;
}

agd_range agd_plan_local(const agd_shard_plan *plan, int rank, uint64_t step) {
  return (agd_range){.first = step * agd_slice(plan->batch, plan->size, rank).count,
                     .count = agd_slice(agd_plan_step_rows(plan, step), plan->size, rank).count};
}

uint64_t agd_plan_position(const agd_shard_plan *plan, int rank, uint64_t index) {
  const uint64_t full = plan->rows / plan->batch, width = agd_slice(plan->batch, plan->size, rank).count;
  const uint64_t step = width > 0 && index / width < full ? index / width : full;
  const agd_range slice = agd_slice(agd_plan_step_rows(plan, step), plan->size, rank);
  return step * plan->batch + slice.first + (index - step * width);
}

void agd_plan_owner(const agd_shard_plan *plan, uint64_t position, int *rank, uint64_t *index) {
  AGD_REQUIRE(position < plan->rows);
  const uint64_t step = position / plan->batch, offset = position % plan->batch, rows = agd_plan_step_rows(plan, step);
  *rank = agd_slice_owner(rows, plan->size, offset);
  *index = agd_plan_local(plan, *rank, step).first + offset - agd_slice(rows, plan->size, *rank).first;
}

agd_permutation agd_epoch_order(uint64_t rows, int shuffled, uint64_t seed, uint64_t epoch) {
  if (!shuffled) return agd_permutation_identity(rows);
  return agd_permutation_init(rows, seed, agd_stream(AGD_STREAM_SHUFFLE, (uint32_t)epoch));
}

uint64_t agd_training_rows(uint64_t n, double validation_split) {
  return (uint64_t)floor((double)n * (1.0 - validation_split));
}
