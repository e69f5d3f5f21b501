/** @file signals.h
 * The signals that ask a training to end: SIGUSR1, SIGTERM, SIGINT, SIGHUP. They are not handled but held back, and
 * looked for where the program can act on them: no handler, no global state. Not collective.
 */
#ifndef ALLEGRAD_SIGNALS_H
#define ALLEGRAD_SIGNALS_H

/** Holds them back in the calling thread and in those that it starts from now on. */
void agd_signals_hold(void);

/** Lets SIGTERM, SIGINT and SIGHUP end the process again, in the calling thread; SIGUSR1 stays held back. */
void agd_signals_release(void);

/** Takes a signal that has arrived and is held back. @return its number, 0 for none */
int agd_signals_take(void);

/** "SIGUSR1"; "a signal" for a number of none of them. Static storage. */
const char *agd_signals_name(int number);

#endif
