/** @file run.h
 * The run folder: everything that one training leaves. Written by rank 0 only; nothing here is collective.
 *
 *   config.yaml       the effective job file
 *   metrics.csv       the columns of agd_epoch_metrics and agd_epoch_details, a line an epoch, up to nine
 *                     significant digits, no blanks; a diverged loss is `nan` or `inf`; val_loss is empty when
 *                     validation_split is 0
 *   steps.csv         `step,loss` for every log.steps-th step; not there when log.steps is 0
 *   checkpoints/step-NNNNNNNN.weights.h5
 *   best.weights.h5   the epoch with the lowest val_loss so far (loss, when nothing is held out); checkpoint.best
 *   final.weights.h5  what is left when training ends
 *   status            `state: WORD` (running, finished, diverged or failed) and a line of explanation; a run that says
 *                     running and has no process was killed
 *   events/train, events/validation
 *                     for TensorBoard: epoch_loss, at step epoch - 1 as Keras' callback counts
 *   curves.png        both losses
 *
 * config.yaml, status and curves.png are replaced as a whole; the CSV files grow by whole lines.
 */
#ifndef ALLEGRAD_RUN_H
#define ALLEGRAD_RUN_H

#include <stdint.h>

#include "allegrad/config.h"
#include "allegrad/metrics.h"

typedef struct agd_run agd_run;

/** How a run ended. */
typedef enum agd_run_state { AGD_RUN_RUNNING, AGD_RUN_FINISHED, AGD_RUN_DIVERGED, AGD_RUN_FAILED } agd_run_state;

/** The word of a state in the file `status`. */
const char *agd_run_state_word(agd_run_state state);

/** Creates the folder (and its parents) and opens the logs; config.yaml and status "running" are written at once.
 * @return AGD_OK; AGD_EUSAGE for a folder that already holds a run, which is left as it was; AGD_EDATA when something
 * cannot be written: then nothing is left behind but empty folders */
agd_code agd_run_create(const char *folder, const agd_config *config, agd_run **out, agd_status *st);

/** Takes note of a step: every log.steps-th (from 1) becomes a line of steps.csv, buffered until the epoch ends. Call
 * it for every step. */
agd_code agd_run_step(agd_run *run, uint64_t step, double loss, agd_status *st);

/** Appends a line to metrics.csv and the scalars to the event files, and flushes all logs. */
agd_code agd_run_epoch(agd_run *run, const agd_epoch_metrics *metrics, const agd_epoch_details *details,
                       agd_status *st);

/** Path of the checkpoint of a step, of the best and of the final weights.
 * @param path  of AGD_PATH_MAX bytes: agd_run_create has refused a folder too long for it */
void agd_run_checkpoint_path(const agd_run *run, uint64_t step, char *path, size_t size);
void agd_run_best_path(const agd_run *run, char *path, size_t size);
void agd_run_final_path(const agd_run *run, char *path, size_t size);

/** Closes the logs, writes `status`, draws curves.png; releases the run and nulls the pointer; NULL is fine.
 * A picture that cannot be drawn is a warning on stderr: compute nodes often have no gnuplot.
 * @param explanation  one line for a reader, e.g. "30 epochs, 15480 steps"
 * @return AGD_OK, or AGD_EDATA when a log or the status could not be written (the state is then "failed") */
agd_code agd_run_close(agd_run **run, agd_run_state state, const char *explanation, agd_status *st);

/** RUN|WEIGHTS of the command line to a weights file: a file is itself; a folder means its final.weights.h5, else its
 * newest valid checkpoint.
 * @param note  as in agd_checkpoints_newest
 * @return AGD_OK, or AGD_EDATA when there is neither */
agd_code agd_run_weights_path(const char *run_or_weights, char *path, size_t size, void (*note)(const char *),
                              agd_status *st);

/** Reads the first five columns of metrics.csv of a run folder. A last line without its end (the run is being written,
 * or was killed) is left out; anything else that is no metrics file is AGD_EDATA naming the line.
 * @param metrics  malloc'ed, owned by the caller; an empty val_loss is NaN
 * @param count    lines read; 0 when no epoch has ended yet */
agd_code agd_run_metrics(const char *folder, agd_epoch_metrics **metrics, size_t *count, agd_status *st);

/** Reads the file `status` of a run folder.
 * @param explanation  receives the second line, cut at `size`
 * @return AGD_OK, or AGD_EDATA when the file is missing or says something else */
agd_code agd_run_status(const char *folder, agd_run_state *state, char *explanation, size_t size, agd_status *st);

#endif
