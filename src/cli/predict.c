/* allegrad predict: what a model says of rows, as CSV or HDF5. */
#include <csv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allegrad/checkpoint.h"
#include "allegrad/dataset.h"
#include "allegrad/memory.h"
#include "allegrad/number.h"
#include "command.h"
#include "input.h"

static const agd_option OPTIONS[] = {
    AGD_INPUT_OPTION_DATA,
    {"out", "FILE.csv|.h5", AGD_OPTION_ONCE, true, "predictions: CSV, or HDF5 with x as read and y"},
    AGD_INPUT_OPTION_JOB,
    {0}};

enum { FLOAT_DIGITS = 9 }; /* bring every float back */

static void write_lines(FILE *out, const agd_input *in, const agd_real *prediction) {
  const size_t targets = in->y_names.count;
  for (size_t t = 0; t < targets; t++) {
    if (t > 0) fputc(',', out);
    const char *name = in->y_names.name[t];
    if (strpbrk(name, ",\"\r\n") != NULL)
      csv_fwrite(out, name, strlen(name)); /* in quotation marks */
    else
      fputs(name, out);
  }
  fputc('\n', out);
  for (size_t i = 0; i < (size_t)in->rows * targets; i++) {
    char number[AGD_NUMBER_SIZE];
    agd_number_format_digits((double)prediction[i], FLOAT_DIGITS, number);
    fputs(number, out);
    fputc((i + 1) % targets == 0 ? '\n' : ',', out);
  }
}

static agd_code write_csv(const char *path, const agd_input *in, const agd_real *prediction, agd_status *st) {
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  bool whole = out != NULL;
  if (whole) {
    write_lines(out, in, prediction);
    whole = ferror(out) == 0;
    whole = fclose(out) == 0 && whole;
  }
  const agd_code code = whole ? agd_file_replace(path, text, size, false, st)
                              : agd_fail(st, AGD_EDATA, "out of memory: the text of the predictions");
  free(text);
  return code;
}

static agd_code widen(const agd_real *values, size_t count, const char *what, double **out, agd_status *st) {
  AGD_TRY(agd_allocate(count, sizeof **out, what, (void **)out, st));
  for (size_t i = 0; i < count; i++) (*out)[i] = (double)values[i];
  return AGD_OK;
}

static agd_code write_hdf5(const char *path, const agd_input *in, const agd_real *prediction, agd_status *st) {
  const size_t rows = (size_t)in->rows;
  double *x = NULL, *y = NULL;
  agd_code code = widen(in->x, rows * in->x_names.count, "the rows", &x, st);
  if (code == AGD_OK) code = widen(prediction, rows * in->y_names.count, "the predictions", &y, st);
  if (code == AGD_OK) code = agd_dataset_write(path, in->rows, &in->x_names, x, &in->y_names, y, false, st);
  agd_release(&x);
  agd_release(&y);
  return code;
}

static agd_code predict(const agd_input *in, const char *path, agd_status *st) {
  const size_t rows = (size_t)in->rows;
  agd_real *prediction = NULL;
  AGD_TRY(agd_allocate(rows * in->y_names.count, sizeof *prediction, "the predictions", (void **)&prediction, st));
  agd_code code = agd_predictor_run(in->predictor, in->x, rows, prediction, st);
  if (code == AGD_OK)
    code = agd_ends_in(path, ".csv") ? write_csv(path, in, prediction, st) : write_hdf5(path, in, prediction, st);
  agd_release(&prediction);
  return code;
}

static agd_code run_predict(agd_comm *comm, const agd_arguments *arguments, agd_status *st) {
  (void)comm;
  const char *path = agd_arguments_value(arguments, "out");
  AGD_TRY(agd_arguments_check_ending(arguments, "out", ".csv", ".h5", st));
  agd_input in = {0};
  agd_code code = agd_input_read(arguments, false, &in, st);
  if (code == AGD_OK) code = predict(&in, path, st);
  agd_input_clear(&in);
  return code;
}

const agd_command agd_command_predict = {
    .name = "predict",
    .summary = "predictions of a model for rows",
    .positional = "RUN|WEIGHTS",
    .option = OPTIONS,
    .description = "Writes the model's predictions for the rows of --data: a header with the targets' names, then a\n"
                   "line per row, in order. RUN is a run folder: its final weights, else its newest valid\n"
                   "checkpoint. A standardisation that the model was trained with is applied. Targets in --data\n"
                   "are not looked at. The output is replaced as a whole or not at all.\n",
    .examples = "  allegrad predict run/houses --data new.csv --out prices.csv\n"
                "  allegrad predict run/houses --data new.h5 --out prices.h5\n"
                "  allegrad predict keras.weights.h5 --data new.csv --out prices.csv --job job.yaml\n",
    .run = run_predict};
