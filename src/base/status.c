#include "allegrad/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

agd_code agd_fail(agd_status *st, agd_code code, const char *format, ...) {
  AGD_REQUIRE(code != AGD_OK);
  if (st != NULL) {
    va_list args;
    va_start(args, format);
    vsnprintf(st->message, sizeof st->message, format, args);
    va_end(args);
    st->code = code;
  }
  return code;
}

agd_code agd_fail_prefix(agd_status *st, const char *prefix) {
  AGD_REQUIRE(st != NULL && st->code != AGD_OK);
  char message[AGD_MESSAGE_MAX];
  memcpy(message, st->message, sizeof message);
  return agd_fail(st, st->code, "%s: %.*s", prefix, AGD_MESSAGE_MAX / 2, message);
}

void agd_bug(const char *file, int line, const char *message) {
  fprintf(stderr, "allegrad: defect at %s:%d: %s\n", file, line, message);
  fflush(stderr);
  _Exit(AGD_EINTERNAL);
}
