#include "allegrad/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config_read.h"

_Static_assert(sizeof(agd_activation) == sizeof(unsigned) && sizeof(agd_progress) == sizeof(unsigned),
               "a choice is stored as an unsigned");

/* The list goes through the parser, like any; it need not be started for each of the scalars. */
static agd_code apply_default(agd_job *job, size_t index, const char *text) {
  const agd_key *key = &agd_config_keys[index];
  if (text == NULL) return AGD_OK;
  if (key->kind == AGD_KIND_WIDTHS) return agd_job_read(job, AGD_FROM_DEFAULT, (long)index, text, strlen(text));
  const bool stored = agd_key_store(key, strcmp(text, "null") == 0 ? NULL : text, false, job->config);
  AGD_REQUIRE(stored);
  return AGD_OK;
}

static agd_code apply_defaults(agd_job *job) {
  AGD_REQUIRE(agd_config_key_count <= AGD_KEYS_MAX);
  for (size_t i = 0; i < agd_config_key_count; i++) AGD_TRY(apply_default(job, i, agd_config_keys[i].fallback));
  return AGD_OK;
}

/* Absent keys whose default depends on the optimizer. */
static agd_code apply_adam_defaults(agd_job *job) {
  if (job->config->optimizer.name != AGD_ADAM) return AGD_OK;
  for (size_t i = 0; i < agd_config_key_count; i++)
    if (job->written[i].source == AGD_FROM_DEFAULT) AGD_TRY(apply_default(job, i, agd_config_keys[i].fallback_adam));
  return AGD_OK;
}

static agd_code apply_override(agd_job *job, size_t index) {
  enum { PATH_SIZE = 128 };
  const agd_place place = {.source = AGD_FROM_OVERRIDE + index};
  const char *override = job->overrides[index], *equals = strchr(override, '=');
  if (equals == NULL) return agd_job_fail(job, place, "expected section.key=value");
  char path[PATH_SIZE];
  snprintf(path, sizeof path, "%.*s", (int)(equals - override), override);
  const long key = agd_key_find(path);
  if (key < 0) {
    const agd_key *meant = agd_key_suggest(path);
    if (meant == NULL) return agd_job_fail(job, place, "unknown key");
    return agd_job_fail(job, place, "unknown key; did you mean %s?", meant->path);
  }
  job->written[key] = place;
  return agd_job_read(job, place.source, key, equals + 1, strlen(equals + 1));
}

/* Where a key was written, or the start of the file. */
static agd_place place_of(const agd_job *job, const char *path) {
  const agd_place written = job->written[agd_key_find(path)], start = {AGD_FROM_FILE, 1, 1};
  return written.source == AGD_FROM_DEFAULT ? start : written;
}

/* What a job chose instead of that which the key is for. */
static const char *chosen_instead(const agd_key *key, const agd_config *config) {
  switch (key->applies) {
  case AGD_TO_SGD:
    return "the optimizer adam";
  case AGD_TO_ADAM:
    return "the optimizer sgd";
  case AGD_TO_STEP:
    return config->schedule.name == AGD_SCHEDULE_COSINE ? "the schedule cosine" : "the schedule constant";
  case AGD_TO_COSINE:
    return config->schedule.name == AGD_SCHEDULE_STEP ? "the schedule step" : "the schedule constant";
  case AGD_TO_GLOBAL_BATCH:
    return "a job with train.batch_per_rank";
  case AGD_TO_ALL:
    break;
  }
  agd_bug(__FILE__, __LINE__, "a key for all jobs");
}

/* Written keys that this job does not read. */
static agd_code check_applies(const agd_job *job) {
  for (size_t i = 0; i < agd_config_key_count; i++) {
    const agd_key *key = &agd_config_keys[i];
    if (job->written[i].source != AGD_FROM_DEFAULT && !agd_key_applies(key, job->config))
      return agd_job_fail(job, job->written[i], "%s does not apply to %s", key->path, chosen_instead(key, job->config));
  }
  return AGD_OK;
}

/* What reproducible mode excludes: whatever makes a sum depend on the number of ranks. */
static agd_code check_reproducible(const agd_job *job) {
  const agd_config *config = job->config;
  const uint64_t lanes = config->reproducible;
  const char *reason = NULL;
  if (lanes == 0) return AGD_OK;
  if (config->batch_per_rank > 0)
    reason = "excludes train.batch_per_rank: the batch would depend on the number of ranks";
  else if ((lanes & (lanes - 1)) != 0 || config->batch % lanes != 0)
    reason = "must be a power of two that divides train.batch";
  else if (config->model.batch_norm && config->model.sync != AGD_SYNC_GLOBAL)
    reason = "needs model.batch_norm.sync: global";
  else if (config->shuffle == AGD_SHUFFLE_SHARD)
    reason = "needs train.shuffle: global or none";
  if (reason == NULL) return AGD_OK;
  return agd_job_fail(job, place_of(job, "train.reproducible"), "train.reproducible %s", reason);
}

/* What no key can see alone. */
static agd_code validate(const agd_job *job) {
  const agd_config *config = job->config;
  if (config->data_file[0] == '\0')
    return agd_job_fail(job, place_of(job, "data"), "data.file is missing: it names the HDF5 file with the rows");
  AGD_TRY(check_applies(job));
  if (config->optimizer.nesterov && config->optimizer.momentum == 0)
    return agd_job_fail(job, place_of(job, "train.optimizer.nesterov"),
                        "train.optimizer.nesterov needs a train.optimizer.momentum above 0");
  if (config->init_optimizer && config->init_weights[0] == '\0')
    return agd_job_fail(job, place_of(job, "train.init_optimizer"),
                        "train.init_optimizer needs model.init_weights: the file that holds the optimizer's state");
  if (config->patience > 0 && config->validation_split == 0)
    return agd_job_fail(job, place_of(job, "train.early_stopping.patience"),
                        "train.early_stopping.patience needs a data.validation_split above 0");
  return check_reproducible(job);
}

static agd_code parse(const char *text, size_t length, const char *name, const char *const *overrides, size_t count,
                      agd_config *out, agd_status *st) {
  memset(out, 0, sizeof *out); /* the padding too */
  agd_job job = {.name = name, .overrides = overrides, .config = out, .st = st};
  AGD_TRY(apply_defaults(&job));
  AGD_TRY(agd_job_read(&job, AGD_FROM_FILE, -1, text, length));
  for (size_t i = 0; i < count; i++) AGD_TRY(apply_override(&job, i));
  AGD_TRY(apply_adam_defaults(&job));
  return validate(&job);
}

agd_code agd_config_parse(const char *text, const char *name, const char *const *overrides, size_t count,
                          agd_config *out, agd_status *st) {
  return parse(text, strlen(text), name, overrides, count, out, st);
}

/* Reads up to AGD_JOB_MAX bytes; also from a pipe. */
static agd_code read_file(const char *path, char *text, size_t *length, agd_status *st) {
  FILE *file = fopen(path, "rb");
  if (file == NULL)
    return agd_fail(st, errno == ENOMEM ? AGD_EDATA : AGD_EUSAGE, "%s: the job file cannot be opened: %s", path,
                    strerror(errno));
  errno = 0;
  *length = fread(text, 1, AGD_JOB_MAX + 1, file);
  const int error = ferror(file) ? errno : 0;
  fclose(file);
  if (error != 0) return agd_fail(st, AGD_EUSAGE, "%s: the job file cannot be read: %s", path, strerror(error));
  if (*length > AGD_JOB_MAX)
    return agd_fail(st, AGD_EUSAGE, "%s: no job file is larger than %d bytes", path, (int)AGD_JOB_MAX);
  return AGD_OK;
}

agd_code agd_config_load(const char *path, const char *const *overrides, size_t count, agd_config *out,
                         agd_status *st) {
  char *text = malloc(AGD_JOB_MAX + 1);
  if (text == NULL) return agd_fail(st, AGD_EDATA, "out of memory: the job file");
  size_t length = 0;
  agd_code code = read_file(path, text, &length, st);
  if (code == AGD_OK) code = parse(text, length, path, overrides, count, out, st);
  free(text);
  return code;
}
