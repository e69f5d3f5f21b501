/** @file real.h
 * The one scalar type of weights, activations and gradients.
 *
 * Floors 1 and 2 compile for float and for double from one source. The program and the installed library are float;
 * the tests also build everything with ALLEGRAD_DOUBLE, where rounding no longer hides a wrong formula.
 */
#ifndef ALLEGRAD_REAL_H
#define ALLEGRAD_REAL_H

#ifdef ALLEGRAD_DOUBLE
typedef double agd_real;
#else
typedef float agd_real;
#endif

#endif
