#include "allegrad/report.h"

#include "temporary.h"

/* Makes a run folder of two files. */
static void put(const char *folder, const char *name, const char *metrics, const char *status) {
  char path[TEMPORARY_SIZE], inside[TEMPORARY_SIZE];
  temporary_path(path, folder, name);
  assert_int_equal(mkdir(path, 0700), 0);
  temporary_write(temporary_path(inside, path, "metrics.csv"), metrics);
  temporary_write(temporary_path(inside, path, "status"), status);
}

#define HEADER "epoch,step,loss,val_loss,seconds\n"

static const char *const names[] = {"bn-raw", "plain-raw", "begun", "exploded", "training-only/"};
enum { RUNS = 5 };

static void put_all(const char *folder, char paths[RUNS][TEMPORARY_SIZE], const char *list[RUNS]) {
  put(folder, names[0], HEADER "1,10,0.5,0.75,1.25\n2,20,0.25,0.5,1\n3,30,0.3,0.625,0.75\n", "state: finished\nwell\n");
  put(folder, names[1], HEADER "1,3,inf,nan,0.5\n", "state: diverged\nthe loss is NaN in step 3\n");
  put(folder, names[2], HEADER, "state: running\nsince today\n");
  put(folder, names[3], HEADER "1,10,0.5,0.75,2\n2,20,nan,nan,2\n", "state: diverged\n\n");
  put(folder, "training-only", HEADER "1,10,0.125,,1\n", "state: failed\ndisk full\n");
  for (size_t i = 0; i < RUNS; i++) list[i] = temporary_path(paths[i], folder, names[i]);
}

static void test_table(void **state) {
  char paths[RUNS][TEMPORARY_SIZE], out[TEMPORARY_SIZE];
  const char *list[RUNS];
  agd_status st = {0};
  agd_report *reports;
  put_all(*state, paths, list);
  if (agd_reports_read(list, RUNS, &reports, &st) != AGD_OK) fail_msg("%s", st.message);
  assert_string_equal(reports[1].explanation, "the loss is NaN in step 3");
  FILE *file = fopen(temporary_path(out, *state, "table"), "w");
  assert_non_null(file);
  agd_reports_print(file, reports, RUNS);
  assert_int_equal(fclose(file), 0);
  agd_reports_destroy(&reports, RUNS);
  assert_null(reports);
  char *text = temporary_text(out);
  assert_string_equal(text,
                      "run            epochs        loss        best    val_loss        best    s/epoch  ended\n"
                      "bn-raw              3         0.3        0.25       0.625         0.5       1.00  finished\n"
                      "plain-raw           1         inf           -           -           -       0.50  diverged\n"
                      "begun               0           -           -           -           -          -  running\n"
                      "exploded            2         nan         0.5         nan        0.75       2.00  diverged\n"
                      "training-only       1       0.125       0.125           -           -       1.00  failed\n");
  free(text);
}

static void test_names(void **state) {
  char paths[RUNS][TEMPORARY_SIZE];
  const char *list[RUNS];
  agd_status st = {0};
  agd_report *reports;
  put_all(*state, paths, list);
  assert_int_equal(agd_reports_read(list, 1, &reports, &st), AGD_OK);
  assert_string_equal(reports[0].name, "bn-raw");
  agd_reports_destroy(&reports, 1);

  char deep[TEMPORARY_SIZE], deeper[TEMPORARY_SIZE];
  assert_int_equal(mkdir(temporary_path(deep, *state, "other"), 0700), 0);
  put(deep, "bn-raw", HEADER, "state: running\n\n");
  const char *const two[] = {list[0], temporary_path(deeper, deep, "bn-raw")};
  assert_int_equal(agd_reports_read(two, 2, &reports, &st), AGD_OK);
  assert_string_equal(reports[0].name, "bn-raw");
  assert_string_equal(reports[1].name, "other/bn-raw");
  agd_reports_destroy(&reports, 2);
}

static void test_no_run(void **state) {
  char paths[RUNS][TEMPORARY_SIZE], nothing[TEMPORARY_SIZE], status[TEMPORARY_SIZE];
  const char *list[RUNS];
  agd_status st = {0};
  agd_report *reports;
  put_all(*state, paths, list);
  list[2] = temporary_path(nothing, *state, "nothing");
  assert_int_equal(agd_reports_read(list, RUNS, &reports, &st), AGD_EDATA);
  assert_null(reports);
  assert_non_null(strstr(st.message, nothing));
  list[2] = list[3];
  assert_int_equal(unlink(temporary_path(status, list[3], "status")), 0);
  assert_int_equal(agd_reports_read(list, RUNS, &reports, &st), AGD_EDATA);
  assert_non_null(strstr(st.message, status));
}

static void test_picture(void **state) {
  char paths[RUNS][TEMPORARY_SIZE], png[TEMPORARY_SIZE];
  const char *list[RUNS];
  agd_status st = {0};
  agd_report *reports;
  put_all(*state, paths, list);
  assert_int_equal(agd_reports_read(list, RUNS, &reports, &st), AGD_OK);
  if (agd_reports_plot(temporary_path(png, *state, "x.png"), "title", reports, RUNS, &st) != AGD_OK)
    fail_msg("%s", st.message);
  assert_int_equal(access(png, R_OK), 0);
  agd_reports_destroy(&reports, RUNS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, temporary_setup, temporary_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {TEST(test_table), TEST(test_names), TEST(test_no_run), TEST(test_picture)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
