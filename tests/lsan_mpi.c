/* Linked into what is built with AddressSanitizer: leaves out of the search for leaks what the MPI libraries never free
 * (Open MPI keeps about 120 kB in 3,300 blocks from start-up, MPICH 1 kB in 9; Open MPI's MPI-IO loses a few bytes in
 * each collective read in which some rank reads nothing). Suppressing them instead costs seconds at each process's end,
 * in which their stacks are turned into names. Open MPI's PMIx client loses some more in a thread of its own, which
 * runs libevent's loop. */
#include <dlfcn.h>
#include <mpi.h>
#include <sanitizer/lsan_interface.h>

int MPI_Init(int *argc, char ***argv) {
  __lsan_disable();
  const int code = PMPI_Init(argc, argv);
  __lsan_enable();
  return code;
}

int MPI_Init_thread(int *argc, char ***argv, int required, int *provided) {
  __lsan_disable();
  const int code = PMPI_Init_thread(argc, argv, required, provided);
  __lsan_enable();
  return code;
}

int MPI_Finalize(void) {
  __lsan_disable();
  const int code = PMPI_Finalize();
  __lsan_enable();
  return code;
}

int MPI_File_read_at_all(MPI_File file, MPI_Offset offset, void *buffer, int count, MPI_Datatype type,
                         MPI_Status *status) {
  __lsan_disable();
  const int code = PMPI_File_read_at_all(file, offset, buffer, count, type, status);
  __lsan_enable();
  return code;
}

struct event_base;
int event_base_loop(struct event_base *base, int flags);
int event_base_loop(struct event_base *base, int flags) {
  int (*loop)(struct event_base *, int);
  *(void **)&loop = dlsym(RTLD_NEXT, "event_base_loop");
  __lsan_disable();
  const int code = loop(base, flags);
  __lsan_enable();
  return code;
}
