#include "network_internal.h"

#include <string.h>

/* running = alpha running + (1 - alpha) batch. */
static void update_averages(agd_model *model, const agd_layer *layer, const double *mean, const double *variance,
                            double m) {
  const double alpha = model->spec.momentum;
  const double correction = model->spec.unbiased_variance && m > 1 ? m / (m - 1) : 1;
  agd_real *moving_mean = model->averages + layer->mean, *moving_variance = model->averages + layer->variance;
  for (size_t c = 0; c < layer->in; c++) {
    moving_mean[c] = (agd_real)(alpha * (double)moving_mean[c] + (1 - alpha) * mean[c]);
    moving_variance[c] = (agd_real)(alpha * (double)moving_variance[c] + (1 - alpha) * correction * variance[c]);
  }
}

/* Statistics of layer l's input, lane by lane; adds bias and activation of the layer below first. */
static void lane_moments(agd_network *net, size_t l) {
  const agd_kernels *k = net->kernels;
  const agd_activation activation = net->model->spec.activation;
  const size_t C = net->model->layers[l].in;
  const layer_space *s = &net->layers[l];
  const agd_real *bias = bias_below(net, l);
  if (net->lane_count > 1 && bias != NULL) {
    k->bias_activation(activation, s->x, net->ld, C, net->rows, bias);
    bias = NULL;
  }
  for (size_t i = 0; i < net->lane_count; i++) {
    double *part = s->moments + i * (1 + 2 * C);
    part[0] = (double)net->lane_rows[i];
    k->bias_activation_moments(activation, s->x + i * net->width, net->ld, C, net->lane_rows[i], bias, part + 1,
                               part + 1 + C);
  }
}

/* Batch norm of layer l's input with the statistics of the global batch: bias and activation of the layer below, local
 * statistics, one reduction, normalisation. */
static void batchnorm_forward(agd_network *net, size_t l, size_t global_rows, const agd_exchange *exchange) {
  agd_model *model = net->model;
  const agd_layer *layer = &model->layers[l];
  layer_space *s = &net->layers[l];
  const agd_kernels *k = net->kernels;
  const agd_real *gamma = model->weights + layer->gamma, *beta = model->weights + layer->beta;
  const size_t C = layer->in;
  double *mean = s->moments + 1, *m2 = mean + C;
  if (exchange->moments == NULL) {
    k->batchnorm_forward(model->spec.activation, s->x, net->ld, C, net->rows, bias_below(net, l), model->spec.epsilon,
                         gamma, beta, mean, s->variance, s->norm, s->z, net->ld);
  } else {
    lane_moments(net, l);
    exchange->moments(exchange->context, s->moments, C);
    for (size_t c = 0; c < C; c++) s->variance[c] = m2[c] / (double)global_rows;
    k->normalization(C, mean, s->variance, model->spec.epsilon, s->norm);
    k->normalize(s->x, net->ld, C, net->rows, s->norm, gamma, beta, s->z, net->ld);
  }
  update_averages(model, layer, mean, s->variance, (double)global_rows);
}

static void forward(agd_network *net, size_t global_rows, const agd_exchange *exchange) {
  const agd_model *model = net->model;
  for (size_t l = 0; l < model->layer_count; l++) {
    const agd_layer *layer = &model->layers[l];
    layer_space *s = &net->layers[l];
    if (layer->batch_norm)
      batchnorm_forward(net, l, global_rows, exchange);
    else if (l > 0)
      net->kernels->bias_activation(model->spec.activation, s->x, net->ld, layer->in, net->rows, bias_below(net, l));
    agd_gemm_run(&s->forward, model->weights + layer->kernel, s->z, output_of(net, l));
  }
}

/* Copies the first `cols` columns of [rows, ld] matrices. */
static void copy_columns(const agd_real *from, size_t ld_from, size_t rows, size_t cols, agd_real *to, size_t ld_to) {
  for (size_t r = 0; r < rows; r++) memcpy(to + r * ld_to, from + r * ld_from, cols * sizeof *to);
}

/* Loss and its gradient. With several lanes each is taken on its own, in a copy: the kernel writes whole cache lines.
 */
static void loss_forward_backward(agd_network *net, size_t global_rows, double *losses) {
  const agd_model *model = net->model;
  const agd_layer *last = &model->layers[model->layer_count - 1];
  const agd_real *bias = model->weights + last->bias;
  const size_t T = model->spec.outputs, ldt = agd_padded_ld(T), lane_ld = agd_padded_ld(net->width);
  const double scale = 1 / (double)global_rows;
  if (net->lane_count == 1) {
    losses[0] = net->kernels->mse(net->output, net->target, net->ld, T, net->rows, bias, scale,
                                  net->gradients + last->bias, net->gradient_t, ldt);
    return;
  }
  for (size_t i = 0; i < net->lane_count; i++) {
    const size_t column = i * net->width, rows = net->lane_rows[i];
    copy_columns(net->output + column, net->ld, T, rows, net->lane_output, lane_ld);
    copy_columns(net->target + column, net->ld, T, rows, net->lane_target, lane_ld);
    losses[i] = net->kernels->mse(net->lane_output, net->lane_target, lane_ld, T, rows, bias, scale,
                                  net->lane_gradient + i * T, net->gradient_t + column * ldt, ldt);
    copy_columns(net->lane_output, lane_ld, T, rows, net->output + column, net->ld);
  }
  agd_network_fold_lane_gradient(net, last->bias, T);
}

void agd_network_train(agd_network *net, const agd_batch *batch, const agd_exchange *exchange, double *losses) {
  AGD_REQUIRE(batch->global_rows > 0 && batch->global_rows <= net->batch);
  AGD_REQUIRE(exchange->moments != NULL || net->lanes.count == 1);
  const size_t inputs = net->model->spec.inputs, outputs = net->model->spec.outputs;
  agd_network_set_batch(net, batch->global_rows);
  net->kernels->transpose(batch->x, inputs, net->rows, inputs, net->layers[0].x, net->ld);
  net->kernels->transpose(batch->y, outputs, net->rows, outputs, net->target, net->ld);
  forward(net, batch->global_rows, exchange);
  loss_forward_backward(net, batch->global_rows, losses);
  agd_network_backward(net, batch->global_rows, exchange);
}
