/* libFuzzer on data files (HDF5). */
#include "load.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) { return load_bytes(load_dataset, bytes, size); }
