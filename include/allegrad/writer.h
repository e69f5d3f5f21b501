/** @file writer.h
 * Writes weights files beside the training: an image that was taken between two steps goes to disk in a thread of its
 * own, one at a time, in the order of the calls. Used by one process; not collective.
 */
#ifndef ALLEGRAD_WRITER_H
#define ALLEGRAD_WRITER_H

#include <stdbool.h>
#include <stddef.h>

#include "allegrad/status.h"

typedef struct agd_writer agd_writer;

enum { AGD_WRITER_PATH = 4096 };

/** What to write. */
typedef struct agd_write_job {
  void *image; /**< owned by the writer from agd_writer_start on */
  size_t size;
  char best[AGD_WRITER_PATH];                      /**< a file for it, or "" */
  char checkpoint[AGD_WRITER_PATH];                /**< another, beside older ones; or "" */
  size_t keep;                                     /**< the newest checkpoints that stay, 0: all */
  agd_code (*before)(void *context, agd_status *); /**< called first: what must be on disk before them; may be NULL */
  void *context;
} agd_write_job;

/** @return AGD_OK or AGD_EDATA (memory) */
agd_code agd_writer_create(agd_writer **out, agd_status *st);

/** Starts a write, once agd_writer_finish has waited for the one before; without a thread to be had it is done at once.
 */
void agd_writer_start(agd_writer *writer, const agd_write_job *job);

/** The outcome of the last write if it has ended and was not told yet; with `wait`, when it has ended. */
agd_code agd_writer_finish(agd_writer *writer, bool wait, agd_status *st);

/** Waits for the last write, releases and nulls; NULL is fine. */
void agd_writer_destroy(agd_writer **writer);

#endif
