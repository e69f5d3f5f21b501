#include "allegrad/network.h"

#include <string.h>

#include "allegrad/fold.h"
#include "allegrad/gemm.h"
#include "allegrad/matrix.h"
#include "allegrad/memory.h"

/* The workspace of one layer. Activations are feature-major with the leading dimension of the current batch. */
typedef struct layer_space {
  agd_real *x;      /* [in, rows]: what the layer receives; for the input BN the raw features */
  agd_real *z;      /* [in, rows]: what the product takes: the batch-normalised x, or x itself without BN */
  double *moments;  /* [lanes, 1 + 2 in]: row count, mean, M2 (see moments.h); the first lane's become the batch's */
  double *variance; /* [in]: the batch's, biased */
  double *sums;     /* [lanes, 2 in]: sum dz (= dbeta), sum dz x_hat (= dgamma); the first lane's become the batch's */
  agd_normalization norm;
  agd_gemm forward, backward_input, backward_kernel;
} layer_space;

struct agd_network {
  agd_model *model;
  const agd_kernels *kernels;
  agd_lanes lanes;
  uint64_t rank;
  size_t batch;      /* rows of the largest global batch */
  size_t lane_count; /* this rank's */
  size_t run_count;  /* this rank's */
  size_t capacity;   /* rows that the buffers hold */
  size_t rows, ld;   /* rows and leading dimension of the current batch */
  size_t width;      /* columns from lane to lane */
  size_t *lane_rows; /* [lane_count]: of the current batch */
  size_t widest;     /* the largest number of features of any layer */
  layer_space *layers;
  agd_real *output;        /* [outputs, rows]: prediction, then its gradient */
  agd_real *target;        /* [outputs, rows] */
  agd_real *lane_output;   /* the same for one lane */
  agd_real *lane_target;   /* */
  agd_real *lane_gradient; /* [lane_count, widest]: gradients of vectors, lane by lane, to be folded */
  double *lane_sums;       /* [widest] */
  agd_real *gradient[2];   /* [widest, rows]: gradients of activations, by turns */
  agd_real *gradient_t;    /* [rows, widest]: the transposed gradient that the dW product takes */
  agd_real *norm_space;    /* the arrays of every layer's norm */
  double *sum_space;       /* moments, variance and sums of every layer */
  agd_real *gradients;     /* [run_count], each parallel to model->weights */
  bool owns_gradients;
};

static agd_gemm plan(const agd_network *net, agd_product product, size_t in, size_t out, size_t lda, size_t ldb,
                     size_t ldc) {
  if (net->lanes.fixed) return agd_gemm_plan_with(AGD_GEMM_OWN, product, in, out, net->rows, lda, ldb, ldc);
  return agd_gemm_plan(product, in, out, net->rows, lda, ldb, ldc);
}

/* Plans the products for `rows` local rows. */
static void set_rows(agd_network *net, size_t rows) {
  AGD_REQUIRE(rows <= net->capacity);
  if (net->rows == rows && net->ld > 0) return;
  net->rows = rows;
  net->ld = agd_padded_ld(rows);
  for (size_t l = 0; l < net->model->layer_count; l++) {
    const size_t in = net->model->layers[l].in, out = net->model->layers[l].out, ld = net->ld;
    layer_space *s = &net->layers[l];
    s->forward = plan(net, AGD_FORWARD, in, out, out, ld, ld);
    s->backward_input = plan(net, AGD_BACKWARD_INPUT, in, out, out, ld, ld);
    s->backward_kernel = plan(net, AGD_BACKWARD_KERNEL, in, out, ld, agd_padded_ld(out), out);
  }
}

/* Cuts this rank's slice of a global batch into its lanes. Rows fill fixed lanes in order, so that the columns of a
 * batch are contiguous whatever its size. */
static void set_batch(agd_network *net, size_t global_rows) {
  const agd_range own = agd_lanes_of_rank(&net->lanes, net->rank);
  size_t rows = 0;
  for (size_t i = 0; i < net->lane_count; i++) {
    net->lane_rows[i] = agd_lane_rows(&net->lanes, net->batch, global_rows, own.first + i).count;
    rows += net->lane_rows[i];
  }
  net->width = net->lanes.fixed ? agd_lane_width(&net->lanes, net->batch) : rows;
  set_rows(net, rows);
}

/* Kernels read the last row to the end of its cache line, wherever a lane begins. */
static agd_code allocate_reals(size_t rows, size_t ld, agd_real **out, agd_status *st) {
  const size_t line = AGD_ALIGN / sizeof(agd_real), most = SIZE_MAX / sizeof(agd_real);
  if (ld > 0 && rows > (most - line) / ld)
    return agd_fail(st, AGD_EDATA, "the activations are more than memory can address");
  return agd_allocate(rows * ld + line, sizeof(agd_real), "the activations", (void **)out, st);
}

/* Buffers of `capacity` columns for every layer. */
static agd_code allocate_activations(agd_network *net, agd_status *st) {
  const agd_model *model = net->model;
  const size_t ld = agd_padded_ld(net->capacity), outputs = model->spec.outputs;
  const size_t lane_ld = agd_padded_ld(agd_lane_width(&net->lanes, net->batch));
  for (size_t l = 0; l < model->layer_count; l++) {
    const agd_layer *layer = &model->layers[l];
    AGD_TRY(allocate_reals(layer->in, ld, &net->layers[l].x, st));
    net->layers[l].z = net->layers[l].x;
    if (layer->batch_norm) AGD_TRY(allocate_reals(layer->in, ld, &net->layers[l].z, st));
    if (layer->in > net->widest) net->widest = layer->in;
    if (layer->out > net->widest) net->widest = layer->out;
  }
  AGD_TRY(allocate_reals(outputs, ld, &net->output, st));
  AGD_TRY(allocate_reals(outputs, ld, &net->target, st));
  AGD_TRY(allocate_reals(outputs, lane_ld, &net->lane_output, st));
  AGD_TRY(allocate_reals(outputs, lane_ld, &net->lane_target, st));
  AGD_TRY(allocate_reals(net->lane_count, net->widest, &net->lane_gradient, st));
  for (int g = 0; g < 2; g++) AGD_TRY(allocate_reals(net->widest, ld, &net->gradient[g], st));
  return allocate_reals(net->capacity, agd_padded_ld(net->widest), &net->gradient_t, st);
}

/* The statistics of all layers: two arrays, cut into the layers' pieces. */
static agd_code allocate_statistics(agd_network *net, agd_status *st) {
  const agd_model *model = net->model;
  size_t norms = 0, sums = net->widest;
  for (size_t l = 0; l < model->layer_count; l++) {
    const size_t in = model->layers[l].in;
    norms += 3 * agd_padded_ld(in);
    sums += net->lane_count * (1 + 4 * in) + in;
  }
  AGD_TRY(allocate_reals(norms, 1, &net->norm_space, st));
  AGD_TRY(agd_allocate(sums, sizeof(double), "the batch statistics", (void **)&net->sum_space, st));
  agd_real *norm = net->norm_space;
  double *sum = net->sum_space;
  net->lane_sums = sum;
  sum += net->widest;
  for (size_t l = 0; l < model->layer_count; l++) {
    const size_t in = model->layers[l].in, padded = agd_padded_ld(in);
    layer_space *space = &net->layers[l];
    space->norm = (agd_normalization){norm, norm + padded, norm + 2 * padded};
    space->moments = sum;
    space->sums = sum + net->lane_count * (1 + 2 * in);
    space->variance = space->sums + net->lane_count * 2 * in;
    norm += 3 * padded;
    sum = space->variance + in;
  }
  return AGD_OK;
}

static agd_code allocate_buffers(agd_network *net, agd_status *st) {
  AGD_TRY(
      agd_allocate(net->model->layer_count, sizeof *net->layers, "the network's layers", (void **)&net->layers, st));
  AGD_TRY(agd_allocate(net->lane_count, sizeof *net->lane_rows, "the lanes", (void **)&net->lane_rows, st));
  AGD_TRY(allocate_activations(net, st));
  AGD_TRY(allocate_statistics(net, st));
  if (net->gradients != NULL) return AGD_OK;
  net->owns_gradients = true;
  return allocate_reals(net->run_count, net->model->weight_count, &net->gradients, st);
}

agd_code agd_network_create(agd_model *model, const agd_lanes *lanes, uint64_t rank, size_t capacity,
                            agd_real *gradients, agd_network **out, agd_status *st) {
  *out = NULL;
  agd_network *net = NULL;
  AGD_TRY(agd_allocate(1, sizeof *net, "the network", (void **)&net, st));
  const size_t rows = agd_rank_rows(lanes, capacity, capacity, rank).count;
  *net = (agd_network){.model = model,
                       .kernels = agd_kernels_select(),
                       .lanes = *lanes,
                       .rank = rank,
                       .batch = capacity,
                       .lane_count = agd_lanes_of_rank(lanes, rank).count,
                       .run_count = agd_lanes_runs(lanes, rank),
                       .capacity = rows > AGD_PIECE ? rows : AGD_PIECE,
                       .gradients = gradients};
  const agd_code code = allocate_buffers(net, st);
  if (code != AGD_OK) {
    agd_network_destroy(&net);
    return code;
  }
  *out = net;
  return AGD_OK;
}

void agd_network_destroy(agd_network **network) {
  agd_network *net = *network;
  if (net == NULL) return;
  for (size_t l = 0; net->layers != NULL && l < net->model->layer_count; l++) {
    if (net->layers[l].z != net->layers[l].x) agd_release(&net->layers[l].z);
    agd_release(&net->layers[l].x);
  }
  agd_release(&net->sum_space);
  if (net->owns_gradients) agd_release(&net->gradients);
  agd_release(&net->lane_rows);
  agd_release(&net->lane_gradient);
  agd_release(&net->lane_target);
  agd_release(&net->lane_output);
  agd_release(&net->norm_space);
  agd_release(&net->gradient_t);
  agd_release(&net->gradient[0]);
  agd_release(&net->gradient[1]);
  agd_release(&net->target);
  agd_release(&net->output);
  agd_release(&net->layers);
  agd_release(network);
}

agd_real *agd_network_gradients(agd_network *network) { return network->gradients; }

/* Where layer l writes its output: the input of the next, or the prediction. */
static agd_real *output_of(const agd_network *net, size_t l) {
  return l + 1 < net->model->layer_count ? net->layers[l + 1].x : net->output;
}

/* Bias that has still to be added to the input of layer l: that of the layer below; NULL for the raw features. */
static const agd_real *bias_below(const agd_network *net, size_t l) {
  return l > 0 ? net->model->weights + net->model->layers[l - 1].bias : NULL;
}

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

static void gradient_ready(const agd_exchange *exchange, size_t first, size_t end) {
  if (exchange->gradient_ready != NULL) exchange->gradient_ready(exchange->context, first, end - first);
}

/* dgamma and dbeta are the sums of the backward pass. */
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

/* Folds the lanes' vectors [lane_count, n] in lane_gradient into n gradients at `offset` of each run. */
static void fold_lane_gradient(agd_network *net, size_t offset, size_t n) {
  FOR_RUNS(net, {
    agd_real *vectors = net->lane_gradient + first * n;
    agd_fold_reals(count, n, n, vectors);
    memcpy(gradients + offset, vectors, n * sizeof *vectors);
  })
}

/* The gradient of a bias, lane by lane, when there are several: the sums over the columns of dy [C, rows]. */
static void lane_bias_gradient(agd_network *net, const agd_real *dy, size_t C, size_t offset) {
  for (size_t i = 0; i < net->lane_count; i++) {
    net->kernels->row_sums(dy + i * net->width, net->ld, C, net->lane_rows[i], net->lane_sums);
    for (size_t c = 0; c < C; c++) net->lane_gradient[i * C + c] = (agd_real)net->lane_sums[c];
  }
  fold_lane_gradient(net, offset, C);
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
    fold_lane_gradient(net, half == 0 ? layer->beta : layer->gamma, C);
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
  return l > 0 ? model->layers[l - 1].kernel : model->exchange_count;
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

/* Layer l > 0: turns dy, the gradient before its own activation, into the one of the layer below (in dx). The sums of
 * BN travel while the dW product is computed. */
static void backward_hidden_layer(agd_network *net, size_t l, const agd_real *dy, agd_real *dx, size_t global_rows,
                                  const agd_exchange *exchange) {
  const agd_model *model = net->model;
  const agd_layer *layer = &model->layers[l], *below = &model->layers[l - 1];
  const agd_kernels *k = net->kernels;
  const agd_activation activation = model->spec.activation;
  layer_space *s = &net->layers[l];
  const size_t C = layer->in, rows = net->rows, ld = net->ld, ldt = agd_padded_ld(C);
  const agd_real *gamma = model->weights + layer->gamma;
  agd_real *dbias = net->gradients + below->bias, *dy_t = net->gradient_t;
  const bool travelling = layer->batch_norm && exchange->sum_start != NULL;

  agd_gemm_run(&s->backward_input, model->weights + layer->kernel, dy, dx);
  if (travelling) {
    lane_backward_sums(net, l, dx);
    exchange->sum_start(exchange->context, s->sums, 2 * C);
  }
  kernel_gradient(net, l);
  gradient_ready(exchange, layer->kernel, dense_slice_end(model, l));
  if (travelling) {
    exchange->sum_finish(exchange->context);
    k->batchnorm_backward(activation, dx, s->x, ld, C, rows, s->norm, gamma, s->sums, s->sums + C, (double)global_rows,
                          dbias, dy_t, ldt);
  } else if (layer->batch_norm) {
    k->batchnorm_backward_local(activation, dx, s->x, ld, C, rows, s->norm, gamma, s->sums, s->sums + C,
                                (double)global_rows, dbias, dy_t, ldt);
  } else {
    k->activation_backward(activation, dx, s->x, ld, C, rows, dbias, dy_t, ldt);
  }
  if (net->lane_count > 1) lane_bias_gradient(net, dx, C, below->bias);
  if (!layer->batch_norm) return;
  store_batchnorm_gradient(net, l);
  gradient_ready(exchange, layer->gamma, batchnorm_slice_end(model, l));
}

static void backward(agd_network *net, size_t global_rows, const agd_exchange *exchange) {
  agd_real *dy = net->output;
  size_t turn = 0;
  for (size_t l = net->model->layer_count; l-- > 1;) {
    agd_real *dx = net->gradient[turn];
    backward_hidden_layer(net, l, dy, dx, global_rows, exchange);
    dy = dx;
    turn ^= 1;
  }
  backward_input_layer(net, dy, net->gradient[turn], exchange);
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
  fold_lane_gradient(net, last->bias, T);
}

void agd_network_train(agd_network *net, const agd_batch *batch, const agd_exchange *exchange, double *losses) {
  AGD_REQUIRE(batch->global_rows > 0 && batch->global_rows <= net->batch);
  AGD_REQUIRE(exchange->moments != NULL || net->lanes.count == 1);
  const size_t inputs = net->model->spec.inputs, outputs = net->model->spec.outputs;
  set_batch(net, batch->global_rows);
  net->kernels->transpose(batch->x, inputs, net->rows, inputs, net->layers[0].x, net->ld);
  net->kernels->transpose(batch->y, outputs, net->rows, outputs, net->target, net->ld);
  forward(net, batch->global_rows, exchange);
  loss_forward_backward(net, batch->global_rows, losses);
  backward(net, batch->global_rows, exchange);
}

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
  set_rows(net, rows);
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
