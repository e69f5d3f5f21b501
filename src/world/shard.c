#include "allegrad/shard.h"

#include <math.h>

#include "allegrad/rng.h"
#include "allegrad/status.h"

uint64_t agd_plan_batches(const agd_shard_plan *plan) {
  return plan->rows / plan->batch + (plan->rows % plan->batch > 0);
}

uint64_t agd_plan_batch_rows(const agd_shard_plan *plan, uint64_t batch) {
  const uint64_t full = plan->rows / plan->batch;
  return batch < full ? plan->batch : plan->rows % plan->batch;
}

/* The slice of a rank in a global batch of `rows`. */
static agd_range slice_of(const agd_shard_plan *plan, int rank, uint64_t rows) {
  return agd_rank_rows(&plan->lanes, plan->batch, rows, (uint64_t)rank);
}

uint64_t agd_plan_shard_rows(const agd_shard_plan *plan, int rank) {
  const uint64_t full = plan->rows / plan->batch;
  return full * slice_of(plan, rank, plan->batch).count + slice_of(plan, rank, plan->rows % plan->batch).count;
}

agd_range agd_plan_local(const agd_shard_plan *plan, int rank, uint64_t batch) {
  return (agd_range){.first = batch * slice_of(plan, rank, plan->batch).count,
                     .count = slice_of(plan, rank, agd_plan_batch_rows(plan, batch)).count};
}

uint64_t agd_plan_position(const agd_shard_plan *plan, int rank, uint64_t index) {
  const uint64_t full = plan->rows / plan->batch, width = slice_of(plan, rank, plan->batch).count;
  const uint64_t batch = width > 0 && index / width < full ? index / width : full;
  return batch * plan->batch + slice_of(plan, rank, agd_plan_batch_rows(plan, batch)).first + (index - batch * width);
}

void agd_plan_owner(const agd_shard_plan *plan, uint64_t position, int *rank, uint64_t *index) {
  AGD_REQUIRE(position < plan->rows);
  const uint64_t batch = position / plan->batch, offset = position % plan->batch,
                 rows = agd_plan_batch_rows(plan, batch);
  *rank = (int)agd_row_owner(&plan->lanes, plan->batch, rows, offset);
  *index = agd_plan_local(plan, *rank, batch).first + offset - slice_of(plan, *rank, rows).first;
}

agd_permutation agd_epoch_order(uint64_t rows, int shuffled, uint64_t seed, uint64_t epoch) {
  if (!shuffled) return agd_permutation_identity(rows);
  return agd_permutation_init(rows, seed, agd_stream(AGD_STREAM_SHUFFLE, (uint32_t)epoch));
}

uint64_t agd_training_rows(uint64_t n, double validation_split) {
  return (uint64_t)floor((double)n * (1.0 - validation_split));
}
