/** @file config.h
 * The job: one struct of parameters, filled from one table of keys, parsed strictly and validated before anything
 * starts. Not collective: rank 0 parses and validates, all ranks get the same bytes by agd_comm_broadcast.
 *
 * A job file is one YAML document of at most AGD_JOB_MAX bytes of UTF-8: nested mappings of keys, a list for
 * model.hidden. Anchors, aliases, tags, directives, further documents and repeated keys are refused. Whole numbers are
 * plain decimal digits, numbers have no sign + and no leading zeros, truth is `true` or `false`, and none of these may
 * be quoted. An absent key means its default (learning_rate: that of Keras for the optimizer named), a written 0 means
 * 0. Relative paths are relative to the working directory.
 */
#ifndef ALLEGRAD_CONFIG_H
#define ALLEGRAD_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "allegrad/model.h"
#include "allegrad/optimizer.h"
#include "allegrad/reduce.h"
#include "allegrad/schedule.h"
#include "allegrad/status.h"

enum { AGD_PATH_MAX = 4096, AGD_NAME_MAX = 256, AGD_JOB_MAX = 1 << 20 };

typedef enum agd_loss { AGD_LOSS_MSE } agd_loss;
typedef enum agd_split { AGD_SPLIT_TAIL, AGD_SPLIT_RANDOM } agd_split;
typedef enum agd_shuffle { AGD_SHUFFLE_GLOBAL, AGD_SHUFFLE_SHARD, AGD_SHUFFLE_NONE } agd_shuffle;
typedef enum agd_recalibrate { AGD_RECALIBRATE_OFF, AGD_RECALIBRATE_END, AGD_RECALIBRATE_EVAL } agd_recalibrate;
typedef enum agd_on_error { AGD_ON_ERROR_STOP, AGD_ON_ERROR_WARN } agd_on_error;
typedef enum agd_progress { AGD_PROGRESS_AUTO, AGD_PROGRESS_BAR, AGD_PROGRESS_LINES, AGD_PROGRESS_OFF } agd_progress;

/** Plain bytes without pointers; the padding is zero, so that equal jobs are equal bytes. */
typedef struct agd_config {
  char data_file[AGD_PATH_MAX];
  char data_x[AGD_NAME_MAX], data_y[AGD_NAME_MAX];
  double validation_split;
  agd_split data_split;
  bool standardize;

  agd_model_spec model; /**< inputs and outputs stay 0 until the data is known */
  agd_initializer init;
  char init_weights[AGD_PATH_MAX]; /**< "" for none (null) */
  agd_recalibrate recalibrate;

  agd_loss loss;
  agd_optimizer_spec optimizer; /**< what the named optimizer does not read holds the defaults */
  bool init_optimizer;          /**< slots and iteration from init_weights, too */
  uint64_t batch;               /**< the default when batch_per_rank is set */
  uint64_t batch_per_rank;      /**< 0: off */
  uint64_t accumulate;          /**< batches of a step */
  uint64_t epochs, max_steps;
  double max_seconds; /**< 0: off */
  agd_shuffle shuffle;
  uint64_t seed;
  uint64_t reproducible; /**< lanes of reproducible mode, 0: off */
  agd_schedule_spec schedule;
  double clip_norm;  /**< 0: off */
  uint64_t patience; /**< epochs, 0: off */

  uint64_t checkpoint_every_epochs, checkpoint_every_steps, checkpoint_keep;
  double checkpoint_every_minutes;
  bool checkpoint_best;
  agd_on_error checkpoint_on_error;

  double timeout; /**< seconds, 0: off */
  agd_exchange_way exchange;
  uint64_t check_every;

  uint64_t log_steps;
  bool tensorboard;
  agd_progress progress;
} agd_config;

/** Reads a job file, applies the overrides, validates.
 * @param path       YAML; its messages carry path:line:column
 * @param overrides  `count` texts "section.key=value" of --set, applied in order, the last one wins; values parsed as
 * in the file: "model.hidden=[64, 32]", "train.optimizer={name: adam}"
 * @param out        the job; undefined on failure
 * @return AGD_OK, AGD_EUSAGE (also when the job file cannot be read), AGD_EDATA (memory) */
agd_code agd_config_load(const char *path, const char *const *overrides, size_t count, agd_config *out, agd_status *st);

/** The same from text in memory; `name` stands in messages. */
agd_code agd_config_parse(const char *text, const char *name, const char *const *overrides, size_t count,
                          agd_config *out, agd_status *st);

/** The effective configuration as YAML that agd_config_parse reads back to the same bytes: every key in table order,
 * but those that the job does not read.
 * @param text  receives a malloc'ed string, owned by the caller
 * @return AGD_OK or AGD_EDATA (memory) */
agd_code agd_config_format(const agd_config *config, char **text, agd_status *st);

/** Whether a run that was begun as `before` may go on as `now`: epochs, limits, learning rate, checkpoints, exchange
 * and logs may change, what decides the model, the batches and their order may not.
 * @param changed  receives "train.epochs 30 -> 40, ..." of what may change and did, cut at `size`; "" for nothing
 * @return AGD_OK; AGD_EUSAGE naming the first key that may not change, with both values */
agd_code agd_config_check_resume(const agd_config *before, const agd_config *now, char *changed, size_t size,
                                 agd_status *st);

/** Prints the table of keys: section.key, type and range, default, one line of help (for --help); as a Markdown table
 * when markdown is set (for the README). */
void agd_config_print_keys(FILE *out, bool markdown);

#endif
