/* A model as ONNX: a graph of Sub, Div, BatchNormalization, Gemm and an activation. */
#include "allegrad/onnx.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allegrad/checkpoint.h"
#include "allegrad/memory.h"
#include "onnx.pb-c.h"

enum {
  IR_VERSION = 8,
  OPERATOR_SET = 15, /* the first with the BatchNormalization of today */
  NAME_SIZE = 64,
  INPUTS_MAX = 5, /* of a node */
  NODES_MAX = 2 + 3 * AGD_HIDDEN_MAX + 1,
  TENSORS_MAX = 2 + 6 * (AGD_HIDDEN_MAX + 1)
};

static const size_t FILE_MAX = 2147483647; /* what protobuf can read */

/* A node and what its messages point to. */
typedef struct node {
  Onnx__NodeProto message;
  char *input[INPUTS_MAX], *output[1];
  char inputs[INPUTS_MAX][NAME_SIZE], result[NAME_SIZE], type[NAME_SIZE];
  Onnx__AttributeProto attribute, *attributes[1];
} node;

typedef struct tensor {
  Onnx__TensorProto message;
  char name[NAME_SIZE];
  int64_t dims[2];
  float *values; /* owned */
} tensor;

/* A graph while it is made. Nothing in it moves: messages point into it. */
typedef struct graph {
  Onnx__GraphProto message;
  Onnx__NodeProto *node_list[NODES_MAX];
  Onnx__TensorProto *tensor_list[TENSORS_MAX];
  node nodes[NODES_MAX];
  tensor tensors[TENSORS_MAX];
  char value[NAME_SIZE]; /* what the last node gave */
} graph;

static agd_code add_tensor(graph *g, const char *name, size_t rows, size_t columns, float **values, agd_status *st) {
  AGD_REQUIRE(g->message.n_initializer < TENSORS_MAX);
  tensor *t = &g->tensors[g->message.n_initializer];
  const size_t count = (rows > 0 ? rows : 1) * columns;
  AGD_TRY(agd_allocate(count, sizeof(float), "a tensor of the ONNX model", (void **)&t->values, st));
  snprintf(t->name, sizeof t->name, "%s", name);
  onnx__tensor_proto__init(&t->message);
  if (rows > 0) t->dims[t->message.n_dims++] = (int64_t)rows;
  t->dims[t->message.n_dims++] = (int64_t)columns;
  t->message.dims = t->dims;
  t->message.has_data_type = true, t->message.data_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
  t->message.name = t->name;
  t->message.has_raw_data = true;
  t->message.raw_data = (ProtobufCBinaryData){count * sizeof(float), (uint8_t *)t->values};
  g->tensor_list[g->message.n_initializer++] = &t->message;
  *values = t->values;
  return AGD_OK;
}

/* A vector or, with rows, a matrix of reals. */
static agd_code add_reals(graph *g, const char *name, size_t rows, size_t columns, const agd_real *from,
                          agd_status *st) {
  float *values;
  AGD_TRY(add_tensor(g, name, rows, columns, &values, st));
  for (size_t i = 0; i < (rows > 0 ? rows : 1) * columns; i++) values[i] = (float)from[i];
  return AGD_OK;
}

static agd_code add_doubles(graph *g, const char *name, size_t count, const double *from, agd_status *st) {
  float *values;
  AGD_TRY(add_tensor(g, name, 0, count, &values, st));
  for (size_t i = 0; i < count; i++) values[i] = (float)from[i];
  return AGD_OK;
}

/* Adds a node that takes the last one's value and the `count` named tensors. */
static node *add_node(graph *g, const char *type, const char *result, size_t count, const char *const *tensors) {
  AGD_REQUIRE(g->message.n_node < NODES_MAX && count < INPUTS_MAX);
  node *n = &g->nodes[g->message.n_node];
  onnx__node_proto__init(&n->message);
  for (size_t i = 0; i <= count; i++) {
    snprintf(n->inputs[i], NAME_SIZE, "%s", i == 0 ? g->value : tensors[i - 1]);
    n->input[i] = n->inputs[i];
  }
  snprintf(n->result, NAME_SIZE, "%s", result);
  snprintf(n->type, NAME_SIZE, "%s", type);
  snprintf(g->value, NAME_SIZE, "%s", result);
  n->output[0] = n->result;
  n->message.n_input = count + 1, n->message.input = n->input;
  n->message.n_output = 1, n->message.output = n->output;
  n->message.name = n->result, n->message.op_type = n->type;
  g->node_list[g->message.n_node++] = &n->message;
  return n;
}

static void set_attribute(node *n, char *name, double value) {
  onnx__attribute_proto__init(&n->attribute);
  n->attribute.name = name;
  n->attribute.has_f = true, n->attribute.f = (float)value;
  n->attribute.has_type = true, n->attribute.type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT;
  n->attributes[0] = &n->attribute;
  n->message.n_attribute = 1, n->message.attribute = n->attributes;
}

static void name_of(char name[NAME_SIZE], const char *what, size_t layer) {
  snprintf(name, NAME_SIZE, "%s_%zu", what, layer);
}

static agd_code add_standardization(graph *g, const agd_exported *what, agd_status *st) {
  if (what->x_mean == NULL) return AGD_OK;
  const size_t inputs = what->model->spec.inputs;
  AGD_TRY(add_doubles(g, "x_mean", inputs, what->x_mean, st));
  AGD_TRY(add_doubles(g, "x_sd", inputs, what->x_sd, st));
  add_node(g, "Sub", "x_centred", 1, (const char *[]){"x_mean"});
  add_node(g, "Div", "x_standardized", 1, (const char *[]){"x_sd"});
  return AGD_OK;
}

static agd_code add_batch_norm(graph *g, const agd_model *model, size_t l, agd_status *st) {
  static char epsilon[] = "epsilon";
  const agd_layer *layer = &model->layers[l];
  const agd_real *weights = model->weights, *averages = model->averages;
  char gamma[NAME_SIZE], beta[NAME_SIZE], mean[NAME_SIZE], variance[NAME_SIZE], result[NAME_SIZE];
  name_of(gamma, "gamma", l), name_of(beta, "beta", l), name_of(mean, "moving_mean", l);
  name_of(variance, "moving_variance", l), name_of(result, "batch_normalization", l);
  AGD_TRY(add_reals(g, gamma, 0, layer->in, weights + layer->gamma, st));
  AGD_TRY(add_reals(g, beta, 0, layer->in, weights + layer->beta, st));
  AGD_TRY(add_reals(g, mean, 0, layer->in, averages + layer->mean, st));
  AGD_TRY(add_reals(g, variance, 0, layer->in, averages + layer->variance, st));
  node *n = add_node(g, "BatchNormalization", result, 4, (const char *[]){gamma, beta, mean, variance});
  set_attribute(n, epsilon, model->spec.epsilon);
  return AGD_OK;
}

/* Kernel and bias with the layer's batch normalisation computed into them. */
static agd_code fold_batch_norm(const agd_model *model, const agd_layer *layer, float *kernel, float *bias,
                                agd_status *st) {
  const agd_real *W = model->weights + layer->kernel, *gamma = model->weights + layer->gamma;
  const agd_real *beta = model->weights + layer->beta;
  const agd_real *mean = model->averages + layer->mean, *variance = model->averages + layer->variance;
  double *sum;
  AGD_TRY(agd_allocate(layer->out, sizeof *sum, "the folded bias", (void **)&sum, st));
  for (size_t j = 0; j < layer->out; j++) sum[j] = (double)model->weights[layer->bias + j];
  for (size_t i = 0; i < layer->in; i++) {
    const double s = (double)gamma[i] / sqrt((double)variance[i] + model->spec.epsilon);
    const double shift = (double)beta[i] - s * (double)mean[i];
    for (size_t j = 0; j < layer->out; j++) {
      const double w = (double)W[i * layer->out + j];
      kernel[i * layer->out + j] = (float)(s * w);
      sum[j] += shift * w;
    }
  }
  for (size_t j = 0; j < layer->out; j++) bias[j] = (float)sum[j];
  agd_release(&sum);
  return AGD_OK;
}

static agd_code add_dense(graph *g, const agd_model *model, size_t l, bool fold, agd_status *st) {
  const agd_layer *layer = &model->layers[l];
  char kernel_name[NAME_SIZE], bias_name[NAME_SIZE], result[NAME_SIZE];
  name_of(kernel_name, "kernel", l), name_of(bias_name, "bias", l), name_of(result, "dense", l);
  if (fold && layer->batch_norm) {
    float *kernel, *bias;
    AGD_TRY(add_tensor(g, kernel_name, layer->in, layer->out, &kernel, st));
    AGD_TRY(add_tensor(g, bias_name, 0, layer->out, &bias, st));
    AGD_TRY(fold_batch_norm(model, layer, kernel, bias, st));
  } else {
    AGD_TRY(add_reals(g, kernel_name, layer->in, layer->out, model->weights + layer->kernel, st));
    AGD_TRY(add_reals(g, bias_name, 0, layer->out, model->weights + layer->bias, st));
  }
  const bool last = l + 1 == model->layer_count;
  add_node(g, "Gemm", last ? "y" : result, 2, (const char *[]){kernel_name, bias_name});
  return AGD_OK;
}

static void add_activation(graph *g, agd_activation activation, size_t l) {
  static const char *const OPERATOR[] = {
      [AGD_LINEAR] = NULL, [AGD_RELU] = "Relu", [AGD_TANH] = "Tanh", [AGD_SIGMOID] = "Sigmoid"};
  char result[NAME_SIZE];
  name_of(result, agd_activation_name(activation), l);
  if (OPERATOR[activation] != NULL) add_node(g, OPERATOR[activation], result, 0, NULL);
}

static agd_code fill_graph(graph *g, const agd_exported *what, bool fold, agd_status *st) {
  const agd_model *model = what->model;
  onnx__graph_proto__init(&g->message);
  g->message.node = g->node_list, g->message.initializer = g->tensor_list;
  snprintf(g->value, sizeof g->value, "x");
  AGD_TRY(add_standardization(g, what, st));
  for (size_t l = 0; l < model->layer_count; l++) {
    if (model->layers[l].batch_norm && !fold) AGD_TRY(add_batch_norm(g, model, l, st));
    AGD_TRY(add_dense(g, model, l, fold, st));
    if (l < model->spec.hidden_count) add_activation(g, model->spec.activation, l);
  }
  return AGD_OK;
}

/* The graph's input or output: float32 [N, columns]. */
typedef struct value_info {
  Onnx__ValueInfoProto message, *list[1];
  Onnx__TypeProto type;
  Onnx__TypeProto__Tensor tensor;
  Onnx__TensorShapeProto shape;
  Onnx__TensorShapeProto__Dimension dims[2], *dim_list[2];
} value_info;

static void describe_value(value_info *v, char *name, size_t columns) {
  static char rows[] = "N";
  onnx__value_info_proto__init(&v->message);
  onnx__type_proto__init(&v->type);
  onnx__type_proto__tensor__init(&v->tensor);
  onnx__tensor_shape_proto__init(&v->shape);
  for (int d = 0; d < 2; d++) {
    onnx__tensor_shape_proto__dimension__init(&v->dims[d]);
    v->dim_list[d] = &v->dims[d];
  }
  v->dims[0].dim_param = rows;
  v->dims[1].has_dim_value = true, v->dims[1].dim_value = (int64_t)columns;
  v->shape.n_dim = 2, v->shape.dim = v->dim_list;
  v->tensor.has_elem_type = true, v->tensor.elem_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
  v->tensor.shape = &v->shape;
  v->type.tensor_type = &v->tensor;
  v->message.name = name, v->message.type = &v->type;
  v->list[0] = &v->message;
}

static agd_code write_model(const char *path, const Onnx__ModelProto *model, agd_status *st) {
  const size_t size = onnx__model_proto__get_packed_size(model);
  void *bytes;
  if (size > FILE_MAX)
    return agd_fail(st, AGD_EDATA, "cannot write %s: the model has %zu bytes, an ONNX file holds at most 2 GB", path,
                    size);
  AGD_TRY(agd_allocate(size, 1, "the ONNX model", &bytes, st));
  onnx__model_proto__pack(model, bytes);
  const agd_code code = agd_file_replace(path, bytes, size, false, st);
  agd_release(&bytes);
  return code;
}

/* ["a", "b"], to be freed; NULL when memory is short. */
static char *names_as_json(const agd_names *names) {
  json_t *list = json_array();
  for (size_t i = 0; i < names->count; i++) json_array_append_new(list, json_string(names->name[i]));
  char *text = json_array_size(list) == names->count ? json_dumps(list, 0) : NULL;
  json_decref(list);
  return text;
}

static agd_code add_metadata(Onnx__StringStringEntryProto *entry, char *key, const agd_names *names, agd_status *st) {
  onnx__string_string_entry_proto__init(entry);
  entry->key = key;
  entry->value = names_as_json(names);
  return entry->value != NULL ? AGD_OK : agd_fail(st, AGD_EDATA, "out of memory, or not UTF-8: the columns' names");
}

static agd_code write_graph(const char *path, graph *g, const agd_exported *what, agd_status *st) {
  static char domain[] = "", producer[] = "allegrad", graph_name[] = "multilayer_perceptron", x[] = "x", y[] = "y";
  static char x_names[] = "x_names", y_names[] = "y_names";
  Onnx__ModelProto model = ONNX__MODEL_PROTO__INIT;
  Onnx__OperatorSetIdProto set = ONNX__OPERATOR_SET_ID_PROTO__INIT, *sets[] = {&set};
  Onnx__StringStringEntryProto entry[2], *entries[] = {&entry[0], &entry[1]};
  value_info input, output;
  describe_value(&input, x, what->model->spec.inputs);
  describe_value(&output, y, what->model->spec.outputs);
  g->message.name = graph_name;
  g->message.n_input = 1, g->message.input = input.list;
  g->message.n_output = 1, g->message.output = output.list;
  set.domain = domain, set.has_version = true, set.version = OPERATOR_SET;
  model.has_ir_version = true, model.ir_version = IR_VERSION;
  model.producer_name = producer;
  model.n_opset_import = 1, model.opset_import = sets;
  model.graph = &g->message;
  model.n_metadata_props = 2, model.metadata_props = entries;
  agd_code code = add_metadata(&entry[0], x_names, what->x_names, st);
  entry[1].value = NULL;
  if (code == AGD_OK) code = add_metadata(&entry[1], y_names, what->y_names, st);
  if (code == AGD_OK) code = write_model(path, &model, st);
  free(entry[0].value);
  free(entry[1].value);
  return code;
}

agd_code agd_onnx_write(const char *path, const agd_exported *what, bool fold, agd_status *st) {
  graph *g;
  AGD_TRY(agd_allocate(1, sizeof *g, "the ONNX graph", (void **)&g, st));
  agd_code code = fill_graph(g, what, fold, st);
  if (code == AGD_OK) code = write_graph(path, g, what, st);
  for (size_t i = 0; i < g->message.n_initializer; i++) agd_release(&g->tensors[i].values);
  agd_release(&g);
  return code;
}
