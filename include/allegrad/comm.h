/** @file comm.h
 * The communicator, and how ranks agree on a failure. With reduce.h and the parallel HDF5 code of dataset.h the only
 * user of MPI besides main.
 *
 * Rule of the house: agree before you communicate. A rank that failed locally does not leave; it carries its status to
 * the next agd_comm_agree, from which all ranks return the same code.
 */
#ifndef ALLEGRAD_COMM_H
#define ALLEGRAD_COMM_H

#include <mpi.h>
#include <stddef.h>
#include <stdint.h>

#include "allegrad/real.h"
#include "allegrad/status.h"

/** A communicator of this program, and which of its ranks share a node. Borrowed by everybody but its maker. */
typedef struct agd_comm {
  MPI_Comm mpi;
  int rank, size;
  MPI_Comm node; /**< the ranks that can share memory, in the order of their ranks */
  int node_rank, node_size;
  int node_count;                /**< nodes */
  int node_smallest;             /**< the fewest ranks on any node */
  struct agd_watchdog *watchdog; /**< watches what is done on it (watchdog.h); NULL: nobody does */
} agd_comm;

#ifdef ALLEGRAD_DOUBLE
#define AGD_MPI_REAL MPI_DOUBLE
#else
#define AGD_MPI_REAL MPI_FLOAT
#endif

/** Duplicates `base` (MPI_COMM_WORLD as a rule). Collective on base. MPI errors on it end the job. */
void agd_comm_create(MPI_Comm base, agd_comm *out);

/** The same as if every node held only `ranks` (at least 1) consecutive ranks of base, the last node what is left: for
 * tests of several nodes on one. */
void agd_comm_create_with_nodes(MPI_Comm base, int ranks, agd_comm *out);

/** Releases both communicators; a watch goes on, and may outlast MPI_Finalize. Collective on comm. */
void agd_comm_destroy(agd_comm *comm);

/** Refuses a process that thinks it is alone although a launcher started several (a program of one MPI under the
 * other's mpirun): size 1 while OMPI_COMM_WORLD_SIZE, PMI_SIZE, PMIX_RANK or SLURM_NTASKS (with SLURM_STEP_ID) say
 * more. Not collective. @return AGD_OK, or AGD_EUSAGE with a message naming the launcher */
agd_code agd_comm_check_launcher(const agd_comm *comm, agd_status *st);

/** Name and version of the MPI library in use, e.g. "Open MPI v4.1.4". Writes at most size bytes into text and returns
 * text. Not collective; also before MPI_Init. */
const char *agd_comm_describe(char *text, size_t size);

/** The rank that the launcher's environment gives this process, 0 when it says nothing: for what is printed without
 * MPI. Not collective. */
long agd_comm_launched_rank(void);

/** Agrees on an outcome: if any rank's status failed, all ranks return the code of the lowest failing rank, and every
 * rank's status holds its code and message, which names the rank unless that is rank 0. Collective on comm; one small
 * allreduce when all is well.
 * @param st  in: this rank's outcome (AGD_OK or failed); out: the agreed one */
agd_code agd_comm_agree(const agd_comm *comm, agd_status *st);

/** Sends `size` bytes of rank 0 to all, any size. Collective on comm; size equal on all ranks. */
void agd_comm_broadcast(const agd_comm *comm, void *bytes, size_t size);

/** Gathers n doubles of every rank to rank 0. Collective on comm; n equal on all ranks, its product with the ranks
 * below 2^31.
 * @param all  [ranks, n] on rank 0, not read elsewhere */
void agd_comm_gather(const agd_comm *comm, const double *values, size_t n, double *all);

/** Replaces n doubles (n below 2^31) by their sum over ranks. Collective on comm; n equal on all ranks. */
void agd_comm_sum(const agd_comm *comm, double *values, size_t n);

/** Replaces n doubles (n below 2^31) by the largest of any rank. Collective on comm; n equal on all ranks. */
void agd_comm_max(const agd_comm *comm, double *values, size_t n);

/** The sum over ranks, modulo 2^64. Collective on comm. */
uint64_t agd_comm_sum_count(const agd_comm *comm, uint64_t count);

#endif
