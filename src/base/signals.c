#include "allegrad/signals.h"

#include <signal.h>
#include <stddef.h>

static const struct {
  int number;
  const char *name;
} SIGNALS[] = {{SIGUSR1, "SIGUSR1"}, {SIGTERM, "SIGTERM"}, {SIGINT, "SIGINT"}, {SIGHUP, "SIGHUP"}};
enum { COUNT = sizeof SIGNALS / sizeof *SIGNALS };

/* The one global that changes: nothing else can be reached from a handler. */
static volatile sig_atomic_t noted;

static void handle(int number) { noted = number; }

static void note_signal(int number) {
  struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART}, before;
  sigemptyset(&action.sa_mask);
  if (sigaction(number, NULL, &before) == 0 && before.sa_handler == SIG_IGN) return;
  sigaction(number, &action, NULL);
}

void agd_signals_note_usr1(void) { note_signal(SIGUSR1); }

void agd_signals_note_all(void) {
  for (size_t i = 0; i < COUNT; i++) note_signal(SIGNALS[i].number);
}

int agd_signals_take(void) {
  const int number = noted;
  noted = 0;
  return number;
}

const char *agd_signals_name(int number) {
  for (size_t i = 0; i < COUNT; i++)
    if (SIGNALS[i].number == number) return SIGNALS[i].name;
  return "a signal";
}
