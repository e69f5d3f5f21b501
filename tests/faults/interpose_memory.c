/* A library to preload: one allocation of the program's own code fails. Those of libraries go through.
 *
 *   FAULT_AT     the number, from 1, of the allocation that fails; 0: none
 *   FAULT_RANK   the rank of mpirun that is meant; without it any process
 *   FAULT_COUNT  a file that receives the number of allocations, at the end of a process that had any
 *
 * Calls: malloc, calloc, realloc, aligned_alloc, strdup, strndup. */
#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* glibc's own, which dlsym itself may need. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

static atomic_int calls;
static uintptr_t first, end; /* of the program's code */
static int hit;              /* 0: none */

/* The first object is the program. */
static int find_program(struct dl_phdr_info *object, size_t size, void *none) {
  (void)size, (void)none;
  for (int i = 0; i < object->dlpi_phnum; i++) {
    const ElfW(Phdr) *part = &object->dlpi_phdr[i];
    if (part->p_type != PT_LOAD || (part->p_flags & PF_X) == 0) continue;
    first = object->dlpi_addr + part->p_vaddr;
    end = first + part->p_memsz;
  }
  return 1;
}

__attribute__((constructor)) static void begin(void) {
  const char *at = getenv("FAULT_AT"), *rank = getenv("FAULT_RANK"), *own = getenv("OMPI_COMM_WORLD_RANK");
  dl_iterate_phdr(find_program, NULL);
  if (rank != NULL && (own == NULL || strcmp(rank, own) != 0)) first = end = 0;
  if (at != NULL) hit = atoi(at);
}

__attribute__((destructor)) static void tell(void) {
  const char *path = getenv("FAULT_COUNT");
  const int count = calls;
  first = end = 0;
  FILE *file = path != NULL && count > 0 ? fopen(path, "w") : NULL;
  if (file == NULL) return;
  fprintf(file, "%d\n", count);
  fclose(file);
}

static bool fails(const void *caller) {
  const uintptr_t at = (uintptr_t)caller;
  if (at < first || at >= end || atomic_fetch_add(&calls, 1) + 1 != hit) return false;
  errno = ENOMEM;
  return true;
}

#define CALLER __builtin_return_address(0)

void *malloc(size_t size) { return fails(CALLER) ? NULL : __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return fails(CALLER) ? NULL : __libc_calloc(count, size); }
void *realloc(void *memory, size_t size) { return fails(CALLER) ? NULL : __libc_realloc(memory, size); }
void *aligned_alloc(size_t alignment, size_t size) { return fails(CALLER) ? NULL : __libc_memalign(alignment, size); }

static char *copy(const char *text, size_t length) {
  char *own = __libc_malloc(length + 1);
  if (own == NULL) return NULL;
  memcpy(own, text, length);
  own[length] = '\0';
  return own;
}

char *strdup(const char *text) { return fails(CALLER) ? NULL : copy(text, strlen(text)); }
char *strndup(const char *text, size_t most) { return fails(CALLER) ? NULL : copy(text, strnlen(text, most)); }
