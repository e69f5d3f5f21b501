#include "allegrad/training.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allegrad/h5.h"
#include "allegrad/memory.h"

enum { FORMAT_VERSION = 1 };
static const char group_name[] = "/trainer", history_name[] = "/trainer/history";

void agd_training_clear(agd_training *training) {
  agd_names_clear(&training->x_names);
  agd_names_clear(&training->y_names);
  agd_release(&training->x_mean);
  agd_release(&training->x_sd);
  free(training->config);
  free(training->history);
  *training = (agd_training){0};
}

static bool write_model(hid_t group, const agd_model_spec *spec) {
  const int32_t unbiased = spec->unbiased_variance;
  return agd_h5_write_text(group, "activation", agd_activation_name(spec->activation)) &&
         agd_h5_write_numbers(group, "epsilon", H5T_NATIVE_DOUBLE, 0, &spec->epsilon) &&
         agd_h5_write_numbers(group, "momentum", H5T_NATIVE_DOUBLE, 0, &spec->momentum) &&
         agd_h5_write_numbers(group, "unbiased_variance", H5T_NATIVE_INT32, 0, &unbiased);
}

static bool write_state(hid_t group, const agd_training *t) {
  const int32_t version = FORMAT_VERSION;
  return agd_h5_write_numbers(group, "format_version", H5T_NATIVE_INT32, 0, &version) &&
         agd_h5_write_numbers(group, "seed", H5T_NATIVE_UINT64, 0, &t->seed) &&
         agd_h5_write_numbers(group, "epoch", H5T_NATIVE_UINT64, 0, &t->epoch) &&
         agd_h5_write_numbers(group, "step", H5T_NATIVE_UINT64, 0, &t->step) &&
         agd_h5_write_numbers(group, "batch", H5T_NATIVE_UINT64, 0, &t->batch) &&
         agd_h5_write_numbers(group, "ranks", H5T_NATIVE_INT, 0, &t->ranks) &&
         agd_h5_write_numbers(group, "data_fingerprint", H5T_NATIVE_UINT64, 0, &t->data_fingerprint) &&
         agd_h5_write_numbers(group, "epoch_loss", H5T_NATIVE_DOUBLE, 0, &t->epoch_loss) &&
         agd_h5_write_numbers(group, "epoch_rows", H5T_NATIVE_UINT64, 0, &t->epoch_rows) &&
         agd_h5_write_text(group, "kernels", t->kernels) && agd_h5_write_text(group, "libraries", t->libraries) &&
         agd_h5_write_text(group, "config", t->config != NULL ? t->config : "");
}

static bool write_columns(hid_t group, const agd_model_spec *spec, const agd_training *t) {
  bool good = agd_h5_write_names(group, "x_names", &t->x_names) && agd_h5_write_names(group, "y_names", &t->y_names);
  if (t->standardized)
    good = good && agd_h5_write_numbers(group, "x_mean", H5T_NATIVE_DOUBLE, spec->inputs, t->x_mean) &&
           agd_h5_write_numbers(group, "x_sd", H5T_NATIVE_DOUBLE, spec->inputs, t->x_sd);
  return good;
}

/* agd_epoch_metrics as HDF5 sees it, of these integers and reals. */
static hid_t metrics_type(hid_t integer, hid_t real) {
  const hid_t type = H5Tcreate(H5T_COMPOUND, sizeof(agd_epoch_metrics));
  if (type < 0) return type;
  if (H5Tinsert(type, "epoch", offsetof(agd_epoch_metrics, epoch), integer) >= 0 &&
      H5Tinsert(type, "step", offsetof(agd_epoch_metrics, step), integer) >= 0 &&
      H5Tinsert(type, "loss", offsetof(agd_epoch_metrics, loss), real) >= 0 &&
      H5Tinsert(type, "val_loss", offsetof(agd_epoch_metrics, val_loss), real) >= 0 &&
      H5Tinsert(type, "seconds", offsetof(agd_epoch_metrics, seconds), real) >= 0)
    return type;
  H5Tclose(type);
  return -1;
}

static hid_t native_metrics(void) { return metrics_type(H5T_NATIVE_UINT64, H5T_NATIVE_DOUBLE); }

static bool write_history(hid_t file, const agd_training *t) {
  const hsize_t dims[1] = {t->epoch_count};
  const hid_t type = native_metrics(), dataset = agd_h5_make_dataset(file, history_name, type, 1, dims);
  bool good = dataset >= 0;
  if (t->epoch_count > 0) good = good && H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, t->history) >= 0;
  if (dataset >= 0 && H5Dclose(dataset) < 0) good = false;
  if (type >= 0) H5Tclose(type);
  return good;
}

bool agd_training_write(hid_t file, const agd_model_spec *spec, const agd_training *training) {
  const hid_t group = agd_h5_make_group(file, group_name);
  if (group < 0) return false;
  const bool good = write_state(group, training) && write_model(group, spec) && write_columns(group, spec, training) &&
                    write_history(file, training);
  return H5Gclose(group) >= 0 && good;
}

/* Copies a text attribute into a fixed field. */
static agd_code read_field(hid_t group, const char *file_name, const char *name, char *to, size_t size,
                           agd_status *st) {
  char *text;
  const agd_code code = agd_h5_read_text(group, file_name, name, &text, st);
  if (code == AGD_OK) snprintf(to, size, "%s", text);
  free(text);
  return code;
}

static agd_code read_model(hid_t group, const char *file_name, agd_model_spec *spec, agd_status *st) {
  char activation[32];
  int32_t unbiased;
  AGD_TRY(read_field(group, file_name, "activation", activation, sizeof activation, st));
  if (!agd_activation_parse(activation, &spec->activation))
    return agd_fail(st, AGD_EDATA, "%s: the activation \"%s\" is unknown to this version of allegrad", file_name,
                    activation);
  AGD_TRY(agd_h5_read_numbers(group, file_name, "epsilon", H5T_NATIVE_DOUBLE, 0, &spec->epsilon, st));
  AGD_TRY(agd_h5_read_numbers(group, file_name, "momentum", H5T_NATIVE_DOUBLE, 0, &spec->momentum, st));
  AGD_TRY(agd_h5_read_numbers(group, file_name, "unbiased_variance", H5T_NATIVE_INT32, 0, &unbiased, st));
  spec->unbiased_variance = unbiased != 0;
  return AGD_OK;
}

/* What files of older versions lack: they cannot be resumed from. */
static agd_code read_unfinished_epoch(hid_t group, const char *file_name, agd_training *t, agd_status *st) {
  if (H5Aexists(group, "data_fingerprint") <= 0) return AGD_OK;
  AGD_TRY(agd_h5_read_numbers(group, file_name, "data_fingerprint", H5T_NATIVE_UINT64, 0, &t->data_fingerprint, st));
  AGD_TRY(agd_h5_read_numbers(group, file_name, "epoch_loss", H5T_NATIVE_DOUBLE, 0, &t->epoch_loss, st));
  return agd_h5_read_numbers(group, file_name, "epoch_rows", H5T_NATIVE_UINT64, 0, &t->epoch_rows, st);
}

static agd_code read_state(hid_t group, const char *file_name, agd_training *t, agd_status *st) {
  int32_t version;
  AGD_TRY(agd_h5_read_numbers(group, file_name, "format_version", H5T_NATIVE_INT32, 0, &version, st));
  if (version != FORMAT_VERSION)
    return agd_fail(st, AGD_EDATA, "%s: is of format %d, this version of allegrad reads format %d", file_name,
                    (int)version, FORMAT_VERSION);
  AGD_TRY(agd_h5_read_numbers(group, file_name, "seed", H5T_NATIVE_UINT64, 0, &t->seed, st));
  AGD_TRY(agd_h5_read_numbers(group, file_name, "epoch", H5T_NATIVE_UINT64, 0, &t->epoch, st));
  AGD_TRY(agd_h5_read_numbers(group, file_name, "step", H5T_NATIVE_UINT64, 0, &t->step, st));
  AGD_TRY(agd_h5_read_numbers(group, file_name, "batch", H5T_NATIVE_UINT64, 0, &t->batch, st));
  AGD_TRY(agd_h5_read_numbers(group, file_name, "ranks", H5T_NATIVE_INT, 0, &t->ranks, st));
  AGD_TRY(read_field(group, file_name, "kernels", t->kernels, sizeof t->kernels, st));
  AGD_TRY(read_field(group, file_name, "libraries", t->libraries, sizeof t->libraries, st));
  AGD_TRY(read_unfinished_epoch(group, file_name, t, st));
  return agd_h5_read_text(group, file_name, "config", &t->config, st);
}

static agd_code read_names(hid_t group, const char *file_name, const char *name, size_t columns, agd_names *names,
                           agd_status *st) {
  AGD_TRY(agd_h5_read_names(group, file_name, name, names, st));
  if (names->count == 0 || names->count == columns) return AGD_OK;
  return agd_fail(st, AGD_EDATA, "%s: %s names %zu columns, the model has %zu", file_name, name, names->count, columns);
}

static agd_code read_columns(hid_t group, const char *file_name, const agd_model_spec *spec, agd_training *t,
                             agd_status *st) {
  AGD_TRY(read_names(group, file_name, "x_names", spec->inputs, &t->x_names, st));
  AGD_TRY(read_names(group, file_name, "y_names", spec->outputs, &t->y_names, st));
  t->standardized = H5Aexists(group, "x_mean") > 0;
  if (!t->standardized) return AGD_OK;
  AGD_TRY(agd_allocate(spec->inputs, sizeof(double), "the standardisation", (void **)&t->x_mean, st));
  AGD_TRY(agd_allocate(spec->inputs, sizeof(double), "the standardisation", (void **)&t->x_sd, st));
  AGD_TRY(agd_h5_read_numbers(group, file_name, "x_mean", H5T_NATIVE_DOUBLE, spec->inputs, t->x_mean, st));
  return agd_h5_read_numbers(group, file_name, "x_sd", H5T_NATIVE_DOUBLE, spec->inputs, t->x_sd, st);
}

/* Opens the history, written on a machine of either byte order. Its length is believed when that much is stored. */
static agd_code open_history(hid_t file, const char *file_name, agd_h5_array *array, agd_status *st) {
  const hid_t types[] = {metrics_type(H5T_STD_U64LE, H5T_IEEE_F64LE), metrics_type(H5T_STD_U64BE, H5T_IEEE_F64BE)};
  const agd_code code = agd_h5_open_records(file, file_name, history_name, types, 2, array, st);
  for (int i = 0; i < 2; i++)
    if (types[i] >= 0) H5Tclose(types[i]);
  return code;
}

static agd_code read_history(hid_t file, const char *file_name, agd_training *t, agd_status *st) {
  agd_h5_array array;
  AGD_TRY(open_history(file, file_name, &array, st));
  const hid_t type = native_metrics();
  agd_code code = AGD_OK;
  t->epoch_count = (size_t)array.dims[0];
  t->history = calloc(t->epoch_count + 1, sizeof *t->history);
  if (t->history == NULL)
    code = agd_fail(st, AGD_EDATA, "%s: out of memory: %s", file_name, history_name);
  else if (type < 0 || H5Dread(array.id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, t->history) < 0)
    code = agd_h5_fail(st, file_name, history_name);
  if (type >= 0) H5Tclose(type);
  H5Dclose(array.id);
  return code;
}

agd_code agd_training_read(hid_t file, const char *file_name, agd_model_spec *spec, agd_training *training,
                           agd_status *st) {
  *training = (agd_training){0};
  if (!agd_h5_exists(file, group_name))
    return agd_fail(st, AGD_EDATA, "%s: %s is no group of this file", file_name, group_name);
  const hid_t group = H5Gopen2(file, group_name, H5P_DEFAULT);
  if (group < 0) return agd_h5_fail(st, file_name, group_name);
  agd_code code = read_state(group, file_name, training, st);
  if (code == AGD_OK) code = read_model(group, file_name, spec, st);
  if (code == AGD_OK) code = read_columns(group, file_name, spec, training, st);
  if (code == AGD_OK) code = read_history(file, file_name, training, st);
  H5Gclose(group);
  if (code != AGD_OK) agd_training_clear(training);
  return code;
}
