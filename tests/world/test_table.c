#include "allegrad/table.h"
#include "temporary.h"

/* Writes bytes to a file of the test's folder. */
static const char *make_bytes(void **state, char path[TEMPORARY_SIZE], const char *bytes, size_t size) {
  temporary_path(path, *state, "table.csv");
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(bytes, 1, size, file), size);
  assert_int_equal(fclose(file), 0);
  return path;
}

static agd_names names_of(size_t count, const char *const *name) {
  agd_names names = {0};
  for (size_t i = 0; i < count; i++) assert_int_equal(agd_names_add(&names, name[i], NULL), AGD_OK);
  return names;
}

/* Reads text and expects these numbers; `columns` ends with NULL. */
static void expect_columns(void **state, const char *text, const char *const *columns, agd_missing missing,
                           uint64_t rows, const double *values) {
  char path[TEMPORARY_SIZE];
  agd_status st = {0};
  agd_table table = {0};
  size_t count = 0;
  while (columns != NULL && columns[count] != NULL) count++;
  agd_names wanted = names_of(count, columns);
  make_bytes(state, path, text, strlen(text));
  const agd_code code = agd_table_read(path, &wanted, missing, &table, &st);
  assert_string_equal(st.message, "");
  assert_int_equal(code, AGD_OK);
  assert_int_equal(table.rows, rows);
  if (count > 0) assert_int_equal(table.names.count, count);
  for (size_t i = 0; i < count; i++) assert_string_equal(table.names.name[i], columns[i]);
  for (size_t i = 0; i < rows * table.names.count; i++) assert_true(table.value[i] == values[i]);
  agd_names_clear(&wanted);
  agd_table_clear(&table);
}

static void expect(void **state, const char *text, uint64_t rows, const double *values) {
  expect_columns(state, text, NULL, AGD_MISSING_ERROR, rows, values);
}

/* Reads text and expects AGD_EDATA with this message behind the path. */
static void refuse_bytes(void **state, const char *text, size_t size, const agd_names *columns, agd_missing missing,
                         const char *message) {
  char path[TEMPORARY_SIZE];
  agd_status st = {0};
  agd_table table = {0};
  make_bytes(state, path, text, size);
  assert_int_equal(agd_table_read(path, columns, missing, &table, &st), AGD_EDATA);
  assert_memory_equal(st.message, path, strlen(path));
  assert_string_equal(st.message + strlen(path), message);
  assert_null(table.value);
  assert_int_equal(table.names.count, 0);
}

static void refuse(void **state, const char *text, const char *message) {
  refuse_bytes(state, text, strlen(text), NULL, AGD_MISSING_ERROR, message);
}

static void test_plain(void **state) {
  const double values[] = {1, -2.5, 1000, .25, 7, -3e-2};
  expect(state, "a,b\n1,-2.5\n1e3,.25\n7,-3E-2\n", 3, values);
  expect(state, "a,b\n1,-2.5\n1e3,.25\n7,-3E-2", 3, values);
}

static void test_line_ends_and_mark(void **state) {
  const double values[] = {1, 2, 3, 4};
  expect(state, "a,b\r\n1,2\r\n3,4\r\n", 2, values);
  expect(state, "a,b\r1,2\r3,4", 2, values);
  expect(state, "\n\r\n  \na,b\n\n1,2\n \t\n3,4\n\n", 2, values);
  const char *const columns[] = {"b", "a", NULL};
  const double swapped[] = {2, 1, 4, 3};
  expect_columns(state,
                 "\xEF\xBB\xBF"
                 "a,b\n1,2\n3,4\n",
                 columns, AGD_MISSING_ERROR, 2, swapped);
  expect_columns(state, "\xEF\xBB\xBF\"a\",\"b\"\r\n1,2\r\n3,4\r\n", columns, AGD_MISSING_ERROR, 2, swapped);
}

static void test_quotes_and_blanks(void **state) {
  const char *const columns[] = {"a, \"the\" first", "b\nb", NULL};
  const double values[] = {1, 2, 3, 4};
  expect_columns(state, "\"a, \"\"the\"\" first\",\"b\nb\"\n\"1\", 2 \n\" 3\t\",\"4\"\n", columns, AGD_MISSING_ERROR, 2,
                 values);
}

/* Only the wanted columns are looked at, in the order they are wanted. */
static void test_choice(void **state) {
  const char *const columns[] = {"price", "id", NULL};
  const double values[] = {9, 1, 8, 2};
  expect_columns(state, "id,name,price,x,x\n1,Anna,9,,\n2,\"B, C\",8,nan,7x\n", columns, AGD_MISSING_ERROR, 2, values);
}

static void test_missing(void **state) {
  static const char *const spelling[] = {"", "\"\"", " ", "NA", "na", "NaN", "nan", "?", "null", "NULL", "None"};
  for (size_t i = 0; i < sizeof spelling / sizeof *spelling; i++) {
    char text[64];
    const double values[] = {1, 2, 5, 6};
    const char *const columns[] = {"a", "b", NULL};
    snprintf(text, sizeof text, "a,b\n1,2\n3,%s\n5,6\n", spelling[i]);
    expect_columns(state, text, columns, AGD_MISSING_DROP, 2, values);
  }
  refuse(state, "a,b\n1,2\n3,\n", ":3: column \"b\": \"\" is a missing value");
  refuse(state, "a,b\n1,2\nNA,4\n", ":3: column \"a\": \"NA\" is a missing value");
  const char *const text = "a,b\n1,\n,4\n";
  refuse_bytes(state, text, strlen(text), NULL, AGD_MISSING_DROP, ": every row has a missing value");
  /* What is no number is an error also in a row that is dropped. */
  const char *const wrong = "a,b\n,4x\n";
  refuse_bytes(state, wrong, strlen(wrong), NULL, AGD_MISSING_DROP, ":2: column \"b\": \"4x\" is no number");
}

static void test_dropped_are_counted(void **state) {
  char path[TEMPORARY_SIZE];
  agd_table table = {0};
  const char *const text = "a,b\n,\n1,2\n3,NA\n";
  make_bytes(state, path, text, strlen(text));
  assert_int_equal(agd_table_read(path, NULL, AGD_MISSING_DROP, &table, NULL), AGD_OK);
  assert_int_equal(table.rows, 1);
  assert_int_equal(table.dropped, 2);
  agd_table_clear(&table);
}

static void test_no_number(void **state) {
  static const char *const cell[] = {"7x",  "0x10", "inf", "-Infinity", "1e999", "1 2",  "1;5",
                                     "abc", "1d5",  "1e",  "--1",       "1_000", "TRUE", "-nan"};
  for (size_t i = 0; i < sizeof cell / sizeof *cell; i++) {
    char text[64], message[96];
    snprintf(text, sizeof text, "a,b\r\n1,2\r\n3,%s\r\n", cell[i]);
    snprintf(message, sizeof message, ":3: column \"b\": \"%s\" is no number", cell[i]);
    refuse(state, text, message);
  }
  refuse(state, "a\n\"1,5\"\n", ":2: column \"a\": \"1,5\" is no number");
  refuse(state, "a\n\"1\x1b[31m\n\"\n", ":2: column \"a\": \"1?[31m?\" is no number");
}

/* Lines are counted as an editor does. */
static void test_lines(void **state) {
  refuse(state, "a,\"b\r\nb\"\r\n1,2\r\n\r\n3,x\r\n", ":5: column \"b??b\": \"x\" is no number");
  refuse(state, "a,b\n\"1\n\n\n\",2\n", ":2: column \"a\": \"1???\" is no number");
  refuse(state, "a,b,c\n\"\n\n\",2,x\n", ":2: column \"a\": \"??\" is no number");
  agd_names wanted = names_of(1, (const char *const[]){"c"});
  const char *const text = "a,b,c\n\"\n\n\",2,x\n";
  refuse_bytes(state, text, strlen(text), &wanted, AGD_MISSING_ERROR, ":4: column \"c\": \"x\" is no number");
  refuse(state, "a\r1\r\r2\rx\r", ":5: column \"a\": \"x\" is no number");
  agd_names_clear(&wanted);
}

static void test_ragged_rows(void **state) {
  refuse(state, "a,b,c\n1,2,3\n1,2\n", ":3: 2 cells, but the header has 3");
  refuse(state, "a,b\n1,2,3\n", ":2: 3 cells, but the header has 2");
  refuse(state, "a,b\n1,2,\n", ":2: 3 cells, but the header has 2");
  refuse(state, "a,b\n1,2\n3", ":3: 1 cells, but the header has 2");
}

static void test_quotation_marks(void **state) {
  static const char stray[] = "a stray quotation mark: a cell that holds one is written in quotation marks, the mark "
                              "doubled";
  char message[160];
  snprintf(message, sizeof message, ":3: %s", stray);
  refuse(state, "a,b\n1,2\n3,4\"\n", message);
  refuse(state, "a,b\n1,2\n3,\"4\"5\n", message);
  refuse(state, "a,b\n1,2\n3,\"4\n5,6\n", ":3: a quotation mark that is never closed");
  refuse(state, "a,\"b\n1,2\n", ":1: a quotation mark that is never closed");
}

static void test_header(void **state) {
  refuse(state, "\n\n", ": no header line");
  refuse(state, "\xEF\xBB\xBF", ": no header line");
  refuse(state, "a,b\n", ": a header but no rows");
  refuse(state, "a,b", ": a header but no rows");
  refuse(state, "\na,b,a\n1,2,3\n", ":2: the header has column \"a\" twice");
  refuse(state, ",a\n0,1\n", ":1: column 1 has no name; choose the columns by name");
  const char *const missing[] = {"b", "price"}, *const twice[] = {"a", "b", "a"};
  agd_names names = names_of(2, missing);
  const char *const text = "a,b\n1,2\n";
  refuse_bytes(state, text, strlen(text), &names, AGD_MISSING_ERROR, ":1: no column \"price\"; the header has a, b");
  agd_names_clear(&names);
  names = names_of(3, twice);
  refuse_bytes(state, text, strlen(text), &names, AGD_MISSING_ERROR, ": column \"a\" is wanted twice");
  agd_names_clear(&names);
}

/* A name twice in the header matters only to whoever wants it. */
static void test_header_alone(void **state) {
  char path[TEMPORARY_SIZE];
  agd_names names = {0};
  agd_status st = {0};
  const char *const text = "a, b,\"c,c\",a\nnonsense";
  make_bytes(state, path, text, strlen(text));
  assert_int_equal(agd_table_header(path, &names, &st), AGD_OK);
  assert_int_equal(names.count, 4);
  assert_string_equal(names.name[1], "b");
  assert_string_equal(names.name[2], "c,c");
  make_bytes(state, path, "a,b\"", 4);
  assert_int_equal(agd_table_header(path, &names, &st), AGD_EDATA);
  assert_int_equal(names.count, 0);
}

static void test_nul_bytes(void **state) {
  static const char cell[] = "a,b\n1,2\n3\0,4\n", wide[] = "a\0,\0b\0\n\0";
  refuse_bytes(state, cell, sizeof cell - 1, NULL, AGD_MISSING_ERROR,
               ":3: a NUL byte: not a CSV file in UTF-8 or ASCII");
  refuse_bytes(state, wide, sizeof wide - 1, NULL, AGD_MISSING_ERROR,
               ":1: a NUL byte: not a CSV file in UTF-8 or ASCII");
}

/* A cell of a megabyte is read; a message shows its start only, and no half character. */
static void test_huge_cells(void **state) {
  enum { SIZE = 1 << 20 };
  char *text = malloc(SIZE + 16);
  assert_non_null(text);
  memcpy(text, "a\n1.", 4);
  memset(text + 4, '0', SIZE);
  strcpy(text + 4 + SIZE, "\n");
  const double one = 1;
  expect(state, text, 1, &one);
  memset(text + 4, 'y', SIZE);
  memcpy(text + 2 + 39, "\xC3\xA4", 2);
  refuse(state, text, ":2: column \"a\": \"1.yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy...\" is no number");
  free(text);
}

static void test_many_rows_and_columns(void **state) {
  enum { ROWS = 5000, COLUMNS = 40 };
  char path[TEMPORARY_SIZE];
  temporary_path(path, *state, "large.csv");
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  for (int c = 0; c < COLUMNS; c++) fprintf(file, "%sc%d", c > 0 ? "," : "", c);
  for (int r = 0; r < ROWS; r++)
    for (int c = 0; c < COLUMNS; c++) fprintf(file, "%s%d", c > 0 ? "," : "\n", r * COLUMNS + c);
  assert_int_equal(fclose(file), 0);
  agd_table table = {0};
  assert_int_equal(agd_table_read(path, NULL, AGD_MISSING_ERROR, &table, NULL), AGD_OK);
  assert_int_equal(table.rows, ROWS);
  assert_int_equal(table.names.count, COLUMNS);
  for (int i = 0; i < ROWS * COLUMNS; i++) assert_true(table.value[i] == i);
  agd_table_clear(&table);
}

static void test_not_a_file(void **state) {
  char path[TEMPORARY_SIZE];
  agd_table table = {0};
  agd_status st = {0};
  temporary_path(path, *state, "absent.csv");
  assert_int_equal(agd_table_read(path, NULL, AGD_MISSING_ERROR, &table, &st), AGD_EDATA);
  assert_non_null(strstr(st.message, path));
  assert_int_equal(agd_table_read(*state, NULL, AGD_MISSING_ERROR, &table, &st), AGD_EDATA);
  assert_non_null(strstr(st.message, "folder"));
  assert_int_equal(mkfifo(temporary_path(path, *state, "pipe.csv"), 0600), 0);
  assert_int_equal(agd_table_read(path, NULL, AGD_MISSING_ERROR, &table, &st), AGD_EDATA);
  make_bytes(state, path, "", 0);
  assert_int_equal(agd_table_read(path, NULL, AGD_MISSING_ERROR, &table, &st), AGD_EDATA);
  assert_non_null(strstr(st.message, "empty"));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_plain),
    cmocka_unit_test(test_line_ends_and_mark),
    cmocka_unit_test(test_quotes_and_blanks),
    cmocka_unit_test(test_choice),
    cmocka_unit_test(test_missing),
    cmocka_unit_test(test_dropped_are_counted),
    cmocka_unit_test(test_no_number),
    cmocka_unit_test(test_lines),
    cmocka_unit_test(test_ragged_rows),
    cmocka_unit_test(test_quotation_marks),
    cmocka_unit_test(test_header),
    cmocka_unit_test(test_header_alone),
    cmocka_unit_test(test_nul_bytes),
    cmocka_unit_test(test_huge_cells),
    cmocka_unit_test(test_many_rows_and_columns),
    cmocka_unit_test(test_not_a_file),
};

int main(void) { return cmocka_run_group_tests(tests, temporary_setup, temporary_teardown); }
