/** @file table.h
 * CSV files as tables of numbers (libcsv): a header line, then one row a line; quoted cells (RFC 4180), Windows and old
 * Macintosh line ends, empty lines and a byte order mark are understood. The file and the table are held in memory.
 * Not collective.
 */
#ifndef ALLEGRAD_TABLE_H
#define ALLEGRAD_TABLE_H

#include <stdint.h>

#include "allegrad/names.h"
#include "allegrad/status.h"

/** What happens to a row with a missing cell in a wanted column: an empty cell, "NA", "NaN", "?", "null", "None" (any
 * case). */
typedef enum agd_missing { AGD_MISSING_ERROR, AGD_MISSING_DROP } agd_missing;

/** Rows of doubles; owned. Start with `{0}`. */
typedef struct agd_table {
  uint64_t rows;
  agd_names names;  /**< one per column */
  double *value;    /**< [rows, names.count] row-major */
  uint64_t dropped; /**< rows left out because of a missing cell */
} agd_table;

/** Reads columns of a CSV file.
 * @param path     a regular file; "-" is not special
 * @param columns  the columns wanted, in this order; NULL or empty: all of the header. A name that the header lacks
 *                 (then the message lists the header) or has twice, or that is wanted twice, is AGD_EDATA; so is a
 *                 wanted column without a name
 * @param missing  see #agd_missing
 * @param out      filled; release with agd_table_clear; empty on failure
 * @return AGD_OK or AGD_EDATA; the message reads "file:line: ..." (line from 1, as an editor shows; of a cell that
 * spans lines the first) and names the column. Cells of columns not wanted are not looked at. Numbers are those of
 *         number.h, with blanks around: "7x", "0x10", "1,5", "inf" and "1e999" are refused, as are rows with too few or
 *         too many cells, NUL bytes and stray quotation marks. No row at all is AGD_EDATA, too. */
agd_code agd_table_read(const char *path, const agd_names *columns, agd_missing missing, agd_table *out,
                        agd_status *st);

/** Only the header of a CSV file, as it stands there.
 * @param out  replaced; empty on failure */
agd_code agd_table_header(const char *path, agd_names *out, agd_status *st);

/** Releases everything; the table is empty afterwards. */
void agd_table_clear(agd_table *table);

#endif
