/** @file h5_bytes.h
 * The bytes of an HDF5 file, in memory or on disk, and what HDF5 1.10.8 must not be shown: for h5.c and h5_text.c.
 * Not collective.
 */
#ifndef ALLEGRAD_H5_BYTES_H
#define ALLEGRAD_H5_BYTES_H

#include <stdbool.h>
#include <stdint.h>

typedef struct agd_h5_bytes {
  const unsigned char *memory; /**< borrowed; NULL: in the file */
  int fd;                      /**< borrowed */
  uint64_t size;
} agd_h5_bytes;

/** The number in `bytes` bytes, little-endian. */
uint64_t agd_h5_bytes_number(const unsigned char *from, int bytes);

/** Copies a part; false when the file does not have it or cannot be read. */
bool agd_h5_bytes_read(const agd_h5_bytes *bytes, uint64_t at, void *to, uint64_t size);

/** Looks for what makes HDF5 1.10.8 crash, loop or write beyond its buffers while it opens a file or follows a path:
 * "local heaps", which hold the names in groups of the old format, whose extents or lists of free space lead out of
 * them. Only a heap that something in the file may refer to counts, as numbers can look like one. Reads the file from
 * end to end.
 * @return NULL, or what is wrong. A file that is no HDF5 file is left to HDF5. */
const char *agd_h5_bytes_check(const agd_h5_bytes *bytes);

#endif
