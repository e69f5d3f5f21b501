/** @file weights.h
 * The Keras 3 weights file (.weights.h5): model, optimizer and the state of a training in one file, in memory and on
 * disk.
 *
 * Layout, all tensors contiguous float32: /layers/batch_normalization[_k]/vars/{0..3} gamma, beta, moving_mean,
 * moving_variance; /layers/dense[_k]/vars/{0,1} kernel (in, out), bias; /optimizer/vars/0 iteration (int32), /1
 * learning rate, then the slots of every trainable variable in the order of the forward pass (Adam: m0, v0, m1, v1,
 * ...); /vars (empty); every `vars` has Keras' attribute `name`; and, ignored by Keras, /trainer (training.h). Layers
 * are numbered from 0 here and from anywhere in a file of Keras: order is by number, the name without one first.
 *
 * Needs no MPI_Init and no communicator: simulation codes use this. Not collective.
 */
#ifndef ALLEGRAD_WEIGHTS_H
#define ALLEGRAD_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>

#include "allegrad/model.h"
#include "allegrad/optimizer.h"
#include "allegrad/status.h"
#include "allegrad/training.h"

/** Builds the file as a memory image; equal input gives equal bytes.
 * @param optimizer  NULL: no /optimizer group
 * @param training   NULL: no /trainer group (a purely Keras file)
 * @param image      receives the bytes, owned by the caller (agd_release)
 * @return AGD_OK or AGD_EDATA */
agd_code agd_weights_image(const agd_model *model, const agd_optimizer *optimizer, const agd_training *training,
                           void **image, size_t *size, agd_status *st);

/** agd_weights_image, then agd_file_replace with a trailer. */
agd_code agd_weights_save(const char *path, const agd_model *model, const agd_optimizer *optimizer,
                          const agd_training *training, agd_status *st);

/** Reads a weights file of ours or of Keras. Of a file of Keras every number must be finite and no variance negative; a
 * file of ours may hold the weights of a diverged training.
 * @param path      verified first; a file with /trainer and without a valid trailer is AGD_EDATA
 * @param spec      the expected model (inputs and outputs may be 0: as in the file), or NULL to take shape, activation,
 * epsilon and momentum from the file: a foreign file brings none but the shape and is then AGD_EUSAGE, saying that
 * --job is needed. With a spec, other shapes are AGD_EDATA naming the first dataset that differs, its shape and the one
 * expected.
 * @param model     receives a new model (agd_model_destroy), its weights and running averages from the file; NULL on
 * failure
 * @param training  NULL or receives /trainer (agd_training_clear, also on failure); zeroed for a foreign file
 * @return AGD_OK, AGD_EDATA, AGD_EUSAGE */
agd_code agd_weights_load(const char *path, const agd_model_spec *spec, agd_model **model, agd_training *training,
                          agd_status *st);

/** The model that a weights file holds, for who has no job at hand.
 * @param ours  whether allegrad wrote it; of a foreign file, spec's activation, epsilon and momentum are unknown and 0
 * @return AGD_OK or AGD_EDATA */
agd_code agd_weights_spec(const char *path, agd_model_spec *spec, bool *ours, agd_status *st);

/** Fills the optimizer's iteration and slots from a file; missing or other-shaped slots are AGD_EDATA. */
agd_code agd_weights_load_optimizer(const char *path, const agd_model *model, agd_optimizer *optimizer, agd_status *st);

#endif
