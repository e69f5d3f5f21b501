#include "allegrad/names.h"

#include <stdlib.h>
#include <string.h>

agd_code agd_names_add(agd_names *names, const char *text, agd_status *st) {
  char **grown = realloc(names->name, (names->count + 1) * sizeof *grown); /* NOLINT(*-unix.Malloc): never 0 bytes */
  if (grown == NULL) return agd_fail(st, AGD_EDATA, "out of memory: column names");
  names->name = grown;
  grown[names->count] = strdup(text);
  if (grown[names->count] == NULL) return agd_fail(st, AGD_EDATA, "out of memory: column names");
  names->count++;
  return AGD_OK;
}

agd_code agd_names_copy(agd_names *to, const agd_names *from, agd_status *st) {
  agd_names_clear(to);
  for (size_t i = 0; i < from->count; i++) AGD_TRY(agd_names_add(to, from->name[i], st));
  return AGD_OK;
}

long agd_names_find(const agd_names *names, const char *text) {
  for (size_t i = 0; i < names->count; i++)
    if (strcmp(names->name[i], text) == 0) return (long)i;
  return -1;
}

void agd_names_clear(agd_names *names) {
  for (size_t i = 0; i < names->count; i++) free(names->name[i]);
  free(names->name);
  *names = (agd_names){0};
}
