#include "config_keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allegrad/number.h"

#define FIELD(name) .offset = offsetof(agd_config, name), .size = sizeof(((agd_config *)0)->name)
#define SECTION(key_path, text)                                                                                        \
  { .path = (key_path), .kind = AGD_KIND_SECTION, .help = (text) }
#define NAMES(...)                                                                                                     \
  (const char *const[]) { __VA_ARGS__, NULL }

/* Steps are counted in 32 bits in a Keras weights file, widths and rows in the int of a BLAS. */
enum { COUNT_MAX = INT32_MAX, WIDTH_MAX = 1000000 };

const agd_key agd_config_keys[] = {
    SECTION("data", "where the rows come from"),
    {"data.file", AGD_KIND_TEXT, FIELD(data_file), .may_change = true,
     .help = "HDF5 file with the rows (allegrad import makes one)"},
    {"data.x", AGD_KIND_TEXT, FIELD(data_x), .fallback = "x", .help = "dataset of the features, [rows, features]"},
    {"data.y", AGD_KIND_TEXT, FIELD(data_y), .fallback = "y",
     .help = "dataset of the targets, [rows, targets] or [rows]"},
    {"data.validation_split", AGD_KIND_REAL, FIELD(validation_split), .low = 0, .high = 1, .below_high = true,
     .fallback = "0.2", .help = "share of the rows held out for validation"},
    {"data.split", AGD_KIND_CHOICE, FIELD(data_split), .fallback = "tail",
     .choices = NAMES([AGD_SPLIT_TAIL] = "tail", [AGD_SPLIT_RANDOM] = "random"),
     .help = "which rows are held out: the last of the file, or a draw by train.seed"},
    {"data.standardize", AGD_KIND_BOOLEAN, FIELD(standardize), .fallback = "false",
     .help = "scale features to mean 0 and standard deviation 1 of the training rows"},

    SECTION("model", "the network"),
    {"model.hidden", AGD_KIND_WIDTHS, FIELD(model.hidden), .least = 1, .most = WIDTH_MAX,
     .fallback = "[300, 256, 128, 100, 500, 100]", .help = "widths of the hidden layers; none makes a linear model"},
    {"model.activation", AGD_KIND_CHOICE, FIELD(model.activation), .fallback = "relu",
     .choices = NAMES([AGD_LINEAR] = "linear", [AGD_RELU] = "relu", [AGD_TANH] = "tanh", [AGD_SIGMOID] = "sigmoid"),
     .help = "activation of the hidden layers; the output is linear"},
    {"model.init", AGD_KIND_CHOICE, FIELD(init), .fallback = "glorot_uniform",
     .choices = NAMES([AGD_GLOROT_UNIFORM] = "glorot_uniform"), .help = "how kernels are drawn; biases start at 0"},
    {"model.init_weights", AGD_KIND_TEXT, FIELD(init_weights), .nullable = true, .fallback = "null",
     .help = "start from the layers of this .weights.h5, ours or Keras', instead"},
    {"model.dropout", AGD_KIND_REAL, FIELD(model.dropout), .low = 0, .high = 1, .below_high = true, .fallback = "0",
     .help = "share of the outputs of every hidden layer that a training step sets to 0, the rest is scaled up"},
    SECTION("model.batch_norm", "a batch normalisation before every hidden layer"),
    {"model.batch_norm.enabled", AGD_KIND_BOOLEAN, FIELD(model.batch_norm), .fallback = "true",
     .help = "whether there are any"},
    {"model.batch_norm.momentum", AGD_KIND_REAL, FIELD(model.momentum), .low = 0, .high = 1, .below_high = true,
     .fallback = "0.99", .help = "alpha of the running averages: running = alpha running + (1 - alpha) batch"},
    {"model.batch_norm.epsilon", AGD_KIND_REAL, FIELD(model.epsilon), .low = 1e-12, .high = 1, .fallback = "0.001",
     .help = "added to the variance before the root"},
    {"model.batch_norm.sync", AGD_KIND_CHOICE, FIELD(model.sync), .fallback = "global",
     .choices = NAMES([AGD_SYNC_GLOBAL] = "global", [AGD_SYNC_NODE] = "node", [AGD_SYNC_NONE] = "none"),
     .help = "whose rows a statistic is taken over: the global batch, those of the node, or those of the rank"},
    {"model.batch_norm.variance", AGD_KIND_CHOICE, FIELD(model.unbiased_variance), .fallback = "biased",
     .choices = NAMES("biased", "unbiased"),
     .help = "what the running variance takes: biased as Keras, unbiased as PyTorch"},
    {"model.batch_norm.recalibrate", AGD_KIND_CHOICE, FIELD(recalibrate), .fallback = "off",
     .choices = NAMES([AGD_RECALIBRATE_OFF] = "off", [AGD_RECALIBRATE_END] = "end", [AGD_RECALIBRATE_EVAL] = "eval"),
     .help = "replace the running averages by the statistics of all training rows: at the end, or before every "
             "validation"},

    SECTION("train", "the training"),
    {"train.loss", AGD_KIND_CHOICE, FIELD(loss), .fallback = "mse", .choices = NAMES([AGD_LOSS_MSE] = "mse"),
     .help = "mean squared error over rows and targets"},
    SECTION("train.optimizer", "the update rule, by Keras' formulas"),
    {"train.optimizer.name", AGD_KIND_CHOICE, FIELD(optimizer.name), .fallback = "sgd",
     .choices = NAMES([AGD_SGD] = "sgd", [AGD_ADAM] = "adam"), .help = "stochastic gradient descent, or Adam"},
    {"train.optimizer.learning_rate", AGD_KIND_REAL, FIELD(optimizer.learning_rate), .low = 0, .high = 1e30,
     .fallback = "0.01", .fallback_adam = "0.001", .may_change = true, .help = "size of a step"},
    {"train.optimizer.momentum", AGD_KIND_REAL, FIELD(optimizer.momentum), .low = 0, .high = 1, .fallback = "0",
     .applies = AGD_TO_SGD, .help = "share of the last update that goes into the next"},
    {"train.optimizer.nesterov", AGD_KIND_BOOLEAN, FIELD(optimizer.nesterov), .fallback = "false",
     .applies = AGD_TO_SGD, .help = "Nesterov's form of the momentum"},
    {"train.optimizer.beta_1", AGD_KIND_REAL, FIELD(optimizer.beta_1), .low = 0, .high = 1, .below_high = true,
     .fallback = "0.9", .applies = AGD_TO_ADAM, .help = "decay of the mean of the gradients"},
    {"train.optimizer.beta_2", AGD_KIND_REAL, FIELD(optimizer.beta_2), .low = 0, .high = 1, .below_high = true,
     .fallback = "0.999", .applies = AGD_TO_ADAM, .help = "decay of the mean of their squares"},
    {"train.optimizer.epsilon", AGD_KIND_REAL, FIELD(optimizer.epsilon), .low = 1e-30, .high = 1, .fallback = "1e-07",
     .applies = AGD_TO_ADAM, .help = "added to the root of that mean"},
    {"train.init_optimizer", AGD_KIND_BOOLEAN, FIELD(init_optimizer), .fallback = "false",
     .help = "take the optimizer's slots and count of updates from model.init_weights, too"},
    {"train.batch", AGD_KIND_INTEGER, FIELD(batch), .least = 1, .most = COUNT_MAX, .fallback = "32",
     .applies = AGD_TO_GLOBAL_BATCH, .help = "rows of a batch over all ranks"},
    {"train.batch_per_rank", AGD_KIND_INTEGER, FIELD(batch_per_rank), .least = 0, .most = COUNT_MAX, .fallback = "0",
     .help = "rows of a batch on each rank, in place of batch; 0 for off"},
    {"train.accumulate", AGD_KIND_INTEGER, FIELD(accumulate), .least = 1, .most = COUNT_MAX, .fallback = "1",
     .help = "batches whose gradients are added up for one step"},
    {"train.epochs", AGD_KIND_INTEGER, FIELD(epochs), .least = 1, .most = COUNT_MAX, .fallback = "30",
     .may_change = true, .help = "passes over the training rows"},
    {"train.max_steps", AGD_KIND_INTEGER, FIELD(max_steps), .least = 0, .most = COUNT_MAX, .fallback = "0",
     .may_change = true, .help = "end after so many steps, within an epoch or not; 0 for no such limit"},
    {"train.max_seconds", AGD_KIND_REAL, FIELD(max_seconds), .low = 0, .high = 1e9, .fallback = "0", .may_change = true,
     .help = "stop after so many seconds, with a checkpoint to --resume from; 0 for no such limit"},
    {"train.shuffle", AGD_KIND_CHOICE, FIELD(shuffle), .fallback = "global",
     .choices = NAMES([AGD_SHUFFLE_GLOBAL] = "global", [AGD_SHUFFLE_SHARD] = "shard", [AGD_SHUFFLE_NONE] = "none"),
     .help = "a fresh order every epoch of all training rows, or of those of each rank, or that of the file"},
    {"train.seed", AGD_KIND_INTEGER, FIELD(seed), .least = 0, .most = UINT64_MAX, .fallback = "1",
     .help = "seed of the kernels drawn and of the orders of rows"},
    {"train.reproducible", AGD_KIND_INTEGER, FIELD(reproducible), .least = 0, .most = 1024, .fallback = "0",
     .help = "lanes, a power of two that divides batch: the same bits on 1 to so many ranks; 0 for off"},
    SECTION("train.schedule", "how the learning rate changes from step to step"),
    {"train.schedule.name", AGD_KIND_CHOICE, FIELD(schedule.name), .fallback = "constant",
     .choices =
         NAMES([AGD_SCHEDULE_CONSTANT] = "constant", [AGD_SCHEDULE_STEP] = "step", [AGD_SCHEDULE_COSINE] = "cosine"),
     .may_change = true, .help = "as it is, smaller every few epochs, or falling along half a cosine to the end"},
    {"train.schedule.warmup_epochs", AGD_KIND_REAL, FIELD(schedule.warmup_epochs), .low = 0, .high = COUNT_MAX,
     .fallback = "0", .may_change = true, .help = "epochs of a linear rise before that"},
    {"train.schedule.base_batch", AGD_KIND_INTEGER, FIELD(schedule.base_batch), .least = 0, .most = COUNT_MAX,
     .fallback = "0", .may_change = true,
     .help = "learning_rate is meant for a step on so many rows and is scaled to those of this job; 0 for off"},
    {"train.schedule.step_epochs", AGD_KIND_INTEGER, FIELD(schedule.step_epochs), .least = 1, .most = COUNT_MAX,
     .fallback = "10", .applies = AGD_TO_STEP, .may_change = true, .help = "epochs from one change to the next"},
    {"train.schedule.step_factor", AGD_KIND_REAL, FIELD(schedule.step_factor), .low = 0, .high = 1, .fallback = "0.1",
     .applies = AGD_TO_STEP, .may_change = true, .help = "what it is multiplied by"},
    {"train.schedule.final_factor", AGD_KIND_REAL, FIELD(schedule.final_factor), .low = 0, .high = 1, .fallback = "0",
     .applies = AGD_TO_COSINE, .may_change = true, .help = "share of the learning rate at the end"},
    {"train.clip_norm", AGD_KIND_REAL, FIELD(clip_norm), .low = 0, .high = 1e30, .fallback = "0", .may_change = true,
     .help = "largest norm of the gradient of all weights: a longer one is scaled to it; 0 for off"},
    {"train.weight_decay", AGD_KIND_REAL, FIELD(optimizer.weight_decay), .low = 0, .high = 1, .fallback = "0",
     .may_change = true, .help = "every step first takes weight_decay x learning rate x weight off each weight"},
    SECTION("train.early_stopping", "an end before the last epoch"),
    {"train.early_stopping.patience", AGD_KIND_INTEGER, FIELD(patience), .least = 0, .most = COUNT_MAX, .fallback = "0",
     .may_change = true, .help = "end after so many epochs without a lower val_loss; 0 for off"},

    SECTION("checkpoint", "what is kept while it trains"),
    {"checkpoint.every_epochs", AGD_KIND_INTEGER, FIELD(checkpoint_every_epochs), .least = 0, .most = COUNT_MAX,
     .fallback = "1", .may_change = true, .help = "a checkpoint after every so many epochs; 0 for none"},
    {"checkpoint.every_steps", AGD_KIND_INTEGER, FIELD(checkpoint_every_steps), .least = 0, .most = COUNT_MAX,
     .fallback = "0", .may_change = true, .help = "a checkpoint after every so many steps, within epochs; 0 for none"},
    {"checkpoint.every_minutes", AGD_KIND_REAL, FIELD(checkpoint_every_minutes), .low = 0, .high = 1e9, .fallback = "0",
     .may_change = true, .help = "a checkpoint when so many minutes have passed since the last; 0 for none"},
    {"checkpoint.keep", AGD_KIND_INTEGER, FIELD(checkpoint_keep), .least = 0, .most = COUNT_MAX, .fallback = "3",
     .may_change = true, .help = "the newest so many checkpoints stay; 0 for all"},
    {"checkpoint.best", AGD_KIND_BOOLEAN, FIELD(checkpoint_best), .fallback = "true", .may_change = true,
     .help = "keep the weights of the epoch with the lowest val_loss in best.weights.h5"},
    {"checkpoint.on_error", AGD_KIND_CHOICE, FIELD(checkpoint_on_error), .fallback = "stop", .may_change = true,
     .choices = NAMES([AGD_ON_ERROR_STOP] = "stop", [AGD_ON_ERROR_WARN] = "warn"),
     .help = "what a checkpoint that cannot be written does: end the training, or warn and go on"},

    SECTION("comm", "what travels between ranks"),
    {"comm.timeout", AGD_KIND_REAL, FIELD(timeout), .low = 0, .high = 1e9, .fallback = "300", .may_change = true,
     .help = "end the job when a rank has waited for so many seconds: another is stopped or lost; 0 for never"},
    {"comm.check_every", AGD_KIND_INTEGER, FIELD(check_every), .least = 0, .most = COUNT_MAX, .fallback = "0",
     .may_change = true,
     .help = "compare the ranks' weights every so many steps; after every epoch they are compared anyway"},
    {"comm.exchange", AGD_KIND_CHOICE, FIELD(exchange), .fallback = "auto",
     .choices = NAMES([AGD_EXCHANGE_AUTO] = "auto", [AGD_EXCHANGE_ALLREDUCE] = "allreduce",
                      [AGD_EXCHANGE_BUCKETS] = "buckets", [AGD_EXCHANGE_WINDOW] = "window"),
     .may_change = true, .help = "how gradients and sums travel; auto: by where the ranks run"},

    SECTION("log", "what is told"),
    {"log.steps", AGD_KIND_INTEGER, FIELD(log_steps), .least = 0, .most = COUNT_MAX, .fallback = "0",
     .may_change = true, .help = "write the loss of every n-th step to steps.csv; 0 for none"},
    {"log.tensorboard", AGD_KIND_BOOLEAN, FIELD(tensorboard), .fallback = "true", .may_change = true,
     .help = "event files for TensorBoard"},
    {"log.progress", AGD_KIND_CHOICE, FIELD(progress), .fallback = "auto",
     .choices = NAMES([AGD_PROGRESS_AUTO] = "auto", [AGD_PROGRESS_BAR] = "bar", [AGD_PROGRESS_LINES] = "lines",
                      [AGD_PROGRESS_OFF] = "off"),
     .may_change = true, .help = "a bar, a line an epoch, or nothing; auto: a bar on a terminal, lines elsewhere"},
};
const size_t agd_config_key_count = sizeof agd_config_keys / sizeof *agd_config_keys;

long agd_key_find(const char *path) {
  for (size_t i = 0; i < agd_config_key_count; i++)
    if (strcmp(agd_config_keys[i].path, path) == 0) return (long)i;
  return -1;
}

static const char *last_part(const char *path) {
  const char *point = strrchr(path, '.');
  return point == NULL ? path : point + 1;
}

const char *agd_key_name(const agd_key *key) { return last_part(key->path); }

static void describe_choices(const agd_key *key, char *text) {
  size_t used = 0;
  for (size_t i = 0; key->choices[i] != NULL; i++) {
    const char *before = i == 0 ? "" : key->choices[i + 1] == NULL ? " or " : ", ";
    used += (size_t)snprintf(text + used, AGD_DESCRIPTION_MAX - used, "%s%s", before, key->choices[i]);
    AGD_REQUIRE(used < AGD_DESCRIPTION_MAX);
  }
}

static void describe_real(const agd_key *key, char *text) {
  char low[AGD_NUMBER_SIZE], high[AGD_NUMBER_SIZE];
  agd_number_format(key->low, low);
  agd_number_format(key->high, high);
  snprintf(text, AGD_DESCRIPTION_MAX,
           key->below_high ? "a number of at least %s and below %s" : "a number from %s to %s", low, high);
}

void agd_key_describe(const agd_key *key, char text[AGD_DESCRIPTION_MAX]) {
  const unsigned long long least = key->least, most = key->most;
  switch (key->kind) {
  case AGD_KIND_SECTION:
    snprintf(text, AGD_DESCRIPTION_MAX, "a mapping of keys");
    break;
  case AGD_KIND_TEXT:
    snprintf(text, AGD_DESCRIPTION_MAX, "a %s of at most %zu bytes%s", key->size == AGD_PATH_MAX ? "path" : "name",
             key->size - 1, key->nullable ? ", or null" : "");
    break;
  case AGD_KIND_REAL:
    describe_real(key, text);
    break;
  case AGD_KIND_INTEGER:
    snprintf(text, AGD_DESCRIPTION_MAX, "a whole number from %llu to %llu", least, most);
    break;
  case AGD_KIND_BOOLEAN:
    snprintf(text, AGD_DESCRIPTION_MAX, "true or false");
    break;
  case AGD_KIND_CHOICE:
    describe_choices(key, text);
    break;
  case AGD_KIND_WIDTHS:
    snprintf(text, AGD_DESCRIPTION_MAX, "a list of at most %d whole numbers from %llu to %llu, as [64, 32] or []",
             (int)AGD_HIDDEN_MAX, least, most);
    break;
  }
}

bool agd_key_applies(const agd_key *key, const agd_config *config) {
  switch (key->applies) {
  case AGD_TO_ALL:
    break;
  case AGD_TO_SGD:
    return config->optimizer.name == AGD_SGD;
  case AGD_TO_ADAM:
    return config->optimizer.name == AGD_ADAM;
  case AGD_TO_STEP:
    return config->schedule.name == AGD_SCHEDULE_STEP;
  case AGD_TO_COSINE:
    return config->schedule.name == AGD_SCHEDULE_COSINE;
  case AGD_TO_GLOBAL_BATCH:
    return config->batch_per_rank == 0;
  }
  return true;
}

/* The edit distance of Levenshtein: insertions, deletions and substitutions that turn a into b. */
static size_t distance(const char *a, const char *b) {
  enum { LONGEST = 64 };
  const size_t length = strlen(b);
  if (length > LONGEST) return SIZE_MAX / 4;
  size_t row[LONGEST + 1];
  for (size_t j = 0; j <= length; j++) row[j] = j;
  for (size_t i = 0; a[i] != '\0'; i++) {
    size_t diagonal = row[0]++;
    for (size_t j = 0; j < length; j++) {
      const size_t replaced = diagonal + (a[i] != b[j]), shorter = 1 + (row[j] < row[j + 1] ? row[j] : row[j + 1]);
      diagonal = row[j + 1];
      row[j + 1] = replaced < shorter ? replaced : shorter;
    }
  }
  return row[length];
}

/* How far the section of a key is from that of the path: 0 the same, 1 below it, 2 elsewhere. */
static size_t section_distance(const agd_key *key, const char *path) {
  const size_t length = (size_t)(last_part(path) - path);
  if (strncmp(key->path, path, length) != 0) return 2;
  return agd_key_name(key) == key->path + length ? 0 : 1;
}

const agd_key *agd_key_suggest(const char *path) {
  const char *name = last_part(path);
  const size_t slips = 1 + strlen(name) / 4; /* further away it is no slip of the pen */
  const agd_key *best = NULL;
  size_t least = SIZE_MAX;
  for (size_t i = 0; i < agd_config_key_count; i++) {
    const agd_key *key = &agd_config_keys[i];
    const size_t letters = distance(agd_key_name(key), name), d = 2 * letters + section_distance(key, path);
    if (letters <= slips && d < least) best = key, least = d;
  }
  return best;
}

/* No sign, no leading zero: 010 is eight to some and ten to others. */
static bool plain_digits(const char *text) {
  const size_t length = strspn(text, "0123456789");
  return length > 0 && text[length] == '\0' && (text[0] != '0' || length == 1);
}

bool agd_key_parse_integer(const agd_key *key, const char *text, bool quoted, uint64_t *out) {
  enum { MOST_DIGITS = 20 };
  if (quoted || text == NULL || !plain_digits(text) || strlen(text) > MOST_DIGITS) return false;
  uint64_t value = 0;
  for (; *text != '\0'; text++)
    if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, *text - '0', &value)) return false;
  if (value < key->least || value > key->most) return false;
  *out = value;
  return true;
}

static bool store_real(const agd_key *key, const char *text, bool quoted, void *field) {
  if (quoted || text == NULL || text[0] == '+') return false;
  const char *first = text + (text[0] == '-');
  double value;
  if (first[0] == '0' && first[1] >= '0' && first[1] <= '9') return false;
  if (!agd_number_parse(text, &value)) return false;
  if (value < key->low || value > key->high || (key->below_high && value == key->high)) return false;
  value += 0.0; /* -0 is 0 */
  memcpy(field, &value, sizeof value);
  return true;
}

static bool store_boolean(const char *text, bool quoted, void *field) {
  if (quoted || text == NULL) return false;
  const bool value = strcmp(text, "true") == 0;
  if (!value && strcmp(text, "false") != 0) return false;
  memcpy(field, &value, sizeof value);
  return true;
}

static bool store_choice(const agd_key *key, const char *text, void *field) {
  if (text == NULL) return false;
  for (unsigned i = 0; key->choices[i] != NULL; i++) {
    if (strcmp(key->choices[i], text) != 0) continue;
    const bool flag = i != 0;
    memcpy(field, key->size == sizeof flag ? (const void *)&flag : &i, key->size);
    return true;
  }
  return false;
}

static bool store_text(const agd_key *key, const char *text, char *field) {
  if (text == NULL && !key->nullable) return false;
  if (text != NULL && (*text == '\0' || strlen(text) >= key->size)) return false;
  strncpy(field, text == NULL ? "" : text, key->size); /* and zeros to the end */
  return true;
}

bool agd_key_store(const agd_key *key, const char *text, bool quoted, agd_config *config) {
  char *field = (char *)config + key->offset;
  uint64_t integer;
  switch (key->kind) {
  case AGD_KIND_TEXT:
    return store_text(key, text, field);
  case AGD_KIND_REAL:
    return store_real(key, text, quoted, field);
  case AGD_KIND_INTEGER:
    if (!agd_key_parse_integer(key, text, quoted, &integer)) return false;
    memcpy(field, &integer, sizeof integer);
    return true;
  case AGD_KIND_BOOLEAN:
    return store_boolean(text, quoted, field);
  case AGD_KIND_CHOICE:
    return store_choice(key, text, field);
  case AGD_KIND_SECTION:
  case AGD_KIND_WIDTHS:
    break;
  }
  agd_bug(__FILE__, __LINE__, "no scalar key");
}
