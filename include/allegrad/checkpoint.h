/** @file checkpoint.h
 * Files that are whole or not there: the trailer with the digest, the replacing write, and the verified read.
 *
 * Trailer: behind HDF5's end of file stand 64 bytes: magic "AGDTRAIL", version (uint32 LE, 1), header size (uint32 LE,
 * 64), length of the content before the trailer (uint64 LE), 8 zero bytes, SHA-256 of the content. HDF5 and Keras
 * ignore it. Not collective: one process reads or writes a file.
 */
#ifndef ALLEGRAD_CHECKPOINT_H
#define ALLEGRAD_CHECKPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allegrad/status.h"

enum { AGD_TRAILER_SIZE = 64 };

/** What verifying a file found. */
typedef enum agd_trailer_state {
  AGD_TRAILER_NONE, /**< no trailer: a foreign file */
  AGD_TRAILER_VALID,
  AGD_TRAILER_BROKEN /**< a trailer whose length or digest does not fit, or what damage has left of one */
} agd_trailer_state;

/** Writes content to `path`, with or without a trailer: temporary name in the same folder, write, fsync, read back and
 * compare, rename, fsync of the folder. On failure the temporary file is removed and an old `path` stays as
 * it was. A path that is a folder, a symbolic link or a device is refused.
 * @return AGD_OK or AGD_EDATA with the path and the system's reason (disk full, permission, ...) */
agd_code agd_file_replace(const char *path, const void *content, size_t size, bool trailer, agd_status *st);

/** The same for `count` files of one content, in their order; the first failure ends it. */
agd_code agd_files_replace(const char *const *paths, size_t count, const void *content, size_t size, bool trailer,
                           agd_status *st);

/** Reads a whole regular file into memory and looks at its trailer.
 * @param content  receives the file's bytes (without a valid trailer), owned by the caller, agd_release
 * @return AGD_OK, or AGD_EDATA when the file is missing, empty, no regular file or cannot be read */
agd_code agd_file_read(const char *path, void **content, size_t *size, agd_trailer_state *state, agd_status *st);

/** Looks at the trailer of a file of any size without holding the file in memory.
 * @return AGD_OK, or AGD_EDATA when the file is missing, empty, no regular file or cannot be read */
agd_code agd_file_verify(const char *path, agd_trailer_state *state, agd_status *st);

/** SHA-256 of bytes. */
agd_code agd_sha256(const void *bytes, size_t size, unsigned char digest[32], agd_status *st);

/** Removes the oldest of `folder`/step-*.weights.h5 until `keep` remain (0 keeps all). */
agd_code agd_checkpoints_prune(const char *folder, size_t keep, agd_status *st);

/** Path of the newest checkpoint in `folder` whose trailer is valid; broken newer ones are reported through `note`, one
 * line each (may be NULL). @return AGD_OK, or AGD_EDATA when there is none */
agd_code agd_checkpoints_newest(const char *folder, char *path, size_t size, void (*note)(const char *),
                                agd_status *st);

/** Removes every checkpoint of a later step: of a training that goes on from `step`, they would outlive newer ones. */
agd_code agd_checkpoints_remove_after(const char *folder, uint64_t step, agd_status *st);

/** Checkpoints in a folder, valid or not; 0 when it cannot be read. */
size_t agd_checkpoints_count(const char *folder);

/** The step of `path`, when its last part is named as a checkpoint is; else 0. */
uint64_t agd_checkpoint_step(const char *path);

/** Removes the temporary files that writers of files in `folder` have left when they were killed. Only for who alone
 * writes there. */
void agd_file_remove_temporaries(const char *folder);

#endif
