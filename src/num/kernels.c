#include "kernels_set.h"

#include <stdlib.h>
#include <string.h>

const agd_kernels *agd_kernels_named(const char *isa) {
  return strcmp(isa, "reference") == 0 ? &agd_kernels_reference : NULL;
}

const agd_kernels *agd_kernels_select(void) { return &agd_kernels_reference; }
