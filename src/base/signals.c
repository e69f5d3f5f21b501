#include "allegrad/signals.h"

#include <signal.h>
#include <stddef.h>
#include <time.h>

static const struct {
  int number;
  const char *name;
} SIGNALS[] = {{SIGUSR1, "SIGUSR1"}, {SIGTERM, "SIGTERM"}, {SIGINT, "SIGINT"}, {SIGHUP, "SIGHUP"}};
enum { COUNT = sizeof SIGNALS / sizeof *SIGNALS };

static sigset_t from(size_t first) {
  sigset_t set;
  sigemptyset(&set);
  for (size_t i = first; i < COUNT; i++) sigaddset(&set, SIGNALS[i].number);
  return set;
}

void agd_signals_hold(void) {
  const sigset_t all = from(0);
  pthread_sigmask(SIG_BLOCK, &all, NULL);
}

void agd_signals_release(void) {
  const sigset_t all_but_usr1 = from(1);
  pthread_sigmask(SIG_UNBLOCK, &all_but_usr1, NULL);
}

int agd_signals_take(void) {
  const sigset_t all = from(0);
  const struct timespec now = {0, 0};
  const int number = sigtimedwait(&all, NULL, &now);
  return number > 0 ? number : 0;
}

const char *agd_signals_name(int number) {
  for (size_t i = 0; i < COUNT; i++)
    if (SIGNALS[i].number == number) return SIGNALS[i].name;
  return "a signal";
}
