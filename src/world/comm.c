#include "allegrad/comm.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allegrad/watchdog.h"

/* MPI cannot go on after an error of its own: the rank tells where it was, and ends the job with our code. */
static void end_on_error(MPI_Comm *where, int *error, ...) {
  char reason[MPI_MAX_ERROR_STRING] = "", place[160];
  int length = 0, rank = 0;
  (void)where;
  MPI_Error_string(*error, reason, &length);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  agd_watchdog_place(place, sizeof place);
  fprintf(stderr,
          "allegrad: error: rank %d: MPI failed %s: %s. The job ends; --resume goes on after its newest checkpoint\n",
          rank, place, reason);
  fflush(stderr);
  MPI_Abort(MPI_COMM_WORLD, AGD_EINTERNAL);
}

/* For what is made of base, and for calls that name no communicator (MPI-3: those of world, MPI-4: of self). */
static void handle_errors(MPI_Comm base) {
  const MPI_Comm comms[] = {base, MPI_COMM_WORLD, MPI_COMM_SELF};
  MPI_Errhandler handler;
  MPI_Comm_create_errhandler(end_on_error, &handler);
  for (size_t c = 0; c < sizeof comms / sizeof *comms; c++) MPI_Comm_set_errhandler(comms[c], handler);
  MPI_Errhandler_free(&handler);
}

/* The node's communicator is given by MPI, or cut from base by `ranks` consecutive ranks. */
static void create(MPI_Comm base, int ranks, agd_comm *out) {
  handle_errors(base);
  *out = (agd_comm){0};
  MPI_Comm_dup(base, &out->mpi);
  MPI_Comm_rank(out->mpi, &out->rank);
  MPI_Comm_size(out->mpi, &out->size);
  if (ranks > 0)
    MPI_Comm_split(out->mpi, out->rank / ranks, out->rank, &out->node);
  else
    MPI_Comm_split_type(out->mpi, MPI_COMM_TYPE_SHARED, out->rank, MPI_INFO_NULL, &out->node);
  MPI_Comm_rank(out->node, &out->node_rank);
  MPI_Comm_size(out->node, &out->node_size);
  const int first = out->node_rank == 0;
  MPI_Allreduce(&first, &out->node_count, 1, MPI_INT, MPI_SUM, out->mpi);
  MPI_Allreduce(&out->node_size, &out->node_smallest, 1, MPI_INT, MPI_MIN, out->mpi);
}

void agd_comm_create(MPI_Comm base, agd_comm *out) { create(base, 0, out); }

void agd_comm_create_with_nodes(MPI_Comm base, int ranks, agd_comm *out) {
  AGD_REQUIRE(ranks > 0);
  create(base, ranks, out);
}

void agd_comm_destroy(agd_comm *comm) {
  MPI_Comm_free(&comm->node);
  MPI_Comm_free(&comm->mpi);
}

/* A whole number above zero in an environment variable, else 0. */
static long environment_number(const char *name) {
  const char *text = getenv(name);
  if (text == NULL || *text == '\0') return 0;
  char *end = NULL;
  errno = 0;
  const long value = strtol(text, &end, 10);
  return errno == 0 && *end == '\0' && value > 0 ? value : 0;
}

/* What each launcher tells its processes about how many (or which) they are; the most specific first: a process of
 * mpirun inside a Slurm job sees Slurm's variables, too. */
static const struct launcher_sign {
  const char *variable;
  bool is_rank; /* a rank, which says something only above 0; else the number of processes */
  const char *launcher;
} LAUNCHER_SIGN[] = {
    {"OMPI_COMM_WORLD_SIZE", false, "Open MPI's mpirun"},
    {"PMI_SIZE", false, "MPICH's mpiexec (Hydra)"},
    {"PMIX_RANK", true, "a PMIx launcher"},
    {"SLURM_NTASKS", false, "Slurm's srun"},
};

/* MPICH writes a tab after "MPICH Version:" and goes on in further lines. */
const char *agd_comm_describe(char *text, size_t size) {
  char version[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  MPI_Get_library_version(version, &length);
  version[strcspn(version, ",\n")] = '\0';
  for (char *tab = version; (tab = strchr(tab, '\t')) != NULL;) *tab = ' ';
  snprintf(text, size, "%.*s", (int)size - 1, version);
  return text;
}

agd_code agd_comm_check_launcher(const agd_comm *comm, agd_status *st) {
  if (comm->size > 1) return AGD_OK;
  for (size_t s = 0; s < sizeof LAUNCHER_SIGN / sizeof *LAUNCHER_SIGN; s++) {
    const struct launcher_sign *sign = &LAUNCHER_SIGN[s];
    /* In a batch script, outside any srun step, SLURM_NTASKS only tells what was asked for. */
    if (strcmp(sign->variable, "SLURM_NTASKS") == 0 && getenv("SLURM_STEP_ID") == NULL) continue;
    const long value = environment_number(sign->variable);
    if (value == 0) continue;
    if (value == 1 && !sign->is_rank) return AGD_OK;
    char library[64];
    return agd_fail(st, AGD_EUSAGE,
                    "started by %s (%s=%ld), but the MPI that allegrad was built with (%s) sees a single process; use "
                    "that MPI's own launcher",
                    sign->launcher, sign->variable, value, agd_comm_describe(library, sizeof library));
  }
  return AGD_OK;
}

long agd_comm_launched_rank(void) {
  static const char *const variables[] = {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "SLURM_PROCID"};
  for (size_t v = 0; v < sizeof variables / sizeof *variables; v++)
    if (getenv(variables[v]) != NULL) return environment_number(variables[v]);
  return 0;
}

agd_code agd_comm_agree(const agd_comm *comm, agd_status *st) {
  const int mine = st->code != AGD_OK ? comm->rank : comm->size;
  int first = 0;
  MPI_Allreduce(&mine, &first, 1, MPI_INT, MPI_MIN, comm->mpi);
  if (first == comm->size) return AGD_OK;
  if (first > 0 && comm->rank == first) { /* rank 0 fails for all: of files, of what is equal everywhere */
    char name[32];
    snprintf(name, sizeof name, "rank %d", first);
    agd_fail_prefix(st, name);
  }
  MPI_Bcast(st, (int)sizeof *st, MPI_BYTE, first, comm->mpi);
  return st->code;
}

void agd_comm_broadcast(const agd_comm *comm, void *bytes, size_t size) {
  char *at = bytes;
  while (size > 0) {
    const size_t piece = size < INT_MAX ? size : INT_MAX;
    MPI_Bcast(at, (int)piece, MPI_BYTE, 0, comm->mpi);
    at += piece;
    size -= piece;
  }
}

void agd_comm_sum(const agd_comm *comm, double *values, size_t n) {
  AGD_REQUIRE(n <= INT_MAX);
  MPI_Allreduce(MPI_IN_PLACE, values, (int)n, MPI_DOUBLE, MPI_SUM, comm->mpi);
}

void agd_comm_gather(const agd_comm *comm, const double *values, size_t n, double *all) {
  AGD_REQUIRE(n * (size_t)comm->size <= INT_MAX);
  MPI_Gather(values, (int)n, MPI_DOUBLE, all, (int)n, MPI_DOUBLE, 0, comm->mpi);
}

void agd_comm_max(const agd_comm *comm, double *values, size_t n) {
  AGD_REQUIRE(n <= INT_MAX);
  MPI_Allreduce(MPI_IN_PLACE, values, (int)n, MPI_DOUBLE, MPI_MAX, comm->mpi);
}

uint64_t agd_comm_sum_count(const agd_comm *comm, uint64_t count) {
  MPI_Allreduce(MPI_IN_PLACE, &count, 1, MPI_UINT64_T, MPI_SUM, comm->mpi);
  return count;
}
