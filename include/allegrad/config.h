/** @file config.h
 * The job: one struct of parameters, filled from one table of keys, parsed strictly and validated before anything
 * starts.
 */
#ifndef ALLEGRAD_CONFIG_H
#define ALLEGRAD_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "allegrad/model.h"
#include "allegrad/optimizer.h"
#include "allegrad/status.h"

enum { AGD_PATH_MAX = 4096, AGD_NAME_MAX = 256 };

typedef enum agd_shuffle { AGD_SHUFFLE_GLOBAL, AGD_SHUFFLE_NONE } agd_shuffle;
typedef enum agd_progress { AGD_PROGRESS_AUTO, AGD_PROGRESS_BAR, AGD_PROGRESS_LINES, AGD_PROGRESS_OFF } agd_progress;

/** Plain bytes: rank 0 parses and validates, all ranks get the same bytes by agd_comm_broadcast. */
typedef struct agd_config {
  char data_file[AGD_PATH_MAX];
  char data_x[AGD_NAME_MAX], data_y[AGD_NAME_MAX];
  double validation_split;
  bool standardize;

  agd_model_spec model; /**< inputs and outputs stay 0 until the data is known */
  agd_initializer init;
  char init_weights[AGD_PATH_MAX]; /**< "" for none (null) */

  agd_optimizer_spec optimizer;
  uint64_t batch, epochs, max_steps;
  agd_shuffle shuffle;
  uint64_t seed;

  uint64_t checkpoint_every_epochs, checkpoint_keep;

  uint64_t log_steps;
  bool tensorboard;
  agd_progress progress;
} agd_config;

/** Reads a job file, applies the overrides, validates. Not collective (rank 0 does it).
 * @param path       YAML; its messages carry path:line:column
 * @param overrides  `count` texts "section.key=value" of --set; values parsed as in the file, "model.hidden=[64, 32]"
 * @return AGD_OK or AGD_EUSAGE (also when the job file cannot be read) */
agd_code agd_config_load(const char *path, const char *const *overrides, size_t count, agd_config *out, agd_status *st);

/** The same from text in memory; `name` stands in messages. */
agd_code agd_config_parse(const char *text, const char *name, const char *const *overrides, size_t count,
                          agd_config *out, agd_status *st);

/** The effective configuration as YAML that agd_config_parse reads back to the same values: every key, in table order.
 * @param text  receives a malloc'ed string, owned by the caller */
agd_code agd_config_format(const agd_config *config, char **text, agd_status *st);

/** Prints the table of keys: section.key, type and range, default, one line of help (for --help); as a Markdown table
 * when markdown is set (for the README). */
void agd_config_print_keys(FILE *out, bool markdown);

#endif
