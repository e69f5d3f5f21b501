/* A library to preload: one system call on the files of a folder fails, is cut short, or ends the process.
 *
 *   FAULT_FOLDER  only files whose path begins with it count
 *   FAULT         kill, short (half a write or read), or the number of an errno
 *   FAULT_AT, FAULT_COUNT: count.h
 *
 * Calls: open, read, pread, write, fsync, ftruncate, close, rename, unlink, mkdir, opendir. Those that stdio makes for
 * itself are not seen. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "count.h"

enum { FILES = 1024 };
static atomic_bool watched[FILES]; /* file descriptors of the folder */

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static bool is_watched(int fd) { return fd >= 0 && fd < FILES && watched[fd]; }

static bool in_folder(const char *path) {
  const char *folder = getenv("FAULT_FOLDER");
  return folder != NULL && *folder != '\0' && strncmp(path, folder, strlen(folder)) == 0;
}

/* Counts a call. 0: let it happen; -1: cut it short; else the errno to fail with. Does not return from kill. */
static int strike(void) {
  const char *fault = getenv("FAULT");
  if (!count_call() || fault == NULL) return 0;
  if (strcmp(fault, "kill") == 0) {
    raise(SIGKILL);
    pause();
  }
  return strcmp(fault, "short") == 0 ? -1 : atoi(fault);
}

#define FAIL_PATH(path, result)                                                                                        \
  do {                                                                                                                 \
    const int error_ = in_folder(path) ? strike() : 0;                                                                 \
    if (error_ > 0) return errno = error_, (result);                                                                   \
  } while (0)
#define FAIL_FILE(fd, result)                                                                                          \
  do {                                                                                                                 \
    const int error_ = is_watched(fd) ? strike() : 0;                                                                  \
    if (error_ > 0) return errno = error_, (result);                                                                   \
  } while (0)

int open(const char *path, int flags, ...) {
  va_list args;
  va_start(args, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;
  va_end(args);
  FAIL_PATH(path, -1);
  const int fd = REAL(open)(path, flags, mode);
  if (fd >= 0 && fd < FILES) watched[fd] = in_folder(path);
  return fd;
}

int close(int fd) {
  const bool ours = is_watched(fd);
  const int error = ours ? strike() : 0;
  if (ours) watched[fd] = false;
  const int result = REAL(close)(fd);
  return error > 0 ? (errno = error, -1) : result;
}

ssize_t write(int fd, const void *bytes, size_t size) {
  const int error = is_watched(fd) ? strike() : 0;
  if (error > 0) return errno = error, -1;
  return REAL(write)(fd, bytes, error < 0 && size > 1 ? size / 2 : size);
}

ssize_t read(int fd, void *bytes, size_t size) {
  const int error = is_watched(fd) ? strike() : 0;
  if (error > 0) return errno = error, -1;
  return REAL(read)(fd, bytes, error < 0 && size > 1 ? size / 2 : size);
}

ssize_t pread(int fd, void *bytes, size_t size, off_t offset) {
  const int error = is_watched(fd) ? strike() : 0;
  if (error > 0) return errno = error, -1;
  return REAL(pread)(fd, bytes, error < 0 && size > 1 ? size / 2 : size, offset);
}

int fsync(int fd) {
  FAIL_FILE(fd, -1);
  return REAL(fsync)(fd);
}

int ftruncate(int fd, off_t length) {
  FAIL_FILE(fd, -1);
  return REAL(ftruncate)(fd, length);
}

int rename(const char *from, const char *to) {
  FAIL_PATH(to, -1);
  return REAL(rename)(from, to);
}

int unlink(const char *path) {
  FAIL_PATH(path, -1);
  return REAL(unlink)(path);
}

int mkdir(const char *path, mode_t mode) {
  FAIL_PATH(path, -1);
  return REAL(mkdir)(path, mode);
}

DIR *opendir(const char *path) {
  FAIL_PATH(path, NULL);
  return REAL(opendir)(path);
}
