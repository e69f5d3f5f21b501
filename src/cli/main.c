/* allegrad: the program. Finds the command, starts MPI, runs the command, and ends with one code on every rank. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "allegrad/gemm.h"
#include "allegrad/h5.h"
#include "allegrad/kernels.h"
#include "allegrad/signals.h"
#include "allegrad/watchdog.h"
#include "command.h"

static const agd_command *const COMMANDS[] = {
    &agd_command_train,  &agd_command_eval, &agd_command_predict, &agd_command_export,
    &agd_command_import, &agd_command_info, &agd_command_compare, NULL};

static const agd_command *find_command(const char *name) {
  const agd_command *const *at = COMMANDS;
  while (*at != NULL && strcmp((*at)->name, name) != 0) at++;
  return *at;
}

static void print_help(const agd_command *none, FILE *out) {
  (void)none;
  fputs("Usage: allegrad COMMAND ...\n"
        "       mpirun -n RANKS allegrad COMMAND ...\n\n"
        "Trains batch-normalised multilayer perceptrons on tabular data across MPI ranks.\n\nCommands:\n",
        out);
  for (const agd_command *const *at = COMMANDS; *at != NULL; at++)
    fprintf(out, "  %-9s %s\n", (*at)->name, (*at)->summary);
  fputs("\n`allegrad COMMAND --help` explains a command; `allegrad --version` names the libraries in use.\n\n"
        "Exit codes: 0 done, 1 usage or job file, 2 data or file, 3 the training diverged,\n"
        "4 interrupted after a checkpoint (go on with --resume), 5 internal.\n\n"
        "Examples:\n"
        "  allegrad import houses.csv --target price --out houses.h5\n"
        "  mpirun -n 4 allegrad train job.yaml --run run/houses\n"
        "  allegrad predict run/houses --data new.csv --out prices.csv\n"
        "  allegrad export run/houses --out houses.onnx\n"
        "  allegrad compare run/houses run/plain --out curves.png\n",
        out);
}

static void print_version(const agd_command *none, FILE *out) {
  (void)none;
  char mpi[64], hdf5[32], products[128];
  fprintf(out, "allegrad %s\n%s\n%s\n%s\n%s kernels\n", ALLEGRAD_VERSION, agd_comm_describe(mpi, sizeof mpi),
          agd_h5_describe(hdf5, sizeof hdf5), agd_gemm_describe(products, sizeof products), agd_kernels_select()->isa);
}

/* What was printed may still fail to arrive: a full disk, a closed pipe. */
static agd_code close_output(agd_status *st) {
  const int failed = ferror(stdout);
  if (fclose(stdout) != 0 || failed)
    return agd_fail(st, AGD_EDATA, "cannot write to standard output: %s", errno != 0 ? strerror(errno) : "I/O error");
  return AGD_OK;
}

static agd_code complain(const agd_status *st) {
  fprintf(stderr, "allegrad: %s: %s\n", st->code == AGD_EINTERRUPTED ? "interrupted" : "error", st->message);
  return st->code;
}

/* Ends a process that cannot talk to the others, all of which fail alike: the launcher's first one speaks, and the
 * others wait a moment, because a launcher ends all as soon as one has failed. Memory can be short for one alone. */
static agd_code complain_alone(const agd_status *st) {
  if (agd_comm_launched_rank() == 0 || st->code == AGD_EDATA) return complain(st);
  sleep(1);
  return st->code;
}

/* The whole of the program within MPI: every rank returns the same code. */
static agd_code run_command(agd_comm *comm, const agd_command *command, const agd_arguments *arguments) {
  agd_status st = {0};
  if (agd_comm_check_launcher(comm, &st) != AGD_OK) return complain_alone(&st);
  if (command->collective || comm->rank == 0) command->run(comm, arguments, &st);
  if (comm->rank == 0) {
    agd_status output = {0};
    if (close_output(&output) != AGD_OK && st.code == AGD_OK) st = output;
  }
  const agd_code code = agd_comm_agree(comm, &st);
  if (code != AGD_OK && comm->rank == 0) complain(&st);
  return code;
}

/* Help and version: no rank needs another, the launcher's first one prints. */
static agd_code print_only(void (*print)(const agd_command *, FILE *), const agd_command *command) {
  agd_status st = {0};
  if (agd_comm_launched_rank() != 0) return AGD_OK;
  print(command, stdout);
  return close_output(&st) == AGD_OK ? AGD_OK : complain(&st);
}

/* `word` is NULL when there is none. */
static agd_code refuse_command(const char *word) {
  agd_status st = {0};
  if (word == NULL)
    agd_fail(&st, AGD_EUSAGE, "no command (see allegrad --help)");
  else
    agd_fail(&st, AGD_EUSAGE, "unknown command \"%.80s\" (see allegrad --help)", word);
  return complain_alone(&st);
}

static agd_code start(int *argc, char ***argv, const agd_command *command, const agd_arguments *arguments) {
  int provided = 0;
  agd_signals_note_usr1(); /* a batch system may send it while the data is read */
  /* Open MPI keeps shared file pointers, which nobody here uses, in a file beside the data: where every node has data
   * of its own, opening it hangs. */
  setenv("OMPI_MCA_sharedfp", "^lockedfile,individual", 0);
  MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided);
  agd_gemm_set_threads(1); /* ranks are the parallelism, and no result may depend on the number of cores */
  agd_comm comm;
  agd_comm_create(MPI_COMM_WORLD, &comm);
  const agd_code code = run_command(&comm, command, arguments);
  agd_comm_destroy(&comm);
  MPI_Finalize();
  agd_watchdog_stop(&comm); /* a rank may be stopped in the last of MPI's calls */
  return code;
}

int main(int argc, char **argv) {
  agd_status st = {0};
  agd_arguments arguments = {0};
  /* A closed pipe and a file beyond the size limit (ulimit -f) are errors like any other and must not kill a training.
   */
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0))
    return (int)print_only(print_help, NULL);
  if (argc == 2 && strcmp(argv[1], "--version") == 0) return (int)print_only(print_version, NULL);
  const agd_command *command = argc > 1 ? find_command(argv[1]) : NULL;
  if (command == NULL) return (int)refuse_command(argc > 1 ? argv[1] : NULL);
  agd_code code = agd_arguments_parse(command, argc - 1, argv + 1, &arguments, &st);
  if (code != AGD_OK)
    complain_alone(&st);
  else if (arguments.help)
    code = print_only(agd_arguments_help, command);
  else
    code = start(&argc, &argv, command, &arguments);
  agd_arguments_clear(&arguments);
  return (int)code;
}
