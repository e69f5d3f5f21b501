#include "allegrad/model.h"

#include <math.h>
#include <string.h>

#include "allegrad/memory.h"
#include "allegrad/rng.h"

static const char *const ACTIVATION_NAME[] = {
    [AGD_LINEAR] = "linear", [AGD_RELU] = "relu", [AGD_TANH] = "tanh", [AGD_SIGMOID] = "sigmoid"};
enum { ACTIVATION_COUNT = sizeof ACTIVATION_NAME / sizeof *ACTIVATION_NAME };

const char *agd_activation_name(agd_activation activation) { return ACTIVATION_NAME[activation]; }

bool agd_activation_parse(const char *name, agd_activation *out) {
  for (int a = 0; a < ACTIVATION_COUNT; a++) {
    if (strcmp(name, ACTIVATION_NAME[a]) != 0) continue;
    *out = (agd_activation)a;
    return true;
  }
  return false;
}

/* Takes the next `count` elements of a flat array that has `used` so far; the next tensor starts on a cache line. */
static size_t place(size_t *used, size_t count) {
  const size_t line = AGD_ALIGN / sizeof(agd_real), offset = *used;
  *used += (count + line - 1) / line * line;
  return offset;
}

/* See #agd_model for the order. */
static void lay_out(agd_model *model) {
  size_t weights = 0, averages = 0;
  for (size_t l = model->layer_count; l-- > 0;) {
    agd_layer *layer = &model->layers[l];
    layer->kernel = place(&weights, layer->in * layer->out);
    layer->bias = place(&weights, layer->out);
  }
  for (size_t l = 0; l < model->layer_count; l++) {
    agd_layer *layer = &model->layers[l];
    if (layer->batch_norm) {
      layer->gamma = place(&weights, layer->in);
      layer->beta = place(&weights, layer->in);
      layer->mean = place(&averages, layer->in);
      layer->variance = place(&averages, layer->in);
    }
    if (l == 0) model->norm_start = weights;
  }
  model->exchange_count = model->spec.sync == AGD_SYNC_GLOBAL ? model->norm_start : weights;
  model->weight_count = weights;
  model->average_count = averages;
}

static void set_batch_norms(agd_model *model) {
  for (size_t l = 0; l < model->layer_count; l++) {
    const agd_layer *layer = &model->layers[l];
    if (!layer->batch_norm) continue;
    for (size_t c = 0; c < layer->in; c++) {
      model->weights[layer->gamma + c] = 1;
      model->averages[layer->variance + c] = 1;
    }
  }
}

size_t agd_model_widest_input(const agd_model *model) {
  size_t widest = 0;
  for (size_t l = 0; l < model->layer_count; l++) {
    if (model->layers[l].in > widest) widest = model->layers[l].in;
  }
  return widest;
}

void agd_model_set_averages(agd_model *model, size_t l, const double *moments) {
  const agd_layer *layer = &model->layers[l];
  const double m = moments[0], *mean = moments + 1, *m2 = mean + layer->in;
  AGD_REQUIRE(layer->batch_norm && m > 0);
  const double divisor = model->spec.unbiased_variance && m > 1 ? m - 1 : m;
  for (size_t c = 0; c < layer->in; c++) {
    model->averages[layer->mean + c] = (agd_real)mean[c];
    model->averages[layer->variance + c] = (agd_real)(m2[c] / divisor);
  }
}

agd_code agd_model_create(const agd_model_spec *spec, agd_model **out, agd_status *st) {
  AGD_REQUIRE(spec->inputs > 0 && spec->outputs > 0 && spec->hidden_count <= AGD_HIDDEN_MAX);
  *out = NULL;
  agd_model *model = NULL;
  AGD_TRY(agd_allocate(1, sizeof *model, "the model", (void **)&model, st));
  model->spec = *spec;
  model->layer_count = spec->hidden_count + 1;
  agd_code code = agd_allocate(model->layer_count, sizeof *model->layers, "the layers", (void **)&model->layers, st);
  if (code == AGD_OK) {
    for (size_t l = 0, in = spec->inputs; l < model->layer_count; l++) {
      const bool hidden = l < spec->hidden_count;
      AGD_REQUIRE(!hidden || spec->hidden[l] > 0);
      const size_t units = hidden ? spec->hidden[l] : spec->outputs;
      model->layers[l] = (agd_layer){.in = in, .out = units, .batch_norm = hidden && spec->batch_norm};
      in = units;
    }
    lay_out(model);
    code = agd_allocate(model->weight_count, sizeof(agd_real), "the weights", (void **)&model->weights, st);
  }
  if (code == AGD_OK)
    code = agd_allocate(model->average_count, sizeof(agd_real), "the running averages", (void **)&model->averages, st);
  if (code != AGD_OK) {
    agd_model_destroy(&model);
    return code;
  }
  set_batch_norms(model);
  *out = model;
  return AGD_OK;
}

void agd_model_move_weights(agd_model *model, agd_real *memory) {
  memcpy(memory, model->weights, model->weight_count * sizeof *memory);
  if (!model->weights_moved) agd_release(&model->weights);
  model->weights = memory;
  model->weights_moved = true;
}

void agd_model_copy(agd_model *to, const agd_model *from) {
  AGD_REQUIRE(to->weight_count == from->weight_count && to->average_count == from->average_count);
  memcpy(to->weights, from->weights, to->weight_count * sizeof *to->weights);
  memcpy(to->averages, from->averages, to->average_count * sizeof *to->averages);
}

void agd_model_destroy(agd_model **model) {
  if (*model == NULL) return;
  agd_release(&(*model)->averages);
  if (!(*model)->weights_moved) agd_release(&(*model)->weights);
  agd_release(&(*model)->layers);
  agd_release(model);
}

void agd_model_initialize(agd_model *model, agd_initializer initializer, uint64_t seed) {
  AGD_REQUIRE(initializer == AGD_GLOROT_UNIFORM);
  for (size_t l = 0; l < model->layer_count; l++) {
    const agd_layer *layer = &model->layers[l];
    const double limit = sqrt(6.0 / (double)(layer->in + layer->out));
    const uint64_t stream = agd_stream(AGD_STREAM_INIT, (uint32_t)l);
    for (size_t i = 0; i < layer->in * layer->out; i++)
      model->weights[layer->kernel + i] = (agd_real)(limit * (2 * agd_random_uniform(seed, stream, i) - 1));
  }
}

size_t agd_model_trainable_count(const agd_model_spec *spec) {
  size_t count = 0, in = spec->inputs;
  for (size_t l = 0; l <= spec->hidden_count; l++) {
    const bool hidden = l < spec->hidden_count;
    const size_t units = hidden ? spec->hidden[l] : spec->outputs;
    count += (in + 1) * units + (hidden && spec->batch_norm ? 2 * in : 0);
    in = units;
  }
  return count;
}

size_t agd_model_parameter_count(const agd_model_spec *spec) {
  size_t averages = 0;
  for (size_t l = 0; spec->batch_norm && l < spec->hidden_count; l++)
    averages += 2 * (l == 0 ? spec->inputs : spec->hidden[l - 1]);
  return agd_model_trainable_count(spec) + averages;
}

bool agd_model_same_shape(const agd_model_spec *a, const agd_model_spec *b) {
  return a->inputs == b->inputs && a->outputs == b->outputs && a->hidden_count == b->hidden_count &&
         a->batch_norm == b->batch_norm && memcmp(a->hidden, b->hidden, a->hidden_count * sizeof *a->hidden) == 0;
}
