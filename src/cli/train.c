/* allegrad train: reads the job, trains on all ranks, leaves a run folder. */
#include <inttypes.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "allegrad/gemm.h"
#include "allegrad/trainer.h"
#include "command.h"
#include "describe.h"

static const agd_option OPTIONS[] = {
    {"run", "DIR", AGD_OPTION_ONCE, false, "folder to create for the run; default: run/<job>-<date>-<time>"},
    {"set", "KEY=VALUE", AGD_OPTION_REPEATED, false, "override a key of the job file, e.g. train.epochs=5"},
    {"verbose", NULL, AGD_OPTION_FLAG, false, "say where the time went, by kind and rank, and what memory it took"},
    {0}};

/* Rank 0 reads the job, all ranks get the same bytes. Collective. */
static agd_code load_job(const agd_comm *comm, const agd_arguments *arguments, agd_config *job, agd_status *st) {
  if (comm->rank == 0) {
    const agd_words *overrides = agd_arguments_list(arguments, "set");
    agd_config_load(arguments->positional.word[0], overrides->word, overrides->count, job, st);
  }
  AGD_TRY(agd_comm_agree(comm, st));
  agd_comm_broadcast(comm, job, sizeof *job);
  return AGD_OK;
}

/* --run, or run/<name of the job file>-<date>-<time>. */
static agd_code choose_folder(const agd_arguments *arguments, char folder[AGD_PATH_MAX], agd_status *st) {
  const char *run = agd_arguments_value(arguments, "run");
  char job[AGD_PATH_MAX], when[32];
  if (run != NULL)
    return snprintf(folder, AGD_PATH_MAX, "%s", run) < AGD_PATH_MAX
               ? AGD_OK
               : agd_fail(st, AGD_EDATA, "--run: the path is too long: %.60s...", run);
  snprintf(job, sizeof job, "%s", arguments->positional.word[0]);
  char *name = basename(job), *ending = strrchr(name, '.');
  if (ending != NULL && ending != name) *ending = '\0';
  const time_t now = time(NULL);
  struct tm local;
  strftime(when, sizeof when, "%Y%m%d-%H%M%S", localtime_r(&now, &local));
  snprintf(folder, AGD_PATH_MAX, "run/%.255s-%s", name, when);
  return AGD_OK;
}

static void announce(const agd_comm *comm, const agd_config *job, const agd_trainer *trainer, const char *folder) {
  const agd_trainer_summary s = agd_trainer_summarize(trainer);
  char libraries[256];
  printf("%d %s, %s kernels, %s\n", comm->size, comm->size == 1 ? "rank" : "ranks", agd_kernels_select()->isa,
         agd_gemm_describe(libraries, sizeof libraries));
  printf("data: %s, %" PRIu64 " rows to train and %" PRIu64 " to validate%s\n", job->data_file, s.training_rows,
         s.validation_rows, job->standardize ? ", standardised" : "");
  printf("model: ");
  agd_describe_model(stdout, &s.model);
  printf("exchange: %s\n", s.exchange);
  printf("run: %s\n", folder);
  fflush(stdout);
}

/* What the run's own metrics say of its end. */
static void explain(const agd_trainer *trainer, const char *folder, char *text, size_t size) {
  agd_epoch_metrics *metrics = NULL;
  size_t count = 0;
  agd_run_metrics(folder, &metrics, &count, NULL);
  agd_describe_epoch(count > 0 ? &metrics[count - 1] : NULL, text, size);
  free(metrics);
  const agd_trainer_summary s = agd_trainer_summarize(trainer);
  const size_t used = strlen(text);
  if (s.stopped_early)
    snprintf(text + used, size - used, "; stopped early: val_loss has not fallen since epoch %" PRIu64, s.best_epoch);
}

/* Rank 0's end of a run: how it ended, for readers of the folder. A failure of the training itself stays the outcome.
 */
static void close_run(const agd_trainer *trainer, agd_run **run, const char *folder, agd_status *st) {
  char explanation[AGD_MESSAGE_MAX];
  agd_status closing = {0};
  const agd_run_state state = st->code == AGD_OK          ? AGD_RUN_FINISHED
                              : st->code == AGD_EDIVERGED ? AGD_RUN_DIVERGED
                                                          : AGD_RUN_FAILED;
  if (st->code == AGD_OK)
    explain(trainer, folder, explanation, sizeof explanation);
  else
    snprintf(explanation, sizeof explanation, "%s", st->message);
  if (agd_run_close(run, state, explanation, &closing) == AGD_OK) {
    if (st->code == AGD_OK) printf("finished: %s\n", explanation);
  } else if (st->code == AGD_OK) {
    *st = closing;
  } else {
    agd_warn(closing.message);
  }
}

/* Collective. The folder comes after the data: a job that cannot start leaves none behind. */
static agd_code run_train(const agd_comm *comm, const agd_arguments *arguments, agd_status *st) {
  agd_config job;
  AGD_TRY(load_job(comm, arguments, &job, st));
  agd_trainer *trainer;
  AGD_TRY(agd_trainer_create(comm, &job, &trainer, st));
  agd_run *run = NULL;
  char folder[AGD_PATH_MAX];
  if (comm->rank == 0 && choose_folder(arguments, folder, st) == AGD_OK) agd_run_create(folder, &job, &run, st);
  if (agd_comm_agree(comm, st) == AGD_OK) {
    if (comm->rank == 0) announce(comm, &job, trainer, folder);
    agd_trainer_run(trainer, run, st);
    if (comm->rank == 0) close_run(trainer, &run, folder, st);
    if (agd_arguments_flag(arguments, "verbose")) agd_trainer_print_times(trainer, stdout);
  }
  agd_trainer_destroy(&trainer);
  return agd_comm_agree(comm, st);
}

static void print_keys(FILE *out) {
  fputs("\nKeys of a job file (all but data.file may be left out):\n", out);
  agd_config_print_keys(out, false);
}

const agd_command agd_command_train = {
    .name = "train",
    .summary = "train a model as a job file says; leaves a run folder",
    .positional = "JOB.yaml",
    .option = OPTIONS,
    .description =
        "Trains the model that JOB.yaml describes on all ranks and leaves a run folder: config.yaml,\n"
        "metrics.csv, steps.csv, checkpoints/, best.weights.h5 and final.weights.h5 (Keras' format), status,\n"
        "events/ (TensorBoard) and curves.png. The batches are the same for any number of ranks.\n"
        "A training whose loss is no number any more ends with exit code 3; its metrics are kept.\n",
    .examples = "  allegrad train job.yaml\n"
                "  mpirun -n 4 allegrad train job.yaml --run run/first\n"
                "  allegrad train job.yaml --set train.epochs=5 --set 'model.hidden=[64, 32]'\n"
                "  mpirun -n 4 allegrad train job.yaml --verbose\n",
    .more_help = print_keys,
    .collective = true,
    .run = run_train};
