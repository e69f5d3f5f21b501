#include "allegrad/table.h"

#include <csv.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "allegrad/checkpoint.h"
#include "allegrad/memory.h"
#include "allegrad/number.h"

/* Column of the header that nobody wants. */
#define UNWANTED SIZE_MAX

/* What libcsv's callbacks work on. After a failure they do nothing; libcsv cannot be stopped in the middle. */
typedef struct reader {
  const char *path;
  agd_missing missing;
  agd_table *table; /* NULL: only the header is wanted */
  agd_names header; /* all columns of the file */
  size_t *place;    /* [header.count] column of the table, or UNWANTED */
  bool in_header;
  bool drop;          /* this row has a missing cell */
  size_t cells;       /* of this row so far */
  uint64_t line;      /* being fed */
  uint64_t row_line;  /* where this row starts; 0: not started */
  uint64_t cell_line; /* where the next cell starts */
  uint64_t capacity;  /* rows that table->value can hold */
  agd_code code;
  agd_status *st;
} reader;

enum { SHOWN = 40, SHOWN_SIZE = SHOWN + 4 };

/* A cell fit for a message: short, no control characters, no half UTF-8 character. */
static const char *shown(const char *text, char out[SHOWN_SIZE]) {
  size_t length = strnlen(text, SHOWN + 1);
  const bool cut = length > SHOWN;
  if (cut) length = SHOWN;
  while (cut && length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80) length--;
  for (size_t i = 0; i < length; i++) out[i] = (unsigned char)text[i] < ' ' || text[i] == 0x7F ? '?' : text[i];
  memcpy(out + length, cut ? "..." : "", cut ? sizeof "..." : 1);
  return out;
}

/* The header as "a, b, c", cut when it is long. */
static void list_header(const agd_names *header, char *out, size_t size) {
  char name[SHOWN_SIZE];
  size_t length = 0;
  out[0] = '\0';
  for (size_t i = 0; i < header->count && length < size; i++)
    length += (size_t)snprintf(out + length, size - length, "%s%s", i > 0 ? ", " : "", shown(header->name[i], name));
}

static agd_code resolve_column(const reader *r, const char *name, size_t column, agd_status *st) {
  char text[SHOWN_SIZE];
  size_t found = UNWANTED;
  for (size_t i = 0; i < r->header.count; i++) {
    if (strcmp(r->header.name[i], name) != 0) continue;
    if (name[0] == '\0')
      return agd_fail(st, AGD_EDATA, "%s:%llu: column %zu has no name; choose the columns by name", r->path,
                      (unsigned long long)r->row_line, i + 1);
    if (found != UNWANTED)
      return agd_fail(st, AGD_EDATA, "%s:%llu: the header has column \"%s\" twice", r->path,
                      (unsigned long long)r->row_line, shown(name, text));
    found = i;
  }
  if (found == UNWANTED) {
    char list[AGD_MESSAGE_MAX / 2];
    list_header(&r->header, list, sizeof list);
    return agd_fail(st, AGD_EDATA, "%s:%llu: no column \"%s\"; the header has %s", r->path,
                    (unsigned long long)r->row_line, shown(name, text), list);
  }
  if (r->place[found] != UNWANTED)
    return agd_fail(st, AGD_EDATA, "%s: column \"%s\" is wanted twice", r->path, shown(name, text));
  r->place[found] = column;
  return AGD_OK;
}

/* Maps the columns of the file to those of the table, whose names are the wanted ones or none yet. */
static agd_code resolve_columns(reader *r) {
  agd_names *names = &r->table->names;
  AGD_TRY(agd_allocate(r->header.count, sizeof *r->place, "the columns of a CSV file", (void **)&r->place, r->st));
  for (size_t i = 0; i < r->header.count; i++) r->place[i] = UNWANTED;
  if (names->count == 0) AGD_TRY(agd_names_copy(names, &r->header, r->st));
  for (size_t i = 0; i < names->count; i++) AGD_TRY(resolve_column(r, names->name[i], i, r->st));
  return AGD_OK;
}

static bool is_missing(const char *text) {
  static const char *const spellings[] = {"", "NA", "NaN", "?", "null", "None"};
  for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++)
    if (strcasecmp(text, spellings[i]) == 0) return true;
  return false;
}

enum { FIRST_CELLS = 1 << 14 };

/* Room for one more row; grows by doubling. */
static agd_code reserve_row(reader *r) {
  agd_table *table = r->table;
  if (table->rows < r->capacity) return AGD_OK;
  const uint64_t first = FIRST_CELLS / table->names.count + 1; /* of a file that is all header, one */
  const uint64_t capacity = r->capacity == 0 ? first : 2 * r->capacity;
  double *grown = NULL;
  if (capacity <= SIZE_MAX / sizeof *grown / table->names.count)
    grown = realloc(table->value, (size_t)capacity * table->names.count * sizeof *grown);
  if (grown == NULL)
    return agd_fail(r->st, AGD_EDATA, "%s:%llu: out of memory after %llu rows", r->path,
                    (unsigned long long)r->row_line, (unsigned long long)table->rows);
  table->value = grown;
  r->capacity = capacity;
  return AGD_OK;
}

/* Blanks around are no part of a number; libcsv leaves those inside quotation marks. */
static char *trim(char *text) {
  static const char blanks[] = " \t";
  text += strspn(text, blanks);
  size_t length = strlen(text);
  while (length > 0 && strchr(blanks, text[length - 1]) != NULL) length--;
  text[length] = '\0';
  return text;
}

static agd_code take_number(reader *r, char *text, size_t column) {
  char cell[SHOWN_SIZE], name[SHOWN_SIZE];
  if (column == UNWANTED) return AGD_OK;
  AGD_TRY(reserve_row(r));
  agd_table *table = r->table;
  text = trim(text);
  if (agd_number_parse(text, &table->value[table->rows * table->names.count + column])) return AGD_OK;
  const bool missing = is_missing(text);
  if (missing && r->missing == AGD_MISSING_DROP) {
    r->drop = true;
    return AGD_OK;
  }
  return agd_fail(r->st, AGD_EDATA, "%s:%llu: column \"%s\": \"%s\" is %s", r->path, (unsigned long long)r->cell_line,
                  shown(table->names.name[column], name), shown(text, cell), missing ? "a missing value" : "no number");
}

/* libcsv hands over a cell, ended by a NUL (CSV_APPEND_NULL). */
static void on_cell(void *field, size_t length, void *context) {
  (void)length;
  reader *r = context;
  if (r->code != AGD_OK) return;
  if (r->in_header)
    r->code = agd_names_add(&r->header, field, r->st);
  else if (r->cells < r->header.count)
    r->code = take_number(r, field, r->place[r->cells]);
  r->cells++;
  r->cell_line = r->line;
}

static void on_row(int terminator, void *context) {
  (void)terminator;
  reader *r = context;
  if (r->code != AGD_OK) return;
  if (r->in_header) {
    r->in_header = false;
    if (r->table != NULL) r->code = resolve_columns(r);
  } else if (r->cells != r->header.count) {
    r->code = agd_fail(r->st, AGD_EDATA, "%s:%llu: %zu cells, but the header has %zu", r->path,
                       (unsigned long long)r->row_line, r->cells, r->header.count);
  } else if (r->drop) {
    r->table->dropped++;
  } else {
    r->table->rows++;
  }
  r->cells = 0, r->drop = false, r->row_line = 0;
}

static agd_code csv_failure(const reader *r, int error) {
  if (error == CSV_EPARSE)
    return agd_fail(r->st, AGD_EDATA,
                    "%s:%llu: a stray quotation mark: a cell that holds one is written in quotation marks, the mark "
                    "doubled",
                    r->path, (unsigned long long)r->line);
  return agd_fail(r->st, AGD_EDATA, "%s:%llu: %s", r->path, (unsigned long long)r->line, csv_strerror(error));
}

/* One line as an editor shows it, with its end. libcsv does not tell lines, so it is fed one at a time. */
static void feed_line(reader *r, struct csv_parser *parser, const char *text, size_t size) {
  r->line++;
  if (memchr(text, '\0', size) != NULL) {
    r->code = agd_fail(r->st, AGD_EDATA, "%s:%llu: a NUL byte: not a CSV file in UTF-8 or ASCII", r->path,
                       (unsigned long long)r->line);
    return;
  }
  size_t blanks = 0;
  while (blanks < size && strchr(" \t\r\n", text[blanks]) != NULL) blanks++;
  if (r->row_line == 0 && blanks < size) r->row_line = r->cell_line = r->line;
  if (csv_parse(parser, text, size, on_cell, on_row, r) != size && r->code == AGD_OK)
    r->code = csv_failure(r, csv_error(parser));
}

static size_t line_size(const char *text, size_t size) {
  size_t end = 0;
  while (end < size && text[end] != '\n' && text[end] != '\r') end++;
  if (end < size && text[end] == '\r' && end + 1 < size && text[end + 1] == '\n') end++;
  return end < size ? end + 1 : size;
}

static agd_code parse(reader *r, const char *text, size_t size) {
  static const char mark[] = "\xEF\xBB\xBF";
  struct csv_parser parser;
  if (csv_init(&parser, CSV_STRICT | CSV_STRICT_FINI | CSV_APPEND_NULL) != 0)
    return agd_fail(r->st, AGD_EDATA, "%s: libcsv cannot be started", r->path);
  csv_set_blk_size(&parser, 1 << 12);
  size_t at = size >= 3 && memcmp(text, mark, 3) == 0 ? 3 : 0;
  while (at < size && r->code == AGD_OK && (r->table != NULL || r->in_header)) {
    const size_t part = line_size(text + at, size - at);
    feed_line(r, &parser, text + at, part);
    at += part;
  }
  if (r->code == AGD_OK && csv_fini(&parser, on_cell, on_row, r) != 0 && r->code == AGD_OK)
    r->code = agd_fail(r->st, AGD_EDATA, "%s:%llu: a quotation mark that is never closed", r->path,
                       (unsigned long long)r->cell_line);
  csv_free(&parser);
  if (r->code == AGD_OK && r->in_header) r->code = agd_fail(r->st, AGD_EDATA, "%s: no header line", r->path);
  return r->code;
}

static agd_code read_file(reader *r) {
  void *text;
  size_t size;
  agd_trailer_state state;
  AGD_TRY(agd_file_read(r->path, &text, &size, &state, r->st));
  const agd_code code = parse(r, text, size);
  agd_release(&text);
  agd_release(&r->place);
  return code;
}

agd_code agd_table_header(const char *path, agd_names *out, agd_status *st) {
  agd_names_clear(out);
  reader r = {.path = path, .in_header = true, .st = st};
  const agd_code code = read_file(&r);
  if (code == AGD_OK)
    *out = r.header;
  else
    agd_names_clear(&r.header);
  return code;
}

agd_code agd_table_read(const char *path, const agd_names *columns, agd_missing missing, agd_table *out,
                        agd_status *st) {
  *out = (agd_table){0};
  reader r = {.path = path, .missing = missing, .table = out, .in_header = true, .st = st};
  agd_code code = columns != NULL ? agd_names_copy(&out->names, columns, st) : AGD_OK;
  if (code == AGD_OK) code = read_file(&r);
  if (code == AGD_OK && out->rows == 0)
    code = agd_fail(st, AGD_EDATA, out->dropped > 0 ? "%s: every row has a missing value" : "%s: a header but no rows",
                    path);
  agd_names_clear(&r.header);
  if (code != AGD_OK) agd_table_clear(out);
  return code;
}

void agd_table_clear(agd_table *table) {
  agd_names_clear(&table->names);
  free(table->value);
  *table = (agd_table){0};
}
