/* The tuned kernels for AVX2. */
#ifdef __AVX2__ /* the build gives the flags on x86-64 */
#include "kernels_tuned.h"

const agd_kernels agd_kernels_avx2 = AGD_KERNELS_SET("avx2");
#endif
