/* libFuzzer on CSV tables. */
#include "load.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) { return load_bytes(load_table, bytes, size); }
