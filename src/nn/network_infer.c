#include "network_internal.h"

#include "allegrad/moments.h"

/* Normalisations of the first `count` layers' BNs from the running averages. */
static void use_averages(agd_network *net, size_t count) {
  const agd_model *model = net->model;
  for (size_t l = 0; l < count; l++) {
    const agd_layer *layer = &model->layers[l];
    layer_space *s = &net->layers[l];
    if (!layer->batch_norm) continue;
    for (size_t c = 0; c < layer->in; c++) {
      s->moments[1 + c] = (double)model->averages[layer->mean + c];
      s->variance[c] = (double)model->averages[layer->variance + c];
    }
    net->kernels->normalization(layer->in, s->moments + 1, s->variance, model->spec.epsilon, s->norm);
  }
}

/* Bias and activation of the layer below. */
static void activate(agd_network *net, size_t l) {
  if (l > 0)
    net->kernels->bias_activation(net->model->spec.activation, net->layers[l].x, net->ld, net->model->layers[l].in,
                                  net->rows, bias_below(net, l));
}

/* The first `count` layers in inference mode on the network's rows; the bias of the last is left out. */
static void infer_layers(agd_network *net, const agd_real *x, size_t count) {
  const agd_model *model = net->model;
  net->kernels->transpose(x, model->spec.inputs, net->rows, model->spec.inputs, net->layers[0].x, net->ld);
  for (size_t l = 0; l < count; l++) {
    const agd_layer *layer = &model->layers[l];
    const layer_space *s = &net->layers[l];
    activate(net, l);
    if (layer->batch_norm)
      net->kernels->normalize(s->x, net->ld, layer->in, net->rows, s->norm, model->weights + layer->gamma,
                              model->weights + layer->beta, s->z, net->ld);
    agd_gemm_run(&s->forward, model->weights + layer->kernel, s->z, output_of(net, l));
  }
}

/* One piece in inference mode; the prediction stays feature-major in net->output. */
static void infer(agd_network *net, const agd_real *x, size_t rows) {
  const agd_model *model = net->model;
  const size_t outputs = model->spec.outputs;
  agd_network_set_rows(net, rows);
  infer_layers(net, x, model->layer_count);
  net->kernels->bias_activation(AGD_LINEAR, net->output, net->ld, outputs, rows,
                                model->weights + model->layers[model->layer_count - 1].bias);
}

void agd_network_predict(agd_network *net, const agd_real *x, size_t rows, agd_real *y) {
  const size_t inputs = net->model->spec.inputs, outputs = net->model->spec.outputs;
  use_averages(net, net->model->layer_count);
  for (size_t first = 0; first < rows; first += AGD_PIECE) {
    const size_t count = rows - first < AGD_PIECE ? rows - first : AGD_PIECE;
    infer(net, x + first * inputs, count);
    for (size_t j = 0; j < count; j++)
      for (size_t t = 0; t < outputs; t++) y[(first + j) * outputs + t] = net->output[t * net->ld + j];
  }
}

void agd_network_add_moments(agd_network *net, const agd_batch *batch, size_t l, double *parts) {
  const size_t C = net->model->layers[l].in, n = 1 + 2 * C;
  AGD_REQUIRE(net->model->layers[l].batch_norm && !net->prepared);
  use_averages(net, l);
  agd_network_set_batch(net, batch->global_rows);
  infer_layers(net, batch->x, l);
  activate(net, l);
  agd_network_lane_moments(net, l, NULL);
  for (size_t i = 0; i < net->lane_count; i++) agd_moments_merge(C, parts + i * n, net->layers[l].moments + i * n);
}

void agd_network_evaluate(agd_network *net, const agd_real *x, const agd_real *y, size_t rows, double *losses) {
  const size_t inputs = net->model->spec.inputs, outputs = net->model->spec.outputs;
  use_averages(net, net->model->layer_count);
  for (size_t first = 0; first < rows; first += AGD_PIECE) {
    const size_t count = rows - first < AGD_PIECE ? rows - first : AGD_PIECE;
    double loss = 0;
    infer(net, x + first * inputs, count);
    for (size_t j = 0; j < count; j++) {
      double row = 0;
      for (size_t t = 0; t < outputs; t++) {
        const double error = (double)net->output[t * net->ld + j] - (double)y[(first + j) * outputs + t];
        row += error * error;
      }
      loss += row / (double)outputs;
    }
    losses[first / AGD_PIECE] = loss;
  }
}
