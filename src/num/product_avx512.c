/* The product for AVX-512. */
#ifdef __AVX512F__ /* the build gives the flags on x86-64 */
#include "product_tuned.h"

void agd_product_avx512(const agd_product_operands *operands) { product(operands); }
#endif
