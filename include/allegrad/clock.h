/** @file clock.h
 * Seconds for measuring.
 */
#ifndef ALLEGRAD_CLOCK_H
#define ALLEGRAD_CLOCK_H

/** Seconds of a clock that only goes forward. Not collective; costs some 25 ns. */
double agd_clock(void);

#endif
