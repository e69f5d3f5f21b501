#include "allegrad/folder.h"

#include "temporary.h"

static void assert_folder(const char *path) {
  struct stat info;
  assert_int_equal(stat(path, &info), 0);
  assert_true(S_ISDIR(info.st_mode));
}

static void test_creates_with_parents(void **state) {
  char path[TEMPORARY_SIZE];
  agd_status st = {0};
  assert_int_equal(agd_folder_create(temporary_path(path, *state, "a/b/c"), &st), AGD_OK);
  assert_folder(path);
  assert_int_equal(agd_folder_create(path, &st), AGD_OK);
  assert_int_equal(agd_folder_create(temporary_path(path, *state, "d//e/"), &st), AGD_OK);
  assert_folder(path);
}

static void test_refuses(void **state) {
  char file[TEMPORARY_SIZE], path[TEMPORARY_SIZE];
  agd_status st = {0};
  temporary_write(temporary_path(file, *state, "file"), "x");
  assert_int_equal(agd_folder_create(temporary_path(path, *state, "file"), &st), AGD_EDATA);
  assert_non_null(strstr(st.message, "a file of that name is there"));
  assert_int_equal(agd_folder_create(temporary_path(path, *state, "file/deeper"), &st), AGD_EDATA);
  assert_non_null(strstr(st.message, file));
  assert_int_equal(agd_folder_create("/proc/allegrad/run", &st), AGD_EDATA); /* no user may write there */
  assert_non_null(strstr(st.message, "/proc/allegrad: "));
  assert_int_equal(agd_folder_create("", &st), AGD_EDATA);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_creates_with_parents, temporary_setup, temporary_teardown),
      cmocka_unit_test_setup_teardown(test_refuses, temporary_setup, temporary_teardown)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
