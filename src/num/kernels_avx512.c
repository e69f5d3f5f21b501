/* The tuned kernels for AVX-512 (F, VL, DQ). */
#ifdef __AVX512F__ /* the build gives the flags on x86-64 */
#include "kernels_tuned.h"

const agd_kernels agd_kernels_avx512 = AGD_KERNELS_SET("avx512");
#endif
