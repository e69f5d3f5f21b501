/** @file table.h
 * CSV files as tables of numbers (libcsv): a header line, then one row a line; quoted fields, Windows line ends and a
 * byte order mark are understood. Not collective.
 */
#ifndef ALLEGRAD_TABLE_H
#define ALLEGRAD_TABLE_H

#include <stdint.h>

#include "allegrad/names.h"
#include "allegrad/status.h"

/** What happens to a row with a missing cell: an empty cell, "NA", "NaN", "?", "null", "None" (any case). */
typedef enum agd_missing { AGD_MISSING_ERROR, AGD_MISSING_DROP } agd_missing;

/** Rows of doubles; owned. Start with `{0}`. */
typedef struct agd_table {
  uint64_t rows;
  agd_names names;  /**< one per column */
  double *value;    /**< [rows, names.count] row-major */
  uint64_t dropped; /**< rows left out because of a missing cell */
} agd_table;

/** Reads columns of a CSV file.
 * @param path     the file; "-" is not special
 * @param columns  the columns wanted, in this order; NULL or empty: all of the header. A name that the header lacks, or
 *                 has twice, is AGD_EDATA (listing the header)
 * @param missing  see #agd_missing
 * @param out      filled; release with agd_table_clear
 * @return AGD_OK or AGD_EDATA; the message names file, line (from 1, as an editor shows) and column. Numbers are parsed
 *         independent of the locale; "1e3", "-2.5", " 7 " are numbers, "7x", "0x10", "inf" and "1e999" are not. */
agd_code agd_table_read(const char *path, const agd_names *columns, agd_missing missing, agd_table *out,
                        agd_status *st);

/** Only the header of a CSV file. */
agd_code agd_table_header(const char *path, agd_names *out, agd_status *st);

void agd_table_clear(agd_table *table);

#endif
