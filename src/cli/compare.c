/* allegrad compare: curves of several runs in one picture, and their ends in a table. */
#include <libgen.h>
#include <stdlib.h>
#include <string.h>

#include "allegrad/memory.h"
#include "allegrad/plot.h"
#include "allegrad/run.h"
#include "command.h"
#include "describe.h"

static const agd_option OPTIONS[] = {{"out", "FILE.png", AGD_OPTION_ONCE, true, "picture to write"}, {0}};

enum { SHOWN_DIGITS = 5 };

/* A run as it is shown. */
typedef struct shown_run {
  char label[AGD_PATH_MAX];
  agd_run_state state;
  agd_epoch_metrics *metrics; /* owned (malloc) */
  size_t count;
} shown_run;

static agd_code read_run(const char *folder, shown_run *run, agd_status *st) {
  char path[AGD_PATH_MAX], explanation[AGD_MESSAGE_MAX];
  AGD_TRY(agd_run_status(folder, &run->state, explanation, sizeof explanation, st));
  AGD_TRY(agd_run_metrics(folder, &run->metrics, &run->count, st));
  snprintf(path, sizeof path, "%s", folder);
  snprintf(run->label, sizeof run->label, "%s", basename(path));
  return AGD_OK;
}

/* Runs of the same name in different folders are told apart by their whole paths. */
static void label_by_path(const agd_words *folders, shown_run *runs) {
  bool doubled = false;
  for (size_t i = 0; i < folders->count; i++)
    for (size_t j = 0; j < i; j++) doubled = doubled || strcmp(runs[i].label, runs[j].label) == 0;
  for (size_t i = 0; doubled && i < folders->count; i++)
    snprintf(runs[i].label, sizeof runs[i].label, "%s", folders->word[i]);
}

static void print_table(const shown_run *runs, size_t count) {
  int width = 3;
  for (size_t i = 0; i < count; i++)
    if ((int)strlen(runs[i].label) > width) width = (int)strlen(runs[i].label);
  printf("%-*s  %-8s  %6s  %-9s  %-9s  %-13s  %-10s  %s\n", width, "run", "state", "epochs", "loss", "val_loss",
         "best_val_loss", "best_epoch", "seconds_per_epoch");
  for (size_t i = 0; i < count; i++) {
    agd_ending e;
    agd_describe_ending(runs[i].metrics, runs[i].count, SHOWN_DIGITS, &e);
    printf("%-*s  %-8s  %6s  %-9s  %-9s  %-13s  %-10s  %s\n", width, runs[i].label, agd_run_state_word(runs[i].state),
           e.epoch, e.loss, e.val_loss, e.best_val_loss, e.best_epoch, e.seconds);
  }
}

static agd_code draw(const char *png, const shown_run *runs, size_t count, agd_status *st) {
  agd_curve *curves;
  AGD_TRY(agd_allocate(count, sizeof *curves, "the curves", (void **)&curves, st));
  for (size_t i = 0; i < count; i++)
    curves[i] = (agd_curve){.label = runs[i].label,
                            .metrics = runs[i].metrics,
                            .count = runs[i].count,
                            .diverged = runs[i].state == AGD_RUN_DIVERGED};
  const agd_code code = agd_plot_curves(png, "", curves, count, st);
  agd_release(&curves);
  return code;
}

static agd_code compare(const agd_words *folders, const char *png, shown_run *runs, agd_status *st) {
  for (size_t i = 0; i < folders->count; i++) AGD_TRY(read_run(folders->word[i], &runs[i], st));
  label_by_path(folders, runs);
  AGD_TRY(draw(png, runs, folders->count, st));
  print_table(runs, folders->count);
  return AGD_OK;
}

static agd_code run_compare(const agd_comm *comm, const agd_arguments *arguments, agd_status *st) {
  (void)comm;
  const agd_words *folders = &arguments->positional;
  shown_run *runs;
  AGD_TRY(agd_arguments_check_ending(arguments, "out", ".png", NULL, st));
  AGD_TRY(agd_allocate(folders->count, sizeof *runs, "the runs", (void **)&runs, st));
  const agd_code code = compare(folders, agd_arguments_value(arguments, "out"), runs, st);
  for (size_t i = 0; i < folders->count; i++) free(runs[i].metrics);
  agd_release(&runs);
  return code;
}

const agd_command agd_command_compare = {
    .name = "compare",
    .summary = "a picture and a table of several runs",
    .positional = "RUN",
    .many = true,
    .option = OPTIONS,
    .description = "Draws training and validation loss of run folders into one picture and prints a line per run:\n"
                   "state, epochs, last losses, the best validation loss and its epoch. A diverged run is drawn up to\n"
                   "its last number and marked.\n",
    .examples = "  allegrad compare run/bn run/plain --out curves.png\n",
    .run = run_compare};
