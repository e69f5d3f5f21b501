/** @file training.h
 * The state of a training besides its tensors: the group /trainer of a weights file.
 *
 * Attributes: format_version, seed, epoch, step, batch, ranks, kernels, libraries, activation, epsilon, momentum,
 * unbiased_variance, x_names, y_names, x_mean and x_sd (when standardised), config (the effective job file),
 * data_fingerprint, and of an epoch that has not ended epoch_loss and epoch_rows. Dataset
 * history [epochs] of records epoch, step, loss, val_loss, seconds. Not collective.
 */
#ifndef ALLEGRAD_TRAINING_H
#define ALLEGRAD_TRAINING_H

#include <hdf5.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allegrad/metrics.h"
#include "allegrad/model.h"
#include "allegrad/names.h"
#include "allegrad/status.h"

/** What a file of ours holds besides the tensors. Start with `{0}`, release with agd_training_clear. */
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
  double *x_mean, *x_sd;     /**< [inputs], NULL unless standardized; owned (agd_allocate) */
  char *config;              /**< effective job file, text; owned (malloc) */
  uint64_t data_fingerprint; /**< of the rows trained and validated on (agd_rows_fingerprint); 0: not known */
  double epoch_loss;         /**< of the steps done in an epoch that has not ended: sum of the rows' losses, */
  uint64_t epoch_rows;       /**< and those rows */
  size_t epoch_count;
  agd_epoch_metrics *history; /**< [epoch_count]; owned (malloc) */
} agd_training;

/** Releases everything and zeroes. */
void agd_training_clear(agd_training *training);

/** Writes /trainer; activation, epsilon, momentum and the kind of variance are the spec's. False when HDF5 fails. */
bool agd_training_write(hid_t file, const agd_model_spec *spec, const agd_training *training);

/** Reads /trainer.
 * @param file_name  for messages
 * @param spec       inputs and outputs are set; activation, epsilon, momentum and the kind of variance are filled in
 * @param training   receives the rest; cleared on failure
 * @return AGD_OK or AGD_EDATA */
agd_code agd_training_read(hid_t file, const char *file_name, agd_model_spec *spec, agd_training *training,
                           agd_status *st);

#endif
