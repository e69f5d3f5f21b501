/* The product for any CPU. */
#include "product_tuned.h"

void agd_product_baseline(const agd_product_operands *operands) { product(operands); }
