/* A folder of a test's own, made before it and removed after it. */
#ifndef ALLEGRAD_TEMPORARY_H
#define ALLEGRAD_TEMPORARY_H

#include "cmocka_all.h"

#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TEMPORARY_SIZE = 512 };

/* cmocka set-up: *state receives the folder's path. */
static inline int temporary_setup(void **state) {
  const char *base = getenv("TMPDIR");
  char path[TEMPORARY_SIZE];
  snprintf(path, sizeof path, "%s/allegrad-test-XXXXXX", base != NULL && *base != '\0' ? base : "/tmp");
  if (mkdtemp(path) == NULL) return -1;
  *state = strdup(path);
  return *state == NULL ? -1 : 0;
}

static inline int temporary_remove(const char *path, const struct stat *info, int type, struct FTW *at) {
  (void)info, (void)type, (void)at;
  return remove(path);
}

/* cmocka tear-down. */
static inline int temporary_teardown(void **state) {
  const int failed = nftw(*state, temporary_remove, 16, FTW_DEPTH | FTW_PHYS);
  free(*state);
  return failed;
}

/* "folder/name". */
static inline const char *temporary_path(char path[TEMPORARY_SIZE], const char *folder, const char *name) {
  assert_in_range(snprintf(path, TEMPORARY_SIZE, "%s/%s", folder, name), 1, TEMPORARY_SIZE - 1);
  return path;
}

/* The whole of a text file, to be freed. */
static inline char *temporary_text(const char *path) {
  FILE *file = fopen(path, "rb");
  assert_non_null(file);
  char *text = calloc(1, 1 << 20);
  assert_non_null(text);
  assert_in_range(fread(text, 1, (1 << 20) - 1, file), 0, (1 << 20) - 2);
  fclose(file);
  return text;
}

static inline void temporary_write(const char *path, const char *text) {
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fputs(text, file) < 0, 0);
  assert_int_equal(fclose(file), 0);
}

/* A disk that takes no byte beyond `limit` in a file. */
static inline void temporary_disk_limit(rlim_t limit) {
  struct rlimit now;
  assert_int_equal(getrlimit(RLIMIT_FSIZE, &now), 0);
  now.rlim_cur = limit;
  signal(SIGXFSZ, SIG_IGN);
  assert_int_equal(setrlimit(RLIMIT_FSIZE, &now), 0);
}

#endif
