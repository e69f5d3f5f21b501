/** @file signals.h
 * The signals that ask a training to end: SIGUSR1, SIGTERM, SIGINT, SIGHUP. A handler notes the last one, and the
 * program looks for it where it can act on it. (Blocking them instead would need no global state, but threads that
 * libraries start before main, such as OpenBLAS's, would still die of them.) One that is ignored, as SIGHUP by nohup,
 * stays ignored. Not collective.
 */
#ifndef ALLEGRAD_SIGNALS_H
#define ALLEGRAD_SIGNALS_H

/** From now on SIGUSR1 is noted. */
void agd_signals_note_usr1(void);

/** From now on all of them are noted. */
void agd_signals_note_all(void);

/** Takes the last signal noted. @return its number, 0 for none */
int agd_signals_take(void);

/** "SIGUSR1"; "a signal" for a number of none of them. Static storage. */
const char *agd_signals_name(int number);

#endif
