/* A library to preload: one allocation made by allegrad's own code fails. The libraries that it uses keep theirs.
 *
 * FAULT_AT, FAULT_RANK, FAULT_COUNT: own_code.h. Allocations: malloc, calloc, realloc, aligned_alloc, strdup, strndup,
 * asprintf, open_memstream, fopen, opendir. */
#include <dirent.h>
#include <dlfcn.h>
#include <stdarg.h>

#include "own_code.h"

/* glibc's own: looking them up would allocate. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAILS (IS_HIT && (errno = ENOMEM, true))

void *malloc(size_t size) { return FAILS ? NULL : __libc_malloc(size); }

void *calloc(size_t count, size_t size) { return FAILS ? NULL : __libc_calloc(count, size); }

void *realloc(void *memory, size_t size) { return FAILS ? NULL : __libc_realloc(memory, size); }

void *aligned_alloc(size_t alignment, size_t size) { return FAILS ? NULL : __libc_memalign(alignment, size); }

static char *copy(const char *text, size_t length) {
  char *made = __libc_malloc(length + 1);
  if (made == NULL) return NULL;
  memcpy(made, text, length);
  made[length] = '\0';
  return made;
}

char *strdup(const char *text) { return FAILS ? NULL : copy(text, strlen(text)); }

char *strndup(const char *text, size_t size) { return FAILS ? NULL : copy(text, strnlen(text, size)); }

int asprintf(char **text, const char *format, ...) {
  va_list args;
  if (FAILS) return -1;
  va_start(args, format);
  const int length = vasprintf(text, format, args);
  va_end(args);
  return length;
}

FILE *open_memstream(char **text, size_t *size) { return FAILS ? NULL : REAL(open_memstream)(text, size); }

FILE *fopen(const char *path, const char *mode) { return FAILS ? NULL : REAL(fopen)(path, mode); }

DIR *opendir(const char *path) { return FAILS ? NULL : REAL(opendir)(path); }
