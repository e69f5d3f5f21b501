/* Sound files of every kind, to be damaged by hostile.c. */
#ifndef ALLEGRAD_FUZZ_SEEDS_H
#define ALLEGRAD_FUZZ_SEEDS_H

#include "mutate.h"

enum { SEEDS_MAX = 16 };

typedef struct seeds {
  size_t count;
  mutate_file list[SEEDS_MAX];
} seeds;

/* All write only below `folder`, and end the process when they cannot. */
void seeds_weights_ours(const char *folder, seeds *out);    /* SGD, momentum, Adam; with and without BN and names */
void seeds_weights_old(const char *folder, seeds *out);     /* with our trailer, in HDF5's oldest format */
void seeds_weights_foreign(const char *folder, seeds *out); /* as Keras leaves them, and in the newest format */
void seeds_datasets_ours(const char *folder, seeds *out);
void seeds_datasets_foreign(const char *folder, seeds *out); /* contiguous, chunked, compressed; both formats */
void seeds_jobs(const char *folder, seeds *out);             /* the repository's */
void seeds_tables(const char *folder, seeds *out);

#endif
