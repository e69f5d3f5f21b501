/** @file watchdog.h
 * Ends a job that has come to a standstill: a stopped or lost rank lets the others wait for ever.
 *
 * A thread on every rank looks for the beats that the training gives. When there was none for `timeout` seconds it says
 * on standard error what the rank was waiting for, at which step, and which rank of its node is stopped or gone, and
 * ends the process with AGD_EINTERNAL, upon which the launcher ends the job. One rank speaks: of a node that sees the
 * culprit, the first that runs; the others only when nobody has ended the job some seconds later. A whole job that was
 * stopped and continued gets its time anew. Until the first beat, while data is read, a rank may take any time, and
 * only one that is stopped or gone ends the job.
 */
#ifndef ALLEGRAD_WATCHDOG_H
#define ALLEGRAD_WATCHDOG_H

#include <stdint.h>

#include "allegrad/comm.h"

/** Starts the watch of what is done on comm. Collective on comm; the outcome is agreed (AGD_OK, AGD_EDATA: memory,
 * threads).
 * @param comm     whose watchdog is set; nobody may watch it yet
 * @param timeout  seconds; 0, and a single rank, have no watch: all others here then do nothing */
agd_code agd_watchdog_start(agd_comm *comm, double timeout, agd_status *st);

/** The rank is alive: it has come to this step, and does this next. Cheap; not collective.
 * @param what  static text, "the exchange of gradients" */
void agd_watchdog_beat(const agd_comm *comm, uint64_t step, const char *what);

/** What the rank waits for now, between two beats. Cheaper still. */
void agd_watchdog_note(const agd_comm *comm, const char *what);

/** Where the process stands, for a message: "after step 12, in a training step". Not collective. */
void agd_watchdog_place(char *text, size_t size);

/** Ends the watch, if there is one. Not collective; also when comm is destroyed, and MPI has ended. */
void agd_watchdog_stop(agd_comm *comm);

#endif
