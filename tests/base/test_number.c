#include "allegrad/number.h"

#include <float.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "allegrad/rng.h"
#include "temporary.h"

static void test_numbers_are_read(void **state) {
  (void)state;
  const struct {
    const char *text;
    double value;
  } cases[] = {
      {"7", 7},         {"-2.5", -2.5},   {"+.5", 0.5},
      {"5.", 5},        {"1e-3", 1e-3},   {"1E+3", 1000},
      {"010", 10},      {"0", 0},         {"-0", 0},
      {"0.000e999", 0}, {"00e7", 0},      {"5e-324", 0x1p-1074},
      {"0.1", 0.1},     {"1e308", 1e308}, {"123456789012345678901234567890", 123456789012345678901234567890.0}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    double value = NAN;
    if (!agd_number_parse(cases[i].text, &value) || value != cases[i].value) fail_msg("\"%s\"", cases[i].text);
  }
}

static void test_everything_else_is_refused(void **state) {
  (void)state;
  const char *cases[] = {"",         " 7",    "7 ",     "7x",     "0x10",  "1,5", "nan", "NaN", "inf", "-inf",
                         "infinity", ".",     "-",      "+-1",    "--1",   "1e",  "1e+", "e5",  ".e5", "1.2.3",
                         "1_000",    "1e999", "-1e999", "1e-999", "1e5.0", "0b1", "1d3", "\t1", "1\n", "\xef\xbc\x91"};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    double value = 42;
    if (agd_number_parse(cases[i], &value) || value != 42) fail_msg("\"%s\" was taken", cases[i]);
  }
}

static void test_fewest_digits(void **state) {
  (void)state;
  const struct {
    double value;
    const char *text;
  } cases[] = {{0.1, "0.1"},
               {10, "10"},
               {0.001, "0.001"},
               {1e-7, "1e-07"},
               {1e30, "1e+30"},
               {0.1 + 0.2, "0.30000000000000004"},
               {1.0 / 3, "0.3333333333333333"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char text[AGD_NUMBER_SIZE];
    agd_number_format(cases[i].value, text);
    assert_string_equal(text, cases[i].text);
  }
}

static void test_given_digits(void **state) {
  (void)state;
  const struct {
    double value;
    int digits;
    const char *text;
  } cases[] = {{1.0 / 3, 9, "0.333333333"},
               {0.5, 9, "0.5"},
               {1234567890123, 9, "1.23456789e+12"},
               {-2.2250738585072014e-308, 17, "-2.2250738585072014e-308"},
               {NAN, 9, "nan"},
               {-(double)NAN, 9, "nan"},
               {INFINITY, 9, "inf"},
               {-(double)INFINITY, 9, "-inf"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char text[AGD_NUMBER_SIZE];
    agd_number_format_digits(cases[i].value, cases[i].digits, text);
    assert_string_equal(text, cases[i].text);
  }
}

static void round_trip(double value) {
  char text[AGD_NUMBER_SIZE];
  agd_number_format(value, text);
  double back = NAN;
  if (!agd_number_parse(text, &back) || memcmp(&back, &value, sizeof value) != 0) fail_msg("%a became %s", value, text);
}

static void test_any_finite_double_survives(void **state) {
  (void)state;
  const double corners[] = {0, -0.0, DBL_MIN, DBL_MAX, -DBL_MAX, DBL_EPSILON, 0x1p-1074, 0x1.fffffffffffffp-1023};
  for (size_t i = 0; i < sizeof corners / sizeof *corners; i++) round_trip(corners[i]);
  for (uint64_t i = 0; i < 20000; i++) {
    const uint64_t bits = agd_random_bits(5, 0, i);
    double value;
    memcpy(&value, &bits, sizeof value);
    if (isfinite(value)) round_trip(value);
  }
}

/* A locale with a decimal comma, made here because a small machine has none: glibc's compiled LC_NUMERIC is a magic
 * number, the count and the offsets of six fields (point, separator, grouping, both as wide characters, codeset). */
static void write_comma_locale(const char *folder) {
  const struct {
    uint32_t magic, count, offset[6];
    char point[2], separator[1], grouping[1];
    uint32_t wide_point, wide_separator;
    char codeset[6];
  } numeric = {0x20031115u ^ LC_NUMERIC, 6, {32, 34, 35, 36, 40, 44}, ",", "", "\x7f", ',', 0, "UTF-8"};
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/comma", folder);
  assert_int_equal(mkdir(path, 0700), 0);
  snprintf(path, sizeof path, "%s/comma/LC_NUMERIC", folder);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(&numeric, sizeof numeric, 1, file), 1);
  assert_int_equal(fclose(file), 0);
}

static void test_a_decimal_comma_changes_nothing(void **state) {
  write_comma_locale(*state);
  assert_int_equal(setenv("LOCPATH", *state, 1), 0);
  assert_non_null(setlocale(LC_NUMERIC, "comma"));
  char text[AGD_NUMBER_SIZE];
  snprintf(text, sizeof text, "%g", 0.5);
  assert_string_equal(text, "0,5"); /* the trap is set */
  agd_number_format(0.5, text);
  assert_string_equal(text, "0.5");
  agd_number_format_digits(0.5, 9, text);
  assert_string_equal(text, "0.5");
  double value = 0;
  assert_true(agd_number_parse("0.25", &value));
  assert_true(value == 0.25);
  assert_false(agd_number_parse("0,25", &value));
  snprintf(text, sizeof text, "%g", 0.5);
  assert_string_equal(text, "0,5"); /* and the program's locale is as it was */
  setlocale(LC_NUMERIC, "C");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_numbers_are_read),
      cmocka_unit_test(test_everything_else_is_refused),
      cmocka_unit_test(test_fewest_digits),
      cmocka_unit_test(test_given_digits),
      cmocka_unit_test(test_any_finite_double_survives),
      cmocka_unit_test_setup_teardown(test_a_decimal_comma_changes_nothing, temporary_setup, temporary_teardown)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
