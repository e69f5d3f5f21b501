/* A library to preload: one MPI call of one rank fails, stops its process or ends it.
 *
 *   FAULT_RANK   the rank that is hit
 *   FAULT_AT     the number, from 1, of its call that is hit; 0: none
 *   FAULT        kill, stop, or error: the communicator's error handler is called, as MPI does it
 *   FAULT_COUNT  a file that receives the number of calls of that rank
 *
 * Calls: those of the program that communicate, and waiting. */
#include <mpi.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int calls;
static MPI_Comm latest = MPI_COMM_NULL; /* of the call before: what a request belongs to */

static int number(const char *name) {
  const char *text = getenv(name);
  return text != NULL ? atoi(text) : -1;
}

static void strike(MPI_Comm comm) {
  int rank;
  if (comm != MPI_COMM_NULL) latest = comm;
  PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
  if (rank != number("FAULT_RANK") || ++calls != number("FAULT_AT")) return;
  const char *fault = getenv("FAULT");
  if (strcmp(fault, "error") == 0)
    PMPI_Comm_call_errhandler(latest, MPI_ERR_OTHER);
  else
    raise(strcmp(fault, "kill") == 0 ? SIGKILL : SIGSTOP);
}

#define WRAP(name, parameters, arguments, comm)                                                                        \
  int MPI_##name parameters {                                                                                          \
    strike(comm);                                                                                                      \
    return PMPI_##name arguments;                                                                                      \
  }

WRAP(Allreduce, (const void *from, void *to, int n, MPI_Datatype type, MPI_Op op, MPI_Comm comm),
     (from, to, n, type, op, comm), comm)
WRAP(Iallreduce, (const void *from, void *to, int n, MPI_Datatype type, MPI_Op op, MPI_Comm comm, MPI_Request *request),
     (from, to, n, type, op, comm, request), comm)
WRAP(Reduce, (const void *from, void *to, int n, MPI_Datatype type, MPI_Op op, int root, MPI_Comm comm),
     (from, to, n, type, op, root, comm), comm)
WRAP(Bcast, (void *values, int n, MPI_Datatype type, int root, MPI_Comm comm), (values, n, type, root, comm), comm)
WRAP(Gather, (const void *from, int n, MPI_Datatype type, void *to, int m, MPI_Datatype other, int root, MPI_Comm comm),
     (from, n, type, to, m, other, root, comm), comm)
WRAP(Allgather, (const void *from, int n, MPI_Datatype type, void *to, int m, MPI_Datatype other, MPI_Comm comm),
     (from, n, type, to, m, other, comm), comm)
WRAP(Alltoall, (const void *from, int n, MPI_Datatype type, void *to, int m, MPI_Datatype other, MPI_Comm comm),
     (from, n, type, to, m, other, comm), comm)
WRAP(Ialltoallv,
     (const void *from, const int *n, const int *at, MPI_Datatype type, void *to, const int *m, const int *there,
      MPI_Datatype other, MPI_Comm comm, MPI_Request *request),
     (from, n, at, type, to, m, there, other, comm, request), comm)
WRAP(Wait, (MPI_Request * request, MPI_Status *status), (request, status), MPI_COMM_NULL)

int MPI_Finalize(void) {
  int rank;
  const char *path = getenv("FAULT_COUNT");
  PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
  FILE *file = path != NULL && rank == number("FAULT_RANK") ? fopen(path, "w") : NULL;
  if (file != NULL) {
    fprintf(file, "%d\n", calls);
    fclose(file);
  }
  return PMPI_Finalize();
}
