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
 *   lock              held (fcntl) by the process that writes the run, gone with it; names its host and process
 *   status            `state: WORD` (running, finished, diverged, interrupted or failed) and a line of explanation;
 *                     a run that says running and has no process was killed
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
#include "allegrad/training.h"

typedef struct agd_run agd_run;

/** How a run ended. */
typedef enum agd_run_state {
  AGD_RUN_RUNNING,
  AGD_RUN_FINISHED,
  AGD_RUN_DIVERGED,
  AGD_RUN_INTERRUPTED,
  AGD_RUN_FAILED
} agd_run_state;

/** The word of a state in the file `status`. */
const char *agd_run_state_word(agd_run_state state);

/** Creates the folder (and its parents) and opens the logs; config.yaml and status "running" are written at once.
 * @return AGD_OK; AGD_EUSAGE for a folder that already holds a run, which is left as it was, or that another
 * process has just begun to write to; AGD_EDATA when something
 * cannot be written: then nothing is left behind but empty folders */
agd_code agd_run_create(const char *folder, const agd_config *config, agd_run **out, agd_status *st);

/** Takes hold of a folder to go on with the run in it; makes the folder when there is none. Another process that has it
 * is waited for, up to `patience` seconds. Nothing is changed yet.
 * @param out    go on with agd_run_continue or, when there is nothing to go on from, agd_run_restart; to leave all as
 * it is, agd_run_release
 * @param state  how the run ended; running when it was killed, or there is none
 * @return AGD_OK; AGD_EUSAGE when another process keeps it, or the folder holds something else; AGD_EDATA */
agd_code agd_run_open(const char *folder, double patience, agd_run **out, agd_run_state *state, agd_status *st);

/** The weights file to go on from: the newest valid checkpoint, or the final weights when they are newer, which then
 * become a checkpoint.
 * @param checkpoint  of AGD_PATH_MAX bytes; "" when there is none
 * @param note        is told of damaged files, one line each
 * @return AGD_OK; AGD_EDATA when there are checkpoints, and none is valid */
agd_code agd_run_find_checkpoint(const agd_run *run, char *checkpoint, void (*note)(const char *), agd_status *st);

/** Begins the opened run anew: what a killed one has left without a checkpoint is removed. Returns as agd_run_create.
 */
agd_code agd_run_restart(agd_run *run, const agd_config *config, agd_status *st);

/** Goes on with the opened run after the state that a weights file told: the logs are cut to it and continued, lines of
 * metrics.csv that are missing or damaged come from its history (with 0 where it does not tell), checkpoints of later
 * steps and final weights are removed. AGD_EDATA when something cannot be written. */
agd_code agd_run_continue(agd_run *run, const agd_config *config, const agd_training *from, agd_status *st);

/** Lets go of an opened run as it is; nulls the pointer, NULL is fine. */
void agd_run_release(agd_run **run);

/** Forces the logs to disk, for a checkpoint that is to come after them. May be called from another thread. AGD_EDATA
 * on failure. */
agd_code agd_run_sync(const agd_run *run, agd_status *st);

/** Takes note of a step: every log.steps-th (from 1) becomes a line of steps.csv, buffered until the epoch ends or
 * agd_run_flush_steps. Call it for every step. */
agd_code agd_run_step(agd_run *run, uint64_t step, double loss, agd_status *st);

/** Hands the buffered lines of steps.csv to the system. AGD_EDATA on failure. */
agd_code agd_run_flush_steps(agd_run *run, agd_status *st);

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
