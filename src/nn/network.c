#include "allegrad/network.h"

#include "allegrad/gemm.h"
#include "allegrad/matrix.h"
#include "allegrad/memory.h"

/* Inference goes through the model in pieces of this many rows. */
enum { PIECE = 256 };

/* The workspace of one layer. Activations are feature-major with the leading dimension of the current batch. */
typedef struct layer_space {
  agd_real *x;     /* [in, rows]: what the layer receives; for the input BN the raw features */
  agd_real *z;     /* [in, rows]: what the product takes: the batch-normalised x, or x itself without BN */
  double *moments; /* 1 + 2 in: row count, mean, M2 of the batch (see moments.h); then in: the biased variance */
  double *variance;
  double *sums; /* 2 in: sum dz (= dbeta), sum dz x_hat (= dgamma) */
  agd_normalization norm;
  agd_gemm forward, backward_input, backward_kernel;
} layer_space;

struct agd_network {
  agd_model *model;
  const agd_kernels *kernels;
  size_t capacity; /* rows that the buffers hold */
  size_t rows, ld; /* rows and leading dimension of the current batch */
  size_t widest;   /* the largest number of features of any layer */
  layer_space *layers;
  agd_real *output;      /* [outputs, rows]: prediction, then its gradient */
  agd_real *target;      /* [outputs, rows] */
  agd_real *gradient[2]; /* [widest, rows]: gradients of activations, by turns */
  agd_real *gradient_t;  /* [rows, widest]: the transposed gradient that the dW product takes */
  agd_real *norm_space;  /* the arrays of every layer's norm */
  double *sum_space;     /* moments, variance and sums of every layer */
  agd_real *gradients;   /* parallel to model->weights */
};

/* Plans the products for a batch of `rows`. */
static void set_rows(agd_network *net, size_t rows) {
  AGD_REQUIRE(rows <= net->capacity);
  if (net->rows == rows && net->ld > 0) return;
  net->rows = rows;
  net->ld = agd_padded_ld(rows);
  for (size_t l = 0; l < net->model->layer_count; l++) {
    const agd_layer *layer = &net->model->layers[l];
    const size_t in = layer->in, out = layer->out, ld = net->ld;
    net->layers[l].forward = agd_gemm_plan(AGD_FORWARD, in, out, rows, out, ld, ld);
    net->layers[l].backward_input = agd_gemm_plan(AGD_BACKWARD_INPUT, in, out, rows, out, ld, ld);
    net->layers[l].backward_kernel = agd_gemm_plan(AGD_BACKWARD_KERNEL, in, out, rows, ld, agd_padded_ld(out), out);
  }
}

static agd_code allocate_reals(size_t count, agd_real **out, agd_status *st) {
  return agd_allocate(count, sizeof(agd_real), "the activations", (void **)out, st);
}

/* Buffers of `rows` columns for every layer; the shared arrays are cut into the layers' pieces. */
static agd_code allocate_buffers(agd_network *net, agd_status *st) {
  const agd_model *model = net->model;
  const size_t ld = agd_padded_ld(net->capacity);
  size_t norms = 0, sums = 0;
  for (size_t l = 0; l < model->layer_count; l++) {
    const agd_layer *layer = &model->layers[l];
    AGD_TRY(allocate_reals(layer->in * ld, &net->layers[l].x, st));
    net->layers[l].z = net->layers[l].x;
    if (layer->batch_norm) AGD_TRY(allocate_reals(layer->in * ld, &net->layers[l].z, st));
    if (layer->in > net->widest) net->widest = layer->in;
    if (layer->out > net->widest) net->widest = layer->out;
    norms += 3 * agd_padded_ld(layer->in);
    sums += 1 + 5 * layer->in;
  }
  AGD_TRY(allocate_reals(model->spec.outputs * ld, &net->output, st));
  AGD_TRY(allocate_reals(model->spec.outputs * ld, &net->target, st));
  for (int g = 0; g < 2; g++) AGD_TRY(allocate_reals(net->widest * ld, &net->gradient[g], st));
  AGD_TRY(allocate_reals(net->capacity * agd_padded_ld(net->widest), &net->gradient_t, st));
  AGD_TRY(allocate_reals(norms, &net->norm_space, st));
  AGD_TRY(allocate_reals(model->weight_count, &net->gradients, st));
  AGD_TRY(agd_allocate(sums, sizeof(double), "the batch statistics", (void **)&net->sum_space, st));
  agd_real *norm = net->norm_space;
  double *sum = net->sum_space;
  for (size_t l = 0; l < model->layer_count; l++) {
    const size_t in = model->layers[l].in, padded = agd_padded_ld(in);
    layer_space *space = &net->layers[l];
    space->norm = (agd_normalization){norm, norm + padded, norm + 2 * padded};
    space->moments = sum;
    space->variance = sum + 1 + 2 * in;
    space->sums = space->variance + in;
    norm += 3 * padded;
    sum += 1 + 5 * in;
  }
  return AGD_OK;
}

agd_code agd_network_create(agd_model *model, size_t capacity, agd_network **out, agd_status *st) {
  *out = NULL;
  agd_network *net = NULL;
  AGD_TRY(agd_allocate(1, sizeof *net, "the network", (void **)&net, st));
  net->model = model;
  net->kernels = agd_kernels_select();
  net->capacity = capacity > PIECE ? capacity : PIECE;
  agd_code code =
      agd_allocate(model->layer_count, sizeof *net->layers, "the network's layers", (void **)&net->layers, st);
  if (code == AGD_OK) code = allocate_buffers(net, st);
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
  agd_release(&net->gradients);
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

/* Batch norm of layer l's input with the statistics of the global batch: bias and activation of the layer below, local
 * statistics, one reduction, normalisation. */
static void batchnorm_forward(agd_network *net, size_t l, size_t global_rows, const agd_exchange *exchange) {
  agd_model *model = net->model;
  const agd_layer *layer = &model->layers[l];
  layer_space *s = &net->layers[l];
  const agd_kernels *k = net->kernels;
  const agd_activation activation = model->spec.activation;
  const agd_real *gamma = model->weights + layer->gamma, *beta = model->weights + layer->beta;
  const size_t C = layer->in;
  double *mean = s->moments + 1, *m2 = mean + C;
  if (exchange->moments == NULL) {
    k->batchnorm_forward(activation, s->x, net->ld, C, net->rows, bias_below(net, l), model->spec.epsilon, gamma, beta,
                         mean, s->variance, s->norm, s->z, net->ld);
  } else {
    s->moments[0] = (double)net->rows;
    k->bias_activation_moments(activation, s->x, net->ld, C, net->rows, bias_below(net, l), mean, m2);
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
  layer_space *s = &net->layers[0];
  if (layer->batch_norm) {
    agd_gemm_run(&s->backward_input, model->weights + layer->kernel, dy, dz);
    net->kernels->batchnorm_backward_sums(dz, s->x, net->ld, layer->in, net->rows, s->norm, s->sums,
                                          s->sums + layer->in);
    store_batchnorm_gradient(net, 0);
  }
  agd_gemm_run(&s->backward_kernel, s->z, net->gradient_t, net->gradients + layer->kernel);
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
  const size_t C = layer->in, rows = net->rows, ld = net->ld;
  const agd_real *gamma = model->weights + layer->gamma;
  double *sum_dz = s->sums, *sum_dz_xhat = s->sums + C;
  agd_real *dbias = net->gradients + below->bias;
  const bool travelling = layer->batch_norm && exchange->sum_start != NULL;

  agd_gemm_run(&s->backward_input, model->weights + layer->kernel, dy, dx);
  if (travelling) {
    k->batchnorm_backward_sums(dx, s->x, ld, C, rows, s->norm, sum_dz, sum_dz_xhat);
    exchange->sum_start(exchange->context, s->sums, 2 * C);
  }
  agd_gemm_run(&s->backward_kernel, s->z, net->gradient_t, net->gradients + layer->kernel);
  gradient_ready(exchange, layer->kernel, dense_slice_end(model, l));
  if (!layer->batch_norm) {
    k->activation_backward(activation, dx, s->x, ld, C, rows, dbias, net->gradient_t, agd_padded_ld(below->out));
    return;
  }
  if (travelling) {
    exchange->sum_finish(exchange->context);
    k->batchnorm_backward(activation, dx, s->x, ld, C, rows, s->norm, gamma, sum_dz, sum_dz_xhat, (double)global_rows,
                          dbias, net->gradient_t, agd_padded_ld(below->out));
  } else {
    k->batchnorm_backward_local(activation, dx, s->x, ld, C, rows, s->norm, gamma, sum_dz, sum_dz_xhat,
                                (double)global_rows, dbias, net->gradient_t, agd_padded_ld(below->out));
  }
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

double agd_network_train(agd_network *net, const agd_real *x, const agd_real *y, size_t rows, size_t global_rows,
                         const agd_exchange *exchange) {
  AGD_REQUIRE(global_rows > 0 && rows <= global_rows);
  const agd_model *model = net->model;
  const size_t inputs = model->spec.inputs, outputs = model->spec.outputs;
  const agd_layer *last = &model->layers[model->layer_count - 1];
  set_rows(net, rows);
  net->kernels->transpose(x, inputs, rows, inputs, net->layers[0].x, net->ld);
  net->kernels->transpose(y, outputs, rows, outputs, net->target, net->ld);
  forward(net, global_rows, exchange);
  const double loss =
      net->kernels->mse(net->output, net->target, net->ld, outputs, rows, model->weights + last->bias,
                        1 / (double)global_rows, net->gradients + last->bias, net->gradient_t, agd_padded_ld(outputs));
  backward(net, global_rows, exchange);
  return loss;
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
  for (size_t first = 0; first < rows; first += PIECE) {
    const size_t count = rows - first < PIECE ? rows - first : PIECE;
    infer(net, x + first * inputs, count);
    for (size_t j = 0; j < count; j++)
      for (size_t t = 0; t < outputs; t++) y[(first + j) * outputs + t] = net->output[t * net->ld + j];
  }
}

double agd_network_evaluate(agd_network *net, const agd_real *x, const agd_real *y, size_t rows) {
  const size_t inputs = net->model->spec.inputs, outputs = net->model->spec.outputs;
  double loss = 0;
  use_averages(net);
  for (size_t first = 0; first < rows; first += PIECE) {
    const size_t count = rows - first < PIECE ? rows - first : PIECE;
    infer(net, x + first * inputs, count);
    for (size_t j = 0; j < count; j++) {
      double row = 0;
      for (size_t t = 0; t < outputs; t++) {
        const double error = (double)net->output[t * net->ld + j] - (double)y[(first + j) * outputs + t];
        row += error * error;
      }
      loss += row / (double)outputs;
    }
  }
  return loss;
}
