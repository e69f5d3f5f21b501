/* allegrad info: what is in a data file, a weights file or a run folder. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "allegrad/checkpoint.h"
#include "allegrad/dataset.h"
#include "allegrad/h5.h"
#include "allegrad/report.h"
#include "allegrad/weights.h"
#include "command.h"
#include "describe.h"

static const agd_option OPTIONS[] = {{0}};

/* What /trainer tells. */
static void print_training(const agd_model_spec *spec, const agd_training *t) {
  printf("activation: %s\n", agd_activation_name(spec->activation));
  if (spec->batch_norm)
    printf("batch_norm: momentum %g, epsilon %g, %s variance\n", spec->momentum, spec->epsilon,
           spec->unbiased_variance ? "unbiased" : "biased");
  agd_describe_names(stdout, "features", &t->x_names);
  agd_describe_names(stdout, "targets", &t->y_names);
  printf("standardised: %s\n", t->standardized ? "yes" : "no");
  for (size_t i = 0; t->standardized && i < spec->inputs; i++)
    printf("  %s: mean %.9g, sd %.9g\n", t->x_names.name[i], t->x_mean[i], t->x_sd[i]);
  printf("epoch: %" PRIu64 "\nstep: %" PRIu64 "\nbatch: %" PRIu64 "\nseed: %" PRIu64 "\n", t->epoch, t->step, t->batch,
         t->seed);
  printf("written by: %d %s, %s kernels, %s\n", t->ranks, t->ranks == 1 ? "rank" : "ranks", t->kernels, t->libraries);
  if (t->epoch_count > 0)
    printf("loss: %.9g\nval_loss: %.9g\n", t->history[t->epoch_count - 1].loss,
           t->history[t->epoch_count - 1].val_loss);
}

/* Keras' name of a layer, padded. */
static void print_layer(const char *class, size_t number, const char *shape, size_t parameters) {
  char name[64];
  snprintf(name, sizeof name, number > 0 ? "%s_%zu" : "%s", class, number);
  printf("  %-24s %-12s %9zu", name, shape, parameters);
}

static void print_range(const char *what, const agd_real *values, size_t count) {
  agd_real least = values[0], largest = values[0];
  for (size_t i = 1; i < count; i++) {
    if (values[i] < least) least = values[i];
    if (values[i] > largest) largest = values[i];
  }
  printf("  %s %.4g to %.4g", what, (double)least, (double)largest);
}

static void print_layers(const agd_model *model) {
  puts("layers (shape, parameters, running averages):");
  for (size_t l = 0; l < model->layer_count; l++) {
    const agd_layer *layer = &model->layers[l];
    char shape[64];
    if (layer->batch_norm) {
      snprintf(shape, sizeof shape, "%zu", layer->in);
      print_layer("batch_normalization", l, shape, 4 * layer->in);
      print_range("mean", model->averages + layer->mean, layer->in);
      print_range("variance", model->averages + layer->variance, layer->in);
      putchar('\n');
    }
    snprintf(shape, sizeof shape, "%zu x %zu", layer->in, layer->out);
    print_layer("dense", l, shape, (layer->in + 1) * layer->out);
    putchar('\n');
  }
}

static agd_code show_weights(const char *path, agd_status *st) {
  agd_model_spec spec;
  bool ours = false;
  agd_model *model = NULL;
  agd_training training = {0};
  agd_code code = agd_weights_spec(path, &spec, &ours, st);
  if (code == AGD_OK) code = agd_weights_load(path, &spec, &model, &training, st);
  if (code == AGD_OK) {
    printf("weights: %s\nwritten with: %s\nmodel: ", path, ours ? "allegrad, checksum valid" : "Keras, no checksum");
    agd_describe_model(stdout, &spec);
    if (ours) print_training(&spec, &training);
    print_layers(model);
  }
  agd_training_clear(&training);
  agd_model_destroy(&model);
  return code;
}

/* How the run stands, then its weights when there are any. */
static agd_code show_run(const char *folder, agd_status *st) {
  agd_report *run;
  char weights[AGD_PATH_MAX], last[256];
  AGD_TRY(agd_reports_read(&folder, 1, &run, st));
  printf("run: %s\nstate: %s\nexplanation: %s\n", folder, agd_run_state_word(run->state), run->explanation);
  agd_describe_epoch(run->count > 0 ? &run->metrics[run->count - 1] : NULL, last, sizeof last);
  printf("last epoch: %s\n", last);
  agd_reports_destroy(&run, 1);
  if (agd_run_weights_path(folder, weights, sizeof weights, agd_warn, NULL) == AGD_OK) return show_weights(weights, st);
  puts("weights: none");
  return AGD_OK;
}

static agd_code show_data(const char *path, agd_trailer_state trailer, agd_status *st) {
  agd_dataset *data;
  AGD_TRY(agd_dataset_open(path, "x", agd_h5_file_holds(path, "y") ? "y" : NULL, NULL, &data, st));
  printf("data: %s\nwritten with: %s\nrows: %" PRIu64 "\n", path,
         trailer == AGD_TRAILER_VALID ? "allegrad, checksum valid" : "another program, no checksum", data->rows);
  agd_describe_names(stdout, "features", &data->x_names);
  agd_describe_names(stdout, "targets", &data->y_names);
  agd_dataset_close(&data);
  return AGD_OK;
}

static agd_code run_info(agd_comm *comm, const agd_arguments *arguments, agd_status *st) {
  (void)comm;
  const char *path = arguments->positional.word[0];
  struct stat file;
  agd_trailer_state trailer;
  if (stat(path, &file) == 0 && S_ISDIR(file.st_mode)) return show_run(path, st);
  AGD_TRY(agd_file_verify(path, &trailer, st));
  if (trailer == AGD_TRAILER_BROKEN) return agd_fail(st, AGD_EDATA, "%s is damaged: its checksum does not fit", path);
  return agd_h5_file_holds(path, "/layers") ? show_weights(path, st) : show_data(path, trailer, st);
}

const agd_command agd_command_info = {
    .name = "info",
    .summary = "what is in a data file, a weights file or a run folder",
    .positional = "FILE|RUN",
    .option = OPTIONS,
    .description =
        "Prints rows and columns of a data file; shapes, parameters (counted as Keras does), training state\n"
        "and ranges of the running averages of a weights file of allegrad or Keras; how a run ended, and\n"
        "its weights. Whether the checksum that allegrad writes is valid is told, too.\n",
    .examples = "  allegrad info houses.h5\n"
                "  allegrad info run/houses\n"
                "  allegrad info run/houses/final.weights.h5\n",
    .run = run_info};
