/** @file h5_bytes.h
 * HDF5's way to the bytes of a file that is only read: a driver of our own, for h5.c and h5_text.c. It gathers nothing,
 * and shows HDF5 1.10.8 nothing that makes it crash, loop or write beyond its buffers: no address beyond the file (the
 * library's own gathering of small reads adds up without looking), no "local heap" (the names in a group of the old
 * format) that leads out of itself. Not collective.
 */
#ifndef ALLEGRAD_H5_BYTES_H
#define ALLEGRAD_H5_BYTES_H

#include <hdf5.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct agd_h5_bytes {
  const unsigned char *memory; /**< borrowed; NULL: in the file `fd` */
  int fd;
  uint64_t size;
} agd_h5_bytes;

/** Makes a file access list open this memory, or with NULL the file that H5Fopen names. False when HDF5 fails. */
bool agd_h5_bytes_set(hid_t access, const void *memory, uint64_t size);

/** The bytes of a file that was opened so, as long as it is open; NULL: of any other. */
const agd_h5_bytes *agd_h5_bytes_of(hid_t file);

/** The number in `bytes` bytes, little-endian. */
uint64_t agd_h5_bytes_number(const unsigned char *from, int bytes);

/** Copies a part; false when the file does not have it or cannot be read. */
bool agd_h5_bytes_read(const agd_h5_bytes *bytes, uint64_t at, void *to, uint64_t size);

#endif
