#include "network_internal.h"

#include "allegrad/memory.h"

static agd_gemm plan(const agd_network *net, agd_product product, size_t in, size_t out, size_t lda, size_t ldb,
                     size_t ldc) {
  if (net->lanes.fixed) return agd_gemm_plan_with(AGD_GEMM_OWN, product, in, out, net->rows, lda, ldb, ldc);
  return agd_gemm_plan(product, in, out, net->rows, lda, ldb, ldc);
}

void agd_network_set_rows(agd_network *net, size_t rows) {
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

/* Rows fill fixed lanes in order, so that the columns of a
 * batch are contiguous whatever its size. */
void agd_network_set_batch(agd_network *net, size_t global_rows) {
  const agd_range own = agd_lanes_of_rank(&net->lanes, net->rank);
  size_t rows = 0;
  for (size_t i = 0; i < net->lane_count; i++) {
    net->lane_rows[i] = agd_lane_rows(&net->lanes, net->batch, global_rows, own.first + i).count;
    rows += net->lane_rows[i];
  }
  net->width = net->lanes.fixed ? agd_lane_width(&net->lanes, net->batch) : rows;
  agd_network_set_rows(net, rows);
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
  AGD_REQUIRE(!lanes->fixed || model->spec.sync == AGD_SYNC_GLOBAL);
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

void agd_network_set_gradients(agd_network *network, agd_real *gradients) {
  AGD_REQUIRE(!network->owns_gradients);
  network->gradients = gradients;
}
