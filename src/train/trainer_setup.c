#include "trainer_internal.h"

#include <stdio.h>
#include <string.h>

#include "allegrad/clock.h"
#include "allegrad/dataset.h"
#include "allegrad/gemm.h"
#include "allegrad/h5.h"
#include "allegrad/memory.h"
#include "allegrad/rng.h"
#include "allegrad/standardize.h"
#include "allegrad/weights.h"

/* Checks that fit no single room: the data against the job and the number of ranks. */
static agd_code check_rows(const agd_trainer *t, const agd_dataset *data, agd_status *st) {
  const uint64_t training = agd_training_rows(data->rows, t->config.validation_split);
  if (training == 0)
    return agd_fail(st, AGD_EDATA, "%s: of %llu rows, validation_split %g leaves none to train", t->config.data_file,
                    (unsigned long long)data->rows, t->config.validation_split);
  if (t->config.reproducible > 0 && t->config.reproducible < (uint64_t)t->comm->size)
    return agd_fail(st, AGD_EUSAGE, "train.reproducible: %llu lanes are fewer than the %d ranks",
                    (unsigned long long)t->config.reproducible, t->comm->size);
  return AGD_OK;
}

/* Training rows in file order: a block for every lane. */
static agd_shard_plan training_blocks(const agd_trainer *t) {
  return (agd_shard_plan){.rows = t->plan.rows, .batch = t->plan.rows, .lanes = t->lanes};
}

/* Validation rows in file order: whole pieces, so that no piece's loss depends on the number of ranks. */
static agd_shard_plan validation_pieces(const agd_trainer *t, uint64_t rows) {
  const uint64_t pieces = rows / AGD_PIECE + (rows % AGD_PIECE > 0), ranks = (uint64_t)t->comm->size;
  const agd_lanes lanes = agd_lanes_fixed(pieces > ranks ? pieces : ranks, ranks);
  return (agd_shard_plan){.rows = rows, .batch = lanes.count * AGD_PIECE, .lanes = lanes};
}

/* Reads this rank's part of the rows that begin at row `first` of the file; `order` gives them their numbers. */
static agd_code read_part(agd_trainer *t, agd_dataset *data, uint64_t first, const agd_shard_plan *plan,
                          const agd_permutation *order, agd_rows *out, agd_status *st) {
  AGD_TRY(agd_rows_create(t->comm, plan, order, first, data->features, data->targets, out, st));
  const uint64_t start = out->count > 0 ? agd_plan_position(plan, t->comm->rank, 0) : 0;
  AGD_TRY(agd_dataset_read(data, first + start, out->count, out->x, out->y, st));
  t->fingerprint += agd_rows_fingerprint(out, first + start);
  return AGD_OK;
}

/* Rows 0 .. T-1 are to train, the others to validate: by their place in the file, or by a draw. */
static agd_code read_tail_split(agd_trainer *t, agd_dataset *data, agd_rows *training, agd_status *st) {
  const uint64_t held_out = data->rows - t->plan.rows;
  const agd_shard_plan blocks = training_blocks(t), pieces = validation_pieces(t, held_out);
  const agd_permutation first = agd_permutation_identity(t->plan.rows), last = agd_permutation_identity(held_out);
  AGD_TRY(read_part(t, data, 0, &blocks, &first, training, st));
  return read_part(t, data, t->plan.rows, &pieces, &last, &t->validation, st);
}

/* Sends the rows from `first` on to where they are wanted. */
static agd_code draw_part(agd_trainer *t, const agd_rows *file, uint64_t first, const agd_shard_plan *plan,
                          agd_rows *out, agd_status *st) {
  const agd_permutation order = agd_permutation_identity(plan->rows);
  agd_transfer *transfer;
  AGD_TRY(agd_rows_create(t->comm, plan, &order, first, file->features, file->targets, out, st));
  AGD_TRY(agd_transfer_start(t->comm, file, out, &transfer, st));
  agd_transfer_finish(&transfer);
  return AGD_OK;
}

static agd_code read_random_split(agd_trainer *t, agd_dataset *data, agd_rows *training, agd_status *st) {
  const agd_lanes lanes = agd_lanes_of_ranks((uint64_t)t->comm->size);
  const agd_shard_plan whole = {.rows = data->rows, .batch = data->rows, .lanes = lanes};
  const agd_shard_plan blocks = training_blocks(t), pieces = validation_pieces(t, data->rows - t->plan.rows);
  const agd_permutation drawn = agd_permutation_init(data->rows, t->config.seed, agd_stream(AGD_STREAM_SPLIT, 0));
  agd_rows file = {0};
  agd_code code = read_part(t, data, 0, &whole, &drawn, &file, st);
  if (code == AGD_OK) code = draw_part(t, &file, 0, &blocks, training, st);
  if (code == AGD_OK) code = draw_part(t, &file, t->plan.rows, &pieces, &t->validation, st);
  agd_rows_clear(&file);
  return code;
}

/* The epoch in whose order rows lie at first. Those of an epoch that is not trained any more are never sent for: a
 * training that is resumed at its end has its rows where one that was not interrupted has them. */
static uint64_t first_order(const agd_trainer *t) {
  const uint64_t epoch = t->training.epoch;
  return epoch > 0 && !agd_trainer_has_epoch(t, epoch) ? epoch - 1 : epoch;
}

/* From where the rows were read to where the epoch needs them. */
static agd_code take_first_order(agd_trainer *t, const agd_rows *blocks, agd_status *st) {
  const bool moves = t->config.shuffle == AGD_SHUFFLE_GLOBAL;
  const agd_permutation order = agd_epoch_order(t->plan.rows, moves, t->config.seed, first_order(t));
  AGD_TRY(agd_rows_create(t->comm, &t->plan, &order, 0, blocks->features, blocks->targets, &t->rows, st));
  AGD_TRY(agd_transfer_start(t->comm, blocks, &t->rows, &t->transfer, st));
  agd_transfer_finish(&t->transfer);
  return AGD_OK;
}

/* With shuffle: shard, the rows that a rank has stay, in its own order of the epoch. */
static agd_code shuffle_shard(agd_trainer *t, agd_status *st) {
  agd_rows shuffled;
  AGD_TRY(agd_rows_create(t->comm, &t->plan, &t->rows.order, 0, t->rows.features, t->rows.targets, &shuffled, st));
  agd_rows_reshuffle(&t->rows, NULL, &shuffled, first_order(t), t->config.seed, t->comm->rank);
  agd_rows_clear(&t->rows);
  t->rows = shuffled;
  return AGD_OK;
}

/* Mean and population sd of the training rows over all ranks, lane by lane. */
static void training_moments(agd_trainer *t, const agd_rows *training, double *parts) {
  const size_t C = training->features;
  const agd_range own = agd_lanes_of_rank(&t->lanes, (uint64_t)t->comm->rank);
  const agd_real *x = training->x;
  for (uint64_t i = 0; i < own.count; i++) {
    const uint64_t rows = agd_lane_rows(&t->lanes, training->plan.batch, training->plan.rows, own.first + i).count;
    agd_row_moments(x, rows, C, parts + i * (1 + 2 * C));
    x += rows * C;
  }
  agd_reduce_moments(t->reduce, parts, C);
}

/* How to scale the features of training and validation rows, kept in the training's state. */
static agd_code measure_features(agd_trainer *t, const agd_rows *training, agd_status *st) {
  const size_t C = training->features, lanes = agd_trainer_lanes(t);
  const char *what = "the standardisation";
  double *parts = NULL;
  if (agd_allocate(lanes, (1 + 2 * C) * sizeof *parts, what, (void **)&parts, st) == AGD_OK &&
      agd_allocate(C, sizeof(double), what, (void **)&t->training.x_mean, st) == AGD_OK)
    agd_allocate(C, sizeof(double), what, (void **)&t->training.x_sd, st);
  const agd_code code = agd_comm_agree(t->comm, st);
  if (code == AGD_OK) {
    training_moments(t, training, parts);
    memcpy(t->training.x_mean, parts + 1, C * sizeof *parts);
    agd_population_sd(parts, C, t->training.x_sd);
    t->training.standardized = true;
  }
  agd_release(&parts);
  return code;
}

static agd_code standardize(agd_trainer *t, agd_rows *training, agd_status *st) {
  const size_t C = training->features;
  const agd_code code = t->training.standardized ? AGD_OK : measure_features(t, training, st); /* resumed: known */
  if (code == AGD_OK) {
    agd_standardize(training->x, training->count, C, t->training.x_mean, t->training.x_sd);
    agd_standardize(t->validation.x, t->validation.count, C, t->training.x_mean, t->training.x_sd);
  }
  return code;
}

/* Weights of a file on rank 0, and with train.init_optimizer the optimizer's state, then everywhere. */
static agd_code load_initial_weights(agd_trainer *t, agd_status *st) {
  const bool optimizer = t->config.init_optimizer;
  if (t->comm->rank == 0) {
    agd_model *loaded = NULL;
    if (optimizer) agd_weights_load_optimizer(t->config.init_weights, t->model, t->optimizer, st);
    if (st->code == AGD_OK && agd_weights_load(t->config.init_weights, &t->model->spec, &loaded, NULL, st) == AGD_OK)
      agd_model_copy(t->model, loaded);
    agd_model_destroy(&loaded);
  }
  AGD_TRY(agd_comm_agree(t->comm, st));
  agd_comm_broadcast(t->comm, t->model->weights, t->model->weight_count * sizeof(agd_real));
  agd_comm_broadcast(t->comm, t->model->averages, t->model->average_count * sizeof(agd_real));
  if (optimizer) agd_trainer_share_optimizer(t);
  return AGD_OK;
}

/* How batches are cut over the ranks, and into steps. */
static void plan_steps(agd_trainer *t, const agd_dataset *data) {
  const uint64_t rows = agd_training_rows(data->rows, t->config.validation_split), ranks = (uint64_t)t->comm->size;
  const bool fixed = t->config.reproducible > 0;
  t->lanes = fixed ? agd_lanes_fixed(t->config.reproducible, ranks) : agd_lanes_of_ranks(ranks);
  t->plan = (agd_shard_plan){.rows = rows, .batch = t->config.batch, .lanes = t->lanes};
  if (!fixed && t->plan.batch > rows) t->plan.batch = rows; /* the same steps, smaller buffers */
}

static agd_code create_model(agd_trainer *t, const agd_dataset *data, agd_status *st) {
  agd_model_spec spec = t->config.model;
  spec.inputs = data->features;
  spec.outputs = data->targets;
  if (agd_model_create(&spec, &t->model, st) == AGD_OK)
    agd_optimizer_create(&t->config.optimizer, t->model->weight_count, &t->optimizer, st);
  AGD_TRY(agd_comm_agree(t->comm, st));
  AGD_TRY(agd_reduce_create(t->comm, t->model, &t->lanes, t->config.exchange, &t->reduce, st));
  agd_network_create(t->model, &t->lanes, (uint64_t)t->comm->rank, t->plan.batch, agd_reduce_gradient_memory(t->reduce),
                     &t->network, st);
  const size_t lanes = agd_trainer_lanes(t);
  agd_allocate(lanes * LOSS_WINDOW, sizeof *t->window, "the losses", (void **)&t->window, st);
  t->piece_count = (data->rows - t->plan.rows + AGD_PIECE - 1) / AGD_PIECE;
  agd_allocate(t->piece_count, sizeof *t->piece_losses, "the losses", (void **)&t->piece_losses, st);
  agd_allocate(lanes, sizeof *t->lane_losses, "the losses", (void **)&t->lane_losses, st);
  agd_allocate(lanes, sizeof *t->batch_losses, "the losses", (void **)&t->batch_losses, st);
  if (t->config.accumulate > 1)
    agd_allocate(t->model->weight_count, sizeof *t->accumulated, "the accumulated gradients", (void **)&t->accumulated,
                 st);
  agd_times_create(t, st);
  AGD_TRY(agd_comm_agree(t->comm, st));
  agd_trainer_take_exchange(t);
  if (t->config.init_weights[0] != '\0') return load_initial_weights(t, st);
  agd_model_initialize(t->model, t->config.init, t->config.seed);
  return AGD_OK;
}

/* What a checkpoint will tell besides the tensors. */
static agd_code describe_training(agd_trainer *t, const agd_dataset *data, agd_status *st) {
  agd_training *training = &t->training;
  training->seed = t->config.seed;
  training->batch = t->config.batch;
  training->ranks = t->comm->size;
  strncpy(training->kernels, agd_kernels_select()->isa, sizeof training->kernels - 1);
  char products[128], hdf5[32], mpi[64];
  snprintf(training->libraries, sizeof training->libraries, "%s, %s, %s", agd_gemm_describe(products, sizeof products),
           agd_h5_describe(hdf5, sizeof hdf5), agd_comm_describe(mpi, sizeof mpi));
  if (agd_names_copy(&training->x_names, &data->x_names, st) == AGD_OK &&
      agd_names_copy(&training->y_names, &data->y_names, st) == AGD_OK)
    agd_config_format(&t->config, &training->config, st);
  return agd_comm_agree(t->comm, st);
}

static agd_code fill(agd_trainer *t, agd_dataset *data, const char *resume, agd_status *st) {
  AGD_TRY(check_rows(t, data, st));
  plan_steps(t, data);
  AGD_TRY(create_model(t, data, st));
  AGD_TRY(describe_training(t, data, st));
  AGD_TRY(agd_trainer_restore(t, resume, st));
  agd_rows blocks = {0};
  agd_code code = t->config.data_split == AGD_SPLIT_RANDOM ? read_random_split(t, data, &blocks, st)
                                                           : read_tail_split(t, data, &blocks, st);
  if (code == AGD_OK) code = agd_trainer_check_rows(t, agd_comm_sum_count(t->comm, t->fingerprint), st);
  if (code == AGD_OK && t->config.standardize) code = standardize(t, &blocks, st);
  if (code == AGD_OK) code = take_first_order(t, &blocks, st);
  agd_rows_clear(&blocks);
  if (code == AGD_OK && t->config.shuffle == AGD_SHUFFLE_SHARD) code = shuffle_shard(t, st);
  return code;
}

/* The global batch of a job that gives that of a rank. */
static agd_code take_batch_per_rank(agd_trainer *t, agd_status *st) {
  const uint64_t most = INT32_MAX, of_rank = t->config.batch_per_rank, ranks = (uint64_t)t->comm->size;
  if (of_rank == 0) return AGD_OK;
  if (of_rank > most / ranks)
    return agd_fail(st, AGD_EUSAGE, "train.batch_per_rank: %llu rows on each of %llu ranks are more than %llu in all",
                    (unsigned long long)of_rank, (unsigned long long)ranks, (unsigned long long)most);
  t->config.batch = of_rank * ranks;
  return AGD_OK;
}

agd_code agd_trainer_resume(const agd_comm *comm, const agd_config *config, const char *path, agd_trainer **out,
                            agd_status *st) {
  *out = NULL;
  agd_trainer *t = NULL;
  const double start = agd_clock();
  agd_allocate(1, sizeof *t, "the trainer", (void **)&t, st);
  agd_code code = agd_comm_agree(comm, st);
  if (code == AGD_OK) {
    t->comm = comm;
    t->config = *config;
    t->best_loss = INFINITY;
    t->pace = LOSS_WINDOW;
    t->created = start;
    agd_dataset *data = NULL;
    code = take_batch_per_rank(t, st); /* the same on every rank */
    if (code == AGD_OK) code = agd_dataset_open(config->data_file, config->data_x, config->data_y, comm, &data, st);
    if (code == AGD_OK) code = fill(t, data, path, st);
    agd_dataset_close(&data);
  }
  if (code == AGD_OK)
    t->start_seconds = agd_clock() - start;
  else
    agd_trainer_destroy(&t);
  *out = t;
  return code;
}

agd_code agd_trainer_create(const agd_comm *comm, const agd_config *config, agd_trainer **out, agd_status *st) {
  return agd_trainer_resume(comm, config, NULL, out, st);
}

void agd_trainer_destroy(agd_trainer **trainer) {
  agd_trainer *t = *trainer;
  if (t == NULL) return;
  agd_training_clear(&t->training);
  agd_rows_clear(&t->validation);
  agd_rows_clear(&t->next_rows);
  agd_rows_clear(&t->rows);
  agd_release(&t->window);
  agd_release(&t->told);
  agd_release(&t->accumulated);
  agd_release(&t->batch_losses);
  agd_release(&t->lane_losses);
  agd_release(&t->piece_losses);
  agd_network_destroy(&t->network);
  agd_optimizer_destroy(&t->optimizer);
  agd_model_destroy(&t->model);
  agd_reduce_destroy(&t->reduce);
  agd_release(trainer);
}

agd_trainer_summary agd_trainer_summarize(const agd_trainer *t) {
  return (agd_trainer_summary){.training_rows = t->plan.rows,
                               .validation_rows = t->validation.plan.rows,
                               .steps_per_epoch = agd_trainer_steps(t),
                               .model = t->model->spec,
                               .exchange = agd_reduce_describe(t->reduce),
                               .resumed_at = t->resumed_at,
                               .note = t->note,
                               .best_epoch = t->best_epoch,
                               .stopped_early = t->best_epoch > 0 && t->training.epoch_count < t->config.epochs &&
                                                agd_trainer_stops_early(t, t->training.epoch_count)};
}
