/** @file dataset.h
 * Training data in HDF5: datasets x [rows, features] and y [rows, targets] or [rows], float32 or float64 in either byte
 * order, and the column names (attribute "columns" of each, one variable-length string a column). Reads by ranges of
 * rows; under MPI collectively, each rank its own rows.
 *
 * The file is checked before anything is allocated: a plain HDF5 file, contiguous or chunked with built-in filters
 * only, rank 1 or 2, floating point, extents that fit memory, the same number of rows, no links but hard ones, no
 * external or virtual storage. A dataset can be named by a path ("group/x"). Rows are counted from 0 here.
 */
#ifndef ALLEGRAD_DATASET_H
#define ALLEGRAD_DATASET_H

#include <stdbool.h>
#include <stdint.h>

#include "allegrad/comm.h"
#include "allegrad/names.h"
#include "allegrad/real.h"
#include "allegrad/status.h"

/** An open data file. rows, features, targets and names are for reading; the rest is private to dataset.c. */
typedef struct agd_dataset {
  uint64_t rows;     /**< at least 1 */
  size_t features;   /**< at least 1 */
  size_t targets;    /**< 0 when opened without y */
  agd_names x_names; /**< features names; "x0", "x1", ... where the file has none */
  agd_names y_names; /**< targets names; "y0", ... (a single target without a name: the dataset's name) */
  struct agd_dataset_file *file;
} agd_dataset;

/** Opens a data file. Under MPI rank 0 looks at it first, alone; the others open it only if it is good.
 * @param path   HDF5 file; a missing, empty, truncated or foreign file is AGD_EDATA with a message naming it. A trailer
 *               (see checkpoint.h) is verified before HDF5 sees the file, which reads it once from end to end.
 * @param x, y   names of the datasets inside; y NULL: no targets wanted
 * @param comm   NULL for a file read by this process alone (no MPI call is made); otherwise collective on comm, path, x
 *               and y equal on all ranks, and all return the same code and message; borrowed until the data set is
 *               closed
 * @param out    receives the data set, closed with agd_dataset_close; NULL on failure */
agd_code agd_dataset_open(const char *path, const char *x, const char *y, const agd_comm *comm, agd_dataset **out,
                          agd_status *st);

/** Closes the file and nulls the pointer; NULL is fine. Collective if it was opened with a comm. */
void agd_dataset_close(agd_dataset **dataset);

/** Reads rows [first, first + count) into x [count, features] and y [count, targets], row-major, converted to agd_real.
 * Ranks may ask for different ranges, also empty ones. y may be NULL (all ranks alike). A value that is not finite as
 * agd_real is AGD_EDATA naming file, dataset, row and column. Collective if opened with a comm; the outcome is agreed.
 */
agd_code agd_dataset_read(agd_dataset *dataset, uint64_t first, uint64_t count, agd_real *x, agd_real *y,
                          agd_status *st);

/** Writes a data file: temporary name, fsync, rename, with the trailer of checkpoint.h. x [rows, features] and
 * y [rows, targets] (targets 0: no y), row-major doubles, stored as float32 or float64, little-endian. The file is
 * built in memory. The same arguments give the same bytes.
 * @param path  replaced as a whole or left as it was
 * @return AGD_OK or AGD_EDATA (disk, memory, a value that is not finite in the type to be stored). Not collective: one
 *         process writes. */
agd_code agd_dataset_write(const char *path, uint64_t rows, const agd_names *x_names, const double *x,
                           const agd_names *y_names, const double *y, bool as_float64, agd_status *st);

#endif
