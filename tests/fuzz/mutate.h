/* Inputs for hostile.c: damage done to a sound file, as a disk, a cut transfer or a malicious hand would. */
#ifndef ALLEGRAD_FUZZ_MUTATE_H
#define ALLEGRAD_FUZZ_MUTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A file's bytes; owned (malloc). */
typedef struct mutate_file {
  unsigned char *bytes;
  size_t size;
} mutate_file;

/* A damaged copy of `from`, which depends on `random` alone; text gets other words and numbers, too. */
mutate_file mutate(const mutate_file *from, bool text, uint64_t random);

/* Makes the trailer of a file with one (checkpoint.h) fit its damaged content. */
void mutate_renew_trailer(mutate_file *file);

#endif
