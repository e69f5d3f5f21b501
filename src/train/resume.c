/* A training taken up where a weights file was written. */
#include <inttypes.h>
#include <string.h>

#include "allegrad/gemm.h"
#include "allegrad/memory.h"
#include "allegrad/weights.h"
#include "trainer_internal.h"

/* What every rank must know of the training that is taken up. */
typedef struct restored {
  uint64_t epoch, step, batch, fingerprint, epoch_rows, best_epoch;
  double epoch_loss, best_loss;
  int ranks;
  bool same_arithmetic;
  char kernels[32], libraries[256];
} restored;

/* On rank 0: weights, optimizer and history of the file; its other state into `was`. */
static agd_code read_state(agd_trainer *t, const char *path, restored *was, agd_training *file, agd_status *st) {
  agd_model *loaded = NULL;
  AGD_TRY(agd_weights_load(path, &t->model->spec, &loaded, file, st));
  agd_model_copy(t->model, loaded);
  agd_model_destroy(&loaded);
  AGD_TRY(agd_weights_load_optimizer(path, t->model, t->optimizer, st));
  *was = (restored){.epoch = file->epoch,
                    .step = file->step,
                    .batch = file->batch,
                    .fingerprint = file->data_fingerprint,
                    .epoch_rows = file->epoch_rows,
                    .epoch_loss = file->epoch_loss,
                    .ranks = file->ranks};
  memcpy(was->kernels, file->kernels, sizeof was->kernels);
  memcpy(was->libraries, file->libraries, sizeof was->libraries);
  if (was->fingerprint == 0)
    return agd_fail(st, AGD_EDATA,
                    "%s cannot be resumed from: it was written by an older version of allegrad, or is no checkpoint of "
                    "a training",
                    path);
  if (file->standardized != t->config.standardize || file->epoch_count < file->epoch)
    return agd_fail(st, AGD_EDATA, "%s cannot be resumed from: its state does not fit its job", path);
  return AGD_OK;
}

/* Moves what only a file knows into the trainer's state; the history ends with the last whole epoch. */
static void take_state(agd_trainer *t, agd_training *file) {
  agd_training *mine = &t->training;
  mine->history = file->history, mine->epoch_count = (size_t)file->epoch;
  mine->standardized = file->standardized, mine->x_mean = file->x_mean, mine->x_sd = file->x_sd;
  file->history = NULL, file->x_mean = file->x_sd = NULL;
  for (size_t e = 0; e < mine->epoch_count; e++) agd_trainer_take_best(t, &mine->history[e]);
}

/* Whether the products are those of the file: kernels and BLAS, of which the libraries' names come first. */
static bool same_arithmetic(const agd_trainer *t, const restored *was) {
  char products[128];
  agd_gemm_describe(products, sizeof products);
  const size_t length = strlen(products);
  return strcmp(was->kernels, t->training.kernels) == 0 && strncmp(was->libraries, products, length) == 0 &&
         was->libraries[length] == ',';
}

/* Refuses what would train something else, and notes what may change bits. The same on all ranks. */
static agd_code compare_with(agd_trainer *t, const restored *was, agd_status *st) {
  const bool reproducible = t->config.reproducible > 0, same_ranks = was->ranks == t->comm->size;
  if (was->batch != t->config.batch)
    return agd_fail(st, AGD_EUSAGE, "the run was begun with %" PRIu64 " rows a batch; here they would be %" PRIu64,
                    was->batch, t->config.batch);
  if (t->config.shuffle == AGD_SHUFFLE_SHARD && !same_ranks)
    return agd_fail(st, AGD_EUSAGE,
                    "the run was begun on %d ranks, and shuffle: shard gives %d ranks other batches; resume it on %d",
                    was->ranks, t->comm->size, was->ranks);
  if (reproducible && !was->same_arithmetic)
    return agd_fail(st, AGD_EUSAGE,
                    "train.reproducible: the run was computed by %s kernels with %s; here the bits would be others",
                    was->kernels, was->libraries);
  if (!reproducible && !was->same_arithmetic)
    snprintf(t->note, sizeof t->note, "before by %s kernels with %s: the bits may differ from an uninterrupted run's",
             was->kernels, was->libraries);
  else if (!reproducible && !same_ranks)
    snprintf(t->note, sizeof t->note,
             "before on %d %s: the bits will differ from an uninterrupted run's (train.reproducible avoids that)",
             was->ranks, was->ranks == 1 ? "rank" : "ranks");
  return AGD_OK;
}

void agd_trainer_share_optimizer(agd_trainer *t) {
  agd_comm_broadcast(t->comm, &t->optimizer->iteration, sizeof t->optimizer->iteration);
  for (size_t s = 0; s < t->optimizer->slot_count; s++)
    agd_comm_broadcast(t->comm, t->optimizer->slots[s], t->optimizer->count * sizeof(agd_real));
}

/* Gives every rank what rank 0 has read. */
static agd_code share_state(agd_trainer *t, agd_status *st) {
  const size_t C = t->model->spec.inputs;
  agd_comm_broadcast(t->comm, t->model->weights, t->model->weight_count * sizeof(agd_real));
  agd_comm_broadcast(t->comm, t->model->averages, t->model->average_count * sizeof(agd_real));
  agd_trainer_share_optimizer(t);
  if (!t->config.standardize) return AGD_OK;
  if (t->comm->rank != 0 &&
      agd_allocate(C, sizeof(double), "the standardisation", (void **)&t->training.x_mean, st) == AGD_OK)
    agd_allocate(C, sizeof(double), "the standardisation", (void **)&t->training.x_sd, st);
  AGD_TRY(agd_comm_agree(t->comm, st));
  agd_comm_broadcast(t->comm, t->training.x_mean, C * sizeof(double));
  agd_comm_broadcast(t->comm, t->training.x_sd, C * sizeof(double));
  t->training.standardized = true;
  return AGD_OK;
}

agd_code agd_trainer_restore(agd_trainer *t, const char *path, agd_status *st) {
  restored was = {0};
  agd_training file = {0};
  if (path == NULL) return AGD_OK;
  if (t->comm->rank == 0 && read_state(t, path, &was, &file, st) == AGD_OK) {
    was.same_arithmetic = same_arithmetic(t, &was);
    take_state(t, &file);
    was.best_epoch = t->best_epoch, was.best_loss = t->best_loss;
  }
  agd_training_clear(&file);
  AGD_TRY(agd_comm_agree(t->comm, st));
  agd_comm_broadcast(t->comm, &was, sizeof was);
  AGD_TRY(compare_with(t, &was, st));
  t->training.epoch = was.epoch, t->training.step = t->resumed_at = was.step;
  t->training.data_fingerprint = was.fingerprint;
  t->training.epoch_count = (size_t)was.epoch;
  t->training.epoch_loss = was.epoch_loss, t->training.epoch_rows = was.epoch_rows;
  t->best_loss = was.best_loss, t->best_epoch = was.best_epoch;
  return share_state(t, st);
}

agd_code agd_trainer_check_rows(agd_trainer *t, uint64_t fingerprint, agd_status *st) {
  const uint64_t found = fingerprint != 0 ? fingerprint : 1; /* 0 means that it is not known */
  if (t->resumed_at > 0 && found != t->training.data_fingerprint)
    return agd_fail(st, AGD_EDATA,
                    "%s does not hold the rows that the run was trained on: they differ in number, order or value",
                    t->config.data_file);
  t->training.data_fingerprint = found;
  return AGD_OK;
}
