#include "trainer_internal.h"

#include <stdio.h>
#include <string.h>

#include "allegrad/dataset.h"
#include "allegrad/gemm.h"
#include "allegrad/h5.h"
#include "allegrad/memory.h"
#include "allegrad/standardize.h"
#include "allegrad/weights.h"

/* On one rank a slice of the gradient is final as soon as it is computed: update it while it is in cache. */
static void update_slice(void *context, size_t offset, size_t count) {
  agd_trainer *t = context;
  agd_optimizer_update(t->optimizer, t->model->weights, agd_network_gradients(t->network), offset, count);
}

/* Checks that fit no single room: the data against the job and the number of ranks. */
static agd_code check_rows(const agd_trainer *t, const agd_dataset *data, agd_status *st) {
  const uint64_t training = agd_training_rows(data->rows, t->config.validation_split);
  if (training < (uint64_t)t->comm->size)
    return agd_fail(st, AGD_EDATA, "%s: %llu training rows (of %llu, validation_split %g) are fewer than the %d ranks",
                    t->config.data_file, (unsigned long long)training, (unsigned long long)data->rows,
                    t->config.validation_split, t->comm->size);
  return AGD_OK;
}

/* Reads this rank's part of [first, first + count) of the file. */
static agd_code read_part(agd_trainer *t, agd_dataset *data, uint64_t first, uint64_t count, agd_rows *out,
                          agd_status *st) {
  const agd_shard_plan blocks = {.rows = count, .batch = count > 0 ? count : 1, .size = t->comm->size};
  const agd_permutation order = agd_permutation_identity(count);
  AGD_TRY(agd_rows_create(t->comm, &blocks, &order, data->features, data->targets, out, st));
  const agd_range part = agd_slice(count, t->comm->size, t->comm->rank);
  return agd_dataset_read(data, first + part.first, part.count, out->x, out->y, st);
}

/* Mean and population sd of the training rows over all ranks, into the training's state, applied to both parts. */
static agd_code standardize(agd_trainer *t, agd_rows *training, agd_status *st) {
  const size_t C = training->features;
  double *part = NULL;
  if (agd_allocate(1 + 2 * C, sizeof *part, "the standardisation", (void **)&part, st) == AGD_OK &&
      agd_allocate(C, sizeof(double), "the standardisation", (void **)&t->training.x_mean, st) == AGD_OK)
    agd_allocate(C, sizeof(double), "the standardisation", (void **)&t->training.x_sd, st);
  const agd_code code = agd_comm_agree(t->comm, st);
  if (code == AGD_OK) {
    agd_row_moments(training->x, training->count, C, part);
    if (t->exchange.moments != NULL) t->exchange.moments(t->exchange.context, part, C);
    memcpy(t->training.x_mean, part + 1, C * sizeof *part);
    agd_population_sd(part, C, t->training.x_sd);
    t->training.standardized = true;
    agd_standardize(training->x, training->count, C, t->training.x_mean, t->training.x_sd);
    agd_standardize(t->validation.x, t->validation.count, C, t->training.x_mean, t->training.x_sd);
  }
  agd_release(&part);
  return code;
}

/* Weights of a file on rank 0, then everywhere. */
static agd_code load_initial_weights(agd_trainer *t, agd_status *st) {
  if (t->comm->rank == 0) {
    agd_model *loaded = NULL;
    if (agd_weights_load(t->config.init_weights, &t->model->spec, &loaded, NULL, st) == AGD_OK) {
      memcpy(t->model->weights, loaded->weights, loaded->weight_count * sizeof(agd_real));
      memcpy(t->model->averages, loaded->averages, loaded->average_count * sizeof(agd_real));
    }
    agd_model_destroy(&loaded);
  }
  AGD_TRY(agd_comm_agree(t->comm, st));
  agd_comm_broadcast(t->comm, t->model->weights, t->model->weight_count * sizeof(agd_real));
  agd_comm_broadcast(t->comm, t->model->averages, t->model->average_count * sizeof(agd_real));
  return AGD_OK;
}

static size_t widest_input(const agd_model *model) {
  size_t widest = 0;
  for (size_t l = 0; l < model->layer_count; l++)
    if (model->layers[l].in > widest) widest = model->layers[l].in;
  return widest;
}

static agd_code create_model(agd_trainer *t, const agd_dataset *data, agd_status *st) {
  agd_model_spec spec = t->config.model;
  spec.inputs = data->features;
  spec.outputs = data->targets;
  t->plan = (agd_shard_plan){.rows = agd_training_rows(data->rows, t->config.validation_split),
                             .batch = t->config.batch,
                             .size = t->comm->size};
  const uint64_t largest = agd_plan_step_rows(&t->plan, 0);
  if (agd_model_create(&spec, &t->model, st) == AGD_OK &&
      agd_optimizer_create(&t->config.optimizer, t->model->weight_count, &t->optimizer, st) == AGD_OK)
    agd_network_create(t->model, agd_slice(largest, t->comm->size, 0).count, &t->network, st);
  AGD_TRY(agd_comm_agree(t->comm, st));
  AGD_TRY(agd_reduce_create(t->comm, widest_input(t->model), &t->reduce, st));
  t->exchange = agd_reduce_exchange(t->reduce);
  if (t->comm->size == 1) {
    t->exchange.context = t;
    t->exchange.gradient_ready = update_slice;
  }
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

static agd_code fill(agd_trainer *t, agd_dataset *data, agd_status *st) {
  AGD_TRY(check_rows(t, data, st));
  AGD_TRY(create_model(t, data, st));
  AGD_TRY(describe_training(t, data, st));
  agd_rows blocks = {0};
  agd_code code = read_part(t, data, 0, t->plan.rows, &blocks, st);
  if (code == AGD_OK) code = read_part(t, data, t->plan.rows, data->rows - t->plan.rows, &t->validation, st);
  if (code == AGD_OK && t->config.standardize) code = standardize(t, &blocks, st);
  if (code == AGD_OK) {
    const agd_permutation order =
        agd_epoch_order(t->plan.rows, t->config.shuffle == AGD_SHUFFLE_GLOBAL, t->config.seed, 0);
    code = agd_rows_create(t->comm, &t->plan, &order, data->features, data->targets, &t->rows, st);
  }
  if (code == AGD_OK) code = agd_rows_redistribute(t->comm, &blocks, &t->rows, st);
  agd_rows_clear(&blocks);
  return code;
}

agd_code agd_trainer_create(const agd_comm *comm, const agd_config *config, agd_trainer **out, agd_status *st) {
  *out = NULL;
  agd_trainer *t = NULL;
  agd_allocate(1, sizeof *t, "the trainer", (void **)&t, st);
  agd_code code = agd_comm_agree(comm, st);
  if (code == AGD_OK) {
    t->comm = comm;
    t->config = *config;
    agd_dataset *data = NULL;
    code = agd_dataset_open(config->data_file, config->data_x, config->data_y, comm, &data, st);
    if (code == AGD_OK) code = fill(t, data, st);
    agd_dataset_close(&data);
  }
  if (code != AGD_OK) agd_trainer_destroy(&t);
  *out = t;
  return code;
}

void agd_trainer_destroy(agd_trainer **trainer) {
  agd_trainer *t = *trainer;
  if (t == NULL) return;
  agd_training_clear(&t->training);
  agd_rows_clear(&t->validation);
  agd_rows_clear(&t->rows);
  agd_reduce_destroy(&t->reduce);
  agd_network_destroy(&t->network);
  agd_optimizer_destroy(&t->optimizer);
  agd_model_destroy(&t->model);
  agd_release(trainer);
}

agd_trainer_summary agd_trainer_summarize(const agd_trainer *t) {
  return (agd_trainer_summary){.training_rows = t->plan.rows,
                               .validation_rows = t->validation.plan.rows,
                               .steps_per_epoch = agd_plan_steps(&t->plan),
                               .model = t->model->spec};
}
