/** @file input.h
 * A model and rows for it, as eval and predict are given them. One process; not collective.
 */
#ifndef ALLEGRAD_CLI_INPUT_H
#define ALLEGRAD_CLI_INPUT_H

#include <stdint.h>

#include "allegrad/config.h"
#include "allegrad/predictor.h"
#include "arguments.h"

/** Start with `{0}`, release with agd_input_clear. */
typedef struct agd_input {
  agd_predictor *predictor;
  char data_x[AGD_NAME_MAX], data_y[AGD_NAME_MAX]; /**< datasets of an HDF5 file: as in the model's job */
  agd_names x_names, y_names;                      /**< of the model's columns; made up when nobody knows better */
  uint64_t rows;
  agd_real *x; /**< [rows, inputs] of the model, owned */
  agd_real *y; /**< [rows, outputs], owned; NULL when not asked for */
} agd_input;

/** The options that name model and rows, for a command's table. */
#define AGD_INPUT_OPTION_DATA                                                                                          \
  { "data", "FILE", AGD_OPTION_ONCE, true, "rows: HDF5, or a .csv whose header names the model's columns" }
#define AGD_INPUT_OPTION_JOB                                                                                           \
  { "job", "JOB.yaml", AGD_OPTION_ONCE, false, "job of a weights file that allegrad did not write" }

/** Opens the model that the only positional argument (a run folder or a weights file) and --job name.
 * @param path  receives the weights file's
 * @param job   receives the model's own job, or --job's
 * @param out   release with agd_predictor_close; NULL on failure
 * @return AGD_OK, AGD_EUSAGE (job file; a foreign weights file without one), AGD_EDATA */
agd_code agd_input_open(const agd_arguments *arguments, char path[AGD_PATH_MAX], agd_config *job, agd_predictor **out,
                        agd_status *st);

/** Opens the model, as agd_input_open does, and reads the rows of --data.
 *
 * Columns are found by name where both sides have names: an HDF5 file or a CSV may hold others and in another order.
 * Rows for a model without names, and an HDF5 file without names, are taken column by column.
 * @param with_y  also read the targets
 * @return AGD_OK, AGD_EUSAGE (job file; a foreign weights file without one), AGD_EDATA */
agd_code agd_input_read(const agd_arguments *arguments, bool with_y, agd_input *out, agd_status *st);

void agd_input_clear(agd_input *input);

#endif
