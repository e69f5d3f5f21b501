/* allegrad train: reads the job, trains on all ranks, leaves a run folder. */
#include <inttypes.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "allegrad/gemm.h"
#include "allegrad/placement.h"
#include "allegrad/signals.h"
#include "allegrad/trainer.h"
#include "allegrad/watchdog.h"
#include "allegrad/weights.h"
#include "command.h"
#include "describe.h"

static const agd_option OPTIONS[] = {
    {"run", "DIR", AGD_OPTION_ONCE, false, "folder to create for the run; default: run/<job>-<date>-<time>"},
    {"resume", NULL, AGD_OPTION_FLAG, false,
     "go on with the run in DIR after its newest checkpoint; without any, begin"},
    {"set", "KEY=VALUE", AGD_OPTION_REPEATED, false, "override a key of the job file, e.g. train.epochs=5"},
    {"verbose", NULL, AGD_OPTION_FLAG, false,
     "say where the ranks run, where the time went, by kind and rank, and what memory it took"},
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

/* ---- --resume ---- */

/* What there is to go on with, on rank 0. */
typedef struct agd_past {
  agd_run *run;                  /* opened; NULL without --resume */
  char checkpoint[AGD_PATH_MAX]; /* "": begin */
  agd_training training;         /* what the checkpoint tells; its history ends with the last whole epoch */
  char changed[AGD_MESSAGE_MAX]; /* keys that have other values now */
} agd_past;

/* Seconds that a predecessor may take to die. */
static const double PATIENCE = 10;

/* Whether a finished run would not do more under this job; *ended tells. */
static agd_code check_ended(const char *folder, const agd_config *job, agd_past *past, bool *ended, agd_status *st) {
  char path[AGD_PATH_MAX + 16];
  agd_config was;
  snprintf(path, sizeof path, "%s/config.yaml", folder);
  AGD_TRY(agd_config_load(path, NULL, 0, &was, st));
  AGD_TRY(agd_config_check_resume(&was, job, past->changed, sizeof past->changed, st));
  *ended = job->epochs == was.epochs && job->max_steps == was.max_steps && job->patience == was.patience;
  return AGD_OK;
}

/* Reads the checkpoint's own job and holds this one to it. */
static agd_code check_past(agd_past *past, const agd_config *job, agd_run_state state, agd_status *st) {
  agd_model *model;
  agd_config was;
  AGD_TRY(agd_weights_load(past->checkpoint, NULL, &model, &past->training, st));
  agd_model_destroy(&model);
  AGD_TRY(agd_config_parse(past->training.config, past->checkpoint, NULL, 0, &was, st));
  AGD_TRY(agd_config_check_resume(&was, job, past->changed, sizeof past->changed, st));
  if (past->training.epoch_count < past->training.epoch)
    return agd_fail(st, AGD_EDATA, "%s: its history is shorter than its training", past->checkpoint);
  past->training.epoch_count = (size_t)past->training.epoch;
  if (state != AGD_RUN_DIVERGED || past->changed[0] != '\0') return AGD_OK;
  return agd_fail(st, AGD_EDIVERGED,
                  "the run diverged, and would again: change the learning rate, or begin another run");
}

/* On rank 0; *ended: the run is finished, and there is nothing to do. */
static agd_code look_back(const char *folder, const agd_config *job, agd_past *past, bool *ended, agd_status *st) {
  agd_run_state state;
  AGD_TRY(agd_run_open(folder, PATIENCE, &past->run, &state, st));
  if (state == AGD_RUN_FINISHED) AGD_TRY(check_ended(folder, job, past, ended, st));
  if (*ended) return AGD_OK;
  AGD_TRY(agd_run_find_checkpoint(past->run, past->checkpoint, agd_warn, st));
  return past->checkpoint[0] != '\0' ? check_past(past, job, state, st) : AGD_OK;
}

static void clear_past(agd_past *past) {
  agd_run_release(&past->run);
  agd_training_clear(&past->training);
}

/* The run folder, on rank 0: a new one, or that which is gone on with. */
static agd_code start_run(const char *folder, const agd_config *job, agd_past *past, agd_run **run, agd_status *st) {
  if (past->run == NULL) return agd_run_create(folder, job, run, st);
  *run = past->run, past->run = NULL;
  if (past->checkpoint[0] == '\0') {
    const agd_code code = agd_run_restart(*run, job, st);
    if (code != AGD_OK) agd_run_release(run); /* nothing was begun */
    return code;
  }
  const agd_code code = agd_run_continue(*run, job, &past->training, st);
  if (code != AGD_OK) agd_run_close(run, AGD_RUN_FAILED, st->message, NULL);
  return code;
}

static void announce(const agd_comm *comm, const agd_config *job, const agd_trainer *trainer, const agd_past *past,
                     const char *folder) {
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
  if (s.resumed_at > 0) printf("resumed: after step %" PRIu64 ", from %s\n", s.resumed_at, past->checkpoint);
  if (past->changed[0] != '\0') printf("changed: %s\n", past->changed);
  if (s.note[0] != '\0') printf("note: %s\n", s.note);
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
  const agd_run_state state = st->code == AGD_OK             ? AGD_RUN_FINISHED
                              : st->code == AGD_EDIVERGED    ? AGD_RUN_DIVERGED
                              : st->code == AGD_EINTERRUPTED ? AGD_RUN_INTERRUPTED
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
static agd_code train(const agd_comm *comm, const agd_arguments *arguments, const agd_config *job, const char *folder,
                      agd_past *past, bool resumes, agd_status *st) {
  agd_trainer *trainer;
  AGD_TRY(agd_trainer_resume(comm, job, resumes ? past->checkpoint : NULL, &trainer, st));
  agd_run *run = NULL;
  if (comm->rank == 0) start_run(folder, job, past, &run, st);
  if (agd_comm_agree(comm, st) == AGD_OK) {
    if (comm->rank == 0) announce(comm, job, trainer, past, folder);
    agd_placement_check(comm, job->data_file, agd_arguments_flag(arguments, "verbose") ? stdout : NULL, agd_warn);
    agd_signals_note_all();
    agd_trainer_run(trainer, run, st);
    if (comm->rank == 0) close_run(trainer, &run, folder, st);
    if (agd_arguments_flag(arguments, "verbose")) agd_trainer_print_times(trainer, stdout);
  }
  agd_trainer_destroy(&trainer);
  return agd_comm_agree(comm, st);
}

/* What rank 0 has found, for all. */
enum { FOUND_NOTHING, FOUND_CHECKPOINT, FOUND_END };

/* Collective. */
static agd_code run_train(agd_comm *comm, const agd_arguments *arguments, agd_status *st) {
  agd_config job;
  agd_past past = {0};
  char folder[AGD_PATH_MAX];
  int found = FOUND_NOTHING;
  const bool resume = agd_arguments_flag(arguments, "resume");
  if (resume && agd_arguments_value(arguments, "run") == NULL)
    return agd_arguments_refuse(arguments, st, "--resume needs --run DIR", "");
  AGD_TRY(load_job(comm, arguments, &job, st));
  AGD_TRY(agd_watchdog_start(comm, job.timeout, st)); /* main ends it, when MPI has ended */
  if (comm->rank == 0 && choose_folder(arguments, folder, st) == AGD_OK && resume) {
    bool ended = false;
    look_back(folder, &job, &past, &ended, st);
    found = ended ? FOUND_END : past.checkpoint[0] != '\0' ? FOUND_CHECKPOINT : FOUND_NOTHING;
  }
  agd_code code = agd_comm_agree(comm, st);
  agd_comm_broadcast(comm, &found, sizeof found);
  if (code == AGD_OK && found == FOUND_END) {
    if (comm->rank == 0)
      printf("%s is finished; there is nothing to go on with (more train.epochs would be)\n", folder);
  } else if (code == AGD_OK) {
    code = train(comm, arguments, &job, folder, &past, found == FOUND_CHECKPOINT, st);
  }
  clear_past(&past);
  return code;
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
        "A training whose loss is no number any more ends with exit code 3; its metrics are kept.\n"
        "SIGUSR1, SIGTERM, SIGINT and train.max_seconds end it after a checkpoint, with exit code 4; --resume\n"
        "goes on after the newest checkpoint, wherever the run was stopped or killed, on any number of ranks.\n",
    .examples = "  allegrad train job.yaml\n"
                "  mpirun -n 4 allegrad train job.yaml --run run/first\n"
                "  allegrad train job.yaml --set train.epochs=5 --set 'model.hidden=[64, 32]'\n"
                "  mpirun -n 4 allegrad train job.yaml --run run/first --resume\n"
                "  mpirun -n 4 allegrad train job.yaml --verbose\n",
    .more_help = print_keys,
    .collective = true,
    .run = run_train};
