/** @file describe.h
 * What several commands say in the same words. Not collective.
 */
#ifndef ALLEGRAD_CLI_DESCRIBE_H
#define ALLEGRAD_CLI_DESCRIBE_H

#include <stdio.h>

#include "allegrad/metrics.h"
#include "allegrad/model.h"
#include "allegrad/names.h"
#include "allegrad/number.h"

/** "8-300-1, with batch normalisation, 3033 parameters (3017 trainable)" and a newline. */
void agd_describe_model(FILE *out, const agd_model_spec *spec);

/** "label: 2 (area, rooms)" and a newline. */
void agd_describe_names(FILE *out, const char *label, const agd_names *names);

/** Where a training stands, as text; "-" for what is not known. */
typedef struct agd_ending {
  char epoch[AGD_NUMBER_SIZE], step[AGD_NUMBER_SIZE];    /**< of the last line of metrics */
  char loss[AGD_NUMBER_SIZE], val_loss[AGD_NUMBER_SIZE]; /**< "nan" or "inf" of a diverged one */
  char best_val_loss[AGD_NUMBER_SIZE], best_epoch[AGD_NUMBER_SIZE];
  char seconds[AGD_NUMBER_SIZE]; /**< mean of the epochs */
} agd_ending;

/** Sums up the metrics of a run. @param digits  of the losses */
void agd_describe_ending(const agd_epoch_metrics *metrics, size_t count, int digits, agd_ending *out);

#endif
