/* The tuned kernels for what every CPU of the architecture has. */
#include "kernels_tuned.h"

const agd_kernels agd_kernels_baseline = AGD_KERNELS_SET("baseline");
