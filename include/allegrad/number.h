/** @file number.h
 * Decimal numbers in text, whatever the locale of the program that uses the library. Not collective.
 */
#ifndef ALLEGRAD_NUMBER_H
#define ALLEGRAD_NUMBER_H

#include <stdbool.h>

/** Space for any number that agd_number_format writes, with its terminating zero. */
enum { AGD_NUMBER_SIZE = 32 };

/** Reads a number: optional sign, digits with an optional point, optional exponent; the whole text and nothing else.
 * "7", "-2.5", "+.5", "1e-3" are numbers; "", " 7", "7x", "0x10", "1,5", "nan" and "inf" are not, nor is what no finite
 * double can hold ("1e999") or only zero can ("1e-999").
 * @param out  the nearest double; untouched when the text is no number */
bool agd_number_parse(const char *text, double *out);

/** Writes a finite number with the fewest significant digits that agd_number_parse reads back to the same double. */
void agd_number_format(double value, char text[AGD_NUMBER_SIZE]);

/** Writes any number with up to `digits` (1..17) significant digits: 9 bring every float back. "nan", "inf" and "-inf"
 * are what agd_number_parse refuses. */
void agd_number_format_digits(double value, int digits, char text[AGD_NUMBER_SIZE]);

#endif
