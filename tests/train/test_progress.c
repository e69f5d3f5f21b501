#include "allegrad/progress.h"

#include "temporary.h"

#include <fcntl.h>
#include <math.h>
#include <pty.h>
#include <time.h>

/* Standard output and standard error of a scene, caught: the first in a file, the second in a file or by a terminal. */
typedef struct scene {
  char *folder;
  char out[TEMPORARY_SIZE], err[TEMPORARY_SIZE];
  int saved_out, saved_err, terminal; /* terminal: its other end, or -1 */
} scene;

static int create(const char *path) {
  const int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
  assert_true(fd >= 0);
  return fd;
}

static void redirect(int fd, int to, int *saved) {
  *saved = dup(to);
  assert_true(*saved >= 0 && dup2(fd, to) == to);
  close(fd);
}

/* @param width  of the terminal behind standard error; 0: a file instead */
static void begin(scene *s, const char *folder, unsigned short width) {
  int slave;
  temporary_path(s->out, folder, "out"), temporary_path(s->err, folder, "err");
  s->terminal = -1;
  if (width > 0) {
    const struct winsize size = {.ws_row = 24, .ws_col = width};
    assert_int_equal(openpty(&s->terminal, &slave, NULL, NULL, &size), 0);
  }
  fflush(stdout), fflush(stderr);
  redirect(create(s->out), STDOUT_FILENO, &s->saved_out);
  redirect(width > 0 ? slave : create(s->err), STDERR_FILENO, &s->saved_err);
}

/* Ends the scene and gives back what it said; both to be freed. */
static void end(scene *s, char **out, char **err) {
  static const size_t space = 1 << 16;
  fflush(stdout), fflush(stderr);
  if (s->terminal >= 0) {
    *err = calloc(1, space);
    assert_non_null(*err);
    fcntl(s->terminal, F_SETFL, O_NONBLOCK);
    size_t length = 0;
    for (ssize_t got; length + 1 < space && (got = read(s->terminal, *err + length, space - 1 - length)) > 0;)
      length += (size_t)got;
  }
  dup2(s->saved_out, STDOUT_FILENO), dup2(s->saved_err, STDERR_FILENO);
  close(s->saved_out), close(s->saved_err);
  if (s->terminal >= 0) close(s->terminal);
  if (s->terminal < 0) *err = temporary_text(s->err);
  *out = temporary_text(s->out);
}

static const agd_plan plan = {.epochs = 30, .steps_per_epoch = 4, .rows = 1000};

/* An epoch of four steps and one cut after two. */
static void train(agd_progress mode, const agd_plan *ahead) {
  agd_meter *meter;
  agd_status st = {0};
  assert_int_equal(agd_progress_start(mode, ahead, &meter, &st), AGD_OK);
  for (int i = 0; i < 4; i++) agd_progress_step(meter, 0.75);
  agd_progress_epoch(meter, &(agd_epoch_metrics){1, 4, 0.412341, 0.51201, 1.25});
  for (int i = 0; i < 2; i++) agd_progress_step(meter, NAN);
  agd_progress_epoch(meter, &(agd_epoch_metrics){2, 6, 0.25, NAN, 2});
  agd_progress_epoch(meter, &(agd_epoch_metrics){10, 8, INFINITY, NAN, 0});
  agd_progress_end(&meter);
  assert_null(meter);
}

static const char lines[] = "epoch  1/30  loss 0.41234  val_loss 0.51201  1.2 s  800 rows/s\n"
                            "epoch  2/30  loss 0.25  2.0 s  250 rows/s\n"
                            "epoch 10/30  loss inf  val_loss nan  0.0 s  0 rows/s\n";

static void check(void **state, agd_progress mode, unsigned short width, const char *term, bool has_lines,
                  bool has_bar) {
  scene s;
  char *out, *err;
  setenv("TERM", term, 1);
  begin(&s, *state, width);
  train(mode, &plan);
  end(&s, &out, &err);
  assert_string_equal(out, has_lines ? lines : "");
  if (has_bar) {
    assert_int_equal(strncmp(err, "\repoch  1/30 [", 14), 0);
    assert_non_null(strstr(err, "] 1/4  loss 0.75  "));
    assert_string_equal(err + strlen(err) - 4, "\r\x1b[K"); /* cleared at the end */
  } else {
    assert_string_equal(err, "");
  }
  free(out), free(err);
}

static void test_modes(void **state) {
  check(state, AGD_PROGRESS_AUTO, 0, "xterm", true, false);
  check(state, AGD_PROGRESS_AUTO, 100, "xterm", true, true);
  check(state, AGD_PROGRESS_AUTO, 100, "dumb", true, false);
  check(state, AGD_PROGRESS_BAR, 0, "xterm", true, true);
  check(state, AGD_PROGRESS_LINES, 100, "xterm", true, false);
  check(state, AGD_PROGRESS_OFF, 100, "xterm", false, false);
}

/* No drawing is as wide as the terminal, which would wrap it; the bar itself goes first when room is short. */
static void test_width(void **state) {
  static const unsigned short widths[] = {1, 2, 10, 40, 66, 67, 68, 80, 200, 1000};
  for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
    scene s;
    char *out, *err;
    setenv("TERM", "xterm", 1);
    begin(&s, *state, widths[i]);
    train(AGD_PROGRESS_BAR, &plan);
    end(&s, &out, &err);
    size_t longest = 0;
    for (const char *c = strtok(err, "\r"); c != NULL; c = strtok(NULL, "\r")) {
      const char *clear = strstr(c, "\x1b[K");
      assert_non_null(clear);
      if ((size_t)(clear - c) > longest) longest = (size_t)(clear - c);
    }
    assert_true(longest < widths[i]);
    if (widths[i] >= 10 && widths[i] <= 40) assert_int_equal(longest, widths[i] - 1);
    if (widths[i] == 1000) assert_true(longest > 60 && longest < 130);
    free(out), free(err);
  }
}

static double seconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* However fast the steps are: ten drawings a second and the first. */
static void test_drawings_are_rare(void **state) {
  scene s;
  char *out, *err;
  agd_meter *meter;
  agd_status st = {0};
  begin(&s, *state, 80);
  const double start = seconds();
  assert_int_equal(agd_progress_start(AGD_PROGRESS_BAR, &(agd_plan){1, 1000000, 0, 0, 1000000}, &meter, &st), AGD_OK);
  for (int i = 0; i < 1000000; i++) agd_progress_step(meter, 1);
  const double took = seconds() - start;
  agd_progress_end(&meter);
  end(&s, &out, &err);
  int drawings = -1; /* the last return clears */
  for (const char *c = err; *c != '\0'; c++) drawings += *c == '\r';
  assert_true(drawings >= 1 && drawings <= 1 + (int)(took / 0.1));
  free(out), free(err);
}

static void check_eta(void **state, const agd_plan *ahead, const char *expected) {
  scene s;
  char *out, *err;
  agd_meter *meter;
  agd_status st = {0};
  begin(&s, *state, 0);
  assert_int_equal(agd_progress_start(AGD_PROGRESS_BAR, ahead, &meter, &st), AGD_OK);
  nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
  agd_progress_step(meter, 1);
  agd_progress_end(&meter);
  end(&s, &out, &err);
  const char *eta = strstr(err, "  ETA ");
  assert_non_null(eta);
  if (strncmp(eta + 6, expected, strlen(expected)) != 0) fail_msg("%s instead of ETA %s", eta, expected);
  free(out), free(err);
}

static void test_time_left(void **state) {
  check_eta(state, &(agd_plan){1, 1, 0, 0, 1}, "0:00\x1b");                    /* done */
  check_eta(state, &(agd_plan){1000, 1000, 1, 0, 1}, "0:00\x1b");              /* max_steps ends it */
  check_eta(state, &(agd_plan){1000000000, 1000000, 0, 0, 1}, "99:59:59\x1b"); /* and no more */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, temporary_setup, temporary_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {TEST(test_modes), TEST(test_width), TEST(test_drawings_are_rare),
                                     TEST(test_time_left)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
