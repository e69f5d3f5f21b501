#include "allegrad/plot.h"

#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "allegrad/checkpoint.h"
#include "allegrad/memory.h"
#include "allegrad/number.h"

/* Sizes in pixels: the panels share the width, the legend grows downwards. */
enum { WIDTH = 1240, PANEL = 440, TOP = 76, BOTTOM = 78, LEFT = 78, RIGHT = 24, LEGEND_LINE = 24 };
/* Characters: beyond, a title is cut; a legend whose labels are all short has two columns. */
enum { LABEL_MAX = 120, LABEL_HALF = 55 };
enum { DIGITS = 9, POINTS = 60 };

typedef enum panel { LOSS, VAL_LOSS, PANELS } panel;

/* The axes of a panel. */
typedef struct axes {
  double x_low, x_high, y_low, y_high;
} axes;

static double value_of(const agd_epoch_metrics *metrics, panel which) {
  return which == LOSS ? metrics->loss : metrics->val_loss;
}

/* Whether a logarithmic axis can show a value, and ten times it. A NaN cannot. */
static bool drawable(double value) { return value > 1e-99 && value < 1e99; }

/* The last point of a curve that can be drawn, or -1. */
static ptrdiff_t last_point(const agd_curve *curve, panel which) {
  ptrdiff_t i = (ptrdiff_t)curve->count - 1;
  while (i >= 0 && !drawable(value_of(&curve->metrics[i], which))) i--;
  return i;
}

static bool has_points(const agd_curve *curves, size_t count, panel which) {
  for (size_t c = 0; c < count; c++)
    if (last_point(&curves[c], which) >= 0) return true;
  return false;
}

static void grow(double value, double *low, double *high) { *low = fmin(*low, value), *high = fmax(*high, value); }

/* The range of all points. What a run does on its way to divergence may span thirty decades: such a run counts only up
 * to ten times the others, and leaves the panel at its top. */
static axes find_axes(const agd_curve *curves, size_t count, panel which) {
  axes a = {HUGE_VAL, 0, HUGE_VAL, 0};
  double diverged_low = HUGE_VAL, diverged_high = 0;
  for (size_t c = 0; c < count; c++)
    for (size_t i = 0; i < curves[c].count; i++) {
      const double value = value_of(&curves[c].metrics[i], which);
      grow((double)curves[c].metrics[i].epoch, &a.x_low, &a.x_high);
      if (drawable(value) && curves[c].diverged) grow(value, &diverged_low, &diverged_high);
      if (drawable(value) && !curves[c].diverged) grow(value, &a.y_low, &a.y_high);
    }
  if (a.x_high == 0) a.x_low = a.x_high = 1; /* no epoch at all */
  const bool others = a.y_high > 0;
  if (diverged_high > 0) {
    const double limit = others ? 10 * a.y_high : diverged_high;
    grow(fmin(diverged_low, limit), &a.y_low, &a.y_high);
    grow(fmin(diverged_high, limit), &a.y_low, &a.y_high);
  }
  if (a.y_high == 0) a.y_low = 0.1, a.y_high = 10; /* nothing to draw */
  const double margin = fmax(1.05, pow(a.y_high / a.y_low, 0.05));
  a.y_low /= margin, a.y_high *= margin;
  const double side = fmax(0.5, 0.02 * (a.x_high - a.x_low));
  a.x_low -= side, a.x_high += side;
  return a;
}

/* The nearest of 1, 2, 5, 10, ... times a power of ten that is no less than `least`. */
static double round_step(double least) {
  const double power = pow(10, floor(log10(least)));
  const double mantissa = least / power;
  return power * (mantissa <= 1 ? 1 : mantissa <= 2 ? 2 : mantissa <= 5 ? 5 : 10);
}

/* A number in the script; gnuplot reads "nan" as a point that is not there. */
static void put_number(FILE *script, double value) {
  char text[AGD_NUMBER_SIZE];
  agd_number_format_digits(value, DIGITS, text);
  fprintf(script, " %s", text);
}

static void put_setting(FILE *script, const char *command, double value) {
  fputs(command, script);
  put_number(script, value);
  fputc('\n', script);
}

static void put_tic(FILE *script, double value, const axes *a, bool *first) {
  if (value < a->y_low || value > a->y_high) return;
  fputs(*first ? "" : ",", script);
  put_number(script, value);
  *first = false;
}

/* gnuplot labels only powers of ten on a logarithmic axis, and a loss seldom spans one. */
static void put_y_tics(FILE *script, const axes *a) {
  static const double few[] = {1}, some[] = {1, 2, 5}, many[] = {1, 1.5, 2, 3, 4, 5, 7};
  const double ratio = a->y_high / a->y_low;
  bool first = true;
  fputs("set ytics (", script);
  if (ratio < 3) {
    const double step = round_step((a->y_high - a->y_low) / 8);
    for (double k = ceil(a->y_low / step); k * step <= a->y_high; k++) put_tic(script, k * step, a, &first);
  } else {
    const double *mantissa = few;
    size_t mantissas = 1;
    if (ratio < 20)
      mantissa = many, mantissas = 7;
    else if (ratio < 1e4)
      mantissa = some, mantissas = 3;
    const double stride = fmax(1, ceil(log10(ratio) / 10));
    for (double e = stride * floor(log10(a->y_low) / stride); pow(10, e) <= a->y_high; e += stride)
      for (size_t m = 0; m < mantissas; m++) put_tic(script, mantissa[m] * pow(10, e), a, &first);
  }
  fputs(")\n", script);
}

/* Bytes of the UTF-8 character at `c`; 0 for one that is not shown: Cairo draws a box of the whole picture's size for a
 * character without a glyph, so only what every DejaVu has is let through: ASCII, Latin, Greek, Cyrillic. */
static size_t shown(const char *c) {
  const unsigned char lead = (unsigned char)c[0], next = (unsigned char)c[1];
  if (lead < 0x80) return lead >= ' ' && lead != 0x7f ? 1 : 0;
  if ((next & 0xc0) != 0x80) return 0;
  const bool latin = lead >= 0xc2 && lead <= 0xc9 && !(lead == 0xc2 && next < 0xa0);
  return latin || (lead >= 0xce && lead <= 0xd1) ? 2 : 0;
}

/* Goes on to the next character. */
static const char *step(const char *c) {
  do c++;
  while (((unsigned char)*c & 0xc0) == 0x80);
  return c;
}

static size_t characters(const char *text) {
  size_t count = 0;
  for (; *text != '\0'; text = step(text)) count++;
  return count;
}

/* Text as a string of gnuplot in which nothing means anything: in single quotes only a quote does, and becomes an
 * apostrophe (doubled, as the manual has it, it ends the string after all when it is the first character). What cannot
 * be shown (a line's end, say) becomes a question mark. The end is cut beyond `limit` characters. */
static void put_text(FILE *script, const char *text, size_t limit) {
  const bool cut = characters(text) > limit;
  fputc('\'', script);
  for (size_t n = cut; *text != '\0' && n < limit; n++, text = step(text)) {
    const size_t bytes = shown(text);
    if (*text == '\'')
      fputs("’", script);
    else if (bytes == 0)
      fputc('?', script);
    else
      fwrite(text, 1, bytes, script);
  }
  fputs(cut ? "…'" : "'", script);
}

static void put_data(FILE *script, const agd_curve *curves, size_t count, const axes a[PANELS]) {
  for (size_t c = 0; c < count; c++) {
    fprintf(script, "$curve%zu << END\n", c);
    for (size_t i = 0; i < curves[c].count; i++) {
      put_number(script, (double)curves[c].metrics[i].epoch);
      for (panel p = LOSS; p < PANELS; p++) {
        const double value = value_of(&curves[c].metrics[i], p);
        put_number(script, drawable(value) ? fmin(value, a[p].y_high) : (double)NAN);
      }
      fputc('\n', script);
    }
    fputs("END\n", script);
  }
}

/* Colours that also colour-blind readers tell apart (Okabe and Ito 2008), black last; after eight, dashed. */
static void put_color(FILE *script, size_t curve) {
  static const char *const colors[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                       "#e69f00", "#56b4e9", "#7f5f00", "#000000"};
  fprintf(script, " lc rgb '%s'", colors[curve % 8]);
}

static void put_style(FILE *script, const agd_curve *curve, size_t index) {
  fprintf(script, " with linespoints lw 2 dt %zu pt 7 ps %s pi %zu", index / 8 % 5 + 1, curve->count > 1 ? "0.5" : "1",
          curve->count / POINTS + 1);
  put_color(script, index);
}

static const char cross[] = " pt 2 ps 2 lw 3.5";

/* A diverged run gets a cross at its last point, or at the top of the first epoch when it has none. */
static void put_marks(FILE *script, const agd_curve *curves, size_t count, panel which, const axes *a) {
  fputs("unset label\n", script);
  for (size_t c = 0; c < count; c++) {
    if (!curves[c].diverged) continue;
    const ptrdiff_t last = last_point(&curves[c], which);
    fputs("set label at", script);
    put_number(script, last >= 0 ? (double)curves[c].metrics[last].epoch : ceil(a->x_low));
    fputc(',', script);
    put_number(script, last >= 0 ? fmin(value_of(&curves[c].metrics[last], which), a->y_high) : a->y_high);
    fprintf(script, " point%s", cross);
    put_color(script, c);
    fputs(" front\n", script);
  }
}

/* The legend stands below the panels and belongs to the first of them. */
static void put_legend(FILE *script, const agd_curve *curves, size_t count) {
  for (size_t c = 0; c < count; c++) {
    fputs(", keyentry", script);
    if (curves[c].diverged) {
      fprintf(script, " with points%s", cross);
      put_color(script, c);
    } else {
      put_style(script, &curves[c], c);
    }
    fputs(" title ", script);
    put_text(script, curves[c].label, LABEL_MAX);
    if (curves[c].diverged) fputs(".' (diverged)'", script);
  }
}

static void put_panel(FILE *script, const agd_curve *curves, size_t count, panel which, const axes *a) {
  static const char *const titles[] = {"training loss", "validation loss"};
  fprintf(script, "set title '%s'\nset xrange [", titles[which]);
  put_number(script, a->x_low), fputc(':', script), put_number(script, a->x_high);
  fputs("]\nset yrange [", script);
  put_number(script, a->y_low), fputc(':', script), put_number(script, a->y_high);
  fputs("]\nset xtics 0,", script);
  put_number(script, fmax(1, round_step((a->x_high - a->x_low) / 12)));
  fputc('\n', script);
  put_y_tics(script, a);
  put_marks(script, curves, count, which, a);
  fputs("plot NaN notitle", script);
  for (size_t c = 0; c < count; c++) {
    if (last_point(&curves[c], which) < 0) continue;
    fprintf(script, ", $curve%zu using 1:%d", c, which + 2);
    put_style(script, &curves[c], c);
    fputs(" notitle", script);
  }
  if (which == LOSS) put_legend(script, curves, count);
  fputs("\n", script);
}

/* How many columns the legend has. */
static size_t legend_columns(const agd_curve *curves, size_t count) {
  for (size_t c = 0; c < count; c++)
    if (characters(curves[c].label) > LABEL_HALF) return 1;
  return count > 1 ? 2 : 1;
}

static void put_picture(FILE *script, const char *title, size_t lines, int height) {
  fprintf(script,
          "if (strstrt(GPVAL_TERMINALS, ' pngcairo ') > 0) {\n"
          "  set terminal pngcairo noenhanced background '#ffffff' font 'Sans,12' size %d,%d\n"
          "} else {\n"
          "  set terminal png noenhanced background '#ffffff' size %d,%d\n"
          "}\n",
          WIDTH, height, WIDTH, height);
  fputs("set encoding utf8\nset multiplot title ", script);
  put_text(script, title, LABEL_MAX);
  fprintf(script,
          " font ',14'\n"
          "set logscale y\nset format '%%g'\nset xlabel 'epoch'\n"
          "set border 3 lc rgb '#606060'\nset tics nomirror out textcolor rgb '#303030'\n"
          "set grid lc rgb '#e4e4e4' lt 1\n"
          "set key center bottom vertical maxrows %zu Left reverse samplen 3 spacing 1.25\n",
          lines);
  put_setting(script, "set key at screen 0.5, screen", 10.0 / height);
}

static void put_script(FILE *script, const char *title, const agd_curve *curves, size_t count) {
  const int panels = has_points(curves, count, VAL_LOSS) ? 2 : 1;
  const size_t columns = legend_columns(curves, count), lines = (count + columns - 1) / columns;
  const int legend = (int)lines * LEGEND_LINE, height = TOP + PANEL + BOTTOM + legend;
  const axes a[PANELS] = {find_axes(curves, count, LOSS), find_axes(curves, count, VAL_LOSS)};
  const double width = (double)WIDTH / panels;
  put_picture(script, title, lines, height);
  put_data(script, curves, count, a);
  for (panel p = LOSS; p < (panel)panels; p++) {
    /* Positions are fractions of the picture, from its lower left corner. */
    const double left = p == LOSS ? 0 : width;
    put_setting(script, "set lmargin at screen", (left + LEFT) / WIDTH);
    put_setting(script, "set rmargin at screen", (left + width - RIGHT) / WIDTH);
    put_setting(script, "set bmargin at screen", (double)(legend + BOTTOM) / height);
    put_setting(script, "set tmargin at screen", (double)(height - TOP) / height);
    put_panel(script, curves, count, p, &a[p]);
  }
  fputs("unset multiplot\n", script);
}

/* Joins the lines of what gnuplot said, for one message. */
static void read_messages(FILE *file, char *text, size_t size) {
  rewind(file);
  const size_t length = fread(text, 1, size - 1, file);
  size_t end = 0;
  for (size_t i = 0; i < length; i++) {
    const bool blank = (unsigned char)text[i] <= ' ';
    if (!blank)
      text[end++] = text[i];
    else if (end > 0 && text[end - 1] != ' ')
      text[end++] = ' ';
  }
  text[end] = '\0';
}

/* Runs gnuplot with its three streams on files: no pipe, so nobody waits for a reader and nobody is killed by SIGPIPE.
 * posix_spawn copies no memory, so that what MPI has registered with a network card stays where it is. */
static agd_code run_gnuplot(FILE *script, FILE *picture, FILE *messages, agd_status *st) {
  char name[] = "gnuplot", defaults[] = "--default-settings", *arguments[] = {name, defaults, NULL};
  posix_spawn_file_actions_t actions;
  pid_t child;
  int error = posix_spawn_file_actions_init(&actions);
  if (error != 0) return agd_fail(st, AGD_EDATA, "cannot run gnuplot: %s", strerror(error));
  error = posix_spawn_file_actions_adddup2(&actions, fileno(script), STDIN_FILENO);
  if (error == 0) error = posix_spawn_file_actions_adddup2(&actions, fileno(picture), STDOUT_FILENO);
  if (error == 0) error = posix_spawn_file_actions_adddup2(&actions, fileno(messages), STDERR_FILENO);
  if (error == 0) error = posix_spawnp(&child, name, &actions, NULL, arguments, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error == ENOENT)
    return agd_fail(st, AGD_EDATA,
                    "gnuplot, which draws it, was not found in PATH (Debian: apt-get install gnuplot-nox)");
  if (error != 0) return agd_fail(st, AGD_EDATA, "cannot run gnuplot: %s", strerror(error));
  int status;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return agd_fail(st, AGD_EDATA, "cannot wait for gnuplot: %s", strerror(errno));
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return AGD_OK;
  char said[512];
  read_messages(messages, said, sizeof said);
  return agd_fail(st, AGD_EDATA, "gnuplot failed (%s %d): %s", WIFEXITED(status) ? "exit code" : "signal",
                  WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status), said);
}

/* Moves what gnuplot drew to its place. */
static agd_code save(FILE *picture, const char *png, agd_status *st) {
  static const unsigned char signature[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  struct stat info;
  if (fstat(fileno(picture), &info) != 0)
    return agd_fail(st, AGD_EDATA, "cannot read the picture: %s", strerror(errno));
  void *bytes;
  const size_t size = (size_t)info.st_size;
  AGD_TRY(agd_allocate(size, 1, "a picture", &bytes, st));
  rewind(picture);
  agd_code code;
  if (fread(bytes, 1, size, picture) != size || size < sizeof signature ||
      memcmp(bytes, signature, sizeof signature) != 0)
    code = agd_fail(st, AGD_EDATA, "gnuplot drew no PNG");
  else
    code = agd_file_replace(png, bytes, size, false, st);
  agd_release(&bytes);
  return code;
}

agd_code agd_plot_curves(const char *png, const char *title, const agd_curve *curves, size_t count, agd_status *st) {
  FILE *script = tmpfile(), *picture = tmpfile(), *messages = tmpfile();
  agd_code code = AGD_OK;
  if (script == NULL || picture == NULL || messages == NULL)
    code = agd_fail(st, AGD_EDATA, "cannot make a temporary file: %s", strerror(errno));
  if (code == AGD_OK) {
    put_script(script, title, curves, count);
    if (ferror(script) || fflush(script) != 0 || lseek(fileno(script), 0, SEEK_SET) != 0)
      code = agd_fail(st, AGD_EDATA, "cannot write a temporary file: %s", strerror(errno));
  }
  if (code == AGD_OK) code = run_gnuplot(script, picture, messages, st);
  if (code == AGD_OK) code = save(picture, png, st);
  FILE *const files[] = {script, picture, messages};
  for (size_t i = 0; i < 3; i++)
    if (files[i] != NULL) fclose(files[i]);
  return code;
}
