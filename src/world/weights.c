#include "allegrad/weights.h"

#include <hdf5.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allegrad/checkpoint.h"
#include "allegrad/h5.h"
#include "allegrad/memory.h"

#ifdef ALLEGRAD_DOUBLE
#define NATIVE_REAL H5T_NATIVE_DOUBLE
#else
#define NATIVE_REAL H5T_NATIVE_FLOAT
#endif

enum { LAYERS_MAX = AGD_HIDDEN_MAX + 1, NAME_SIZE = 48, PATH_SIZE = 96, SHAPE_SIZE = 64 };

static const char dense[] = "dense", batch_normalization[] = "batch_normalization", dropout[] = "dropout";

/* Numbers of the layers of one class as they stand in a file, ascending; 0 is the name without a number. */
typedef struct numbers {
  size_t count;
  uint64_t number[LAYERS_MAX];
} numbers;

/* Keras' name of a layer: its class, and _k unless it is the first. */
static void layer_name(char name[NAME_SIZE], const char *class, uint64_t number) {
  if (number == 0)
    snprintf(name, NAME_SIZE, "%s", class);
  else
    snprintf(name, NAME_SIZE, "%s_%" PRIu64, class, number);
}

/* One dataset of the layers and its place in the model. */
typedef struct tensor {
  char path[PATH_SIZE];
  int rank;
  hsize_t dims[2];
  bool average; /* in model->averages, else in model->weights: a trainable variable */
  bool variance;
  size_t offset;
} tensor;

typedef struct tensors {
  size_t count;
  tensor list[6 * LAYERS_MAX];
} tensors;

static tensor *add_tensor(tensors *all, const char *class, uint64_t number, int variable, size_t offset) {
  char name[NAME_SIZE];
  layer_name(name, class, number);
  tensor *t = &all->list[all->count++];
  *t = (tensor){.rank = 1, .dims = {1, 1}, .offset = offset};
  snprintf(t->path, sizeof t->path, "/layers/%s/vars/%d", name, variable);
  return t;
}

/* The numbers that our own files have. */
static numbers from_zero(size_t count) {
  numbers all = {.count = count};
  for (size_t i = 0; i < count; i++) all.number[i] = i;
  return all;
}

/* All tensors of a model in the order of the forward pass, which is also the order of the optimizer's slots. */
static agd_code list_tensors(const agd_model *model, const numbers *dense_numbers, const numbers *norm_numbers,
                             tensors **out, agd_status *st) {
  AGD_TRY(agd_allocate(1, sizeof **out, "the list of tensors", (void **)out, st));
  for (size_t l = 0; l < model->layer_count; l++) {
    const agd_layer *layer = &model->layers[l];
    const size_t offsets[] = {layer->gamma, layer->beta, layer->mean, layer->variance};
    for (int v = 0; layer->batch_norm && v < 4; v++) {
      tensor *t = add_tensor(*out, batch_normalization, norm_numbers->number[l], v, offsets[v]);
      t->dims[0] = layer->in;
      t->average = v >= 2;
      t->variance = v == 3;
    }
    tensor *kernel = add_tensor(*out, dense, dense_numbers->number[l], 0, layer->kernel);
    kernel->rank = 2, kernel->dims[0] = layer->in, kernel->dims[1] = layer->out;
    add_tensor(*out, dense, dense_numbers->number[l], 1, layer->bias)->dims[0] = layer->out;
  }
  return AGD_OK;
}

static bool write_dataset(hid_t file, const char *path, hid_t type, int rank, const hsize_t *dims, hid_t memory_type,
                          const void *values) {
  const hid_t dataset = agd_h5_make_dataset(file, path, type, rank, dims);
  if (dataset < 0) return false;
  const bool good = H5Dwrite(dataset, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0;
  return H5Dclose(dataset) >= 0 && good;
}

static bool write_group(hid_t file, const char *path) {
  const hid_t group = agd_h5_make_group(file, path);
  return group >= 0 && H5Gclose(group) >= 0;
}

/* A group `vars` with Keras' attribute. */
static bool write_vars(hid_t file, const char *path, const char *name) {
  const hid_t group = agd_h5_make_group(file, path);
  if (group < 0) return false;
  const bool good = agd_h5_write_text(group, "name", name);
  return H5Gclose(group) >= 0 && good;
}

static bool write_layer_groups(hid_t file, const char *class, const numbers *all) {
  for (size_t i = 0; i < all->count; i++) {
    char name[NAME_SIZE], group[PATH_SIZE], vars[PATH_SIZE];
    layer_name(name, class, all->number[i]);
    snprintf(group, sizeof group, "/layers/%s", name);
    snprintf(vars, sizeof vars, "/layers/%s/vars", name);
    if (!write_group(file, group) || !write_vars(file, vars, name)) return false;
  }
  return true;
}

static bool write_layers(hid_t file, const agd_model *model, const numbers *dense_numbers, const numbers *norm_numbers,
                         const tensors *all) {
  if (!write_vars(file, "/vars", "sequential") || !write_group(file, "/layers")) return false;
  if (!write_layer_groups(file, batch_normalization, norm_numbers)) return false;
  if (!write_layer_groups(file, dense, dense_numbers)) return false;
  const numbers dropouts = from_zero(model->spec.dropout > 0 ? model->spec.hidden_count : 0); /* without variables */
  if (!write_layer_groups(file, dropout, &dropouts)) return false;
  for (size_t i = 0; i < all->count; i++) {
    const tensor *t = &all->list[i];
    const agd_real *values = (t->average ? model->averages : model->weights) + t->offset;
    if (!write_dataset(file, t->path, H5T_IEEE_F32LE, t->rank, t->dims, NATIVE_REAL, values)) return false;
  }
  return true;
}

static void slot_path(char path[PATH_SIZE], size_t index) { snprintf(path, PATH_SIZE, "/optimizer/vars/%zu", index); }

static bool write_optimizer(hid_t file, const agd_optimizer *optimizer, const tensors *all) {
  const char *name = optimizer->spec.name == AGD_ADAM ? "adam" : "sgd";
  const float rate = (float)optimizer->learning_rate;
  const bool small = optimizer->iteration <= INT32_MAX; /* as Keras has it; a longer training keeps its count */
  if (!write_group(file, "/optimizer") || !write_vars(file, "/optimizer/vars", name)) return false;
  if (!write_dataset(file, "/optimizer/vars/0", small ? H5T_STD_I32LE : H5T_STD_I64LE, 0, NULL, H5T_NATIVE_UINT64,
                     &optimizer->iteration))
    return false;
  if (!write_dataset(file, "/optimizer/vars/1", H5T_IEEE_F32LE, 0, NULL, H5T_NATIVE_FLOAT, &rate)) return false;
  size_t index = 2;
  for (size_t i = 0; i < all->count; i++) {
    const tensor *t = &all->list[i];
    for (size_t s = 0; !t->average && s < optimizer->slot_count; s++) {
      char path[PATH_SIZE];
      slot_path(path, index++);
      if (!write_dataset(file, path, H5T_IEEE_F32LE, t->rank, t->dims, NATIVE_REAL, optimizer->slots[s] + t->offset))
        return false;
    }
  }
  return true;
}

/* Bytes that a file is going to hold, but for metadata. */
static size_t content_size(const agd_model *model, const agd_optimizer *optimizer, const agd_training *training) {
  size_t size = (model->weight_count + model->average_count) * sizeof(float);
  if (optimizer != NULL) size += optimizer->slot_count * optimizer->count * sizeof(float);
  if (training != NULL) size += training->epoch_count * sizeof *training->history;
  if (training != NULL && training->config != NULL) size += strlen(training->config);
  return size;
}

static agd_code build_image(const agd_model *model, const agd_optimizer *optimizer, const agd_training *training,
                            void **image, size_t *size, agd_status *st) {
  const numbers dense_numbers = from_zero(model->layer_count);
  const numbers norm_numbers = from_zero(model->spec.batch_norm ? model->spec.hidden_count : 0);
  tensors *all;
  agd_h5_image file;
  *image = NULL, *size = 0;
  AGD_TRY(list_tensors(model, &dense_numbers, &norm_numbers, &all, st));
  agd_code code = agd_h5_image_create(&file, content_size(model, optimizer, training), st);
  if (code == AGD_OK) {
    if (!write_layers(file.file, model, &dense_numbers, &norm_numbers, all) ||
        (optimizer != NULL && !write_optimizer(file.file, optimizer, all)) ||
        (training != NULL && !agd_training_write(file.file, &model->spec, training)))
      code = agd_h5_fail(st, "the weights file", "cannot be built in memory");
    const agd_code finished = agd_h5_image_finish(&file, code == AGD_OK, image, size, code == AGD_OK ? st : NULL);
    if (code == AGD_OK) code = finished;
  }
  agd_release(&all);
  return code;
}

agd_code agd_weights_image(const agd_model *model, const agd_optimizer *optimizer, const agd_training *training,
                           void **image, size_t *size, agd_status *st) {
  agd_code code;
  AGD_REQUIRE(optimizer == NULL || optimizer->count == model->weight_count);
  H5E_BEGIN_TRY { code = build_image(model, optimizer, training, image, size, st); }
  H5E_END_TRY
  return code;
}

agd_code agd_weights_save(const char *path, const agd_model *model, const agd_optimizer *optimizer,
                          const agd_training *training, agd_status *st) {
  void *image;
  size_t size;
  AGD_TRY(agd_weights_image(model, optimizer, training, &image, &size, st));
  const agd_code code = agd_file_replace(path, image, size, true, st);
  agd_release(&image);
  return code;
}

/* A weights file being read. */
typedef struct source {
  const char *path;
  void *bytes;
  hid_t file;
  bool ours;
} source;

static void close_source(source *s) {
  if (s->file >= 0) H5Fclose(s->file);
  agd_release(&s->bytes);
}

/* The digest is verified before HDF5 sees a byte. */
static agd_code open_source(const char *path, source *s, agd_status *st) {
  size_t size;
  agd_trailer_state state;
  *s = (source){.path = path, .file = -1};
  AGD_TRY(agd_file_read(path, &s->bytes, &size, &state, st));
  agd_code code = AGD_OK;
  if (state == AGD_TRAILER_BROKEN) code = agd_fail(st, AGD_EDATA, "%s is damaged: its checksum does not fit", path);
  if (code == AGD_OK) code = agd_h5_open_bytes(path, s->bytes, size, &s->file, st);
  if (code == AGD_OK) {
    const htri_t trainer = H5Lexists(s->file, "/trainer", H5P_DEFAULT);
    s->ours = trainer > 0;
    if (trainer < 0) code = agd_h5_fail(st, path, "/");
    if (s->ours && state != AGD_TRAILER_VALID)
      code = agd_fail(st, AGD_EDATA,
                      "%s is damaged or was changed: it was written by allegrad, but its checksum is gone", path);
  }
  if (code != AGD_OK) close_source(s);
  return code;
}

/* <class> or <class>_k. */
static bool parse_layer_name(const char *name, const char *class, uint64_t *number) {
  const size_t length = strlen(class);
  if (strncmp(name, class, length) != 0) return false;
  *number = 0;
  if (name[length] == '\0') return true;
  const char *digits = name + length + 1;
  const size_t count = strspn(digits, "0123456789");
  if (name[length] != '_' || count == 0 || count > 18 || digits[count] != '\0' || digits[0] == '0') return false;
  *number = strtoull(digits, NULL, 10);
  return true;
}

static int ascending(const void *a, const void *b) {
  const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y ? 1 : 0;
}

/* What the walk over /layers finds. */
typedef struct layer_list {
  const source *source;
  numbers dense, norm;
  agd_code code;
  agd_status *st;
} layer_list;

static agd_code add_layer(layer_list *found, hid_t group, const char *name, const H5L_info_t *link) {
  const char *path = found->source->path;
  uint64_t number;
  numbers *list = NULL;
  H5O_info_t object;
  if (link->type != H5L_TYPE_HARD)
    return agd_fail(found->st, AGD_EDATA, "%s: /layers/%s is a soft or external link, which is refused", path, name);
  if (H5Oget_info_by_name2(group, name, &object, H5O_INFO_BASIC, H5P_DEFAULT) < 0)
    return agd_h5_fail(found->st, path, "/layers");
  if (object.rc != 1)
    return agd_fail(found->st, AGD_EDATA, "%s: /layers/%.64s is linked to from elsewhere, which is refused", path,
                    name);
  if (parse_layer_name(name, dense, &number)) list = &found->dense;
  if (parse_layer_name(name, batch_normalization, &number)) list = &found->norm;
  if (list != NULL) {
    if (list->count == LAYERS_MAX)
      return agd_fail(found->st, AGD_EDATA, "%s: holds more than %d layers of one kind", path, LAYERS_MAX);
    list->number[list->count++] = number;
    return AGD_OK;
  }
  /* A layer without variables (input, activation, dropout) changes nothing; any other would be missing. */
  char vars[PATH_SIZE];
  H5G_info_t info;
  if (snprintf(vars, sizeof vars, "/layers/%s/vars", name) < (int)sizeof vars &&
      (!agd_h5_exists(found->source->file, vars) ||
       (H5Gget_info_by_name(found->source->file, vars, &info, H5P_DEFAULT) >= 0 && info.nlinks == 0)))
    return AGD_OK;
  return agd_fail(found->st, AGD_EDATA, "%s: the layer %.64s is neither dense nor batch_normalization", path, name);
}

static herr_t visit_layer(hid_t group, const char *name, const H5L_info_t *link, void *context) {
  layer_list *found = context;
  found->code = add_layer(found, group, name, link);
  return found->code == AGD_OK ? 0 : 1;
}

static agd_code find_layers(const source *s, layer_list *found, agd_status *st) {
  *found = (layer_list){.source = s, .st = st};
  if (!agd_h5_exists(s->file, "/layers"))
    return agd_fail(st, AGD_EDATA, "%s is no Keras 3 weights file: it has no group /layers", s->path);
  const herr_t error =
      H5Literate_by_name(s->file, "/layers", H5_INDEX_NAME, H5_ITER_NATIVE, NULL, visit_layer, found, H5P_DEFAULT);
  if (error < 0) return agd_h5_fail(st, s->path, "/layers");
  if (found->code != AGD_OK) return found->code;
  qsort(found->dense.number, found->dense.count, sizeof *found->dense.number, ascending);
  qsort(found->norm.number, found->norm.count, sizeof *found->norm.number, ascending);
  if (found->dense.count == 0) return agd_fail(st, AGD_EDATA, "%s: /layers holds no dense layer", s->path);
  return AGD_OK;
}

/* Rows and columns of a kernel. */
static agd_code kernel_shape(const source *s, uint64_t number, size_t *in, size_t *out, agd_status *st) {
  char name[NAME_SIZE], path[PATH_SIZE];
  agd_h5_array array;
  layer_name(name, dense, number);
  snprintf(path, sizeof path, "/layers/%s/vars/0", name);
  AGD_TRY(agd_h5_open_array(s->file, s->path, path, &array, st));
  H5Dclose(array.id);
  if (array.rank != 2 || array.dims[0] == 0 || array.dims[1] == 0)
    return agd_fail(st, AGD_EDATA, "%s: %s is no kernel: not two-dimensional, or empty", s->path, path);
  if (array.dims[0] > INT32_MAX || array.dims[1] > INT32_MAX) /* what the BLAS can count */
    return agd_fail(st, AGD_EDATA, "%s: %s is larger than any model can be", s->path, path);
  *in = (size_t)array.dims[0], *out = (size_t)array.dims[1];
  return AGD_OK;
}

/* The shape that the kernels and the number of batch normalisations imply. */
static agd_code derive_spec(const source *s, const layer_list *found, agd_model_spec *spec, agd_status *st) {
  *spec = (agd_model_spec){.hidden_count = found->dense.count - 1, .batch_norm = found->norm.count > 0};
  if (found->norm.count != 0 && found->norm.count != spec->hidden_count)
    return agd_fail(st, AGD_EDATA,
                    "%s: holds %zu dense and %zu batch_normalization layers: not a batch normalisation "
                    "before every hidden layer, and not none",
                    s->path, found->dense.count, found->norm.count);
  for (size_t l = 0; l < found->dense.count; l++) {
    size_t in = 0, out = 0;
    AGD_TRY(kernel_shape(s, found->dense.number[l], &in, &out, st));
    if (l == 0) spec->inputs = in;
    if (l < spec->hidden_count)
      spec->hidden[l] = out;
    else
      spec->outputs = out;
  }
  return AGD_OK;
}

/* The expected model: the caller's, or the file's own. */
static agd_code choose_spec(const source *s, const layer_list *found, const agd_model_spec *asked, agd_model_spec *spec,
                            agd_training *training, agd_status *st) {
  agd_model_spec own;
  AGD_TRY(derive_spec(s, found, &own, st));
  if (s->ours) AGD_TRY(agd_training_read(s->file, s->path, &own, training, st));
  if (asked == NULL && !s->ours)
    return agd_fail(st, AGD_EUSAGE,
                    "%s was not written by allegrad and holds neither activation nor epsilon: name the "
                    "job file it belongs to with --job",
                    s->path);
  *spec = asked != NULL ? *asked : own;
  if (spec->inputs == 0) spec->inputs = own.inputs;
  if (spec->outputs == 0) spec->outputs = own.outputs;
  if (spec->hidden_count != own.hidden_count)
    return agd_fail(st, AGD_EDATA, "%s: holds %zu hidden layers, the model has %zu", s->path, own.hidden_count,
                    spec->hidden_count);
  if (spec->batch_norm != own.batch_norm && spec->hidden_count > 0)
    return agd_fail(st, AGD_EDATA, "%s: %s batch normalisation, the model %s", s->path,
                    own.batch_norm ? "holds" : "holds no", spec->batch_norm ? "has it" : "has none");
  return AGD_OK;
}

static void format_shape(char text[SHAPE_SIZE], int rank, const hsize_t *dims) {
  if (rank == 2)
    snprintf(text, SHAPE_SIZE, "[%" PRIu64 ", %" PRIu64 "]", (uint64_t)dims[0], (uint64_t)dims[1]);
  else if (rank == 1)
    snprintf(text, SHAPE_SIZE, "[%" PRIu64 "]", (uint64_t)dims[0]);
  else
    snprintf(text, SHAPE_SIZE, "[]");
}

static agd_code check_values(const source *s, const char *path, const tensor *t, const agd_real *values,
                             agd_status *st) {
  const size_t count = (size_t)(t->dims[0] * t->dims[1]);
  for (size_t i = 0; i < count; i++) {
    const double value = (double)values[i];
    if (isfinite(value) && (!t->variance || value >= 0)) continue;
    return agd_fail(st, AGD_EDATA, "%s: %s holds %g at position %zu, which is not %s", s->path, path, value, i,
                    t->variance ? "a variance" : "finite");
  }
  return AGD_OK;
}

/* Reads one dataset of a tensor's shape. */
static agd_code read_tensor(const source *s, const char *path, const tensor *t, agd_real *values, agd_status *st) {
  agd_h5_array array;
  AGD_TRY(agd_h5_open_array(s->file, s->path, path, &array, st));
  agd_code code = AGD_OK;
  if (array.rank != t->rank || array.dims[0] != t->dims[0] || array.dims[1] != t->dims[1]) {
    char found[SHAPE_SIZE], expected[SHAPE_SIZE];
    format_shape(found, array.rank, array.dims);
    format_shape(expected, t->rank, t->dims);
    code = agd_fail(st, AGD_EDATA, "%s: %s has the shape %s, the model expects %s", s->path, path, found, expected);
  } else if (H5Dread(array.id, NATIVE_REAL, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0) {
    code = agd_h5_fail(st, s->path, path);
  }
  H5Dclose(array.id);
  if (code == AGD_OK && !s->ours) code = check_values(s, path, t, values, st);
  return code;
}

/* A layer with more variables than are read would compute something else. */
static agd_code check_variable_count(const source *s, const char *class, const numbers *all, hsize_t expected,
                                     agd_status *st) {
  for (size_t i = 0; i < all->count; i++) {
    char name[NAME_SIZE], path[PATH_SIZE];
    H5G_info_t info;
    layer_name(name, class, all->number[i]);
    snprintf(path, sizeof path, "/layers/%s/vars", name);
    if (!agd_h5_exists(s->file, path)) return agd_fail(st, AGD_EDATA, "%s: there is no group %s", s->path, path);
    if (H5Gget_info_by_name(s->file, path, &info, H5P_DEFAULT) < 0) return agd_h5_fail(st, s->path, path);
    if (info.nlinks != expected)
      return agd_fail(st, AGD_EDATA, "%s: %s holds %" PRIu64 " datasets, a %s layer has %" PRIu64, s->path, path,
                      (uint64_t)info.nlinks, class, (uint64_t)expected);
  }
  return AGD_OK;
}

static agd_code read_layers(const source *s, const layer_list *found, agd_model *model, agd_status *st) {
  tensors *all;
  AGD_TRY(list_tensors(model, &found->dense, &found->norm, &all, st));
  agd_code code = AGD_OK;
  for (size_t i = 0; i < all->count && code == AGD_OK; i++) {
    const tensor *t = &all->list[i];
    code = read_tensor(s, t->path, t, (t->average ? model->averages : model->weights) + t->offset, st);
  }
  agd_release(&all);
  return code;
}

static agd_code load(const char *path, const agd_model_spec *asked, agd_model **model, agd_training *training,
                     agd_status *st) {
  source s;
  AGD_TRY(open_source(path, &s, st));
  layer_list found;
  agd_model_spec spec;
  agd_code code = find_layers(&s, &found, st);
  if (code == AGD_OK) code = check_variable_count(&s, dense, &found.dense, 2, st);
  if (code == AGD_OK) code = check_variable_count(&s, batch_normalization, &found.norm, 4, st);
  if (code == AGD_OK) code = choose_spec(&s, &found, asked, &spec, training, st);
  if (code == AGD_OK) code = agd_model_create(&spec, model, st);
  if (code == AGD_OK) code = read_layers(&s, &found, *model, st);
  if (code != AGD_OK) agd_model_destroy(model);
  close_source(&s);
  return code;
}

agd_code agd_weights_load(const char *path, const agd_model_spec *spec, agd_model **model, agd_training *training,
                          agd_status *st) {
  agd_training own = {0};
  agd_code code;
  *model = NULL;
  H5E_BEGIN_TRY { code = load(path, spec, model, &own, st); }
  H5E_END_TRY
  if (code == AGD_OK && training != NULL)
    *training = own;
  else
    agd_training_clear(&own);
  return code;
}

static agd_code read_spec(const char *path, agd_model_spec *spec, bool *ours, agd_status *st) {
  source s;
  AGD_TRY(open_source(path, &s, st));
  layer_list found;
  agd_training training = {0};
  agd_code code = find_layers(&s, &found, st);
  if (code == AGD_OK) code = derive_spec(&s, &found, spec, st);
  if (code == AGD_OK && s.ours) code = agd_training_read(s.file, path, spec, &training, st);
  *ours = s.ours;
  agd_training_clear(&training);
  close_source(&s);
  return code;
}

agd_code agd_weights_spec(const char *path, agd_model_spec *spec, bool *ours, agd_status *st) {
  agd_code code;
  H5E_BEGIN_TRY { code = read_spec(path, spec, ours, st); }
  H5E_END_TRY
  return code;
}

/* Slots in Keras' order; the number of variables tells another optimizer apart before a shape does. */
static agd_code read_slots(const source *s, const tensors *all, agd_optimizer *optimizer, agd_status *st) {
  const char vars[] = "/optimizer/vars";
  size_t expected = 2, index = 2;
  H5G_info_t info;
  for (size_t i = 0; i < all->count; i++) expected += all->list[i].average ? 0 : optimizer->slot_count;
  if (!agd_h5_exists(s->file, vars)) return agd_fail(st, AGD_EDATA, "%s: holds no state of an optimizer", s->path);
  if (H5Gget_info_by_name(s->file, vars, &info, H5P_DEFAULT) < 0) return agd_h5_fail(st, s->path, vars);
  if (info.nlinks != expected)
    return agd_fail(st, AGD_EDATA, "%s: holds %" PRIu64 " optimizer variables, this optimizer has %zu", s->path,
                    (uint64_t)info.nlinks, expected);
  for (size_t i = 0; i < all->count; i++)
    for (size_t k = 0; !all->list[i].average && k < optimizer->slot_count; k++) {
      char path[PATH_SIZE];
      slot_path(path, index++);
      AGD_TRY(read_tensor(s, path, &all->list[i], optimizer->slots[k] + all->list[i].offset, st));
    }
  return AGD_OK;
}

static agd_code read_iteration(const source *s, uint64_t *iteration, agd_status *st) {
  const char path[] = "/optimizer/vars/0";
  int64_t value = 0;
  AGD_TRY(agd_h5_read_integer(s->file, s->path, path, &value, st));
  if (value < 0) return agd_fail(st, AGD_EDATA, "%s: %s, the number of updates, is negative", s->path, path);
  *iteration = (uint64_t)value;
  return AGD_OK;
}

static agd_code load_optimizer(const char *path, const agd_model *model, agd_optimizer *optimizer, agd_status *st) {
  const numbers any = from_zero(LAYERS_MAX);
  tensors *all = NULL;
  source s;
  AGD_TRY(open_source(path, &s, st));
  agd_code code = list_tensors(model, &any, &any, &all, st);
  if (code == AGD_OK) code = read_slots(&s, all, optimizer, st);
  if (code == AGD_OK) code = read_iteration(&s, &optimizer->iteration, st);
  agd_release(&all);
  close_source(&s);
  return code;
}

agd_code agd_weights_load_optimizer(const char *path, const agd_model *model, agd_optimizer *optimizer,
                                    agd_status *st) {
  agd_code code;
  AGD_REQUIRE(optimizer->count == model->weight_count);
  H5E_BEGIN_TRY { code = load_optimizer(path, model, optimizer, st); }
  H5E_END_TRY
  return code;
}
