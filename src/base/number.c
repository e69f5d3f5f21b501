#include "allegrad/number.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allegrad/status.h"

/* The "C" locale object is static in glibc: making it neither allocates nor fails. */
static locale_t c_locale(void) {
  const locale_t locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
  AGD_REQUIRE(locale != (locale_t)0);
  return locale;
}

static size_t skip_digits(const char **text) {
  const size_t length = strspn(*text, "0123456789");
  *text += length;
  return length;
}

/* Whether the text has the form of a number. */
static bool well_formed(const char *text) {
  if (*text == '+' || *text == '-') text++;
  size_t mantissa = skip_digits(&text);
  if (*text == '.') {
    text++;
    mantissa += skip_digits(&text);
  }
  if (mantissa == 0) return false;
  if (*text == 'e' || *text == 'E') {
    text++;
    if (*text == '+' || *text == '-') text++;
    if (skip_digits(&text) == 0) return false;
  }
  return *text == '\0';
}

bool agd_number_parse(const char *text, double *out) {
  if (!well_formed(text)) return false;
  const locale_t locale = c_locale();
  const double value = strtod_l(text, NULL, locale);
  freelocale(locale);
  const bool is_zero = strcspn(text, "123456789") >= strcspn(text, "eE");
  if (!isfinite(value) || (value == 0 && !is_zero)) return false;
  *out = value;
  return true;
}

void agd_number_format(double value, char text[AGD_NUMBER_SIZE]) {
  AGD_REQUIRE(isfinite(value));
  const locale_t locale = c_locale(), previous = uselocale(locale);
  /* Every decimal of 15 digits survives a double, so %.15g finds the shortest form if one has at most 15; 17 digits
   * are always enough. */
  for (int precision = 15; precision <= 17; precision++) {
    snprintf(text, AGD_NUMBER_SIZE, "%.*g", precision, value);
    if (strtod(text, NULL) == value) break;
  }
  uselocale(previous);
  freelocale(locale);
}

void agd_number_format_digits(double value, int digits, char text[AGD_NUMBER_SIZE]) {
  AGD_REQUIRE(digits >= 1 && digits <= 17);
  const locale_t locale = c_locale(), previous = uselocale(locale);
  snprintf(text, AGD_NUMBER_SIZE, "%.*g", digits, isnan(value) ? fabs(value) : value); /* no "-nan" */
  uselocale(previous);
  freelocale(locale);
}
