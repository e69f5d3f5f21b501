/* For a library to preload: counts calls, of which one is hit.
 *
 * FAULT_AT     the number, from 1, of the call that is hit; 0: none
 * FAULT_COUNT  a file that receives the number of calls, at the end of a process that had any */
#ifndef COUNT_H
#define COUNT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static atomic_int calls;

/* Counts a call. Whether it is the one that is hit. */
static bool count_call(void) {
  const char *at = getenv("FAULT_AT");
  return atomic_fetch_add(&calls, 1) + 1 == (at != NULL ? atoi(at) : 0);
}

__attribute__((destructor)) static void tell_calls(void) {
  const char *path = getenv("FAULT_COUNT");
  FILE *file = path != NULL && calls > 0 ? fopen(path, "w") : NULL;
  if (file == NULL) return;
  fprintf(file, "%d\n", (int)calls);
  fclose(file);
}

#endif
