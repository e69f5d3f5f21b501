/** @file writer.h
 * Writes weights files beside the training: of a copy that was taken between two steps a thread of its own makes the
 * file and brings it to disk, one at a time, in the order of the calls. The thread may run on every core that the
 * system allows this process, for the rank's own is busy. Until agd_writer_finish has told the outcome no one else may
 * call HDF5, which is not thread-safe. Used by one process; not collective.
 */
#ifndef ALLEGRAD_WRITER_H
#define ALLEGRAD_WRITER_H

#include <stdbool.h>
#include <stddef.h>

#include "allegrad/model.h"
#include "allegrad/optimizer.h"
#include "allegrad/status.h"
#include "allegrad/training.h"

typedef struct agd_writer agd_writer;

enum { AGD_WRITER_PATH = 4096 };

/** What to write. */
typedef struct agd_write_job {
  const agd_model *model; /**< this and the next two are copied by agd_writer_start; of the training, what grows */
  const agd_optimizer *optimizer;
  const agd_training *training;
  char best[AGD_WRITER_PATH];                      /**< a file for it, or "" */
  char checkpoint[AGD_WRITER_PATH];                /**< another, beside older ones; or "" */
  size_t keep;                                     /**< the newest checkpoints that stay, 0: all */
  agd_code (*before)(void *context, agd_status *); /**< called first: what must be on disk before them; may be NULL */
  void *context;
} agd_write_job;

/** What the writes so far took, in seconds. */
typedef struct agd_write_costs {
  size_t count;  /**< of writes */
  double copies; /**< the training stood still */
  double core;   /**< of a core, beside it */
} agd_write_costs;

/** Takes the memory for copies of a model and an optimizer.
 * @return AGD_OK or AGD_EDATA (memory) */
agd_code agd_writer_create(const agd_model *model, const agd_optimizer *optimizer, agd_writer **out, agd_status *st);

/** Starts a write, once agd_writer_finish has waited for the one before; without a thread to be had it is done at once.
 * @param job  model and optimizer have the shapes of those that the writer was made for
 * @return AGD_OK or AGD_EDATA (memory): then nothing is written */
agd_code agd_writer_start(agd_writer *writer, const agd_write_job *job, agd_status *st);

/** The outcome of the last write if it has ended and was not told yet; with `wait`, when it has ended. */
agd_code agd_writer_finish(agd_writer *writer, bool wait, agd_status *st);

/** Of the writes whose outcome was told; NULL gives zeros. */
agd_write_costs agd_writer_costs(const agd_writer *writer);

/** Waits for the last write, releases and nulls; NULL is fine. */
void agd_writer_destroy(agd_writer **writer);

#endif
