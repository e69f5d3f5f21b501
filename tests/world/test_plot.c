#include "allegrad/plot.h"

#include "temporary.h"

#include <fcntl.h>
#include <math.h>
#include <signal.h>

#define NONE (double)NAN

static const agd_epoch_metrics falling[] = {{1, 10, 0.9, 1.1, 1}, {2, 20, 0.5, 0.8, 1}, {3, 30, 0.4, 0.7, 1}};
static const agd_epoch_metrics exploding[] = {{1, 10, 0.9, 1.1, 1}, {2, 20, 3e9, 4e30, 1}, {3, 25, NONE, NONE, 1}};
static const agd_epoch_metrics lost[] = {{1, 3, NONE, NONE, 1}};
static const agd_epoch_metrics training_only[] = {{1, 10, 0.9, NONE, 1}, {2, 20, 0.5, NONE, 1}};

/* What a picture is: its size in pixels and its bytes. */
typedef struct picture {
  unsigned width, height;
  size_t size;
  unsigned char bytes[1 << 18];
} picture;

static void load(const char *path, picture *p) {
  FILE *file = fopen(path, "rb");
  assert_non_null(file);
  p->size = fread(p->bytes, 1, sizeof p->bytes, file);
  fclose(file);
  assert_in_range(p->size, 1000, sizeof p->bytes - 1);
  assert_memory_equal(p->bytes, "\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 16);
  assert_memory_equal(p->bytes + p->size - 8, "IEND\xae\x42\x60\x82", 8);
  const unsigned char *head = p->bytes + 16;
  p->width = (unsigned)(head[0] << 24 | head[1] << 16 | head[2] << 8 | head[3]);
  p->height = (unsigned)(head[4] << 24 | head[5] << 16 | head[6] << 8 | head[7]);
}

static void draw(const char *folder, const char *title, const agd_curve *curves, size_t count, picture *p) {
  char path[TEMPORARY_SIZE];
  agd_status st = {0};
  if (agd_plot_curves(temporary_path(path, folder, "curves.png"), title, curves, count, &st) != AGD_OK)
    fail_msg("%s", st.message);
  load(path, p);
  assert_int_equal(unlink(path), 0);
  assert_int_equal(rmdir(folder), 0); /* and nothing else was left */
  assert_int_equal(mkdir(folder, 0700), 0);
}

static bool same(const picture *a, const picture *b) {
  return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

/* Each thing that the picture should show changes it; the same curves give the same picture. */
static void test_what_it_shows(void **state) {
  static picture base, other;
  agd_curve curves[] = {{"one", falling, 3, false}, {"two", exploding, 3, false}};
  draw(*state, "title", curves, 2, &base);
  assert_true(base.width > 800 && base.height > 400);
  draw(*state, "title", curves, 2, &other);
  assert_true(same(&base, &other));
  draw(*state, "another", curves, 2, &other);
  assert_false(same(&base, &other));
  draw(*state, "title", curves, 1, &other);
  assert_false(same(&base, &other));
  curves[1].diverged = true;
  draw(*state, "title", curves, 2, &other);
  assert_false(same(&base, &other));
  curves[1] = (agd_curve){"drei", exploding, 3, false};
  draw(*state, "title", curves, 2, &other);
  assert_false(same(&base, &other));
}

/* Degenerate runs are drawn too: no epoch, one, none with a number, no validation, zero, negative, huge. */
static void test_degenerate_runs(void **state) {
  static const agd_epoch_metrics zero[] = {{1, 1, 0, -1, 1}, {2, 2, 0.5, 1, 1}}, zeros[] = {{1, 1, 0, 0, 1}},
                                 wide[] = {{1, 1, 1e-300, 1e300, 1}, {2, 2, 1e-90, 1e90, 1}},
                                 late[] = {{1000000, 1, 0.5, 0.25, 1}, {1000001, 2, 0.4, 0.2, 1}},
                                 constant[] = {{1, 1, 0.5, 0.5, 1}, {2, 2, 0.5, 0.5, 1}},
                                 infinite[] = {{1, 1, INFINITY, -(double)INFINITY, 1}};
  const agd_curve curves[] = {{"no epoch", NULL, 0, false},
                              {"no epoch", NULL, 0, true},
                              {"one epoch", falling, 1, false},
                              {"lost", lost, 1, true},
                              {"lost", lost, 1, false},
                              {"exploding", exploding, 3, true},
                              {"no validation", training_only, 2, false},
                              {"zero", zero, 2, false},
                              {"zeros", zeros, 1, false},
                              {"wide", wide, 2, false},
                              {"late", late, 2, false},
                              {"constant", constant, 2, false},
                              {"infinite", infinite, 1, true}};
  enum { COUNT = sizeof curves / sizeof *curves };
  static picture p;
  for (size_t i = 0; i < COUNT; i++) draw(*state, curves[i].label, &curves[i], 1, &p);
  draw(*state, "all", curves, COUNT, &p);
}

/* Nothing in a label or a title is a command, to gnuplot or to a shell. The test runs in its folder, which must stay
 * empty. */
static void test_labels_are_only_text(void **state) {
  static const char *const labels[] = {"it's",
                                       "\"quoted\"",
                                       "\\",
                                       "a\\'",
                                       "'",
                                       "''",
                                       "`touch a`",
                                       "$(touch b)",
                                       "'.system(\"touch c\").'",
                                       "@x",
                                       "%s %n",
                                       "_^{x}",
                                       "a\nset output 'd'\nb",
                                       "x' with lines; system 'touch e'; plot 0 title 'y",
                                       "\xff\xfe",
                                       "\xe6\x95\xb0",
                                       "\xc3",
                                       "na\xc3\xafve",
                                       "",
                                       " ",
                                       "#",
                                       "END",
                                       "a\rb\tc\x1b[31m"};
  static picture p;
  const int before = open(".", O_RDONLY | O_DIRECTORY);
  assert_true(before >= 0);
  for (size_t i = 0; i < sizeof labels / sizeof *labels; i++) {
    char folder[TEMPORARY_SIZE];
    assert_int_equal(mkdir(temporary_path(folder, *state, "here"), 0700) | chdir(folder), 0);
    const agd_curve curves[] = {{labels[i], falling, 3, false}, {labels[i], exploding, 3, true}};
    draw(folder, labels[i], curves, 2, &p);
    assert_int_equal(fchdir(before), 0);
    assert_int_equal(rmdir(folder), 0);
  }
  close(before);
}

/* The legend grows with the curves, and takes one column when a label is long. */
static void test_legend_has_room(void **state) {
  static picture few, many, longest;
  agd_curve curves[20];
  for (size_t i = 0; i < 20; i++) curves[i] = (agd_curve){"label", falling, 3, false};
  draw(*state, "title", curves, 2, &few);
  draw(*state, "title", curves, 20, &many);
  char label[1000];
  memset(label, 'x', sizeof label - 1);
  label[sizeof label - 1] = '\0';
  curves[7].label = label;
  draw(*state, label, curves, 20, &longest);
  assert_true(many.height > few.height + 9 * 15);
  assert_true(longest.height > many.height + 10 * 15);
}

/* A program that stands in for gnuplot. */
static void stand_in(const char *folder, const char *script) {
  char path[TEMPORARY_SIZE];
  temporary_write(temporary_path(path, folder, "gnuplot"), script);
  assert_int_equal(chmod(path, 0755), 0);
  setenv("PATH", folder, 1);
}

/* What gnuplot is told of a run that blows up beside a steady one. */
static void test_script(void **state) {
  char path[TEMPORARY_SIZE], script[2 * TEMPORARY_SIZE];
  agd_status st = {0};
  char *const before = strdup(getenv("PATH"));
  snprintf(script, sizeof script,
           "#!/bin/sh\n/bin/cat > %s/script\nprintf '\\211PNG\\r\\n\\032\\n'\necho warning >&2\n", (char *)*state);
  stand_in(*state, script);
  const agd_curve curves[] = {{"steady", falling, 3, false}, {"bad", exploding, 3, true}, {"lost", lost, 1, true}};
  const agd_code code = agd_plot_curves(temporary_path(path, *state, "x.png"), "title", curves, 3, &st);
  setenv("PATH", before, 1);
  free(before);
  assert_int_equal(code, AGD_OK);
  char *text = temporary_text(temporary_path(path, *state, "script"));
  assert_non_null(strstr(text, "\n 1 0.9 1.1\n 2 0.5 0.8\n 3 0.4 0.7\nEND\n"));
  assert_non_null(strstr(text, " title 'steady'"));
  assert_non_null(strstr(text, " title 'bad'.' (diverged)'"));
  assert_non_null(strstr(text, " title 'lost'.' (diverged)'"));
  /* The bad run ends at the top of the panel, not three decades above; its cross is at its last finite epoch. The lost
   * one's is at the top of the first. */
  double top = 0;
  const char *range = strstr(text, "set yrange [");
  assert_non_null(range);
  assert_int_equal(sscanf(range, "set yrange [ %*f: %lf]", &top), 1);
  assert_true(top > 9 && top < 20);
  char mark[64];
  snprintf(mark, sizeof mark, "set label at 2, %.9g point", top);
  assert_non_null(strstr(text, mark));
  snprintf(mark, sizeof mark, "set label at 1, %.9g point", top);
  assert_non_null(strstr(text, mark));
  assert_null(strstr(text, "$curve2 using")); /* nothing to draw of it */
  free(text);
}

static void check_failure(void **state, const char *script, const char *message) {
  char path[TEMPORARY_SIZE];
  agd_status st = {0};
  char *const before = strdup(getenv("PATH"));
  temporary_write(temporary_path(path, *state, "old.png"), "old");
  if (script != NULL)
    stand_in(*state, script);
  else
    setenv("PATH", *state, 1);
  const agd_curve curve = {"x", falling, 3, false};
  const agd_code code = agd_plot_curves(path, "x", &curve, 1, &st);
  setenv("PATH", before, 1);
  free(before);
  assert_int_equal(code, AGD_EDATA);
  if (strstr(st.message, message) == NULL) fail_msg("%s", st.message);
  char *old = temporary_text(path);
  assert_string_equal(old, "old");
  free(old);
}

static void test_failures(void **state) {
  check_failure(state, NULL, "not found in PATH (Debian: apt-get install gnuplot-nox)");
  check_failure(state, "#!/bin/sh\necho 'line 0:' >&2; echo '   bad plot' >&2; exit 7\n",
                "gnuplot failed (exit code 7): line 0: bad plot");
  check_failure(state, "#!/bin/sh\nkill -9 $$\n", "gnuplot failed (signal 9)");
  check_failure(state, "#!/bin/sh\nexit 0\n", "gnuplot drew no PNG");
  check_failure(state, "#!/bin/sh\necho hello hello hello\n", "gnuplot drew no PNG");
  /* One that never reads its script and floods its outputs: nobody waits, nobody gets SIGPIPE. */
  signal(SIGPIPE, SIG_DFL);
  check_failure(state,
                "#!/bin/sh\nexec 0<&-\ni=0\nwhile [ $i -lt 20000 ]; do echo 0123456789 >&2; i=$((i+1)); done\nexit 1\n",
                "gnuplot failed (exit code 1): 0123456789 0123456789");
}

static void test_unwritable(void **state) {
  char path[TEMPORARY_SIZE];
  agd_status st = {0};
  const agd_curve curve = {"x", falling, 3, false};
  assert_int_equal(agd_plot_curves(temporary_path(path, *state, "no/such/x.png"), "x", &curve, 1, &st), AGD_EDATA);
  assert_non_null(strstr(st.message, path));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, temporary_setup, temporary_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_what_it_shows),   TEST(test_degenerate_runs), TEST(test_labels_are_only_text),
      TEST(test_legend_has_room), TEST(test_script),          TEST(test_failures),
      TEST(test_unwritable)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
