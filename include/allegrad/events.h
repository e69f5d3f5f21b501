/** @file events.h
 * TensorBoard event files with scalars, as Keras' TensorBoard callback lays them out: TFRecord framing with masked
 * CRC32C (ISA-L), protobuf messages (protobuf-c). One process writes a file. Not collective.
 */
#ifndef ALLEGRAD_EVENTS_H
#define ALLEGRAD_EVENTS_H

#include <stdint.h>

#include "allegrad/status.h"

typedef struct agd_events agd_events;

/** Creates `folder` if needed and a new events.out.tfevents.* file in it, with its version record. AGD_EDATA on
 * failure. */
agd_code agd_events_open(const char *folder, agd_events **out, agd_status *st);

/** Opens the newest event file of a folder to go on with it: what follows the first record of step `end` or later, and
 * a record that was cut off, is removed. Without such a file, and when the newest is none, as agd_events_open.
 * AGD_EDATA when a file or folder cannot be read or written, or memory is short. */
agd_code agd_events_continue(const char *folder, int64_t end, agd_events **out, agd_status *st);

/** Forces to disk what was written. AGD_EDATA on failure. */
agd_code agd_events_sync(agd_events *events, agd_status *st);

/** Appends one scalar (kept as a float, as TensorFlow does) with the present time, and flushes. AGD_EDATA when it could
 * not be written. */
agd_code agd_events_scalar(agd_events *events, const char *tag, int64_t step, double value, agd_status *st);

/** Closes and nulls; NULL is fine. AGD_EDATA when the last bytes could not be written. */
agd_code agd_events_close(agd_events **events, agd_status *st);

#endif
