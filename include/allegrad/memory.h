/** @file memory.h
 * Allocation that checks for overflow and is aligned for vectors. Not collective.
 */
#ifndef ALLEGRAD_MEMORY_H
#define ALLEGRAD_MEMORY_H

#include <stddef.h>

#include "allegrad/status.h"

/** Alignment of every array that a kernel reads, in bytes: one cache line and one AVX-512 register. */
enum { AGD_ALIGN = 64 };

/** Allocates `count` zeroed elements of `size` bytes, aligned to AGD_ALIGN.
 * @param what  names the thing in the message, e.g. "the training rows"
 * @param out   receives the pointer (release with agd_release); NULL on failure; count 0 gives a valid pointer
 * @return AGD_OK, or AGD_EDATA when the product overflows or memory is short */
agd_code agd_allocate(size_t count, size_t size, const char *what, void **out, agd_status *st);

/** Releases what agd_allocate gave and nulls the pointer; a null pointer is fine. `pointer` is the address of any
 * object pointer. */
#define agd_release(pointer) (agd_release_memory(*(pointer)), (void)(*(pointer) = NULL))
void agd_release_memory(void *memory);

#endif
