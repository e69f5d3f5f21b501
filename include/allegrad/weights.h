/** @file weights.h
 * The Keras 3 weights file (.weights.h5): model, optimizer and the state of a training in one file, in memory and on
 * disk.
 *
 * Layout: /layers/batch_normalization[_k]/vars/{0..3} gamma, beta, moving_mean, moving_variance;
 * /layers/dense[_k]/vars/ {0,1} kernel (in, out), bias; /optimizer/vars; /vars; and, ignored by Keras, /trainer. Needs
 * no MPI_Init and no communicator: simulation codes use this. Not collective.
 */
#ifndef ALLEGRAD_WEIGHTS_H
#define ALLEGRAD_WEIGHTS_H

#include <stdbool.h>
#include <stdint.h>

#include "allegrad/model.h"
#include "allegrad/names.h"
#include "allegrad/optimizer.h"
#include "allegrad/status.h"

/** One line of metrics.csv. */
typedef struct agd_epoch_metrics {
  uint64_t epoch;        /**< from 1 */
  uint64_t step;         /**< optimizer steps done at its end */
  double loss, val_loss; /**< val_loss is NaN when there are no validation rows */
  double seconds;        /**< wall time of the epoch */
} agd_epoch_metrics;

/** What a file of ours holds besides the tensors: the group /trainer. Start with `{0}`, release with
 * agd_training_clear. */
typedef struct agd_training {
  uint64_t seed;
  uint64_t epoch;      /**< whole epochs done */
  uint64_t step;       /**< optimizer steps done */
  uint64_t batch;      /**< global batch */
  int ranks;           /**< that wrote it */
  char kernels[32];    /**< instruction set of the kernels */
  char libraries[256]; /**< versions, as agd_gemm_describe and HDF5 and MPI tell */
  agd_names x_names, y_names;
  bool standardized;
  double *x_mean, *x_sd; /**< [inputs], NULL unless standardized; owned (agd_allocate) */
  char *config;          /**< effective job file, text; owned (malloc) */
  size_t epoch_count;
  agd_epoch_metrics *history; /**< [epoch_count]; owned (malloc) */
} agd_training;

void agd_training_clear(agd_training *training);

/** Builds the file as a memory image.
 * @param optimizer  NULL: no /optimizer group beyond iteration and learning rate is left out entirely
 * @param training   NULL: no /trainer group (a purely Keras file)
 * @param image      receives the bytes, owned by the caller (agd_release)
 * @return AGD_OK or AGD_EDATA */
agd_code agd_weights_image(const agd_model *model, const agd_optimizer *optimizer, const agd_training *training,
                           void **image, size_t *size, agd_status *st);

/** agd_weights_image, then agd_file_replace with a trailer. */
agd_code agd_weights_save(const char *path, const agd_model *model, const agd_optimizer *optimizer,
                          const agd_training *training, agd_status *st);

/** Reads a weights file of ours or of Keras.
 * @param path      verified first; a file with /trainer and without a valid trailer is AGD_EDATA
 * @param spec      the expected model, or NULL to take shape, activation and epsilon from the file: a foreign file
 * brings neither activation nor epsilon and is then AGD_EUSAGE, saying that --job is needed. With a spec, other shapes
 * are AGD_EDATA naming the first dataset that differs, its shape and the one expected.
 * @param model     receives a new model (agd_model_destroy), its weights and running averages from the file
 * @param training  NULL or receives /trainer; zeroed for a foreign file
 * @return AGD_OK, AGD_EDATA, AGD_EUSAGE */
agd_code agd_weights_load(const char *path, const agd_model_spec *spec, agd_model **model, agd_training *training,
                          agd_status *st);

/** Fills the optimizer's iteration and slots from a file; missing or other-shaped slots are AGD_EDATA. */
agd_code agd_weights_load_optimizer(const char *path, const agd_model *model, agd_optimizer *optimizer, agd_status *st);

#endif
