/* Debian's MPICH spins without ever yielding its core, so with more ranks than cores a collective waits for time
 * slices: 5 ms instead of 0.03. Preloaded into the ranks of MPICH's tests, this gives the core away whenever UCX has
 * nothing to deliver. Only a matter of time; the tests pass without it. */
#include <dlfcn.h>
#include <sched.h>

unsigned ucp_worker_progress(void *worker);

unsigned ucp_worker_progress(void *worker) {
  unsigned (*progress)(void *) = (unsigned (*)(void *))dlsym(RTLD_NEXT, "ucp_worker_progress");
  const unsigned events = progress(worker);
  if (events == 0) sched_yield();
  return events;
}
