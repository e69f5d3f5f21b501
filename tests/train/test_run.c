#include "allegrad/run.h"

#include "allegrad/checkpoint.h"
#include "temporary.h"

#include <dirent.h>
#include <math.h>

/* The default job with a log of every second step. */
static agd_config job(void) {
  agd_config config;
  agd_status st = {0};
  if (agd_config_parse("data: {file: x.h5}\nlog: {steps: 2}\n", "test", NULL, 0, &config, &st) != AGD_OK)
    fail_msg("%s", st.message);
  return config;
}

static agd_run *begin(const char *folder, const agd_config *config) {
  agd_run *run;
  agd_status st = {0};
  if (agd_run_create(folder, config, &run, &st) != AGD_OK) fail_msg("%s", st.message);
  assert_non_null(run);
  return run;
}

static void check_text(const char *folder, const char *name, const char *expected) {
  char path[TEMPORARY_SIZE];
  char *text = temporary_text(temporary_path(path, folder, name));
  assert_string_equal(text, expected);
  free(text);
}

static bool there(const char *folder, const char *name) {
  char path[TEMPORARY_SIZE];
  return access(temporary_path(path, folder, name), F_OK) == 0;
}

static int entries(const char *folder, const char *name) {
  char path[TEMPORARY_SIZE];
  DIR *stream = opendir(temporary_path(path, folder, name));
  assert_non_null(stream);
  int count = 0;
  for (const struct dirent *item; (item = readdir(stream)) != NULL;) count += item->d_name[0] != '.';
  closedir(stream);
  return count;
}

#define COLUMNS                                                                                                        \
  "epoch,step,loss,val_loss,seconds,learning_rate,compute,batch_norm,gradients,rows,io,slowest_rank,slowest_compute,"  \
  "fastest_rank,fastest_compute\n"
#define DETAILS ",0.1,0.5,0.25,0.125,0.0625,0.0625,3,0.75,2,0.25\n"
static const agd_epoch_details details = {.learning_rate = 0.1,
                                          .compute = 0.5,
                                          .batch_norm = 0.25,
                                          .gradients = 0.125,
                                          .rows = 0.0625,
                                          .io = 0.0625,
                                          .slowest_rank = 3,
                                          .slowest_compute = 0.75,
                                          .fastest_rank = 2,
                                          .fastest_compute = 0.25};

static const agd_epoch_metrics two[] = {{1, 3, 1.0 / 3, 2, 0.25}, {2, 6, 1e-10, 123456789012, 12}};

static void test_what_a_run_leaves(void **state) {
  char folder[TEMPORARY_SIZE], path[AGD_PATH_MAX], expected[TEMPORARY_SIZE];
  agd_status st = {0};
  const agd_config config = job();
  agd_run *run = begin(temporary_path(folder, *state, "deep/run"), &config);
  char *status = temporary_text(temporary_path(expected, folder, "status"));
  assert_int_equal(strncmp(status, "state: running\nsince 2", 22), 0);
  free(status);
  for (uint64_t step = 1; step <= 3; step++) assert_int_equal(agd_run_step(run, step, 0.5 / (double)step, &st), AGD_OK);
  assert_int_equal(agd_run_epoch(run, &two[0], &details, &st), AGD_OK);
  check_text(folder, "metrics.csv", COLUMNS "1,3,0.333333333,2,0.25" DETAILS); /* at once */
  check_text(folder, "steps.csv", "step,loss\n2,0.25\n");
  for (uint64_t step = 4; step <= 6; step++) assert_int_equal(agd_run_step(run, step, 0.5, &st), AGD_OK);
  assert_int_equal(agd_run_epoch(run, &two[1], &details, &st), AGD_OK);

  agd_run_checkpoint_path(run, 6, path, sizeof path);
  assert_string_equal(path, temporary_path(expected, folder, "checkpoints/step-00000006.weights.h5"));
  agd_run_final_path(run, path, sizeof path);
  assert_string_equal(path, temporary_path(expected, folder, "final.weights.h5"));

  assert_int_equal(agd_run_close(&run, AGD_RUN_FINISHED, "2 epochs\nin all", &st), AGD_OK);
  assert_null(run);
  assert_int_equal(agd_run_close(&run, AGD_RUN_FINISHED, "", &st), AGD_OK);
  check_text(folder, "metrics.csv", COLUMNS "1,3,0.333333333,2,0.25" DETAILS "2,6,1e-10,1.23456789e+11,12" DETAILS);
  check_text(folder, "steps.csv", "step,loss\n2,0.25\n4,0.5\n6,0.5\n");
  check_text(folder, "status", "state: finished\n2 epochs in all\n");
  char *text;
  assert_int_equal(agd_config_format(&config, &text, &st), AGD_OK);
  check_text(folder, "config.yaml", text);
  free(text);
  assert_true(there(folder, "curves.png"));
  assert_int_equal(entries(folder, "events/train"), 1);
  assert_int_equal(entries(folder, "events/validation"), 1);
  assert_int_equal(entries(folder, ""), 8);
}

static void test_without_validation_steps_and_events(void **state) {
  char folder[TEMPORARY_SIZE];
  agd_status st = {0};
  agd_config config = job();
  config.validation_split = 0, config.log_steps = 0, config.tensorboard = false;
  agd_run *run = begin(temporary_path(folder, *state, "run"), &config);
  assert_int_equal(agd_run_step(run, 1, 1, &st), AGD_OK);
  assert_int_equal(agd_run_epoch(run, &(agd_epoch_metrics){1, 3, 0.5, NAN, 0.25}, &details, &st), AGD_OK);
  assert_int_equal(agd_run_close(&run, AGD_RUN_FINISHED, "", &st), AGD_OK);
  check_text(folder, "metrics.csv", COLUMNS "1,3,0.5,,0.25" DETAILS);
  assert_false(there(folder, "steps.csv"));
  assert_false(there(folder, "events"));
  agd_epoch_metrics *metrics;
  size_t count;
  assert_int_equal(agd_run_metrics(folder, &metrics, &count, &st), AGD_OK);
  assert_int_equal(count, 1);
  assert_true(isnan(metrics[0].val_loss));
  free(metrics);
}

static void test_a_diverged_run_can_be_read_back(void **state) {
  char folder[TEMPORARY_SIZE], explanation[64];
  agd_status st = {0};
  const agd_config config = job();
  agd_run *run = begin(temporary_path(folder, *state, "run"), &config);
  assert_int_equal(agd_run_epoch(run, &two[0], &details, &st), AGD_OK);
  assert_int_equal(agd_run_epoch(run, &(agd_epoch_metrics){2, 5, NAN, -(double)NAN, 1}, &details, &st), AGD_OK);
  assert_int_equal(agd_run_epoch(run, &(agd_epoch_metrics){3, 6, INFINITY, -INFINITY, 1}, &details, &st), AGD_OK);
  assert_int_equal(agd_run_close(&run, AGD_RUN_DIVERGED, "NaN in step 5", &st), AGD_OK);
  check_text(folder, "metrics.csv",
             COLUMNS "1,3,0.333333333,2,0.25" DETAILS "2,5,nan,nan,1" DETAILS "3,6,inf,-inf,1" DETAILS);
  agd_epoch_metrics *metrics;
  size_t count;
  assert_int_equal(agd_run_metrics(folder, &metrics, &count, &st), AGD_OK);
  assert_int_equal(count, 3);
  assert_true(metrics[0].epoch == 1 && metrics[0].step == 3 && metrics[0].loss == 0.333333333 &&
              metrics[0].val_loss == 2 && metrics[0].seconds == 0.25);
  assert_true(isnan(metrics[1].loss) && isnan(metrics[1].val_loss));
  assert_true(isinf(metrics[2].loss) && metrics[2].val_loss < 0);
  free(metrics);
  agd_run_state ended;
  assert_int_equal(agd_run_status(folder, &ended, explanation, sizeof explanation, &st), AGD_OK);
  assert_int_equal(ended, AGD_RUN_DIVERGED);
  assert_string_equal(explanation, "NaN in step 5");
}

/* Whatever shows that a run is there, a second one is refused and changes nothing. */
static void test_a_held_folder_is_refused(void **state) {
  static const char *const names[] = {"config.yaml", "metrics.csv", "steps.csv", "status", "final.weights.h5"};
  const agd_config config = job();
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char folder[TEMPORARY_SIZE], path[TEMPORARY_SIZE];
    agd_status st = {0};
    agd_run *run;
    assert_int_equal(mkdir(temporary_path(folder, *state, names[i]), 0777), 0);
    temporary_write(temporary_path(path, folder, names[i]), "precious");
    assert_int_equal(agd_run_create(folder, &config, &run, &st), AGD_EUSAGE);
    assert_null(run);
    assert_non_null(strstr(st.message, folder));
    assert_non_null(strstr(st.message, "already holds a run"));
    check_text(folder, names[i], "precious");
    assert_int_equal(entries(folder, ""), 1);
  }
  char folder[TEMPORARY_SIZE], path[TEMPORARY_SIZE];
  agd_status st = {0};
  agd_run *run;
  temporary_path(folder, *state, "with-checkpoints");
  assert_int_equal(mkdir(folder, 0777) | mkdir(temporary_path(path, folder, "checkpoints"), 0777), 0);
  assert_int_equal(agd_run_create(folder, &config, &run, &st), AGD_EUSAGE);
  assert_int_equal(entries(folder, ""), 1);
}

/* Files that are no run's may be there. */
static void test_other_files_stay(void **state) {
  char path[TEMPORARY_SIZE];
  agd_status st = {0};
  const agd_config config = job();
  temporary_write(temporary_path(path, *state, "notes.txt"), "mine");
  agd_run *run = begin(*state, &config);
  assert_int_equal(agd_run_close(&run, AGD_RUN_FAILED, "stopped", &st), AGD_OK);
  check_text(*state, "notes.txt", "mine");
  check_text(*state, "status", "state: failed\nstopped\n");
}

static void test_unwritable_places(void **state) {
  char path[TEMPORARY_SIZE], inside[TEMPORARY_SIZE];
  const agd_config config = job();
  temporary_write(temporary_path(path, *state, "file"), "x");
  const char *const folders[] = {path, temporary_path(inside, path, "deeper"), "/proc/allegrad/run", ""};
  for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
    agd_status st = {0};
    agd_run *run;
    assert_int_equal(agd_run_create(folders[i], &config, &run, &st), AGD_EDATA);
    assert_null(run);
    assert_non_null(strstr(st.message, i == 2 ? "/proc/allegrad" : i == 3 ? "empty" : path));
  }
  char longest[AGD_PATH_MAX];
  memset(longest, 'x', sizeof longest);
  longest[sizeof longest - 20] = '\0';
  agd_status st = {0};
  agd_run *run;
  assert_int_equal(agd_run_create(longest, &config, &run, &st), AGD_EDATA);
  assert_non_null(strstr(st.message, "too long"));
}

/* A disk that fills up while the folder is made leaves nothing; one that fills up later is reported, with the file. */
static void test_full_disk(void **state) {
  char folder[TEMPORARY_SIZE];
  agd_status st = {0};
  agd_config config = job();
  agd_run *run = NULL;
  temporary_path(folder, *state, "run");
  for (rlim_t limit = 1; limit < 100000; limit = limit * 3 / 2 + 1) {
    temporary_disk_limit(limit);
    const agd_code code = agd_run_create(folder, &config, &run, &st);
    temporary_disk_limit(RLIM_INFINITY);
    if (code == AGD_OK) break;
    assert_int_equal(code, AGD_EDATA);
    assert_non_null(strstr(st.message, "cannot write "));
    assert_null(run);
    assert_int_equal(entries(folder, ""), 0);
  }
  assert_non_null(run);
  temporary_disk_limit(40);
  agd_status epoch = {0};
  const agd_code code = agd_run_epoch(run, &two[0], &details, &epoch);
  temporary_disk_limit(RLIM_INFINITY);
  assert_int_equal(code, AGD_EDATA);
  assert_non_null(strstr(epoch.message, "run/metrics.csv: File too large"));
  agd_run_close(&run, AGD_RUN_FAILED, epoch.message, &st);
  assert_null(run);
}

/* Steps wait in memory: when they cannot be written at the end, that is said, and the run has failed. */
static void test_disk_full_at_the_end(void **state) {
  char folder[TEMPORARY_SIZE];
  agd_status st = {0};
  const agd_config config = job();
  agd_run *run = begin(temporary_path(folder, *state, "run"), &config);
  for (uint64_t step = 1; step <= 200; step++) assert_int_equal(agd_run_step(run, step, 1.0 / 3, &st), AGD_OK);
  temporary_disk_limit(1000);
  const agd_code code = agd_run_close(&run, AGD_RUN_FINISHED, "all is well", &st);
  temporary_disk_limit(RLIM_INFINITY);
  assert_int_equal(code, AGD_EDATA);
  assert_null(run);
  assert_non_null(strstr(st.message, "run/steps.csv: File too large"));
  char path[TEMPORARY_SIZE], *status = temporary_text(temporary_path(path, folder, "status"));
  assert_int_equal(strncmp(status, "state: failed\ncannot write ", 27), 0);
  free(status);
}

/* Without gnuplot a run ends well, without a picture. */
static void test_no_gnuplot(void **state) {
  char folder[TEMPORARY_SIZE];
  agd_status st = {0};
  const agd_config config = job();
  agd_run *run = begin(temporary_path(folder, *state, "run"), &config);
  char *before = strdup(getenv("PATH"));
  setenv("PATH", *state, 1);
  const agd_code code = agd_run_close(&run, AGD_RUN_FINISHED, "done", &st);
  setenv("PATH", before, 1);
  free(before);
  assert_int_equal(code, AGD_OK);
  check_text(folder, "status", "state: finished\ndone\n");
  assert_false(there(folder, "curves.png"));
}

static void check_metrics(const char *folder, const char *text, long count, const char *message) {
  char path[TEMPORARY_SIZE];
  agd_status st = {0};
  agd_epoch_metrics *metrics;
  size_t found;
  temporary_write(temporary_path(path, folder, "metrics.csv"), text);
  const agd_code code = agd_run_metrics(folder, &metrics, &found, &st);
  if (code != (count < 0 ? AGD_EDATA : AGD_OK)) fail_msg("%s: code %d, %s", text, code, st.message);
  if (count >= 0) assert_int_equal(found, count);
  if (message != NULL && strstr(st.message, message) == NULL) fail_msg("%s: %s", text, st.message);
  free(metrics);
}

#define HEADER "epoch,step,loss,val_loss,seconds\n"

static void test_torn_and_garbage_metrics(void **state) {
  check_metrics(*state, HEADER, 0, NULL);
  check_metrics(*state, HEADER "1,2,3,4,5\n", 1, NULL);
  check_metrics(*state, HEADER "1,2,3,4,5\n2,3,4.12", 1, NULL); /* torn: being written, or killed */
  check_metrics(*state, HEADER "1,2,3,,5\n2,3,nan,inf,1e-3\n", 2, NULL);
  check_metrics(*state, "", -1, "is empty");
  check_metrics(*state, "epoch,st", -1, "metrics.csv:1: not a metrics file");
  check_metrics(*state, "hello\n1,2,3,4,5\n", -1, "metrics.csv:1: not a metrics file");
  static const char *const bad[] = {"1,2,3,4",   "1,2,3,4,5,6", "-1,2,3,4,5", "1,2.5,3,4,5",
                                    "1,2,x,4,5", "1,2,,4,5",    "1,2,3,4,",   "",
                                    ",,,,",      "1,2,3,4,5 ",  "1,2,3, 4,5", "99999999999999999999,2,3,4,5"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    char text[256];
    snprintf(text, sizeof text, HEADER "1,2,3,4,5\n%s\n", bad[i]);
    check_metrics(*state, text, -1, "metrics.csv:3: not a line of metrics");
  }
  agd_status st = {0};
  agd_epoch_metrics *metrics;
  size_t count;
  assert_int_equal(agd_run_metrics("/nowhere", &metrics, &count, &st), AGD_EDATA);
  assert_non_null(strstr(st.message, "/nowhere/metrics.csv"));
}

static void test_torn_and_garbage_status(void **state) {
  static const struct {
    const char *text, *explanation;
    agd_code code;
  } cases[] = {{"state: finished\n30 epochs\n", "30 epochs", AGD_OK},
               {"state: finished\n30 ep", "30 ep", AGD_OK},
               {"state: finished", "", AGD_OK},
               {"state: happy\n\n", NULL, AGD_EDATA},
               {"finished\n\n", NULL, AGD_EDATA},
               {"", NULL, AGD_EDATA}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char path[TEMPORARY_SIZE], explanation[32] = "";
    agd_status st = {0};
    agd_run_state found = AGD_RUN_RUNNING;
    temporary_write(temporary_path(path, *state, "status"), cases[i].text);
    assert_int_equal(agd_run_status(*state, &found, explanation, sizeof explanation, &st), cases[i].code);
    if (cases[i].code == AGD_OK) {
      assert_int_equal(found, AGD_RUN_FINISHED);
      assert_string_equal(explanation, cases[i].explanation);
    } else {
      assert_non_null(strstr(st.message, "/status"));
    }
  }
}

static void check_weights(const char *given, const char *expected, agd_code code) {
  char path[AGD_PATH_MAX] = "";
  agd_status st = {0};
  assert_int_equal(agd_run_weights_path(given, path, sizeof path, NULL, &st), code);
  if (code == AGD_OK) assert_string_equal(path, expected);
  if (code != AGD_OK) assert_non_null(strstr(st.message, given));
}

static void test_weights_of_a_run(void **state) {
  char folder[TEMPORARY_SIZE], final[TEMPORARY_SIZE], old[TEMPORARY_SIZE], new[TEMPORARY_SIZE], path[TEMPORARY_SIZE];
  agd_status st = {0};
  check_weights(temporary_path(path, *state, "nothing"), NULL, AGD_EDATA);
  check_weights(*state, NULL, AGD_EDATA); /* a folder, but no run */
  const agd_config config = job();
  agd_run *run = begin(temporary_path(folder, *state, "run"), &config);
  check_weights(folder, NULL, AGD_EDATA);
  agd_run_checkpoint_path(run, 9, old, sizeof old);
  agd_run_checkpoint_path(run, 10, new, sizeof new);
  agd_run_final_path(run, final, sizeof final);
  assert_int_equal(agd_file_replace(old, "old", 3, true, &st), AGD_OK);
  assert_int_equal(agd_file_replace(new, "new", 3, true, &st), AGD_OK);
  check_weights(folder, new, AGD_OK);
  temporary_write(new, "damaged");
  check_weights(folder, old, AGD_OK);
  assert_int_equal(agd_file_replace(final, "final", 5, true, &st), AGD_OK);
  check_weights(folder, final, AGD_OK);
  check_weights(new, new, AGD_OK); /* a file is itself */
  assert_int_equal(agd_run_close(&run, AGD_RUN_FINISHED, "", &st), AGD_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, temporary_setup, temporary_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {TEST(test_what_a_run_leaves),
                                     TEST(test_without_validation_steps_and_events),
                                     TEST(test_a_diverged_run_can_be_read_back),
                                     TEST(test_a_held_folder_is_refused),
                                     TEST(test_other_files_stay),
                                     TEST(test_unwritable_places),
                                     TEST(test_full_disk),
                                     TEST(test_disk_full_at_the_end),
                                     TEST(test_no_gnuplot),
                                     TEST(test_torn_and_garbage_metrics),
                                     TEST(test_torn_and_garbage_status),
                                     TEST(test_weights_of_a_run)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
