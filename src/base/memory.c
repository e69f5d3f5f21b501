#include "allegrad/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

agd_code agd_allocate(size_t count, size_t size, const char *what, void **out, agd_status *st) {
  *out = NULL;
  AGD_REQUIRE(size > 0);
  if (count > (SIZE_MAX - AGD_ALIGN) / size)
    return agd_fail(st, AGD_EDATA, "%s: %zu elements of %zu bytes are more than memory can address", what, count, size);
  const size_t bytes = (count * size + AGD_ALIGN - 1) / AGD_ALIGN * AGD_ALIGN;
  void *memory = aligned_alloc(AGD_ALIGN, bytes > 0 ? bytes : AGD_ALIGN);
  if (memory == NULL) return agd_fail(st, AGD_EDATA, "out of memory: %s needs %zu bytes", what, count * size);
  memset(memory, 0, bytes > 0 ? bytes : AGD_ALIGN);
  *out = memory;
  return AGD_OK;
}

void agd_release_memory(void *memory) { free(memory); }
