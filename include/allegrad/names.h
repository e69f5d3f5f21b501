/** @file names.h
 * A list of owned strings: column names. Not collective.
 */
#ifndef ALLEGRAD_NAMES_H
#define ALLEGRAD_NAMES_H

#include <stddef.h>

#include "allegrad/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Start with `{0}`; owns its strings. */
typedef struct agd_names {
  size_t count;
  char **name;
} agd_names;

/** Appends a copy of text. AGD_EDATA when memory is short. */
agd_code agd_names_add(agd_names *names, const char *text, agd_status *st);

/** Replaces `to` by a copy of `from`. */
agd_code agd_names_copy(agd_names *to, const agd_names *from, agd_status *st);

/** Index of text, or -1. */
long agd_names_find(const agd_names *names, const char *text);

/** Releases all strings; the list is empty afterwards. */
void agd_names_clear(agd_names *names);

#ifdef __cplusplus
}
#endif

#endif
