#include "allegrad/progress.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "allegrad/clock.h"
#include "allegrad/number.h"

struct agd_meter {
  agd_plan plan;
  double all_steps;           /* from the start to the end of the training */
  uint64_t begun;             /* steps of this epoch that were done before: of a resumed training */
  uint64_t epoch, step, done; /* epochs ended; steps of this epoch; steps since the start */
  bool bar, drawn;            /* drawn: the bar is on the screen */
  double start, epoch_start;  /* seconds */
  double next;                /* when the bar may be drawn again */
};

enum { SHORTEST_BAR = 6, LONGEST_BAR = 40, LINE_MAX_BYTES = 1024, LOSS_DIGITS = 5 };
static const double redraw_seconds = 0.1;

static bool has_cursor(int fd) {
  const char *term = getenv("TERM");
  return isatty(fd) && term != NULL && strcmp(term, "dumb") != 0;
}

static double total_steps(const agd_plan *plan) {
  const double all = (double)plan->epochs * (double)plan->steps_per_epoch;
  return plan->max_steps > 0 ? fmin(all, (double)plan->max_steps) : all;
}

agd_code agd_progress_start(agd_progress mode, const agd_plan *plan, agd_meter **out, agd_status *st) {
  *out = NULL;
  AGD_REQUIRE(plan->steps_per_epoch > 0);
  if (mode == AGD_PROGRESS_OFF) return AGD_OK;
  agd_meter *meter = calloc(1, sizeof *meter);
  if (meter == NULL) return agd_fail(st, AGD_EDATA, "out of memory: the progress bar");
  meter->plan = *plan;
  meter->all_steps = total_steps(plan) - (double)plan->steps_done;
  meter->epoch = plan->steps_done / plan->steps_per_epoch;
  meter->step = meter->begun = plan->steps_done % plan->steps_per_epoch;
  meter->bar = mode == AGD_PROGRESS_BAR || (mode == AGD_PROGRESS_AUTO && has_cursor(STDERR_FILENO));
  meter->start = meter->epoch_start = meter->next = agd_clock();
  *out = meter;
  return AGD_OK;
}

/* Columns of the terminal behind standard error, asked each time because windows change. */
static int columns(void) {
  struct winsize size;
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/* A duration as m:ss or h:mm:ss. */
static void format_time(double seconds, char *text, size_t size) {
  const long long all = (long long)fmin(seconds + 0.5, 359999.0); /* 99:59:59 */
  const int h = (int)(all / 3600), m = (int)(all / 60 % 60), s = (int)(all % 60);
  if (h > 0)
    snprintf(text, size, "%d:%02d:%02d", h, m, s);
  else
    snprintf(text, size, "%d:%02d", m, s);
}

static int digits_of(uint64_t n) { return snprintf(NULL, 0, "%" PRIu64, n); }

/* "epoch  3/30", the number as wide as the last one will be. */
static int format_epoch(const agd_meter *meter, uint64_t epoch, char *text, size_t size) {
  return snprintf(text, size, "epoch %*" PRIu64 "/%" PRIu64, digits_of(meter->plan.epochs), epoch, meter->plan.epochs);
}

/* What stands behind the bar: steps, loss, rate and the time to the end of the training, judged by all steps so far. */
static void format_state(const agd_meter *meter, double loss, double time, char *text, size_t size) {
  char number[AGD_NUMBER_SIZE], left[32], shown_loss[64] = "";
  const double rows_per_step = (double)meter->plan.rows / (double)meter->plan.steps_per_epoch;
  const double rate = (double)(meter->step - meter->begun) * rows_per_step / fmax(time - meter->epoch_start, 1e-9);
  const double remaining = fmax(meter->all_steps - (double)meter->done, 0);
  format_time((time - meter->start) / (double)meter->done * remaining, left, sizeof left);
  agd_number_format_digits(loss, LOSS_DIGITS, number);
  if (!isnan(loss)) snprintf(shown_loss, sizeof shown_loss, "  loss %s", number);
  snprintf(text, size, " %*" PRIu64 "/%" PRIu64 "%s  %.0f rows/s  ETA %s", digits_of(meter->plan.steps_per_epoch),
           meter->step, meter->plan.steps_per_epoch, shown_loss, rate, left);
}

/* One write a drawing: back to the first column, the text, then clear what an older one left behind. Less than the
 * terminal's width, or it would wrap and could not be overwritten. */
static void draw(agd_meter *meter, double loss, double time) {
  char head[64], state[256], bar[LONGEST_BAR + 4] = "";
  const int width = columns() - 1;
  format_epoch(meter, meter->epoch + 1, head, sizeof head);
  format_state(meter, loss, time, state, sizeof state);
  const int room = width - (int)strlen(head) - (int)strlen(state) - 3;
  if (room >= SHORTEST_BAR) {
    const int length = room < LONGEST_BAR ? room : LONGEST_BAR;
    const double share = fmin((double)meter->step / (double)meter->plan.steps_per_epoch, 1);
    const int filled = (int)(share * length);
    for (int i = 0; i < length; i++) bar[2 + i] = i < filled ? '=' : i == filled ? '>' : ' ';
    bar[0] = ' ', bar[1] = '[', bar[length + 2] = ']';
  }
  char line[LINE_MAX_BYTES], out[LINE_MAX_BYTES + 8];
  snprintf(line, sizeof line, "%s%s%s", head, bar, state);
  const int length = snprintf(out, sizeof out, "\r%.*s\x1b[K", width > 0 ? width : 0, line);
  fwrite(out, 1, (size_t)length, stderr);
  fflush(stderr);
  meter->drawn = true;
}

void agd_progress_step(agd_meter *meter, double loss) {
  if (meter == NULL) return;
  meter->step++, meter->done++;
  if (!meter->bar) return;
  const double time = agd_clock();
  if (time < meter->next) return;
  draw(meter, loss, time);
  meter->next = time + redraw_seconds;
}

void agd_progress_clear(agd_meter *meter) {
  if (meter == NULL || !meter->drawn) return;
  fputs("\r\x1b[K", stderr);
  fflush(stderr);
  meter->drawn = false;
  meter->next = 0;
}

void agd_progress_epoch(agd_meter *meter, const agd_epoch_metrics *metrics) {
  if (meter == NULL) return;
  agd_progress_clear(meter);
  char head[64], loss[AGD_NUMBER_SIZE], val_loss[AGD_NUMBER_SIZE];
  const double rows =
      (double)meter->plan.rows * (double)(meter->step - meter->begun) / (double)meter->plan.steps_per_epoch;
  format_epoch(meter, metrics->epoch, head, sizeof head);
  agd_number_format_digits(metrics->loss, LOSS_DIGITS, loss);
  agd_number_format_digits(metrics->val_loss, LOSS_DIGITS, val_loss);
  const bool validated = !isnan(metrics->val_loss) || !isfinite(metrics->loss);
  printf("%s  loss %s%s%s  %.1f s  %.0f rows/s\n", head, loss, validated ? "  val_loss " : "",
         validated ? val_loss : "", metrics->seconds, rows / fmax(metrics->seconds, 1e-9));
  fflush(stdout);
  meter->epoch = metrics->epoch;
  meter->step = meter->begun = 0;
  meter->epoch_start = agd_clock();
}

void agd_progress_end(agd_meter **meter) {
  agd_progress_clear(*meter);
  free(*meter);
  *meter = NULL;
}
