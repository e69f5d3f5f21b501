#include "network_internal.h"

#include <string.h>

#include "allegrad/fold.h"

static void gradient_ready(const agd_exchange *exchange, size_t first, size_t end) {
  if (exchange->gradient_ready != NULL) exchange->gradient_ready(exchange->gradient_context, first, end - first);
}

/* dgamma and dbeta are the sums of the backward pass: once they are global, or this rank's share, which travels. */
static void store_batchnorm_gradient(agd_network *net, size_t l) {
  const agd_layer *layer = &net->model->layers[l];
  const double *sum_dz = net->layers[l].sums, *sum_dz_xhat = sum_dz + layer->in;
  for (size_t c = 0; c < layer->in; c++) {
    net->gradients[layer->gamma + c] = (agd_real)sum_dz_xhat[c];
    net->gradients[layer->beta + c] = (agd_real)sum_dz[c];
  }
}

/* Runs the statement for every run of this rank's lanes: `run`, its lanes [first, first + count) counted from the
 * rank's first, and `gradients`, its gradient array. */
#define FOR_RUNS(net, ...)                                                                                             \
  for (size_t run = 0, first = 0; run < (net)->run_count; run++) {                                                     \
    const size_t count = agd_lanes_run(&(net)->lanes, (net)->rank, run).count;                                         \
    agd_real *gradients = (net)->gradients + run * (net)->model->weight_count;                                         \
    __VA_ARGS__                                                                                                        \
    first += count;                                                                                                    \
  }

void agd_network_fold_lane_gradient(agd_network *net, size_t offset, size_t n) {
  FOR_RUNS(net, {
    agd_real *vectors = net->lane_gradient + first * n;
    agd_fold_reals(count, n, n, vectors);
    memcpy(gradients + offset, vectors, n * sizeof *vectors);
  })
}

/* The gradient of a bias with fixed lanes, lane by lane: the sums over the rows of dy^T, in gradient_t. */
static void lane_bias_gradient(agd_network *net, size_t C, size_t offset) {
  const size_t ldt = agd_padded_ld(C);
  for (size_t i = 0; i < net->lane_count; i++) {
    net->kernels->column_sums(net->gradient_t + i * net->width * ldt, ldt, net->lane_rows[i], C, net->lane_sums);
    for (size_t c = 0; c < C; c++) net->lane_gradient[i * C + c] = (agd_real)net->lane_sums[c];
  }
  agd_network_fold_lane_gradient(net, offset, C);
}

/* dgamma and dbeta of the input BN, which travel with the gradients: this rank's share, run by run. */
static void store_input_batchnorm_gradient(agd_network *net) {
  const agd_layer *layer = &net->model->layers[0];
  const size_t C = layer->in;
  const double *sums = net->layers[0].sums;
  for (size_t half = 0; half < 2; half++) {
    for (size_t i = 0; i < net->lane_count; i++) {
      for (size_t c = 0; c < C; c++) net->lane_gradient[i * C + c] = (agd_real)sums[(2 * i + half) * C + c];
    }
    agd_network_fold_lane_gradient(net, half == 0 ? layer->beta : layer->gamma, C);
  }
}

/* dW of layer l: one product, or one a run of lanes. */
static void kernel_gradient(agd_network *net, size_t l) {
  const agd_layer *layer = &net->model->layers[l];
  const layer_space *s = &net->layers[l];
  if (net->lane_count == 1) {
    agd_gemm_run(&s->backward_kernel, s->z, net->gradient_t, net->gradients + layer->kernel);
    return;
  }
  FOR_RUNS(net, {
    const agd_gemm_lanes lanes = {count, net->width, net->lane_rows + first};
    const size_t column = first * net->width;
    agd_gemm_run_lanes(&s->backward_kernel, &lanes, s->z + column, net->gradient_t + column * s->backward_kernel.ldb,
                       gradients + layer->kernel);
  })
}

/* The sums of BN's backward pass of layer l, lane by lane. */
static void lane_backward_sums(agd_network *net, size_t l, const agd_real *dz) {
  const layer_space *s = &net->layers[l];
  const size_t C = net->model->layers[l].in;
  for (size_t i = 0; i < net->lane_count; i++) {
    double *sums = s->sums + i * 2 * C;
    net->kernels->batchnorm_backward_sums(dz + i * net->width, s->x + i * net->width, net->ld, C, net->lane_rows[i],
                                          s->norm, sums, sums + C);
  }
}

/* One past the slice of the gradient array that layer l's Dense begins; see #agd_model for the order. */
static size_t dense_slice_end(const agd_model *model, size_t l) {
  return l > 0 ? model->layers[l - 1].kernel : model->norm_start;
}

static size_t batchnorm_slice_end(const agd_model *model, size_t l) {
  return l + 1 < model->layer_count && model->layers[l + 1].batch_norm ? model->layers[l + 1].gamma
                                                                       : model->weight_count;
}

/* The input layer: no gradient goes further down; gamma and beta of the input BN need the product with W all the same.
 */
static void backward_input_layer(agd_network *net, const agd_real *dy, agd_real *dz, const agd_exchange *exchange) {
  const agd_model *model = net->model;
  const agd_layer *layer = &model->layers[0];
  if (layer->batch_norm) {
    agd_gemm_run(&net->layers[0].backward_input, model->weights + layer->kernel, dy, dz);
    lane_backward_sums(net, 0, dz);
    store_input_batchnorm_gradient(net);
  }
  kernel_gradient(net, 0);
  gradient_ready(exchange, layer->kernel, dense_slice_end(model, 0));
}

/* Dropout's and the activation's part of the way down, from dx behind both; x, what the layer received, is undone. */
static void backward_dropped(agd_network *net, size_t l, agd_real *dx, agd_real *dbias, size_t ldt) {
  const agd_activation activation = net->model->spec.activation;
  const layer_space *s = &net->layers[l];
  const size_t C = net->model->layers[l].in;
  const agd_real kept = (agd_real)(1 - net->model->spec.dropout);
  agd_network_drop(net, l, dx);
  if (activation == AGD_TANH || activation == AGD_SIGMOID) /* their slope is a function of what they gave */
    for (size_t i = 0; i < C * net->ld; i++) s->x[i] *= kept;
  net->kernels->activation_backward(activation, dx, s->x, net->ld, C, net->rows, dbias, net->gradient_t, ldt);
}

/* Layer l > 0: turns dy, the gradient before its own activation, into the one of the layer below (in dx). The sums of
 * BN travel while the dW product is computed. */
static void backward_hidden_layer(agd_network *net, size_t l, const agd_real *dy, agd_real *dx,
                                  const agd_exchange *exchange) {
  const agd_model *model = net->model;
  const agd_layer *layer = &model->layers[l], *below = &model->layers[l - 1];
  const agd_kernels *k = net->kernels;
  const bool drops = model->spec.dropout > 0;
  const agd_activation activation = drops ? AGD_LINEAR : model->spec.activation;
  layer_space *s = &net->layers[l];
  const size_t C = layer->in, rows = net->rows, ld = net->ld, ldt = agd_padded_ld(C);
  const agd_real *gamma = model->weights + layer->gamma;
  agd_real *dbias = net->gradients + below->bias, *dy_t = net->gradient_t;
  const bool travelling = layer->batch_norm && exchange->sum_start != NULL;
  const bool own_share = model->spec.sync != AGD_SYNC_GLOBAL; /* of dgamma and dbeta, to be summed with the others */

  agd_gemm_run(&s->backward_input, model->weights + layer->kernel, dy, dx);
  if (travelling) {
    lane_backward_sums(net, l, dx);
    if (own_share) store_batchnorm_gradient(net, l);
    exchange->sum_start(exchange->context, s->sums, 2 * C);
  }
  kernel_gradient(net, l);
  gradient_ready(exchange, layer->kernel, dense_slice_end(model, l));
  if (travelling) {
    exchange->sum_finish(exchange->context);
    k->batchnorm_backward(activation, dx, s->x, ld, C, rows, s->norm, gamma, s->sums, s->sums + C, s->m, dbias, dy_t,
                          ldt);
  } else if (layer->batch_norm) {
    k->batchnorm_backward_local(activation, dx, s->x, ld, C, rows, s->norm, gamma, s->sums, s->sums + C, s->m, dbias,
                                dy_t, ldt);
  } else if (!drops) {
    k->activation_backward(activation, dx, s->x, ld, C, rows, dbias, dy_t, ldt);
  }
  if (drops) backward_dropped(net, l, dx, dbias, ldt);
  if (net->lanes.fixed) lane_bias_gradient(net, C, below->bias); /* dbias is summed in another order */
  if (!layer->batch_norm) return;
  if (!travelling || !own_share) store_batchnorm_gradient(net, l);
  gradient_ready(exchange, layer->gamma, batchnorm_slice_end(model, l));
}

void agd_network_backward(agd_network *net, const agd_exchange *exchange) {
  agd_real *dy = net->output;
  size_t turn = 0;
  for (size_t l = net->model->layer_count; l-- > 1;) {
    agd_real *dx = net->gradient[turn];
    backward_hidden_layer(net, l, dy, dx, exchange);
    dy = dx;
    turn ^= 1;
  }
  backward_input_layer(net, dy, net->gradient[turn], exchange);
}
