/** @file placement.h
 * Where the ranks run and what they run on: hosts, cores, binding, and whether all see the same program and data.
 */
#ifndef ALLEGRAD_PLACEMENT_H
#define ALLEGRAD_PLACEMENT_H

#include <stdio.h>

#include "allegrad/comm.h"

/** Looks at all ranks and, on rank 0, tells `note` of whatever is wrong, at most one message of a kind: a node whose
 * ranks have fewer cores than they are, by its size or by binding; a rank that runs another build of the program, or
 * sees another data file (by its size, first and last bytes, which of a file of ours are its digest).
 * Collective; never fails: what cannot be found out is left out.
 * @param data_file  path, as each rank is to open it
 * @param out        receives a line a rank: host, number on the node, processors it may run on; NULL: no list
 * @param note       is called on rank 0 */
void agd_placement_check(const agd_comm *comm, const char *data_file, FILE *out, void (*note)(const char *));

#endif
