#include "allegrad/watchdog.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "allegrad/clock.h"
#include "allegrad/memory.h"

typedef struct agd_watchdog {
  int rank, node_rank, node_size;
  double timeout;
  struct member {
    int process, rank;
  } * member;          /* [node_size] */
  _Atomic double last; /* when the last beat was */
  atomic_bool patient; /* before the first: there is no limit for ranks that run */
  _Atomic uint64_t step;
  _Atomic(const char *) what;
  pthread_t thread;
  pthread_mutex_t mutex;
  pthread_cond_t stopping; /* on the monotonic clock */
  bool stopped;
} agd_watchdog;

/* The one that was started last and runs: what the process does now. */
static const agd_watchdog *newest;

/* The state of a process by /proc: 'T' stopped, 'Z' dead, 0 gone. */
static char process_state(int process) {
  char path[64], line[512], state = 0;
  snprintf(path, sizeof path, "/proc/%d/stat", process);
  FILE *file = fopen(path, "re");
  if (file == NULL) return 0;
  /* the name stands in parentheses and may hold any character */
  if (fgets(line, sizeof line, file) != NULL) {
    const char *end = strrchr(line, ')');
    if (end != NULL && end[1] == ' ') state = end[2];
  }
  fclose(file);
  return state;
}

static const char *describe_state(char state) {
  switch (state) {
  case 'T':
  case 't':
    return "is stopped";
  case 'D':
    return "waits for a disk";
  case 0:
  case 'Z':
  case 'X':
    return "has ended";
  default:
    return NULL; /* runs */
  }
}

static void end_job(const agd_watchdog *w, const char *culprit) {
  fprintf(stderr,
          "allegrad: error: rank %d has waited for %.0f s (comm.timeout) after step %llu, in %s; %s. The job ends; "
          "--resume goes on after its newest checkpoint\n",
          w->rank, agd_clock() - w->last, (unsigned long long)w->step, w->what, culprit);
  fflush(stderr);
  _Exit(AGD_EINTERNAL);
}

/* The time is over. Where there is no limit for ranks that run, or read from a slow disk, it begins anew for them. The
 * first running rank of a node where one is stopped speaks at once. Any other speaks a while later, and so does
 * everybody where a rank has ended: the launcher is about to end the job for that. */
static void give_up(agd_watchdog *w, double overdue) {
  char culprit[128] = "no rank of this node is stopped or gone";
  bool stopped = false, ended = false;
  int first = w->node_rank;
  for (int r = w->node_size - 1; r >= 0; r--) {
    const char state = process_state(w->member[r].process), *words = describe_state(state);
    if (words == NULL || (w->patient && state == 'D')) {
      if (r < first) first = r;
      continue;
    }
    if (state == 'T' || state == 't' || state == 'D')
      stopped = true;
    else
      ended = true;
    snprintf(culprit, sizeof culprit, "rank %d (process %d) %s", w->member[r].rank, w->member[r].process, words);
  }
  if (w->patient && !stopped && !ended)
    atomic_store(&w->last, agd_clock());
  else if ((stopped && !ended && first == w->node_rank) || overdue > 3 + 3 * (w->rank < 9 ? w->rank : 9))
    end_job(w, culprit);
}

static void *watch(void *context) {
  agd_watchdog *w = context;
  const double period = w->timeout < 10 ? w->timeout / 10 : 1;
  pthread_mutex_lock(&w->mutex);
  for (double before = agd_clock(); !w->stopped;) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    const double seconds = (double)until.tv_sec + 1e-9 * (double)until.tv_nsec + period;
    until.tv_sec = (time_t)seconds;
    until.tv_nsec = (long)(1e9 * (seconds - (double)until.tv_sec));
    if (pthread_cond_timedwait(&w->stopping, &w->mutex, &until) != ETIMEDOUT) continue;
    const double now = agd_clock(), overdue = now - w->last - w->timeout;
    if (now - before > 5 * period)
      atomic_store(&w->last, now); /* this process was stopped itself */
    else if (overdue > 0)
      give_up(w, overdue);
    before = now;
  }
  pthread_mutex_unlock(&w->mutex);
  return NULL;
}

static agd_code start_thread(agd_watchdog *w, agd_status *st) {
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&w->stopping, &monotonic);
  pthread_condattr_destroy(&monotonic);
  pthread_mutex_init(&w->mutex, NULL);
  const int error = pthread_create(&w->thread, NULL, watch, w);
  return error == 0 ? AGD_OK : agd_fail(st, AGD_EDATA, "cannot start a thread: %s", strerror(error));
}

static void release(agd_watchdog *w) {
  if (w == NULL) return;
  agd_release(&w->member);
  agd_release(&w);
}

static void stop(agd_watchdog *w) {
  pthread_mutex_lock(&w->mutex);
  w->stopped = true;
  pthread_cond_signal(&w->stopping);
  pthread_mutex_unlock(&w->mutex);
  pthread_join(w->thread, NULL);
  pthread_cond_destroy(&w->stopping);
  pthread_mutex_destroy(&w->mutex);
}

agd_code agd_watchdog_start(agd_comm *comm, double timeout, agd_status *st) {
  const size_t ranks = (size_t)comm->node_size;
  const struct member self = {(int)getpid(), comm->rank};
  agd_watchdog *w = NULL;
  AGD_REQUIRE(comm->watchdog == NULL);
  if (timeout <= 0 || comm->size == 1) return AGD_OK;
  if (agd_allocate(1, sizeof *w, "the watchdog", (void **)&w, st) == AGD_OK)
    agd_allocate(ranks, sizeof self, "the watchdog", (void **)&w->member, st);
  agd_code code = agd_comm_agree(comm, st);
  if (code == AGD_OK) {
    w->rank = comm->rank, w->node_rank = comm->node_rank, w->node_size = comm->node_size, w->timeout = timeout;
    MPI_Allgather(&self, 2, MPI_INT, w->member, 2, MPI_INT, comm->node);
    w->what = "the start of the training";
    w->last = agd_clock();
    w->patient = true;
    const bool started = start_thread(w, st) == AGD_OK;
    code = agd_comm_agree(comm, st);
    if (code != AGD_OK && started) stop(w);
  }
  if (code == AGD_OK)
    newest = comm->watchdog = w;
  else
    release(w);
  return code;
}

void agd_watchdog_beat(const agd_comm *comm, uint64_t step, const char *what) {
  agd_watchdog *w = comm->watchdog;
  if (w == NULL) return;
  atomic_store_explicit(&w->step, step, memory_order_relaxed);
  atomic_store_explicit(&w->what, what, memory_order_relaxed);
  atomic_store_explicit(&w->last, agd_clock(), memory_order_relaxed);
  atomic_store_explicit(&w->patient, false, memory_order_relaxed);
}

void agd_watchdog_note(const agd_comm *comm, const char *what) {
  if (comm->watchdog != NULL) atomic_store_explicit(&comm->watchdog->what, what, memory_order_relaxed);
}

void agd_watchdog_place(char *text, size_t size) {
  if (newest == NULL)
    snprintf(text, size, "before or after the training");
  else
    snprintf(text, size, "after step %llu, in %s", (unsigned long long)newest->step, newest->what);
}

void agd_watchdog_stop(agd_comm *comm) {
  if (comm->watchdog == NULL) return;
  if (newest == comm->watchdog) newest = NULL;
  stop(comm->watchdog);
  release(comm->watchdog);
  comm->watchdog = NULL;
}
