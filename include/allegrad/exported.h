/** @file exported.h
 * What a trained model for other programs is made of: keras.h, onnx.h. Such a model takes raw rows; a standardisation
 * comes first in it.
 */
#ifndef ALLEGRAD_EXPORTED_H
#define ALLEGRAD_EXPORTED_H

#include "allegrad/model.h"
#include "allegrad/names.h"
#include "allegrad/optimizer.h"
#include "allegrad/status.h"

/** What is exported. All borrowed. */
typedef struct agd_exported {
  const agd_model *model;
  const double *x_mean, *x_sd;        /**< [inputs]; NULL when the model takes raw rows */
  const agd_names *x_names, *y_names; /**< of the columns; may be empty */
  double dropout;                     /**< the layers' rate; for Keras to go on training with */
  const agd_optimizer *optimizer;     /**< NULL: the Keras model is not compiled */
  double clip_norm;                   /**< of the gradients, 0: off; with optimizer */
} agd_exported;

#endif
