#include "network_internal.h"

#include <string.h>

#include "allegrad/rng.h"

/* running = alpha running + (1 - alpha) batch. Of several row sets each takes its part of the batch's weighted mean, so
 * that the mean over the sets of what they hold is the running average of that mean, whenever it is taken. */
static void update_averages(const agd_network *net, size_t l, double groups) {
  agd_model *model = net->model;
  const agd_layer *layer = &model->layers[l];
  const layer_space *s = &net->layers[l];
  const double alpha = model->spec.momentum, m = s->m, part = m * groups / (double)net->global_rows;
  const double correction = model->spec.unbiased_variance && m > 1 ? m / (m - 1) : 1;
  const double *mean = s->moments + 1, *variance = s->variance;
  agd_real *moving_mean = model->averages + layer->mean, *moving_variance = model->averages + layer->variance;
  for (size_t c = 0; c < layer->in; c++) {
    moving_mean[c] = (agd_real)(alpha * (double)moving_mean[c] + (1 - alpha) * part * mean[c]);
    moving_variance[c] = (agd_real)(alpha * (double)moving_variance[c] + (1 - alpha) * part * correction * variance[c]);
  }
}

void agd_network_drop(const agd_network *net, size_t l, agd_real *x) {
  const agd_mask mask = {.key = agd_random_bits(net->noise, agd_stream(AGD_STREAM_DROPOUT, (uint32_t)l), 0),
                         .first_row = net->first_row,
                         .rate = net->model->spec.dropout};
  net->kernels->dropout(x, net->ld, net->model->layers[l].in, net->rows, mask);
}

/* Bias, activation and dropout of the layer below, where they cannot be left to a kernel of BN: that takes them, but no
 * dropout, along. Returns the bias left to it, or NULL. */
static const agd_real *activate_input(agd_network *net, size_t l, bool left_to_batchnorm) {
  const agd_model_spec *spec = &net->model->spec;
  agd_real *x = net->layers[l].x;
  const agd_real *bias = bias_below(net, l);
  if (bias == NULL || (left_to_batchnorm && spec->dropout == 0)) return bias;
  net->kernels->bias_activation(spec->activation, x, net->ld, net->model->layers[l].in, net->rows, bias);
  if (spec->dropout > 0) agd_network_drop(net, l, x);
  return NULL;
}

void agd_network_lane_moments(agd_network *net, size_t l, const agd_real *bias) {
  const agd_kernels *k = net->kernels;
  const agd_activation activation = net->model->spec.activation;
  const size_t C = net->model->layers[l].in;
  const layer_space *s = &net->layers[l];
  for (size_t i = 0; i < net->lane_count; i++) {
    double *part = s->moments + i * (1 + 2 * C);
    part[0] = (double)net->lane_rows[i];
    k->bias_activation_moments(activation, s->x + i * net->width, net->ld, C, net->lane_rows[i], bias, part + 1,
                               part + 1 + C);
  }
}

/* Normalisation of layer l's input by the statistics that its rows share with other ranks: local ones, one reduction.
 * Those of the input are on their way since agd_network_prepare. */
static void shared_batchnorm_forward(agd_network *net, size_t l, const agd_exchange *exchange) {
  const agd_model *model = net->model;
  const agd_layer *layer = &model->layers[l];
  layer_space *s = &net->layers[l];
  const size_t C = layer->in;
  const double *mean = s->moments + 1, *m2 = mean + C;
  if (l == 0) {
    exchange->input_finish(exchange->context, s->moments, C);
  } else {
    agd_network_lane_moments(net, l, activate_input(net, l, net->lane_count == 1));
    exchange->moments(exchange->context, s->moments, C);
  }
  s->m = s->moments[0];
  for (size_t c = 0; c < C; c++) s->variance[c] = s->m > 0 ? m2[c] / s->m : 0;
  net->kernels->normalization(C, mean, s->variance, model->spec.epsilon, s->norm);
  net->kernels->normalize(s->x, net->ld, C, net->rows, s->norm, model->weights + layer->gamma,
                          model->weights + layer->beta, s->z, net->ld);
}

/* The same when this rank's rows share statistics with nobody's; there may be none. */
static void own_batchnorm_forward(agd_network *net, size_t l) {
  const agd_model *model = net->model;
  const agd_layer *layer = &model->layers[l];
  layer_space *s = &net->layers[l];
  const size_t C = layer->in;
  s->m = (double)net->rows;
  if (net->rows > 0) {
    const agd_real *bias = activate_input(net, l, true);
    net->kernels->batchnorm_forward(model->spec.activation, s->x, net->ld, C, net->rows, bias, model->spec.epsilon,
                                    model->weights + layer->gamma, model->weights + layer->beta, s->moments + 1,
                                    s->variance, s->norm, s->z, net->ld);
  } else {
    memset(s->moments + 1, 0, C * sizeof *s->moments);
    memset(s->variance, 0, C * sizeof *s->variance);
  }
}

static void batchnorm_forward(agd_network *net, size_t l, const agd_exchange *exchange) {
  if (exchange->moments != NULL)
    shared_batchnorm_forward(net, l, exchange);
  else
    own_batchnorm_forward(net, l);
  update_averages(net, l, exchange->groups);
}

static void forward(agd_network *net, const agd_exchange *exchange) {
  const agd_model *model = net->model;
  for (size_t l = 0; l < model->layer_count; l++) {
    const agd_layer *layer = &model->layers[l];
    layer_space *s = &net->layers[l];
    if (layer->batch_norm)
      batchnorm_forward(net, l, exchange);
    else
      activate_input(net, l, false);
    agd_gemm_run(&s->forward, model->weights + layer->kernel, s->z, output_of(net, l));
  }
}

/* Copies the first `cols` columns of [rows, ld] matrices. */
static void copy_columns(const agd_real *from, size_t ld_from, size_t rows, size_t cols, agd_real *to, size_t ld_to) {
  for (size_t r = 0; r < rows; r++) memcpy(to + r * ld_to, from + r * ld_from, cols * sizeof *to);
}

/* Loss and its gradient. With several lanes each is taken on its own, in a copy: the kernel writes whole cache lines.
 */
static void loss_forward_backward(agd_network *net, double *losses) {
  const agd_model *model = net->model;
  const agd_layer *last = &model->layers[model->layer_count - 1];
  const agd_real *bias = model->weights + last->bias;
  const size_t T = model->spec.outputs, ldt = agd_padded_ld(T), lane_ld = agd_padded_ld(net->width);
  const double scale = 1 / (double)net->step_rows;
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

void agd_network_prepare(agd_network *net, const agd_batch *batch, const agd_exchange *exchange) {
  AGD_REQUIRE(batch->global_rows > 0 && batch->global_rows <= net->batch && !net->prepared);
  const size_t inputs = net->model->spec.inputs, outputs = net->model->spec.outputs;
  net->global_rows = batch->global_rows;
  net->first_row = agd_rank_rows(&net->lanes, net->batch, batch->global_rows, net->rank).first;
  net->step_rows = batch->step_rows;
  net->noise = batch->noise;
  net->prepared = true;
  agd_network_set_batch(net, batch->global_rows);
  net->kernels->transpose(batch->x, inputs, net->rows, inputs, net->layers[0].x, net->ld);
  net->kernels->transpose(batch->y, outputs, net->rows, outputs, net->target, net->ld);
  if (net->model->layers[0].batch_norm && exchange->moments != NULL) {
    agd_network_lane_moments(net, 0, NULL);
    exchange->input_start(exchange->context, net->layers[0].moments, inputs);
  }
}

void agd_network_train(agd_network *net, const agd_exchange *exchange, double *losses) {
  AGD_REQUIRE(net->prepared);
  AGD_REQUIRE(exchange->moments != NULL || net->lane_count == 1);
  net->prepared = false;
  forward(net, exchange);
  loss_forward_backward(net, losses);
  agd_network_backward(net, exchange);
}
