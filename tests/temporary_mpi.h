/* A folder that all ranks of a test share, made before it and removed after it. Both collective on `world`. */
#ifndef ALLEGRAD_TEMPORARY_MPI_H
#define ALLEGRAD_TEMPORARY_MPI_H

#include "cmocka_mpi.h"
#include "temporary.h"

static inline int temporary_mpi_setup(void **state) {
  char path[TEMPORARY_SIZE] = "";
  if (world.rank == 0 && temporary_setup(state) == 0) snprintf(path, sizeof path, "%s", (const char *)*state);
  agd_comm_broadcast(&world, path, sizeof path);
  if (world.rank != 0) *state = strdup(path);
  return path[0] == '\0' || *state == NULL ? -1 : 0;
}

/* A rank whose test has failed has left the others in some collective: they are not waited for for ever. */
static inline int temporary_mpi_teardown(void **state) {
  enum { SECONDS = 30 };
  const double start = MPI_Wtime();
  MPI_Request barrier;
  int done = 0;
  MPI_Ibarrier(world.mpi, &barrier);
  while (!done && MPI_Wtime() - start < SECONDS) MPI_Test(&barrier, &done, MPI_STATUS_IGNORE);
  if (!done) return -1;
  if (world.rank == 0) return temporary_teardown(state);
  free(*state);
  return 0;
}

#endif
