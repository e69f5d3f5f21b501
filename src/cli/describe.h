/** @file describe.h
 * What several commands say in the same words. Not collective.
 */
#ifndef ALLEGRAD_CLI_DESCRIBE_H
#define ALLEGRAD_CLI_DESCRIBE_H

#include <stdio.h>

#include "allegrad/metrics.h"
#include "allegrad/model.h"
#include "allegrad/names.h"

/** "allegrad: warning: text" on standard error. */
void agd_warn(const char *text);

/** "8-300-1, with batch normalisation, 3033 parameters (3017 trainable)" and a newline. */
void agd_describe_model(FILE *out, const agd_model_spec *spec);

/** "label: 2 (area, rooms)" and a newline. */
void agd_describe_names(FILE *out, const char *label, const agd_names *names);

/** "epoch 30, step 15480, loss 0.313, val_loss 0.451" into text, val_loss only when there is one; "no epoch" for none.
 * @param last  may be NULL */
void agd_describe_epoch(const agd_epoch_metrics *last, char *text, size_t size);

#endif
