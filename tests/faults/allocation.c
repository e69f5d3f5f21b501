/* A library to preload: one allocation made by allegrad's own code fails. The libraries that it uses keep theirs: what
 * counts is whether the caller's code lies in the executable.
 *
 *   FAULT_AT      the number, from 1, of the allocation that is hit; 0: none
 *   FAULT_RANK    the rank that counts, where mpirun has started several
 *   FAULT_COUNT   a file that receives the number of allocations, at the end of a process that counts
 *
 * Allocations: malloc, calloc, realloc, aligned_alloc, strdup, strndup, asprintf, open_memstream, fopen, opendir. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uintptr_t code_begin, code_end; /* of allegrad; both 0 in other programs and ranks */
static atomic_int calls;

/* glibc's own: looking them up would allocate. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* The first object is the executable. */
static int note_code(struct dl_phdr_info *info, size_t size, void *context) {
  (void)size, (void)context;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *part = &info->dlpi_phdr[i];
    if (part->p_type != PT_LOAD || (part->p_flags & PF_X) == 0) continue;
    code_begin = info->dlpi_addr + part->p_vaddr;
    code_end = code_begin + part->p_memsz;
  }
  return 1;
}

__attribute__((constructor)) static void begin(void) {
  const char *wanted = getenv("FAULT_RANK"), *rank = getenv("OMPI_COMM_WORLD_RANK");
  if (strcmp(program_invocation_short_name, "allegrad") != 0) return;
  if (wanted != NULL && rank != NULL && strcmp(wanted, rank) != 0) return;
  dl_iterate_phdr(note_code, NULL);
}

__attribute__((destructor)) static void tell(void) {
  const char *path = getenv("FAULT_COUNT");
  FILE *file = path != NULL && calls > 0 ? fopen(path, "w") : NULL;
  if (file == NULL) return;
  fprintf(file, "%d\n", (int)calls);
  fclose(file);
}

/* Whether a call that returns to `caller` is the one that fails. */
static bool is_hit(const void *caller) {
  const uintptr_t place = (uintptr_t)caller;
  if (place < code_begin || place >= code_end) return false;
  const char *at = getenv("FAULT_AT");
  if (atomic_fetch_add(&calls, 1) + 1 != (at != NULL ? atoi(at) : 0)) return false;
  errno = ENOMEM;
  return true;
}
#define IS_HIT is_hit(__builtin_return_address(0))

void *malloc(size_t size) { return IS_HIT ? NULL : __libc_malloc(size); }

void *calloc(size_t count, size_t size) { return IS_HIT ? NULL : __libc_calloc(count, size); }

void *realloc(void *memory, size_t size) { return IS_HIT ? NULL : __libc_realloc(memory, size); }

void *aligned_alloc(size_t alignment, size_t size) { return IS_HIT ? NULL : __libc_memalign(alignment, size); }

static char *copy(const char *text, size_t length) {
  char *made = __libc_malloc(length + 1);
  if (made == NULL) return NULL;
  memcpy(made, text, length);
  made[length] = '\0';
  return made;
}

char *strdup(const char *text) { return IS_HIT ? NULL : copy(text, strlen(text)); }

char *strndup(const char *text, size_t size) { return IS_HIT ? NULL : copy(text, strnlen(text, size)); }

int asprintf(char **text, const char *format, ...) {
  va_list args;
  if (IS_HIT) return -1;
  va_start(args, format);
  const int length = vasprintf(text, format, args);
  va_end(args);
  return length;
}

FILE *open_memstream(char **text, size_t *size) { return IS_HIT ? NULL : REAL(open_memstream)(text, size); }

FILE *fopen(const char *path, const char *mode) { return IS_HIT ? NULL : REAL(fopen)(path, mode); }

DIR *opendir(const char *path) { return IS_HIT ? NULL : REAL(opendir)(path); }
