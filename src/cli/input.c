#include "input.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "allegrad/dataset.h"
#include "allegrad/memory.h"
#include "allegrad/run.h"
#include "allegrad/table.h"
#include "describe.h"

/* prefix0, prefix1, ...; a single one has no number. */
static agd_code make_names(const char *prefix, size_t count, agd_names *names, agd_status *st) {
  for (size_t i = 0; i < count; i++) {
    char name[32];
    snprintf(name, sizeof name, count == 1 ? "%s" : "%s%zu", prefix, i);
    AGD_TRY(agd_names_add(names, name, st));
  }
  return AGD_OK;
}

static agd_code choose_names(const agd_names *known, const char *prefix, size_t count, agd_names *names,
                             agd_status *st) {
  return known->count > 0 ? agd_names_copy(names, known, st) : make_names(prefix, count, names, st);
}

/* The model of a file of ours is the one that it was trained as; a job that says otherwise is a mistake. */
static agd_code check_model(const char *job_file, const agd_model_spec *job, const char *path,
                            const agd_model_spec *own, agd_status *st) {
  if (agd_model_same_shape(job, own) && job->activation == own->activation && job->epsilon == own->epsilon)
    return AGD_OK;
  return agd_fail(st, AGD_EUSAGE, "%s describes another model than %s was trained as; --job can be left out", job_file,
                  path);
}

/* Opens a file that brings its own job, or else one that --job describes. `job` becomes --job's, else the file's own.
 */
static agd_code open_predictor(const char *path, const char *job_file, agd_config *job, agd_predictor **out,
                               agd_status *st) {
  agd_config own;
  if (job_file != NULL) AGD_TRY(agd_config_load(job_file, NULL, 0, job, st));
  agd_status opening = {0};
  agd_code code = agd_predictor_open(path, NULL, out, &opening);
  if (code == AGD_EUSAGE && job_file != NULL) { /* not ours */
    AGD_TRY(agd_predictor_open(path, &job->model, out, st));
    if (!job->standardize) return AGD_OK;
    return agd_fail(st, AGD_EUSAGE,
                    "%s says data.standardize: true, but %s holds no mean and standard deviation; standardise the rows "
                    "beforehand and set it to false",
                    job_file, path);
  }
  if (code != AGD_OK) return agd_fail(st, code, "%s", opening.message);
  AGD_TRY(agd_config_parse(agd_predictor_job(*out), path, NULL, 0, &own, st));
  if (job_file != NULL) return check_model(job_file, &job->model, path, &own.model, st);
  *job = own;
  return AGD_OK;
}

agd_code agd_input_open(const agd_arguments *arguments, char path[AGD_PATH_MAX], agd_config *job, agd_predictor **out,
                        agd_status *st) {
  AGD_TRY(agd_run_weights_path(arguments->positional.word[0], path, AGD_PATH_MAX, agd_warn, st));
  return open_predictor(path, agd_arguments_value(arguments, "job"), job, out, st);
}

static agd_code open_model(const agd_arguments *arguments, agd_input *in, agd_status *st) {
  char path[AGD_PATH_MAX];
  agd_config job;
  AGD_TRY(agd_input_open(arguments, path, &job, &in->predictor, st));
  memcpy(in->data_x, job.data_x, sizeof in->data_x);
  memcpy(in->data_y, job.data_y, sizeof in->data_y);
  const agd_predictor *p = in->predictor;
  AGD_TRY(choose_names(agd_predictor_x_names(p), "x", agd_predictor_inputs(p), &in->x_names, st));
  return choose_names(agd_predictor_y_names(p), "y", agd_predictor_outputs(p), &in->y_names, st);
}

/* Space for rows of `inputs` and, when wanted, `outputs` columns. */
static agd_code allocate_rows(agd_input *in, uint64_t rows, size_t inputs, size_t outputs, agd_status *st) {
  AGD_REQUIRE(inputs > 0);
  const size_t wider = inputs > outputs ? inputs : outputs;
  if (rows > SIZE_MAX / wider) return agd_fail(st, AGD_EDATA, "out of memory: %" PRIu64 " rows", rows);
  in->rows = rows;
  AGD_TRY(agd_allocate((size_t)rows * inputs, sizeof *in->x, "the rows", (void **)&in->x, st));
  if (outputs == 0) return AGD_OK;
  return agd_allocate((size_t)rows * outputs, sizeof *in->y, "the targets", (void **)&in->y, st);
}

/* The rows of a table whose columns are the model's, inputs first. */
static agd_code take_table(const char *path, const agd_table *table, bool with_y, agd_input *in, agd_status *st) {
  const size_t inputs = in->x_names.count, outputs = with_y ? in->y_names.count : 0, columns = table->names.count;
  if (columns != inputs + outputs)
    return agd_fail(st, AGD_EDATA, "%s: %zu columns, but the model has %zu inputs%s", path, columns, inputs,
                    with_y ? " and its targets come after them" : "");
  AGD_TRY(allocate_rows(in, table->rows, inputs, outputs, st));
  for (size_t r = 0; r < table->rows; r++)
    for (size_t c = 0; c < columns; c++) {
      const agd_real value = (agd_real)table->value[r * columns + c];
      if (!isfinite(value))
        return agd_fail(st, AGD_EDATA, "%s: row %zu (from 1), column \"%s\": %g is too large", path, r + 1,
                        table->names.name[c], table->value[r * columns + c]);
      *(c < inputs ? &in->x[r * inputs + c] : &in->y[r * outputs + c - inputs]) = value;
    }
  return AGD_OK;
}

static agd_code read_csv(const char *path, bool with_y, agd_input *in, agd_status *st) {
  const agd_names *known = agd_predictor_x_names(in->predictor);
  agd_names columns = {0};
  agd_table table = {0};
  agd_code code = agd_names_copy(&columns, known, st);
  for (size_t i = 0; code == AGD_OK && known->count > 0 && with_y && i < in->y_names.count; i++)
    code = agd_names_add(&columns, in->y_names.name[i], st);
  if (code == AGD_OK) code = agd_table_read(path, &columns, AGD_MISSING_ERROR, &table, st);
  if (code == AGD_OK) code = take_table(path, &table, with_y, in, st);
  agd_table_clear(&table);
  agd_names_clear(&columns);
  return code;
}

/* Whether the names of an HDF5 file are those that dataset.h makes up. */
static bool are_made_up(const agd_names *names, const char *prefix, const char *dataset) {
  if (names->count == 1 && strcmp(names->name[0], dataset) == 0) return true;
  for (size_t i = 0; i < names->count; i++) {
    char name[32];
    snprintf(name, sizeof name, "%s%zu", prefix, i);
    if (strcmp(names->name[i], name) != 0) return false;
  }
  return true;
}

/* Where the file has each of the model's columns: by name, else place for place. */
static agd_code find_columns(const char *path, const agd_names *wanted, const agd_names *present, bool by_name,
                             const char *what, size_t *place, agd_status *st) {
  if (!by_name && wanted->count != present->count)
    return agd_fail(st, AGD_EDATA, "%s: %zu %s, but the model has %zu", path, present->count, what, wanted->count);
  for (size_t i = 0; i < wanted->count; i++) {
    const long at = by_name ? agd_names_find(present, wanted->name[i]) : (long)i;
    if (at < 0)
      return agd_fail(st, AGD_EDATA, "%s: \"%.80s\", which the model was trained on, is not among its %s", path,
                      wanted->name[i], what);
    place[i] = (size_t)at;
  }
  return AGD_OK;
}

/* Brings values [rows, present] into the model's order of columns; *values is replaced where that changes anything. */
static agd_code arrange(const char *path, const agd_names *wanted, const agd_names *present, bool by_name,
                        const char *what, uint64_t rows, agd_real **values, agd_status *st) {
  size_t *place = NULL;
  agd_real *arranged = NULL;
  AGD_TRY(agd_allocate(wanted->count, sizeof *place, what, (void **)&place, st));
  agd_code code = find_columns(path, wanted, present, by_name, what, place, st);
  bool same = wanted->count == present->count;
  for (size_t c = 0; c < wanted->count; c++) same = same && place[c] == c;
  if (code == AGD_OK && !same)
    code = agd_allocate((size_t)rows * wanted->count, sizeof *arranged, what, (void **)&arranged, st);
  if (arranged != NULL) {
    for (size_t r = 0; r < rows; r++)
      for (size_t c = 0; c < wanted->count; c++)
        arranged[r * wanted->count + c] = (*values)[r * present->count + place[c]];
    agd_release(values);
    *values = arranged;
  }
  agd_release(&place);
  return code;
}

static agd_code take_dataset(const char *path, agd_dataset *data, bool with_y, agd_input *in, agd_status *st) {
  AGD_TRY(allocate_rows(in, data->rows, data->features, data->targets, st));
  AGD_TRY(agd_dataset_read(data, 0, data->rows, in->x, in->y, st));
  const bool x_named = agd_predictor_x_names(in->predictor)->count > 0 && !are_made_up(&data->x_names, "x", in->data_x);
  AGD_TRY(arrange(path, &in->x_names, &data->x_names, x_named, "features", data->rows, &in->x, st));
  if (!with_y) return AGD_OK;
  const bool y_named = agd_predictor_y_names(in->predictor)->count > 0 && !are_made_up(&data->y_names, "y", in->data_y);
  return arrange(path, &in->y_names, &data->y_names, y_named, "targets", data->rows, &in->y, st);
}

static agd_code read_hdf5(const char *path, bool with_y, agd_input *in, agd_status *st) {
  agd_dataset *data = NULL;
  AGD_TRY(agd_dataset_open(path, in->data_x, with_y ? in->data_y : NULL, NULL, &data, st));
  const agd_code code = take_dataset(path, data, with_y, in, st);
  agd_dataset_close(&data);
  return code;
}

agd_code agd_input_read(const agd_arguments *arguments, bool with_y, agd_input *out, agd_status *st) {
  const char *path = agd_arguments_value(arguments, "data");
  AGD_TRY(open_model(arguments, out, st));
  return agd_ends_in(path, ".csv") ? read_csv(path, with_y, out, st) : read_hdf5(path, with_y, out, st);
}

void agd_input_clear(agd_input *input) {
  agd_predictor_close(&input->predictor);
  agd_names_clear(&input->x_names);
  agd_names_clear(&input->y_names);
  agd_release(&input->x);
  agd_release(&input->y);
  *input = (agd_input){0};
}
