/* A cmocka group under MPI: initialises, runs, and lets one failing rank fail the job. */
#ifndef ALLEGRAD_CMOCKA_MPI_H
#define ALLEGRAD_CMOCKA_MPI_H

#include "allegrad/comm.h"
#include "cmocka_all.h"

static agd_comm world;

#define AGD_RUN_MPI_TESTS(tests)                                                                                       \
  int main(int argc, char **argv) {                                                                                    \
    MPI_Init(&argc, &argv);                                                                                            \
    agd_comm_create(MPI_COMM_WORLD, &world);                                                                           \
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);                                                      \
    if (failed > 0) MPI_Abort(MPI_COMM_WORLD, 1); /* the others may wait in a collective that this rank left */        \
    agd_comm_destroy(&world);                                                                                          \
    MPI_Finalize();                                                                                                    \
    return 0;                                                                                                          \
  }

#endif
