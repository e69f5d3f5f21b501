#include "kernels_set.h"

#include <stdlib.h>
#include <string.h>

/* The sets that this CPU can run, best first. */
static size_t runnable(const agd_kernels *sets[4]) {
  size_t n = 0;
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
    sets[n++] = &agd_kernels_avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) sets[n++] = &agd_kernels_avx2;
#endif
  sets[n++] = &agd_kernels_baseline;
  sets[n++] = &agd_kernels_reference;
  return n;
}

const agd_kernels *agd_kernels_named(const char *isa) {
  const agd_kernels *sets[4];
  const size_t n = runnable(sets);
  for (size_t i = 0; i < n; i++) {
    if (strcmp(sets[i]->isa, isa) == 0) return sets[i];
  }
  return NULL;
}

const agd_kernels *agd_kernels_select(void) {
  const char *wanted = getenv("ALLEGRAD_ISA");
  const agd_kernels *chosen = wanted != NULL ? agd_kernels_named(wanted) : NULL;
  if (chosen != NULL) return chosen;
  const agd_kernels *sets[4];
  runnable(sets);
  return sets[0];
}
