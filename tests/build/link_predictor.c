/* How a simulation code predicts with a trained model: no MPI_Init, no communicator. Compiled against the installed
 * library, with the flags of its pkg-config file and nothing else.
 *
 *     link_predictor FOLDER      writes FOLDER/linear.weights.h5, then predicts with it */
#include <allegrad/predictor.h>
#include <allegrad/weights.h>

#include <math.h>
#include <stdio.h>

/* y = 2 a - b + 0.5, saved as training would save it. */
static agd_code write_model(const char *path, agd_status *st) {
  const agd_model_spec spec = {.inputs = 2, .outputs = 1};
  const agd_training training = {.seed = 1};
  agd_model *model;
  AGD_TRY(agd_model_create(&spec, &model, st));
  model->weights[model->layers[0].kernel] = 2;
  model->weights[model->layers[0].kernel + 1] = -1;
  model->weights[model->layers[0].bias] = 0.5F;
  const agd_code code = agd_weights_save(path, model, NULL, &training, st);
  agd_model_destroy(&model);
  return code;
}

static agd_code predict(const char *path, agd_status *st) {
  const float x[] = {1, 1, 3, -2}, expected[] = {1.5F, 8.5F};
  float y[2] = {0};
  agd_predictor *predictor;
  AGD_TRY(agd_predictor_open(path, NULL, &predictor, st));
  agd_code code = agd_predictor_run(predictor, x, 2, y, st);
  agd_predictor_close(&predictor);
  for (int i = 0; i < 2 && code == AGD_OK; i++)
    if (!(fabsf(y[i] - expected[i]) < 1e-5F))
      code = agd_fail(st, AGD_EINTERNAL, "row %d: predicted %g, not %g", i, (double)y[i], (double)expected[i]);
  return code;
}

int main(int argc, char **argv) {
  char path[4096];
  agd_status st = {0};
  if (argc != 2) return AGD_EUSAGE;
  snprintf(path, sizeof path, "%s/linear.weights.h5", argv[1]);
  agd_code code = write_model(path, &st);
  if (code == AGD_OK) code = predict(path, &st);
  if (code != AGD_OK) fprintf(stderr, "%s\n", st.message);
  return code;
}
