/** @file run.h
 * The run folder: everything that one training leaves. Written by rank 0 only; nothing here is collective.
 *
 * config.yaml, metrics.csv, steps.csv, checkpoints/step-NNNNNNNN.weights.h5, final.weights.h5, status, events/train,
 * events/validation, curves.png.
 */
#ifndef ALLEGRAD_RUN_H
#define ALLEGRAD_RUN_H

#include <stdint.h>

#include "allegrad/config.h"
#include "allegrad/weights.h"

typedef struct agd_run agd_run;

/** How a run ended: the word in the file `status`. */
typedef enum agd_run_state { AGD_RUN_RUNNING, AGD_RUN_FINISHED, AGD_RUN_DIVERGED, AGD_RUN_FAILED } agd_run_state;

/** Creates the folder (and its parents) and opens the logs. A folder that already holds a run is refused with
 * AGD_EUSAGE; an unwritable one is AGD_EDATA. config.yaml and status "running" are written at once. */
agd_code agd_run_create(const char *folder, const agd_config *config, agd_run **out, agd_status *st);

/** Appends to steps.csv: `step,loss`. Buffered until the epoch ends. */
agd_code agd_run_step(agd_run *run, uint64_t step, double loss, agd_status *st);

/** Appends a line to metrics.csv and the scalars to the event files, and flushes both. */
agd_code agd_run_epoch(agd_run *run, const agd_epoch_metrics *metrics, agd_status *st);

/** Path of the checkpoint of a step, and of the final weights. */
void agd_run_checkpoint_path(const agd_run *run, uint64_t step, char *path, size_t size);
void agd_run_final_path(const agd_run *run, char *path, size_t size);

/** Writes `status` (one line `state: WORD` and one line of explanation), draws curves.png, closes everything and nulls
 * the pointer. */
agd_code agd_run_close(agd_run **run, agd_run_state state, const char *explanation, agd_status *st);

/** RUN|WEIGHTS of the command line to a weights file: a file is itself; a folder means its final.weights.h5, else its
 * newest valid checkpoint. AGD_EDATA when there is neither. */
agd_code agd_run_weights_path(const char *run_or_weights, char *path, size_t size, agd_status *st);

/** Reads metrics.csv of a run folder. @param metrics malloc'ed, owned by the caller */
agd_code agd_run_metrics(const char *folder, agd_epoch_metrics **metrics, size_t *count, agd_status *st);

/** Reads the file `status` of a run folder: the state word and the explanation. */
agd_code agd_run_status(const char *folder, char *state, size_t state_size, char *explanation, size_t size,
                        agd_status *st);

#endif
