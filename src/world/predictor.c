#include "allegrad/predictor.h"

#include <math.h>
#include <string.h>

#include "allegrad/memory.h"
#include "allegrad/network.h"
#include "allegrad/standardize.h"
#include "allegrad/weights.h"

/* Rows are standardised in pieces of this many: the caller's x stays untouched and memory does not grow with it. */

struct agd_predictor {
  agd_model *model;
  agd_network *network;
  agd_training training;
  agd_real *piece; /* [AGD_PIECE, inputs]; NULL when the model takes raw rows */
};

static bool all_finite(const agd_real *values, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (!isfinite(values[i])) return false;
  return true;
}

static agd_code prepare(agd_predictor *p, const char *path, agd_status *st) {
  const agd_model *model = p->model;
  if (!all_finite(model->weights, model->weight_count) || !all_finite(model->averages, model->average_count))
    return agd_fail(st, AGD_EDATA,
                    "%s: the weights are not finite: the training diverged, there is nothing to predict with", path);
  const agd_lanes one = agd_lanes_of_ranks(1);
  AGD_TRY(agd_network_create(p->model, &one, 0, 1, NULL, &p->network, st));
  if (!p->training.standardized) return AGD_OK;
  return agd_allocate(AGD_PIECE * model->spec.inputs, sizeof(agd_real), "the standardised rows", (void **)&p->piece,
                      st);
}

agd_code agd_predictor_open(const char *path, const agd_model_spec *spec, agd_predictor **out, agd_status *st) {
  *out = NULL;
  agd_predictor *p = NULL;
  AGD_TRY(agd_allocate(1, sizeof *p, "the predictor", (void **)&p, st));
  agd_code code = agd_weights_load(path, spec, &p->model, &p->training, st);
  if (code == AGD_OK) code = prepare(p, path, st);
  if (code == AGD_OK)
    *out = p;
  else
    agd_predictor_close(&p);
  return code;
}

void agd_predictor_close(agd_predictor **predictor) {
  agd_predictor *p = *predictor;
  if (p == NULL) return;
  agd_release(&p->piece);
  agd_network_destroy(&p->network);
  agd_training_clear(&p->training);
  agd_model_destroy(&p->model);
  agd_release(predictor);
}

size_t agd_predictor_inputs(const agd_predictor *predictor) { return predictor->model->spec.inputs; }
size_t agd_predictor_outputs(const agd_predictor *predictor) { return predictor->model->spec.outputs; }
const agd_names *agd_predictor_x_names(const agd_predictor *predictor) { return &predictor->training.x_names; }
const agd_names *agd_predictor_y_names(const agd_predictor *predictor) { return &predictor->training.y_names; }

const agd_model *agd_predictor_model(const agd_predictor *predictor) { return predictor->model; }
const double *agd_predictor_x_mean(const agd_predictor *predictor) { return predictor->training.x_mean; }
const double *agd_predictor_x_sd(const agd_predictor *predictor) { return predictor->training.x_sd; }

const char *agd_predictor_job(const agd_predictor *predictor) { return predictor->training.config; }

/* A ReLU may turn a NaN into 0 and so into a prediction that looks sound. */
static agd_code check_rows(const agd_predictor *p, const agd_real *x, size_t rows, agd_status *st) {
  const size_t inputs = p->model->spec.inputs;
  if (all_finite(x, rows * inputs)) return AGD_OK;
  size_t at = 0;
  while (isfinite(x[at])) at++;
  return agd_fail(st, AGD_EDATA, "row %zu, column %zu of x is %g: not finite", at / inputs, at % inputs, (double)x[at]);
}

agd_code agd_predictor_run(agd_predictor *predictor, const agd_real *x, size_t rows, agd_real *y, agd_status *st) {
  const size_t inputs = predictor->model->spec.inputs, outputs = predictor->model->spec.outputs;
  const agd_training *training = &predictor->training;
  AGD_TRY(check_rows(predictor, x, rows, st));
  if (predictor->piece == NULL) {
    agd_network_predict(predictor->network, x, rows, y);
    return AGD_OK;
  }
  for (size_t first = 0; first < rows; first += AGD_PIECE) {
    const size_t count = rows - first < AGD_PIECE ? rows - first : AGD_PIECE;
    memcpy(predictor->piece, x + first * inputs, count * inputs * sizeof *x);
    agd_standardize(predictor->piece, count, inputs, training->x_mean, training->x_sd);
    agd_network_predict(predictor->network, predictor->piece, count, y + first * outputs);
  }
  return AGD_OK;
}
