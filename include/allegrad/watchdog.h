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

typedef struct agd_watchdog agd_watchdog;

/** Starts the watch. Collective on comm; the outcome is agreed (AGD_OK, AGD_EDATA: memory, threads).
 * @param timeout  seconds; 0, and a single rank, have no watch: *out is NULL, which all others here take */
agd_code agd_watchdog_start(const agd_comm *comm, double timeout, agd_watchdog **out, agd_status *st);

/** The rank is alive: it has come to this step, and does this next. Cheap; not collective.
 * @param what  static text, "the exchange of gradients" */
void agd_watchdog_beat(agd_watchdog *watchdog, uint64_t step, const char *what);

/** What the rank waits for now, between two beats. Cheaper still. */
void agd_watchdog_note(agd_watchdog *watchdog, const char *what);

/** Where the process stands, for a message: "after step 12, in a training step". Not collective. */
void agd_watchdog_place(char *text, size_t size);

/** Ends the watch and nulls the pointer; NULL is fine. Not collective. */
void agd_watchdog_stop(agd_watchdog **watchdog);

#endif
