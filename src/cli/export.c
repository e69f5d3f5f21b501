/* allegrad export: a model for other programs, as Keras' whole-model file or as ONNX. */
#include "allegrad/keras.h"
#include "allegrad/onnx.h"

#include "allegrad/weights.h"
#include "command.h"
#include "describe.h"
#include "input.h"

static const agd_option OPTIONS[] = {
    {"out", "FILE.keras|.onnx", AGD_OPTION_ONCE, true, "the model: for keras.models.load_model, or ONNX"},
    {"fold", NULL, AGD_OPTION_FLAG, false, "ONNX: batch normalisations computed into the layers behind them"},
    AGD_INPUT_OPTION_JOB,
    {0}};

/* The state of the optimizer, which the weights files of ours hold. */
static agd_code load_optimizer(const char *path, const agd_config *job, const agd_model *model, agd_optimizer **out,
                               agd_status *st) {
  AGD_TRY(agd_optimizer_create(&job->optimizer, model->weight_count, out, st));
  return agd_weights_load_optimizer(path, model, *out, st);
}

static agd_code write_keras(const char *path, const char *weights, const agd_config *job, bool ours, agd_exported *what,
                            agd_status *st) {
  agd_optimizer *optimizer = NULL;
  agd_code code = ours ? load_optimizer(weights, job, what->model, &optimizer, st) : AGD_OK;
  what->optimizer = optimizer;
  if (code == AGD_OK) code = agd_keras_write(path, what, st);
  agd_optimizer_destroy(&optimizer);
  return code;
}

static agd_code write_model(const agd_arguments *arguments, const char *weights, const agd_config *job,
                            const agd_predictor *predictor, agd_status *st) {
  const char *path = agd_arguments_value(arguments, "out");
  agd_exported what = {.model = agd_predictor_model(predictor),
                       .x_mean = agd_predictor_x_mean(predictor),
                       .x_sd = agd_predictor_x_sd(predictor),
                       .x_names = agd_predictor_x_names(predictor),
                       .y_names = agd_predictor_y_names(predictor),
                       .dropout = job->model.dropout,
                       .clip_norm = job->clip_norm};
  if (agd_ends_in(path, ".keras"))
    AGD_TRY(write_keras(path, weights, job, agd_predictor_job(predictor) != NULL, &what, st));
  else
    AGD_TRY(agd_onnx_write(path, &what, agd_arguments_flag(arguments, "fold"), st));
  printf("%s: ", path);
  if (what.x_mean != NULL) printf("standardisation, then ");
  agd_describe_model(stdout, &what.model->spec);
  return AGD_OK;
}

static agd_code run_export(agd_comm *comm, const agd_arguments *arguments, agd_status *st) {
  (void)comm;
  char weights[AGD_PATH_MAX];
  agd_config job;
  agd_predictor *predictor = NULL;
  AGD_TRY(agd_arguments_check_ending(arguments, "out", ".keras", ".onnx", st));
  if (agd_arguments_flag(arguments, "fold") && agd_ends_in(agd_arguments_value(arguments, "out"), ".keras"))
    return agd_arguments_refuse(arguments, st, "--fold is for an ONNX file, not for ",
                                agd_arguments_value(arguments, "out"));
  agd_code code = agd_input_open(arguments, weights, &job, &predictor, st);
  if (code == AGD_OK) code = write_model(arguments, weights, &job, predictor, st);
  agd_predictor_close(&predictor);
  return code;
}

const agd_command agd_command_export = {
    .name = "export",
    .summary = "a model for other programs: .keras or ONNX",
    .positional = "RUN|WEIGHTS",
    .option = OPTIONS,
    .description =
        "Writes the model for keras.models.load_model (Keras 3) or as ONNX (operator set 15, input x\n"
        "[N, inputs], output y [N, outputs], float32). Both take raw rows: a standardisation that the model\n"
        "was trained with comes first in them. A .keras file of a model that allegrad trained is compiled,\n"
        "with the optimizer's state: fit goes on. RUN is a run folder: its final weights, else its newest\n"
        "valid checkpoint. The output is replaced as a whole or not at all.\n\n"
        "With --fold an ONNX file has no batch normalisations left, which is faster; raw features whose\n"
        "mean is far above their deviation lose digits by it.\n",
    .examples = "  allegrad export run/houses --out houses.keras\n"
                "  allegrad export run/houses --out houses.onnx --fold\n"
                "  allegrad export keras.weights.h5 --out keras.onnx --job job.yaml\n",
    .run = run_export};
