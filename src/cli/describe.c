#include "describe.h"

#include <inttypes.h>
#include <math.h>

#include "allegrad/number.h"

void agd_warn(const char *text) { fprintf(stderr, "allegrad: warning: %s\n", text); }

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

void agd_describe_epoch(const agd_epoch_metrics *last, char *text, size_t size) {
  enum { DIGITS = 6 };
  char loss[AGD_NUMBER_SIZE], val_loss[AGD_NUMBER_SIZE];
  if (last == NULL) {
    snprintf(text, size, "no epoch");
    return;
  }
  agd_number_format_digits(last->loss, DIGITS, loss);
  agd_number_format_digits(last->val_loss, DIGITS, val_loss);
  snprintf(text, size, "epoch %" PRIu64 ", step %" PRIu64 ", loss %s%s%s", last->epoch, last->step, loss,
           isnan(last->val_loss) ? "" : ", val_loss ", isnan(last->val_loss) ? "" : val_loss);
}
