/* allegrad import: columns of a CSV file become a data file. */
#include <inttypes.h>
#include <string.h>

#include "allegrad/dataset.h"
#include "allegrad/memory.h"
#include "allegrad/table.h"
#include "command.h"
#include "describe.h"

static const agd_option OPTIONS[] = {
    {"target", "COLUMN", AGD_OPTION_LIST, true, "columns to predict"},
    {"features", "COLUMN", AGD_OPTION_LIST, false, "columns to predict from; default: all others"},
    {"missing", "error|drop", AGD_OPTION_ONCE, false,
     "a missing value ends the import, or drops its row; default: error"},
    {"out", "FILE.h5", AGD_OPTION_ONCE, true, "data file to write"},
    {0}};

static agd_code parse_missing(const agd_arguments *arguments, agd_missing *missing, agd_status *st) {
  const char *text = agd_arguments_value(arguments, "missing");
  *missing = AGD_MISSING_ERROR;
  if (text == NULL || strcmp(text, "error") == 0) return AGD_OK;
  *missing = AGD_MISSING_DROP;
  if (strcmp(text, "drop") == 0) return AGD_OK;
  return agd_arguments_refuse(arguments, st, "--missing must be error or drop, not ", text);
}

static agd_code add_words(agd_names *names, const agd_words *words, agd_status *st) {
  for (size_t i = 0; i < words->count; i++) AGD_TRY(agd_names_add(names, words->word[i], st));
  return AGD_OK;
}

/* The features: those asked for, or all of the header but the targets. */
static agd_code choose_features(const agd_arguments *arguments, const agd_names *targets, agd_names *features,
                                agd_status *st) {
  const agd_words *asked = agd_arguments_list(arguments, "features");
  if (asked->count > 0) return add_words(features, asked, st);
  const char *path = arguments->positional.word[0];
  agd_names header = {0};
  AGD_TRY(agd_table_header(path, &header, st));
  agd_code code = AGD_OK;
  for (size_t i = 0; i < header.count && code == AGD_OK; i++)
    if (agd_names_find(targets, header.name[i]) < 0) code = agd_names_add(features, header.name[i], st);
  agd_names_clear(&header);
  if (code == AGD_OK && features->count == 0)
    code = agd_fail(st, AGD_EDATA, "%s: no column is left to be a feature", path);
  return code;
}

/* Columns [first, first + count) of the table, row-major. */
static agd_code take_columns(const agd_table *table, size_t first, size_t count, double **out, agd_status *st) {
  const size_t columns = table->names.count;
  AGD_TRY(agd_allocate((size_t)table->rows * count, sizeof **out, "the columns", (void **)out, st));
  for (size_t r = 0; r < table->rows; r++)
    memcpy(*out + r * count, table->value + r * columns + first, count * sizeof **out);
  return AGD_OK;
}

static agd_code write_data(const char *path, const agd_table *table, const agd_names *features,
                           const agd_names *targets, agd_status *st) {
  double *x = NULL, *y = NULL;
  agd_code code = take_columns(table, 0, features->count, &x, st);
  if (code == AGD_OK) code = take_columns(table, features->count, targets->count, &y, st);
  if (code == AGD_OK) code = agd_dataset_write(path, table->rows, features, x, targets, y, false, st);
  agd_release(&x);
  agd_release(&y);
  return code;
}

static agd_code import(const agd_arguments *arguments, agd_names *features, agd_names *targets, agd_names *columns,
                       agd_table *table, agd_status *st) {
  const char *out = agd_arguments_value(arguments, "out");
  agd_missing missing;
  AGD_TRY(parse_missing(arguments, &missing, st));
  AGD_TRY(agd_arguments_check_ending(arguments, "out", ".h5", NULL, st));
  AGD_TRY(add_words(targets, agd_arguments_list(arguments, "target"), st));
  AGD_TRY(choose_features(arguments, targets, features, st));
  AGD_TRY(agd_names_copy(columns, features, st));
  for (size_t i = 0; i < targets->count; i++) AGD_TRY(agd_names_add(columns, targets->name[i], st));
  AGD_TRY(agd_table_read(arguments->positional.word[0], columns, missing, table, st));
  AGD_TRY(write_data(out, table, features, targets, st));
  printf("%s: %" PRIu64 " rows (%" PRIu64 " dropped)\n", out, table->rows, table->dropped);
  agd_describe_names(stdout, "features", features);
  agd_describe_names(stdout, "targets", targets);
  return AGD_OK;
}

static agd_code run_import(agd_comm *comm, const agd_arguments *arguments, agd_status *st) {
  (void)comm;
  agd_names features = {0}, targets = {0}, columns = {0};
  agd_table table = {0};
  const agd_code code = import(arguments, &features, &targets, &columns, &table, st);
  agd_table_clear(&table);
  agd_names_clear(&columns);
  agd_names_clear(&targets);
  agd_names_clear(&features);
  return code;
}

const agd_command agd_command_import = {
    .name = "import",
    .summary = "a data file from columns of a CSV file",
    .positional = "FILE.csv",
    .option = OPTIONS,
    .description =
        "Writes the rows of FILE.csv (a header line, then numbers) to an HDF5 file with the datasets x and y\n"
        "(float32, what training computes with) and the columns' names. FILE.csv comes before --target and\n"
        "--features, whose lists end at the next option. An empty cell, NA, NaN, ?, null and None are\n"
        "missing values; a row with one in a chosen column is an error unless --missing drop.\n",
    .examples =
        "  allegrad import houses.csv --target price --out houses.h5\n"
        "  allegrad import houses.csv --target price rent --features area rooms --missing drop --out houses.h5\n",
    .run = run_import};
