/* For a library to preload into allegrad: which calls its own code makes, and not the libraries that it uses. */
#ifndef OWN_CODE_H
#define OWN_CODE_H

#include <errno.h>
#include <link.h>
#include <stdint.h>
#include <string.h>

#include "count.h"

/* FAULT_AT, FAULT_COUNT: count.h. FAULT_RANK: the rank that counts, where mpirun has started several. */
static uintptr_t code_begin, code_end; /* of allegrad; both 0 in other programs and ranks */

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

/* Counts a call, if it returns to allegrad's own code. Whether it is the one that is hit. */
static bool is_hit(const void *caller) {
  const uintptr_t place = (uintptr_t)caller;
  return place >= code_begin && place < code_end && count_call();
}

#define IS_HIT is_hit(__builtin_return_address(0))

#endif
