/* allegrad eval: the loss of a model on rows with targets. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "allegrad/memory.h"
#include "command.h"
#include "input.h"

static const agd_option OPTIONS[] = {AGD_INPUT_OPTION_DATA, AGD_INPUT_OPTION_JOB, {0}};

/* Mean over rows and targets of (prediction - target)^2, in double, in file order. */
static double mean_squared_error(const agd_real *prediction, const agd_real *target, size_t count) {
  double sum = 0;
  for (size_t i = 0; i < count; i++) {
    const double error = (double)prediction[i] - (double)target[i];
    sum += error * error;
  }
  return sum / (double)count;
}

static agd_code evaluate(const agd_input *in, agd_status *st) {
  const size_t rows = (size_t)in->rows, count = rows * in->y_names.count;
  agd_real *prediction = NULL;
  AGD_TRY(agd_allocate(count, sizeof *prediction, "the predictions", (void **)&prediction, st));
  agd_code code = agd_predictor_run(in->predictor, in->x, rows, prediction, st);
  if (code == AGD_OK) {
    const double loss = mean_squared_error(prediction, in->y, count);
    printf("rows %" PRIu64 "  loss %.9g\n", in->rows, loss);
    if (!isfinite(loss)) code = agd_fail(st, AGD_EDIVERGED, "the loss is %g", loss);
  }
  agd_release(&prediction);
  return code;
}

static agd_code run_eval(agd_comm *comm, const agd_arguments *arguments, agd_status *st) {
  (void)comm;
  agd_input in = {0};
  agd_code code = agd_input_read(arguments, true, &in, st);
  if (code == AGD_OK) code = evaluate(&in, st);
  agd_input_clear(&in);
  return code;
}

const agd_command agd_command_eval = {
    .name = "eval",
    .summary = "the loss of a model on rows with targets",
    .positional = "RUN|WEIGHTS",
    .option = OPTIONS,
    .description = "Prints the number of rows in FILE and the mean squared error of the model on all of them, in\n"
                   "inference mode. RUN is a run folder: its final weights, else its newest valid checkpoint.\n"
                   "A standardisation that the model was trained with is applied.\n",
    .examples = "  allegrad eval run/houses --data houses.h5\n"
                "  allegrad eval run/houses/checkpoints/step-00001032.weights.h5 --data test.csv\n"
                "  allegrad eval keras.weights.h5 --data test.csv --job job.yaml\n",
    .run = run_eval};
