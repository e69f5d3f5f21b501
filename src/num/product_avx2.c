/* The product for AVX2 with FMA. */
#ifdef __AVX2__ /* the build gives the flags on x86-64 */
#include "product_tuned.h"

void agd_product_avx2(const agd_product_operands *operands) { product(operands); }
#endif
