/** @file keras.h
 * Keras' whole-model file of a trained model. One process; not collective.
 */
#ifndef ALLEGRAD_KERAS_H
#define ALLEGRAD_KERAS_H

#include "allegrad/exported.h"
#include "allegrad/status.h"

/** Writes a .keras file, as keras.Model.save does (Keras 3: a zip of metadata.json, config.json and model.weights.h5):
 * Sequential of [Normalization], then per hidden layer [BatchNormalization], Dense with activation, [Dropout], then a
 * linear Dense; compiled with the optimizer, its slots and iteration, and the loss mse. Replaced as a whole or not at
 * all.
 * @return AGD_OK or AGD_EDATA: memory, the disk, or a standard deviation that Keras' float32 variance cannot hold or
 * its Normalization would replace by 1e-7 */
agd_code agd_keras_write(const char *path, const agd_exported *what, agd_status *st);

#endif
