/* A library to preload: at one of the MPI calls of a rank that other ranks take part in, the rank is killed or stopped,
 * or the call fails.
 *
 * FAULT: kill, stop or error. FAULT_AT, FAULT_RANK, FAULT_COUNT: own_code.h. FAULT_NAMES: a file that receives the
 * names of the calls, one a line. FAULT_MARK: a file that is made when the call is hit. */
#include <mpi.h>
#include <signal.h>
#include <unistd.h>

#include "own_code.h"

static void note(const char *variable, const char *name) {
  const char *path = getenv(variable);
  FILE *file = path != NULL ? fopen(path, "a") : NULL;
  if (file == NULL) return;
  fprintf(file, "%s\n", name);
  fclose(file);
}

/* A call begins. Returns MPI_SUCCESS, unless it is to fail: then the error of a communicator whose handler returned. */
static int strike(const char *name, MPI_Comm comm, const void *caller) {
  const char *fault = getenv("FAULT");
  const int before = calls;
  const bool hit = is_hit(caller);
  if (calls != before) note("FAULT_NAMES", name);
  if (!hit || fault == NULL) return MPI_SUCCESS;
  note("FAULT_MARK", name);
  if (strcmp(fault, "error") == 0) {
    PMPI_Comm_call_errhandler(comm, MPI_ERR_INTERN);
    return MPI_ERR_INTERN;
  }
  raise(strcmp(fault, "kill") == 0 ? SIGKILL : SIGSTOP);
  return MPI_SUCCESS;
}

/* A function of MPI with its parameters, the arguments that it passes on, and its communicator. */
#define WRAP(name, parameters, arguments, comm)                                                                        \
  int MPI_##name parameters {                                                                                          \
    const int error_ = strike("MPI_" #name, comm, __builtin_return_address(0));                                        \
    return error_ != MPI_SUCCESS ? error_ : PMPI_##name arguments;                                                     \
  }

WRAP(Allgather, (const void *a, int n, MPI_Datatype t, void *b, int m, MPI_Datatype u, MPI_Comm c),
     (a, n, t, b, m, u, c), c)
WRAP(Allgatherv,
     (const void *a, int n, MPI_Datatype t, void *b, const int *m, const int *d, MPI_Datatype u, MPI_Comm c),
     (a, n, t, b, m, d, u, c), c)
WRAP(Allreduce, (const void *a, void *b, int n, MPI_Datatype t, MPI_Op o, MPI_Comm c), (a, b, n, t, o, c), c)
WRAP(Alltoall, (const void *a, int n, MPI_Datatype t, void *b, int m, MPI_Datatype u, MPI_Comm c),
     (a, n, t, b, m, u, c), c)
WRAP(Bcast, (void *a, int n, MPI_Datatype t, int root, MPI_Comm c), (a, n, t, root, c), c)
WRAP(Comm_dup, (MPI_Comm c, MPI_Comm *out), (c, out), c)
WRAP(Comm_free, (MPI_Comm * c), (c), *c)
WRAP(Comm_split, (MPI_Comm c, int color, int key, MPI_Comm *out), (c, color, key, out), c)
WRAP(Comm_split_type, (MPI_Comm c, int type, int key, MPI_Info i, MPI_Comm *out), (c, type, key, i, out), c)
WRAP(Finalize, (void), (), MPI_COMM_WORLD)
WRAP(Gather, (const void *a, int n, MPI_Datatype t, void *b, int m, MPI_Datatype u, int root, MPI_Comm c),
     (a, n, t, b, m, u, root, c), c)
WRAP(Iallgatherv,
     (const void *a, int n, MPI_Datatype t, void *b, const int *m, const int *d, MPI_Datatype u, MPI_Comm c,
      MPI_Request *r),
     (a, n, t, b, m, d, u, c, r), c)
WRAP(Iallreduce, (const void *a, void *b, int n, MPI_Datatype t, MPI_Op o, MPI_Comm c, MPI_Request *r),
     (a, b, n, t, o, c, r), c)
WRAP(Ialltoallv,
     (const void *a, const int *n, const int *d, MPI_Datatype t, void *b, const int *m, const int *e, MPI_Datatype u,
      MPI_Comm c, MPI_Request *r),
     (a, n, d, t, b, m, e, u, c, r), c)
WRAP(Reduce, (const void *a, void *b, int n, MPI_Datatype t, MPI_Op o, int root, MPI_Comm c), (a, b, n, t, o, root, c),
     c)
WRAP(Scatterv,
     (const void *a, const int *n, const int *d, MPI_Datatype t, void *b, int m, MPI_Datatype u, int root, MPI_Comm c),
     (a, n, d, t, b, m, u, root, c), c)
WRAP(Wait, (MPI_Request * r, MPI_Status *s), (r, s), MPI_COMM_WORLD)
