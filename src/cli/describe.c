#include "describe.h"

#include <inttypes.h>
#include <math.h>

void agd_describe_model(FILE *out, const agd_model_spec *spec) {
  fprintf(out, "%zu-", spec->inputs);
  for (size_t i = 0; i < spec->hidden_count; i++) fprintf(out, "%zu-", spec->hidden[i]);
  fprintf(out, "%zu, %s batch normalisation, %zu parameters (%zu trainable)\n", spec->outputs,
          spec->batch_norm ? "with" : "without", agd_model_parameter_count(spec), agd_model_trainable_count(spec));
}

void agd_describe_names(FILE *out, const char *label, const agd_names *names) {
  fprintf(out, "%s: %zu (", label, names->count);
  for (size_t i = 0; i < names->count; i++) fprintf(out, "%s%s", i > 0 ? ", " : "", names->name[i]);
  fputs(")\n", out);
}

void agd_describe_ending(const agd_epoch_metrics *metrics, size_t count, int digits, agd_ending *out) {
  *out = (agd_ending){"-", "-", "-", "-", "-", "-", "-"};
  if (count == 0) return;
  const agd_epoch_metrics *last = &metrics[count - 1], *best = NULL;
  double seconds = 0;
  for (size_t i = 0; i < count; i++) {
    seconds += metrics[i].seconds;
    if (isfinite(metrics[i].val_loss) && (best == NULL || metrics[i].val_loss < best->val_loss)) best = &metrics[i];
  }
  snprintf(out->epoch, sizeof out->epoch, "%" PRIu64, last->epoch);
  snprintf(out->step, sizeof out->step, "%" PRIu64, last->step);
  agd_number_format_digits(last->loss, digits, out->loss);
  /* No validation rows leave no number beside a sound loss. */
  if (!isnan(last->val_loss) || !isfinite(last->loss)) agd_number_format_digits(last->val_loss, digits, out->val_loss);
  agd_number_format_digits(seconds / (double)count, 3, out->seconds);
  if (best == NULL) return;
  agd_number_format_digits(best->val_loss, digits, out->best_val_loss);
  snprintf(out->best_epoch, sizeof out->best_epoch, "%" PRIu64, best->epoch);
}
