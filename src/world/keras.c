/* A model as Keras' whole-model file: a zip of two JSON texts and a weights file. */
#include "allegrad/keras.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zip.h>

#include "allegrad/checkpoint.h"
#include "allegrad/memory.h"
#include "allegrad/weights.h"

/* The version whose format this is; Keras writes its own here and does not read it. */
#define KERAS_VERSION "3.0.0"

/* What Keras' Normalization divides by at least (keras.backend.epsilon), and what a float32 variance can hold. */
static const double SD_MIN = 1e-7, SD_MAX = 1.8e19;

/* A name of Keras' own style: class, or class_number behind the first. */
static json_t *layer_name(const char *name, size_t number) {
  return number == 0 ? json_string(name) : json_sprintf("%s_%zu", name, number);
}

/* A layer of a Sequential. Takes over config; NULL when memory is short, as all of these. */
static json_t *layer(const char *class, const char *name, size_t number, size_t inputs, json_t *config) {
  if (config == NULL || json_object_set_new(config, "name", layer_name(name, number)) != 0 ||
      json_object_set_new(config, "dtype", json_string("float32")) != 0) {
    json_decref(config);
    return NULL;
  }
  return json_pack("{s:s, s:s, s:o, s:n, s:{s:[n, I]}}", "module", "keras.layers", "class_name", class, "config",
                   config, "registered_name", "build_config", "input_shape", (json_int_t)inputs);
}

static json_t *input_layer(size_t inputs) {
  return json_pack("{s:s, s:s, s:{s:[n, I], s:s, s:s}, s:n}", "module", "keras.layers", "class_name", "InputLayer",
                   "config", "batch_shape", (json_int_t)inputs, "dtype", "float32", "name", "input_layer",
                   "registered_name");
}

static json_t *normalization(const agd_exported *what) {
  const size_t inputs = what->model->spec.inputs;
  json_t *mean = json_array(), *variance = json_array();
  for (size_t i = 0; i < inputs; i++) {
    json_array_append_new(mean, json_real(what->x_mean[i]));
    json_array_append_new(variance, json_real(what->x_sd[i] * what->x_sd[i]));
  }
  if (json_array_size(mean) != inputs || json_array_size(variance) != inputs) {
    json_decref(mean);
    json_decref(variance);
    return NULL;
  }
  return layer("Normalization", "normalization", 0, inputs,
               json_pack("{s:[i], s:b, s:o, s:o}", "axis", -1, "invert", false, "mean", mean, "variance", variance));
}

static json_t *batch_normalization(const agd_model_spec *spec, size_t number, size_t inputs) {
  return layer("BatchNormalization", "batch_normalization", number, inputs,
               json_pack("{s:i, s:f, s:f, s:b, s:b}", "axis", -1, "momentum", spec->momentum, "epsilon", spec->epsilon,
                         "center", true, "scale", true));
}

static json_t *dense(const agd_layer *l, size_t number, const char *activation) {
  return layer("Dense", "dense", number, l->in,
               json_pack("{s:I, s:s, s:b}", "units", (json_int_t)l->out, "activation", activation, "use_bias", true));
}

static json_t *dropout(double rate, size_t number, size_t inputs) {
  return layer("Dropout", "dropout", number, inputs, json_pack("{s:f}", "rate", rate));
}

static json_t *layers(const agd_exported *what) {
  const agd_model *model = what->model;
  json_t *list = json_array();
  int failed = json_array_append_new(list, input_layer(model->spec.inputs));
  if (what->x_mean != NULL) failed |= json_array_append_new(list, normalization(what));
  for (size_t l = 0; l < model->layer_count; l++) {
    const agd_layer *own = &model->layers[l];
    const bool hidden = l < model->spec.hidden_count;
    if (own->batch_norm) failed |= json_array_append_new(list, batch_normalization(&model->spec, l, own->in));
    failed |=
        json_array_append_new(list, dense(own, l, agd_activation_name(hidden ? model->spec.activation : AGD_LINEAR)));
    if (hidden && what->dropout > 0) failed |= json_array_append_new(list, dropout(what->dropout, l, own->out));
  }
  if (failed == 0) return list;
  json_decref(list);
  return NULL;
}

static json_t *optimizer_config(const agd_exported *what) {
  const agd_optimizer_spec *spec = &what->optimizer->spec;
  json_t *config = spec->name == AGD_ADAM ? json_pack("{s:s, s:f, s:f, s:f}", "name", "adam", "beta_1", spec->beta_1,
                                                      "beta_2", spec->beta_2, "epsilon", spec->epsilon)
                                          : json_pack("{s:s, s:f, s:b}", "name", "sgd", "momentum", spec->momentum,
                                                      "nesterov", (int)spec->nesterov);
  int failed = json_object_set_new(config, "learning_rate", json_real(spec->learning_rate));
  if (spec->weight_decay > 0) failed |= json_object_set_new(config, "weight_decay", json_real(spec->weight_decay));
  if (what->clip_norm > 0) failed |= json_object_set_new(config, "global_clipnorm", json_real(what->clip_norm));
  if (failed == 0) return config;
  json_decref(config);
  return NULL;
}

static json_t *compile_config(const agd_exported *what) {
  if (what->optimizer == NULL) return json_object();
  const char *class = what->optimizer->spec.name == AGD_ADAM ? "Adam" : "SGD";
  return json_pack("{s:{s:s, s:s, s:o, s:n}, s:s}", "optimizer", "module", "keras.optimizers", "class_name", class,
                   "config", optimizer_config(what), "registered_name", "loss", "mse");
}

/* The model's shape, as a text to be freed; NULL when memory is short. */
static char *model_config(const agd_exported *what) {
  const json_int_t inputs = (json_int_t)what->model->spec.inputs;
  json_t *config = json_pack("{s:s, s:s, s:{s:s, s:b, s:s, s:o, s:[n, I]}, s:n, s:{s:[n, I]}, s:o}", "module", "keras",
                             "class_name", "Sequential", "config", "name", "sequential", "trainable", true, "dtype",
                             "float32", "layers", layers(what), "build_input_shape", inputs, "registered_name",
                             "build_config", "input_shape", inputs, "compile_config", compile_config(what));
  char *text = config != NULL ? json_dumps(config, JSON_REAL_PRECISION(17)) : NULL;
  json_decref(config);
  return text;
}

static char *metadata(void) {
  char date[32];
  const time_t now = time(NULL);
  struct tm parts;
  strftime(date, sizeof date, "%Y-%m-%d@%H:%M:%S", localtime_r(&now, &parts));
  json_t *object = json_pack("{s:s, s:s}", "keras_version", KERAS_VERSION, "date_saved", date);
  char *text = object != NULL ? json_dumps(object, 0) : NULL;
  json_decref(object);
  return text;
}

/* The archive's files, by name. */
typedef struct content {
  const char *name;
  const void *bytes;
  size_t size;
} content;

/* Adds a file, stored as it is: weights do not compress, and Keras stores, too. */
static bool add_file(zip_t *archive, const content *file) {
  zip_source_t *source = zip_source_buffer(archive, file->bytes, file->size, 0);
  if (source == NULL) return false;
  const zip_int64_t index = zip_file_add(archive, file->name, source, ZIP_FL_ENC_UTF_8);
  if (index < 0) zip_source_free(source);
  return index >= 0 && zip_set_file_compression(archive, (zip_uint64_t)index, ZIP_CM_STORE, 0) == 0;
}

/* Writes the archive into a source in memory, which the caller keeps. */
static bool write_archive(zip_source_t *memory, const content *files, size_t count) {
  zip_error_t error;
  zip_error_init(&error);
  zip_source_keep(memory);
  zip_t *archive = zip_open_from_source(memory, ZIP_TRUNCATE, &error);
  zip_error_fini(&error);
  if (archive == NULL) {
    zip_source_free(memory);
    return false;
  }
  bool good = true;
  for (size_t i = 0; i < count && good; i++) good = add_file(archive, &files[i]);
  if (good) good = zip_close(archive) == 0;
  if (!good) zip_discard(archive);
  return good;
}

static bool read_archive(zip_source_t *memory, void **bytes, size_t *size) {
  zip_stat_t info;
  if (zip_source_stat(memory, &info) != 0 || (info.valid & ZIP_STAT_SIZE) == 0) return false;
  if (agd_allocate((size_t)info.size, 1, "the archive", bytes, NULL) != AGD_OK) return false;
  *size = (size_t)info.size;
  if (zip_source_open(memory) != 0) return false;
  const bool good = zip_source_read(memory, *bytes, info.size) == (zip_int64_t)info.size;
  zip_source_close(memory);
  return good;
}

static agd_code replace_by_archive(const char *path, const content *files, size_t count, agd_status *st) {
  void *bytes = NULL;
  size_t size = 0;
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t *memory = zip_source_buffer_create(NULL, 0, 0, &error);
  zip_error_fini(&error);
  const bool good = memory != NULL && write_archive(memory, files, count) && read_archive(memory, &bytes, &size);
  const agd_code code = good ? agd_file_replace(path, bytes, size, false, st)
                             : agd_fail(st, AGD_EDATA, "out of memory: the archive %s", path);
  agd_release(&bytes);
  if (memory != NULL) zip_source_free(memory);
  return code;
}

static agd_code check_standardization(const char *path, const agd_exported *what, agd_status *st) {
  for (size_t i = 0; what->x_sd != NULL && i < what->model->spec.inputs; i++) {
    if (what->x_sd[i] >= SD_MIN && what->x_sd[i] <= SD_MAX) continue;
    return agd_fail(st, AGD_EDATA,
                    "cannot write %s: column %zu has a standard deviation of %g, and Keras' Normalization takes %g to "
                    "%g; an ONNX file takes any",
                    path, i, what->x_sd[i], SD_MIN, SD_MAX);
  }
  return AGD_OK;
}

agd_code agd_keras_write(const char *path, const agd_exported *what, agd_status *st) {
  void *weights;
  size_t size;
  AGD_TRY(check_standardization(path, what, st));
  AGD_TRY(agd_weights_image(what->model, what->optimizer, NULL, &weights, &size, st));
  char *head = metadata(), *config = model_config(what);
  agd_code code;
  if (head != NULL && config != NULL) {
    const content files[] = {{"metadata.json", head, strlen(head)},
                             {"config.json", config, strlen(config)},
                             {"model.weights.h5", weights, size}};
    code = replace_by_archive(path, files, sizeof files / sizeof *files, st);
  } else {
    code = agd_fail(st, AGD_EDATA, "out of memory: the description of the model for %s", path);
  }
  free(head);
  free(config);
  agd_release(&weights);
  return code;
}
