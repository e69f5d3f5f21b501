/** @file h5.h
 * What every reader and writer of HDF5 files here shares: files built and opened in memory, strict opening of named
 * datasets, attributes.
 *
 * HDF5's own error printing is silenced by whoever calls from outside (H5E_BEGIN_TRY around the public function); the
 * first reason of HDF5's error stack is put into the message instead. `file_name` only stands in messages. Needs no
 * MPI_Init. Not collective.
 */
#ifndef ALLEGRAD_H5_H
#define ALLEGRAD_H5_H

#include <hdf5.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allegrad/names.h"
#include "allegrad/status.h"

/** A file that HDF5 builds in memory; must stay at its address from agd_h5_image_create to agd_h5_image_finish. */
typedef struct agd_h5_image {
  hid_t file; /**< create objects in it */
  void *bytes;
  size_t capacity; /**< bytes allocated */
  size_t size;     /**< bytes that HDF5 has asked for */
} agd_h5_image;

/** Starts a file in memory: newest format, so that metadata carries checksums; no time stamps.
 * @param content  bytes of numbers and text that will be written. Memory for them and for ample metadata is taken here,
 *                 because HDF5 1.10.8 crashes at the end of a process when memory ends while it writes. */
agd_code agd_h5_image_create(agd_h5_image *image, size_t content, agd_status *st);

/** Closes the file and hands over its bytes (agd_release), ending at HDF5's own end of file. On failure all memory is
 * released and *bytes is NULL. With `keep` false the file is only thrown away. */
agd_code agd_h5_image_finish(agd_h5_image *image, bool keep, void **bytes, size_t *size, agd_status *st);

/** Opens bytes as a read-only file, to be closed with H5Fclose, which closes all its objects too. The bytes
 * are not copied and must stay as they are until then.
 * AGD_EDATA when they are no HDF5 file or a truncated one. */
agd_code agd_h5_open_bytes(const char *file_name, const void *bytes, size_t size, hid_t *file, agd_status *st);

/** The same of a file on disk, by this process alone, which reads of it what is asked for. */
agd_code agd_h5_open_path(const char *path, hid_t *file, agd_status *st);

/** Creates a group or a contiguous dataset without time stamps; path below `at`, negative on failure. */
hid_t agd_h5_make_group(hid_t at, const char *path);
hid_t agd_h5_make_dataset(hid_t at, const char *path, hid_t type, int rank, const hsize_t *dims);

/** Whether a path leads to an object through hard links only; a soft or external link counts as absent. */
bool agd_h5_exists(hid_t file, const char *path);

/** Whether the HDF5 file at `path` has an object; false also when it cannot be opened. To be called from outside. */
bool agd_h5_file_holds(const char *path, const char *object);

/** "HDF5 1.10.8": the library in use. Writes at most size bytes into text and returns text. */
const char *agd_h5_describe(char *text, size_t size);

/** A dataset of floating-point numbers that has passed all checks. */
typedef struct agd_h5_array {
  hid_t id; /**< close with H5Dclose */
  int rank; /**< 0 to 2 */
  hsize_t dims[2];
  size_t type_size; /**< bytes of an element in the file: 4 or 8; of a record as many as it has */
} agd_h5_array;

/** Opens a dataset and checks it before anyone allocates: reached by hard links only, IEEE float32 or float64, at most
 * two dimensions whose product in doubles fits memory, stored in this file (no external files, no virtual layout), with
 * HDF5's own filters only, and with as many bytes as the shape needs when it is not compressed.
 * @return AGD_OK or AGD_EDATA naming file, dataset and what is wrong */
agd_code agd_h5_open_array(hid_t file, const char *file_name, const char *path, agd_h5_array *out, agd_status *st);

/** Opens a vector of records, compounds of exactly one of the `count` types, under the same checks. */
agd_code agd_h5_open_records(hid_t file, const char *file_name, const char *path, const hid_t *types, size_t count,
                             agd_h5_array *out, agd_status *st);

/** Reads a dataset that is one int32 or int64, under the same checks. */
agd_code agd_h5_read_integer(hid_t file, const char *file_name, const char *path, int64_t *value, agd_status *st);

/** Attributes: UTF-8 text, lists of texts, and `count` numbers of a native type (scalar when count is 0).
 * Writers: false when HDF5 fails. Readers: AGD_EDATA naming file and attribute when it is missing or of another kind or
 * size. */
bool agd_h5_write_text(hid_t at, const char *name, const char *text);
bool agd_h5_write_names(hid_t at, const char *name, const agd_names *names);
bool agd_h5_write_numbers(hid_t at, const char *name, hid_t type, size_t count, const void *values);
/** @param text  malloc'ed, owned by the caller */
agd_code agd_h5_read_text(hid_t at, const char *file_name, const char *name, char **text, agd_status *st);
agd_code agd_h5_read_names(hid_t at, const char *file_name, const char *name, agd_names *names, agd_status *st);
agd_code agd_h5_read_numbers(hid_t at, const char *file_name, const char *name, hid_t type, size_t count, void *values,
                             agd_status *st);

/** agd_fail(AGD_EDATA) with "file_name: what: HDF5's reason". */
agd_code agd_h5_fail(agd_status *st, const char *file_name, const char *what);

#endif
