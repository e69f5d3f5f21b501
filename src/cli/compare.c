/* allegrad compare: curves of several runs in one picture, and their ends in a table. */
#include "allegrad/report.h"
#include "command.h"

static const agd_option OPTIONS[] = {{"out", "FILE.png", AGD_OPTION_ONCE, true, "picture to write"}, {0}};

static agd_code run_compare(agd_comm *comm, const agd_arguments *arguments, agd_status *st) {
  (void)comm;
  const agd_words *folders = &arguments->positional;
  agd_report *reports;
  AGD_TRY(agd_arguments_check_ending(arguments, "out", ".png", NULL, st));
  AGD_TRY(agd_reports_read(folders->word, folders->count, &reports, st));
  const agd_code code = agd_reports_plot(agd_arguments_value(arguments, "out"), "", reports, folders->count, st);
  if (code == AGD_OK) agd_reports_print(stdout, reports, folders->count);
  agd_reports_destroy(&reports, folders->count);
  return code;
}

const agd_command agd_command_compare = {
    .name = "compare",
    .summary = "a picture and a table of several runs",
    .positional = "RUN",
    .many = true,
    .option = OPTIONS,
    .description = "Draws training and validation loss of run folders into one picture and prints a line per run:\n"
                   "epochs, last and best losses, seconds per epoch, how it ended. A diverged run is drawn up to its\n"
                   "last number and marked.\n",
    .examples = "  allegrad compare run/bn run/plain --out curves.png\n",
    .run = run_compare};
