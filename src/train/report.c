#include "allegrad/report.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "allegrad/plot.h"

/* Length without the slashes at the end. */
static size_t trimmed(const char *path) {
  size_t length = strlen(path);
  while (length > 1 && path[length - 1] == '/') length--;
  return length;
}

/* Length of the leading folders, with their last slash, that all paths share; the last part of a path is never among
 * them. */
static size_t shared_length(const char *const *paths, size_t count) {
  size_t shared = 0;
  for (size_t i = 0; i < trimmed(paths[0]); i++) {
    for (size_t p = 0; p < count; p++)
      if (i + 1 >= trimmed(paths[p]) || paths[p][i] != paths[0][i]) return shared;
    if (paths[0][i] == '/') shared = i + 1;
  }
  return shared;
}

agd_code agd_reports_read(const char *const *folders, size_t count, agd_report **out, agd_status *st) {
  *out = NULL;
  AGD_REQUIRE(count > 0);
  agd_report *reports = calloc(count, sizeof *reports);
  if (reports == NULL) return agd_fail(st, AGD_EDATA, "out of memory: %zu runs", count);
  const size_t shared = shared_length(folders, count);
  agd_code code = AGD_OK;
  for (size_t i = 0; i < count && code == AGD_OK; i++) {
    agd_report *r = &reports[i];
    r->name = strndup(folders[i] + shared, trimmed(folders[i]) - shared);
    if (r->name == NULL) code = agd_fail(st, AGD_EDATA, "out of memory: %zu runs", count);
    if (code == AGD_OK) code = agd_run_metrics(folders[i], &r->metrics, &r->count, st);
    if (code == AGD_OK) code = agd_run_status(folders[i], &r->state, r->explanation, sizeof r->explanation, st);
  }
  if (code == AGD_OK)
    *out = reports;
  else
    agd_reports_destroy(&reports, count);
  return code;
}

void agd_reports_destroy(agd_report **reports, size_t count) {
  for (size_t i = 0; *reports != NULL && i < count; i++) {
    free((*reports)[i].name);
    free((*reports)[i].metrics);
  }
  free(*reports);
  *reports = NULL;
}

/* The least of the finite losses; NaN when there is none. */
static double best(const agd_report *report, bool validation) {
  double least = (double)NAN;
  for (size_t i = 0; i < report->count; i++) {
    const double loss = validation ? report->metrics[i].val_loss : report->metrics[i].loss;
    if (isfinite(loss)) least = fmin(least, loss); /* fmin passes over a NaN */
  }
  return least;
}

static void print_loss(FILE *out, double loss, bool there) {
  if (there)
    fprintf(out, "  %10.5g", loss);
  else
    fprintf(out, "  %10s", "-");
}

static int name_width(const agd_report *reports, size_t count) {
  size_t width = strlen("run");
  for (size_t i = 0; i < count; i++) width = strlen(reports[i].name) > width ? strlen(reports[i].name) : width;
  return (int)width;
}

static void print_row(FILE *out, const agd_report *r, int width) {
  const agd_epoch_metrics *last = r->count > 0 ? &r->metrics[r->count - 1] : NULL;
  const double best_loss = best(r, false), best_val = best(r, true);
  double seconds = 0;
  for (size_t i = 0; i < r->count; i++) seconds += r->metrics[i].seconds / (double)r->count;
  fprintf(out, "%-*s  %6zu", width, r->name, r->count);
  print_loss(out, last != NULL ? last->loss : 0, last != NULL);
  print_loss(out, best_loss, !isnan(best_loss));
  print_loss(out, last != NULL ? last->val_loss : 0, last != NULL && (!isnan(last->val_loss) || !isnan(best_val)));
  print_loss(out, best_val, !isnan(best_val));
  if (r->count > 0)
    fprintf(out, "  %9.2f", seconds);
  else
    fprintf(out, "  %9s", "-");
  fprintf(out, "  %s\n", agd_run_state_word(r->state));
}

void agd_reports_print(FILE *out, const agd_report *reports, size_t count) {
  const int width = name_width(reports, count);
  fprintf(out, "%-*s  %6s  %10s  %10s  %10s  %10s  %9s  %s\n", width, "run", "epochs", "loss", "best", "val_loss",
          "best", "s/epoch", "ended");
  for (size_t i = 0; i < count; i++) print_row(out, &reports[i], width);
}

agd_code agd_reports_plot(const char *png, const char *title, const agd_report *reports, size_t count, agd_status *st) {
  agd_curve *curves = calloc(count, sizeof *curves);
  if (curves == NULL) return agd_fail(st, AGD_EDATA, "out of memory: %zu curves", count);
  for (size_t i = 0; i < count; i++)
    curves[i] =
        (agd_curve){reports[i].name, reports[i].metrics, reports[i].count, reports[i].state == AGD_RUN_DIVERGED};
  const agd_code code = agd_plot_curves(png, title, curves, count, st);
  free(curves);
  return code;
}
