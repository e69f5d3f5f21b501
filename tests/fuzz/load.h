/* Loads files of every kind that allegrad reads, whole, from bytes: for the fuzzers and for hostile.c. What was read is
 * told as one number, so that two loads can be compared. */
#ifndef ALLEGRAD_FUZZ_LOAD_H
#define ALLEGRAD_FUZZ_LOAD_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "allegrad/config.h"
#include "allegrad/dataset.h"
#include "allegrad/memory.h"
#include "allegrad/table.h"
#include "allegrad/weights.h"

/* What loading a file has come to. */
typedef struct load_outcome {
  agd_status status;
  uint64_t content; /* a hash of all that was read */
} load_outcome;

/* Loads the file at `path`. */
typedef void load_function(const char *path, load_outcome *out);

/* A file in TMPDIR that holds these bytes, always the same one. */
static inline const char *load_path(const void *bytes, size_t size) {
  static int fd = -1;
  static char path[256];
  const char *folder = getenv("TMPDIR");
  if (fd < 0) {
    snprintf(path, sizeof path, "%s/allegrad-fuzz-XXXXXX", folder != NULL ? folder : "/tmp");
    fd = mkstemp(path);
  }
  if (fd < 0 || ftruncate(fd, 0) != 0 || pwrite(fd, bytes, size, 0) != (ssize_t)size) abort();
  return path;
}

/* FNV-1a. */
static inline void load_mix(load_outcome *out, const void *bytes, size_t size) {
  for (size_t i = 0; i < size; i++) out->content = (out->content ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3U;
}

static inline void load_mix_names(load_outcome *out, const agd_names *names) {
  for (size_t i = 0; i < names->count; i++) load_mix(out, names->name[i], strlen(names->name[i]) + 1);
}

/* A status that nobody could act on is a defect. */
static inline void load_require_reason(const char *path, const load_outcome *out) {
  const agd_status *st = &out->status;
  if (st->code == AGD_OK) return;
  if ((st->code == AGD_EDATA || st->code == AGD_EUSAGE) && strstr(st->message, path) != NULL) return;
  fprintf(stderr, "refused with code %d and the message \"%s\"\n", (int)st->code, st->message);
  abort();
}

static inline void load_mix_training(load_outcome *out, const agd_model_spec *spec, const agd_training *t) {
  const uint64_t numbers[] = {t->seed,      t->epoch, t->step, t->batch, (uint64_t)t->ranks, t->data_fingerprint,
                              t->epoch_rows};
  load_mix(out, numbers, sizeof numbers);
  load_mix(out, &t->epoch_loss, sizeof t->epoch_loss);
  load_mix(out, t->kernels, strlen(t->kernels));
  load_mix(out, t->libraries, strlen(t->libraries));
  load_mix_names(out, &t->x_names);
  load_mix_names(out, &t->y_names);
  if (t->standardized) load_mix(out, t->x_mean, spec->inputs * sizeof *t->x_mean);
  if (t->standardized) load_mix(out, t->x_sd, spec->inputs * sizeof *t->x_sd);
  for (size_t i = 0; i < t->epoch_count; i++) load_mix(out, &t->history[i], sizeof t->history[i]);
  if (t->config == NULL) return;
  load_mix(out, t->config, strlen(t->config));
  agd_config config; /* as predict and --resume do; what it says is another file's matter */
  agd_config_parse(t->config, "config", NULL, 0, &config, NULL);
}

/* Slots of the optimizer that the file is of: the number of its variables tells which. */
static inline void load_optimizer(const char *path, const agd_model *model, load_outcome *out) {
  const agd_optimizer_spec rules[] = {{.name = AGD_SGD}, {.name = AGD_SGD, .momentum = 0.5}, {.name = AGD_ADAM}};
  for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
    agd_optimizer *optimizer;
    if (agd_optimizer_create(&rules[i], model->weight_count, &optimizer, &out->status) != AGD_OK) return;
    const agd_code code = agd_weights_load_optimizer(path, model, optimizer, &out->status);
    load_mix(out, &optimizer->iteration, sizeof optimizer->iteration);
    for (size_t s = 0; s < optimizer->slot_count; s++)
      load_mix(out, optimizer->slots[s], optimizer->count * sizeof(agd_real));
    agd_optimizer_destroy(&optimizer);
    load_require_reason(path, out);
    if (code == AGD_OK) {
      out->status = (agd_status){0};
      return;
    }
  }
}

/* Everything that a weights file holds. A foreign one is taken to be of a linear model of its own shape. */
static inline void load_weights(const char *path, load_outcome *out) {
  agd_model_spec spec;
  agd_model *model;
  agd_training training = {0};
  bool ours;
  if (agd_weights_spec(path, &spec, &ours, &out->status) != AGD_OK) return;
  if (agd_weights_load(path, ours ? NULL : &spec, &model, &training, &out->status) == AGD_OK) {
    load_mix(out, &model->spec.activation, sizeof model->spec.activation);
    load_mix(out, &model->spec.epsilon, sizeof model->spec.epsilon);
    load_mix(out, &model->spec.momentum, sizeof model->spec.momentum);
    load_mix(out, model->weights, model->weight_count * sizeof(agd_real));
    load_mix(out, model->averages, model->average_count * sizeof(agd_real));
    load_mix_training(out, &model->spec, &training);
    load_optimizer(path, model, out);
  }
  agd_training_clear(&training);
  agd_model_destroy(&model);
}

static inline void load_dataset(const char *path, load_outcome *out) {
  agd_dataset *d;
  agd_real *x = NULL, *y = NULL;
  if (agd_dataset_open(path, "x", "y", NULL, &d, &out->status) != AGD_OK) return;
  load_mix_names(out, &d->x_names);
  load_mix_names(out, &d->y_names);
  const size_t rows = (size_t)d->rows;
  x = malloc(rows * d->features * sizeof *x);
  y = malloc(rows * d->targets * sizeof *y);
  if (x != NULL && y != NULL && agd_dataset_read(d, 0, rows, x, y, &out->status) == AGD_OK) {
    load_mix(out, x, rows * d->features * sizeof *x);
    load_mix(out, y, rows * d->targets * sizeof *y);
  }
  free(x);
  free(y);
  agd_dataset_close(&d);
}

static inline void load_table(const char *path, load_outcome *out) {
  agd_names header = {0};
  agd_table table = {0};
  if (agd_table_header(path, &header, &out->status) == AGD_OK &&
      agd_table_read(path, NULL, AGD_MISSING_DROP, &table, &out->status) == AGD_OK) {
    load_mix_names(out, &header);
    load_mix(out, &table.dropped, sizeof table.dropped);
    load_mix(out, table.value, (size_t)table.rows * table.names.count * sizeof *table.value);
  }
  agd_table_clear(&table);
  agd_names_clear(&header);
}

/* What was read is written out and read again: that must come to the same. */
static inline void load_config(const char *path, load_outcome *out) {
  agd_config config, again;
  char *text;
  if (agd_config_load(path, NULL, 0, &config, &out->status) != AGD_OK) return;
  load_mix(out, &config, sizeof config);
  if (agd_config_format(&config, &text, &out->status) != AGD_OK) return;
  if (agd_config_parse(text, path, NULL, 0, &again, &out->status) != AGD_OK ||
      memcmp(&config, &again, sizeof again) != 0) {
    fprintf(stderr, "the effective configuration reads as another: %s\n", out->status.message);
    abort();
  }
  free(text);
}

/* One input of a fuzzer. */
static inline int load_bytes(load_function *load, const uint8_t *bytes, size_t size) {
  load_outcome out = {0};
  const char *path = load_path(bytes, size);
  load(path, &out);
  load_require_reason(path, &out);
  return 0;
}

#endif
