#include "network_internal.h"

/* Normalisations of every BN from the running averages. */
static void use_averages(agd_network *net) {
  const agd_model *model = net->model;
  for (size_t l = 0; l < model->layer_count; l++) {
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

/* One piece in inference mode; the prediction stays feature-major in net->output. */
static void infer(agd_network *net, const agd_real *x, size_t rows) {
  const agd_model *model = net->model;
  const agd_kernels *k = net->kernels;
  const size_t inputs = model->spec.inputs, outputs = model->spec.outputs;
  agd_network_set_rows(net, rows);
  k->transpose(x, inputs, rows, inputs, net->layers[0].x, net->ld);
  for (size_t l = 0; l < model->layer_count; l++) {
    const agd_layer *layer = &model->layers[l];
    const layer_space *s = &net->layers[l];
    if (l > 0) k->bias_activation(model->spec.activation, s->x, net->ld, layer->in, rows, bias_below(net, l));
    if (layer->batch_norm)
      k->normalize(s->x, net->ld, layer->in, rows, s->norm, model->weights + layer->gamma, model->weights + layer->beta,
                   s->z, net->ld);
    agd_gemm_run(&s->forward, model->weights + layer->kernel, s->z, output_of(net, l));
  }
  k->bias_activation(AGD_LINEAR, net->output, net->ld, outputs, rows,
                     model->weights + model->layers[model->layer_count - 1].bias);
}

void agd_network_predict(agd_network *net, const agd_real *x, size_t rows, agd_real *y) {
  const size_t inputs = net->model->spec.inputs, outputs = net->model->spec.outputs;
  use_averages(net);
  for (size_t first = 0; first < rows; first += AGD_PIECE) {
    const size_t count = rows - first < AGD_PIECE ? rows - first : AGD_PIECE;
    infer(net, x + first * inputs, count);
    for (size_t j = 0; j < count; j++)
      for (size_t t = 0; t < outputs; t++) y[(first + j) * outputs + t] = net->output[t * net->ld + j];
  }
}

void agd_network_evaluate(agd_network *net, const agd_real *x, const agd_real *y, size_t rows, double *losses) {
  const size_t inputs = net->model->spec.inputs, outputs = net->model->spec.outputs;
  use_averages(net);
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
