#include "allegrad/config.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allegrad/rng.h"
#include "temporary.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define MINIMAL "data: {file: a.h5}\n"

static void parse_with(const char *text, const char *const *overrides, size_t count, agd_config *out) {
  agd_status st = {0};
  if (agd_config_parse(text, "job.yaml", overrides, count, out, &st) != AGD_OK) fail_msg("%s\n%s", text, st.message);
}

static void parse(const char *text, agd_config *out) { parse_with(text, NULL, 0, out); }

/* The message of a refused job. */
static void refused(const char *text, const char *const *overrides, size_t count, agd_status *st) {
  agd_config config;
  *st = (agd_status){0};
  const agd_code code = agd_config_parse(text, "job.yaml", overrides, count, &config, st);
  if (code != AGD_EUSAGE || st->code != AGD_EUSAGE) fail_msg("taken: %s", count > 0 ? overrides[0] : text);
  if (strchr(st->message, '\n') != NULL) fail_msg("several lines: %s", st->message);
}

static void test_defaults(void **state) {
  (void)state;
  agd_config c;
  parse("data: {file: data/lucas_county.h5}", &c);
  assert_string_equal(c.data_file, "data/lucas_county.h5");
  assert_string_equal(c.data_x, "x");
  assert_string_equal(c.data_y, "y");
  assert_true(c.validation_split == 0.2 && !c.standardize);
  const size_t hidden[] = {300, 256, 128, 100, 500, 100};
  assert_int_equal(c.model.hidden_count, COUNT(hidden));
  assert_memory_equal(c.model.hidden, hidden, sizeof hidden);
  assert_true(c.model.activation == AGD_RELU && c.init == AGD_GLOROT_UNIFORM && c.init_weights[0] == '\0');
  assert_true(c.model.batch_norm && c.model.momentum == 0.99 && c.model.epsilon == 1e-3 && !c.model.unbiased_variance);
  assert_true(c.model.inputs == 0 && c.model.outputs == 0);
  assert_true(c.loss == AGD_LOSS_MSE && c.optimizer.name == AGD_SGD && c.optimizer.learning_rate == 0.01);
  assert_true(c.optimizer.momentum == 0 && !c.optimizer.nesterov);
  assert_true(c.optimizer.beta_1 == 0.9 && c.optimizer.beta_2 == 0.999 && c.optimizer.epsilon == 1e-7);
  assert_true(c.batch == 32 && c.epochs == 30 && c.max_steps == 0 && c.shuffle == AGD_SHUFFLE_GLOBAL && c.seed == 1);
  assert_true(c.data_split == AGD_SPLIT_TAIL && c.model.dropout == 0 && c.model.sync == AGD_SYNC_GLOBAL);
  assert_true(c.recalibrate == AGD_RECALIBRATE_OFF && c.batch_per_rank == 0 && c.accumulate == 1);
  assert_true(c.schedule.name == AGD_SCHEDULE_CONSTANT && c.schedule.warmup_epochs == 0 && c.schedule.base_batch == 0);
  assert_true(c.schedule.step_epochs == 10 && c.schedule.step_factor == 0.1 && c.schedule.final_factor == 0);
  assert_true(c.clip_norm == 0 && c.optimizer.weight_decay == 0 && c.patience == 0);
  assert_true(c.checkpoint_every_epochs == 1 && c.checkpoint_keep == 3 && c.checkpoint_best);
  assert_true(c.log_steps == 0 && c.tensorboard && c.progress == AGD_PROGRESS_AUTO);
}

static const char everything[] =
    "# every key away from its default\r\n"
    "---\r\n"
    "data:\n"
    "  file: 'a b.h5'\n"
    "  x: \"features: 1\"\n"
    "  y: target\n"
    "  validation_split: 0.5\n"
    "  split: random\n"
    "  standardize: true\n"
    "model:\n"
    "  hidden:\n"
    "    - 7   # seven\n"
    "    - 1000000\n"
    "  activation: tanh\n"
    "  init_weights: /x/y.weights.h5\n"
    "  dropout: 0.25\n"
    "  batch_norm: {enabled: false, momentum: .9, epsilon: 1e-5, sync: none, variance: unbiased, recalibrate: eval}\n"
    "train: {\"loss\": \"mse\", optimizer: {name: sgd, learning_rate: 5., momentum: 9e-1, nesterov: true}, "
    "init_optimizer: true, batch: 1,\n"
    "        epochs: 2147483647, max_steps: 12, max_seconds: 0.5, shuffle: none, seed: 18446744073709551615,\n"
    "        reproducible: 1, accumulate: 3, clip_norm: 2, weight_decay: 1e-4, early_stopping: {patience: 4},\n"
    "        schedule: {name: cosine, warmup_epochs: 0.5, base_batch: 64, final_factor: 0.01}}\n"
    "comm: {timeout: 0.5, check_every: 5, exchange: buckets}\n"
    "checkpoint: {every_epochs: 0, every_steps: 7, every_minutes: 2.5, keep: 0, best: false, on_error: warn}\n"
    "log: {steps: 10, tensorboard: false, progress: off}\n"
    "...\n";

static void test_every_key_is_read(void **state) {
  (void)state;
  agd_config c;
  parse(everything, &c);
  assert_string_equal(c.data_file, "a b.h5");
  assert_string_equal(c.data_x, "features: 1");
  assert_string_equal(c.data_y, "target");
  assert_true(c.validation_split == 0.5 && c.data_split == AGD_SPLIT_RANDOM && c.standardize);
  assert_true(c.model.hidden_count == 2 && c.model.hidden[0] == 7 && c.model.hidden[1] == 1000000);
  assert_true(c.model.hidden[2] == 0);
  assert_true(c.model.activation == AGD_TANH);
  assert_string_equal(c.init_weights, "/x/y.weights.h5");
  assert_true(!c.model.batch_norm && c.model.momentum == 0.9 && c.model.epsilon == 1e-5 && c.model.unbiased_variance);
  assert_true(c.optimizer.learning_rate == 5 && c.optimizer.momentum == 0.9 && c.optimizer.nesterov);
  assert_true(c.batch == 1 && c.epochs == INT_MAX && c.max_steps == 12 && c.shuffle == AGD_SHUFFLE_NONE);
  assert_true(c.seed == UINT64_MAX && c.checkpoint_every_epochs == 0 && c.checkpoint_keep == 0);
  assert_true(c.model.dropout == 0.25 && c.model.sync == AGD_SYNC_NONE && c.recalibrate == AGD_RECALIBRATE_EVAL);
  assert_true(c.accumulate == 3 && c.clip_norm == 2 && c.optimizer.weight_decay == 1e-4 && c.patience == 4);
  assert_true(c.schedule.name == AGD_SCHEDULE_COSINE && c.schedule.warmup_epochs == 0.5);
  assert_true(c.max_seconds == 0.5 && c.checkpoint_every_steps == 7 && c.checkpoint_every_minutes == 2.5);
  assert_true(c.checkpoint_on_error == AGD_ON_ERROR_WARN && c.timeout == 0.5 && c.init_optimizer);
  assert_true(c.schedule.base_batch == 64 && c.schedule.final_factor == 0.01 && !c.checkpoint_best);
  assert_true(c.reproducible == 1 && c.exchange == AGD_EXCHANGE_BUCKETS && c.check_every == 5);
  assert_true(c.log_steps == 10 && !c.tensorboard && c.progress == AGD_PROGRESS_OFF);
}

static void test_json_and_a_byte_order_mark_are_yaml(void **state) {
  (void)state;
  agd_config a, b;
  parse("\xef\xbb\xbf{\"data\": {\"file\": \"a.h5\"},\n\t\"model\": {\"hidden\": [], \"init_weights\": null}}", &a);
  parse("data: {file: a.h5}\nmodel: {hidden: [], init_weights: ~}", &b);
  assert_memory_equal(&a, &b, sizeof a);
  assert_int_equal(a.model.hidden_count, 0);
}

static void test_minus_zero_is_zero(void **state) {
  (void)state;
  agd_config a, b;
  parse(MINIMAL "train: {optimizer: {learning_rate: -0.0}}", &a);
  parse(MINIMAL "train: {optimizer: {learning_rate: 0}}", &b);
  assert_memory_equal(&a, &b, sizeof a);
}

static void test_activation_names_are_those_of_the_model(void **state) {
  (void)state;
  const agd_activation all[] = {AGD_LINEAR, AGD_RELU, AGD_TANH, AGD_SIGMOID};
  for (size_t i = 0; i < COUNT(all); i++) {
    char text[128];
    snprintf(text, sizeof text, MINIMAL "model: {activation: %s}", agd_activation_name(all[i]));
    agd_config c;
    parse(text, &c);
    assert_int_equal(c.model.activation, all[i]);
  }
}

static void test_adam(void **state) {
  (void)state;
  agd_config c;
  parse(MINIMAL "train: {optimizer: {name: adam}}", &c);
  assert_true(c.optimizer.name == AGD_ADAM && c.optimizer.learning_rate == 0.001);
  assert_true(c.optimizer.beta_1 == 0.9 && c.optimizer.beta_2 == 0.999 && c.optimizer.epsilon == 1e-7);
  parse(MINIMAL "train: {optimizer: {learning_rate: 0.01, beta_1: 0, beta_2: 0.5, epsilon: 1, name: adam}}", &c);
  assert_true(c.optimizer.learning_rate == 0.01 && c.optimizer.beta_1 == 0);
  assert_true(c.optimizer.beta_2 == 0.5 && c.optimizer.epsilon == 1);
}

/* A refused job: where the message must point, and what it must say. */
typedef struct bad_job {
  const char *text, *where, *what;
} bad_job;

static void check_refused(const bad_job *cases, size_t count) {
  size_t wrong = 0;
  for (size_t i = 0; i < count; i++) {
    agd_status st;
    refused(cases[i].text, NULL, 0, &st);
    char where[64];
    snprintf(where, sizeof where, "job.yaml:%s: ", cases[i].where);
    if (strncmp(st.message, where, strlen(where)) != 0 || strstr(st.message, cases[i].what) == NULL)
      wrong++, print_error("%s\nshould begin with %s and hold \"%s\":\n%s\n", cases[i].text, where, cases[i].what,
                           st.message);
  }
  assert_int_equal(wrong, 0);
}

static void test_bad_values_are_refused_where_they_stand(void **state) {
  (void)state;
  /* key, what it is, and values of another kind; each stands in line 3, behind the key and ": " */
  static const struct {
    const char *section, *key, *expected;
    const char *values[24];
  } cases[] = {
      {"train",
       "batch",
       "expected a whole number from 1 to 2147483647; got ",
       {"7.5",
        "32abc",
        "010",
        "0x10",
        "1e3",
        "+5",
        "-1",
        "0",
        "\"32\"",
        "'32'",
        "",
        "null",
        "~",
        "true",
        "[32]",
        "{a: 1}",
        "1_000",
        "3 2",
        "2147483648",
        "18446744073709551648",
        "99999999999999999999999",
        ".inf",
        "32 ,"}},
      {"train",
       "seed",
       "expected a whole number from 0 to 18446744073709551615; got ",
       {"18446744073709551616", "-0", "00", "1.0"}},
      {"data",
       "validation_split",
       "expected a number of at least 0 and below 1; got ",
       {"0.5x",   "nan",     "NaN", ".nan", "inf",     ".inf",  "-.inf",
        "0x1p-1", "0,5",     "1",   "-0.1", "00.5",    "+0.5",  "1e999",
        "1e-999", "\"0.5\"", "",    "null", "0.5 0.5", "[0.5]", "0.99999999999999999999"}},
      {"data",
       "standardize",
       "expected true or false; got ",
       {"flase", "yes", "no", "on", "1", "0", "True", "TRUE", "\"true\"", "", "null", "[true]"}},
      {"model",
       "activation",
       "expected linear, relu, tanh or sigmoid; got ",
       {"Relu", "relu6", "", "null", "1", "[relu]", "softmax", "rel"}},
      {"model",
       "hidden",
       "expected a list of at most 64 whole numbers from 1 to 1000000, as [64, 32] or []; got ",
       {"64", "", "null", "{a: 1}", "64, 32", "\"[64]\""}},
      {"data", "x", "expected a name of at most 255 bytes; got ", {"", "\"\"", "null", "[x]", "{x: 1}"}},
      {"model", "init_weights", "expected a path of at most 4095 bytes, or null; got ", {"\"\"", "[a]"}},
      {"model", "batch_norm", "expected a mapping of keys; got ", {"true", "", "null", "[true]"}},
      {"train", "loss", "expected mse; got ", {"mae"}},
  };
  for (size_t i = 0; i < COUNT(cases); i++) {
    for (const char *const *value = cases[i].values; *value != NULL; value++) {
      char text[256], where[32], what[256];
      snprintf(text, sizeof text, "# a job\n%s:\n  %s: %s\n", cases[i].section, cases[i].key, *value);
      /* a value left out is where its key is */
      snprintf(where, sizeof where, "3:%zu", **value == '\0' ? 3 : 5 + strlen(cases[i].key));
      snprintf(what, sizeof what, "%s.%s: %s", cases[i].section, cases[i].key, cases[i].expected);
      const bad_job job = {text, where, what};
      check_refused(&job, 1);
    }
  }
}

static void test_bad_structure_is_refused_where_it_stands(void **state) {
  (void)state;
  const bad_job cases[] = {
      {"", "1:1", "expected a mapping of keys; got nothing"},
      {"# nothing but a comment\n\n", "1:1", "expected a mapping of keys; got nothing"},
      {"---\n", "1:1", "expected a mapping of keys; got nothing"},
      {"null\n", "1:1", "expected a mapping of keys; got \"null\""},
      {"some words\n", "1:1", "expected a mapping of keys; got \"some words\""},
      {"- data\n- model\n", "1:1", "expected a mapping of keys; got a list"},
      {"[1, 2]", "1:1", "expected a mapping of keys; got a list"},
      {"model: {hidden: [64, 7.5]}\n", "1:22", "model.hidden: expected a list"},
      {"model: {hidden: [64, '32']}\n", "1:22", "got the quoted text \"32\""},
      {"model: {hidden: [64, [32]]}\n", "1:22", "got a list"},
      {"model: {hidden: [0]}\n", "1:18", "got \"0\""},
      {"model: {hidden: [1000001]}\n", "1:18", "got \"1000001\""},
      {"model:\n  hidden:\n    - 3\n    - {a: 1}\n", "4:7", "got a mapping"},
      {"train: {}\n", "1:1", "data.file is missing"},
      {"train: {}\ndata: {x: a}\n", "2:1", "data.file is missing"},
      /* unknown keys */
      {"data: {fiel: a}\n", "1:8", "unknown key data.fiel; did you mean data.file?"},
      {"batch: 32\n", "1:1", "unknown key batch; did you mean train.batch?"},
      {"trian: {batch: 3}\n", "1:1", "unknown key trian; did you mean train?"},
      {"train: {momentum: 3}\n", "1:9", "did you mean train.optimizer.momentum?"},
      {"model: {qqqqqqqqqqqqq: 3}\n", "1:9", "unknown key model.qqqqqqqqqqqqq"},
      {"train:\n  batch: 3\n  cumulate: 2\n", "3:3", "unknown key train.cumulate; did you mean train.accumulate?"},
      {"cluster: {timeout: 3}\n", "1:1", "unknown key cluster"},
      {"train.batch: 3\n", "1:1", "unknown key train.batch: a section is a mapping"},
      {"Train: {batch: 3}\n", "1:1", "did you mean train?"},
      {"<<: {batch: 3}\n", "1:1", "unknown key <<"},
      {"{: 3}\n", "1:1", "expected the name of a key"},
      {"? [a, b]\n: 3\n", "1:3", "expected the name of a key"},
      {"'': 3\n", "1:1", "expected the name of a key"},
      {"3: 3\n", "1:1", "unknown key 3"},
      /* keys twice */
      {"data: {file: a, file: a}\n", "1:17", "data.file is given twice (first in line 1)"},
      {"data: {file: a}\ntrain: {batch: 3}\ndata: {x: b}\n", "3:1", "data is given twice (first in line 1)"},
      {"data: {file: a, \"file\": a}\n", "1:17", "data.file is given twice"},
      /* what YAML has and a job has not */
      {"data: &d {file: a}\nmodel: *d\n", "1:10", "anchors"},
      {"data: {file: *a}\n", "1:14", "quote a text that begins so"},
      {"train: {batch: !!int 3}\n", "1:22", "tags"},
      {"train: {batch: &b 3}\n", "1:19", "anchors"},
      {MINIMAL "---\n" MINIMAL, "2:1", "second document"},
      {MINIMAL "...\nmore\n", "2:1", "second document"},
      {"%YAML 1.1\n---\n" MINIMAL, "1:1", "may not begin with %"},
      {"data:\n\tfile: a\n", "2:1", "tab character"},
      {"data: {file: a\n", "2:1", "not valid YAML"},
      {"data: {file: \"a\\", "1:15", "without closing quote"},
      {"data: {file: 'a}\n", "1:15", "without closing quote"},
      {"data:\n  file: a\n x: b\n", "3:2", "not valid YAML"},
      {"data: {file: a}}\n", "1:16", "not valid YAML"},
      {"data: file: a\n", "1:7", "data: expected a mapping of keys"},
      {"data: {file: @a}\n", "1:14", "not valid YAML"},
      /* bytes that are no text */
      {"data: {file: a\xff}\n", "1:15", "not UTF-8"},
      {"# \xc3\xa4\ndata: {file: \xc3\xa4\xc3}\n", "2:15", "not UTF-8"},
      {"data: {file: \xed\xa0\x80}\n", "1:14", "not UTF-8"},
      {"data: {file: \xbf\xbf}\n", "1:14", "not UTF-8"},
      {"data: {file: \xc0\xaf}\n", "1:14", "not UTF-8"},
      {"data: {file: \xe0\x80\xaf}\n", "1:14", "not UTF-8"},
      {"data: {file: \xf4\x90\x80\x80}\n", "1:14", "not UTF-8"},
      {"data: {file: \xe2\x82", "1:14", "not UTF-8"},
      {"%\"\xa6", "1:1", "may not begin with %"}, /* libfyaml 0.7.12 hangs on this */
      {"\x7f"
       "ELF\x02\x01\x01",
       "1:1", "U+007F"},
      {"data: {file: a\x1b[31m}\n", "1:15", "U+001B"},
      {"data: {file: a\xc2\x85}\n", "1:15", "U+0085"},
      {"data: {file: a\xe2\x80\xa8}\n", "1:15", "U+2028"},
      {"data: {file: a\xef\xbb\xbf}\n", "1:15", "U+FEFF"},
      {"data: {file: \"a\\nb\"}\n", "1:14", "printable"},
      {"data: {file: \"a\\0b\"}\n", "1:14", "printable"},
      {"data: {file: \"a\\x85\"}\n", "1:14", "printable"},
      {"data:\n  file: |\n    a\n", "3:1", "printable"},
  };
  check_refused(cases, COUNT(cases));
}

static void test_optimizer_keys_belong_to_their_optimizer(void **state) {
  (void)state;
  const bad_job cases[] = {
      {MINIMAL "train: {optimizer: {name: adam, momentum: 0.0}}\n", "2:33",
       "train.optimizer.momentum does not apply to the optimizer adam"},
      {MINIMAL "train: {optimizer: {nesterov: false, name: adam}}\n", "2:21",
       "train.optimizer.nesterov does not apply to the optimizer adam"},
      {MINIMAL "train:\n  optimizer:\n    beta_1: 0.9\n", "4:5",
       "train.optimizer.beta_1 does not apply to the optimizer sgd"},
      {MINIMAL "train: {optimizer: {name: sgd, beta_2: 0.9}}\n", "2:32", "train.optimizer.beta_2 does not apply"},
      {MINIMAL "train: {optimizer: {name: sgd, epsilon: 0.9}}\n", "2:32", "train.optimizer.epsilon does not apply"},
      {MINIMAL "train: {optimizer: {nesterov: true}}\n", "2:21", "needs a train.optimizer.momentum above 0"},
  };
  check_refused(cases, COUNT(cases));
}

/* Repeats a piece of text. */
static char *repeated(const char *head, const char *piece, size_t count, const char *tail) {
  const size_t length = strlen(piece), start = strlen(head);
  char *text = malloc(start + count * length + strlen(tail) + 1);
  assert_non_null(text);
  memcpy(text, head, start);
  for (size_t i = 0; i < count; i++) memcpy(text + start + i * length, piece, length);
  strcpy(text + start + count * length, tail);
  return text;
}

static void test_depth_and_length(void **state) {
  (void)state;
  static const struct {
    const char *head, *piece, *tail, *what;
    size_t count;
  } cases[] = {
      {"", "[", "", "job.yaml:1:1: expected a mapping of keys; got a list", 100000},
      {"", "- ", "", "job.yaml:1:1: expected a mapping of keys; got a list", 100000},
      {"", "{", "", "job.yaml:1:2: expected the name of a key", 100000},
      {"", "? ", "", "job.yaml:1:3: expected the name of a key", 100000},
      {"data: {file: ", "[", "", "job.yaml:1:14: data.file: expected a path", 100000},
      {"model: {hidden: [", "[", "", "job.yaml:1:18: model.hidden: expected a list", 100000},
      {"model: {hidden: [", "3, ", "3]}", "job.yaml:1:210: model.hidden: more than 64 hidden layers", 100000},
      {"data: {file: ", "a", "}", "job.yaml:1:14: data.file: expected a path of at most 4095 bytes", 4096},
      {"data: {x: ", "a", "}", "job.yaml:1:11: data.x: expected a name of at most 255 bytes", 256},
      {"", "k", ": 3", "job.yaml:1:1: unknown key kkk", 900},
  };
  for (size_t i = 0; i < COUNT(cases); i++) {
    char *text = repeated(cases[i].head, cases[i].piece, cases[i].count, cases[i].tail);
    agd_status st;
    refused(text, NULL, 0, &st);
    if (strncmp(st.message, cases[i].what, strlen(cases[i].what)) != 0)
      fail_msg("should begin with %s:\n%s", cases[i].what, st.message);
    free(text);
  }
  agd_config config;
  char *text = repeated("data: {file: ", "a", AGD_PATH_MAX - 1, "}");
  parse(text, &config);
  assert_int_equal(strlen(config.data_file), AGD_PATH_MAX - 1);
  free(text);
  text = repeated(MINIMAL "model: {hidden: [", "3, ", AGD_HIDDEN_MAX - 1, "3]}");
  parse(text, &config);
  assert_int_equal(config.model.hidden_count, AGD_HIDDEN_MAX);
  free(text);
}

static void test_overrides(void **state) {
  (void)state;
  const char *const overrides[] = {"train.batch=64",
                                   "model.hidden=[64, 32]",
                                   "data.file=b=c.h5",
                                   "train.batch=65",
                                   "model.init_weights=null",
                                   "train.optimizer={momentum: 0.5}",
                                   "model.batch_norm.enabled=false"};
  agd_config c;
  parse_with(MINIMAL "train: {batch: 7, epochs: 3}\nmodel: {hidden: [1, 2, 3], init_weights: x}", overrides,
             COUNT(overrides), &c);
  assert_true(c.batch == 65 && c.epochs == 3 && c.optimizer.momentum == 0.5 && !c.model.batch_norm);
  assert_true(c.model.hidden_count == 2 && c.model.hidden[0] == 64 && c.model.hidden[1] == 32);
  assert_true(c.model.hidden[2] == 0 && c.init_weights[0] == '\0');
  assert_string_equal(c.data_file, "b=c.h5");
  const char *const file[] = {"data.file=\"c d # e.h5\"", "train.optimizer.name=adam"};
  parse_with("train: {batch: 7}", file, COUNT(file), &c); /* what the file lacks, an override may give */
  assert_string_equal(c.data_file, "c d # e.h5");
  assert_true(c.optimizer.name == AGD_ADAM && c.optimizer.learning_rate == 0.001);
}

static void test_bad_overrides(void **state) {
  (void)state;
  const struct {
    const char *override, *message;
  } cases[] = {
      {"train.batch=7.5", "--set train.batch: expected a whole number from 1 to 2147483647; got \"7.5\""},
      {"train.batch=\"7\"",
       "--set train.batch: expected a whole number from 1 to 2147483647; got the quoted text \"7\""},
      {"train.batch=", "--set train.batch: expected a whole number from 1 to 2147483647; got nothing"},
      {"train.batch= ", "--set train.batch: expected a whole number from 1 to 2147483647; got nothing"},
      {"train.batch", "--set train.batch: expected section.key=value"},
      {"", "--set : expected section.key=value"},
      {"=3", "--set : unknown key"},
      {"train.btach=3", "--set train.btach: unknown key; did you mean train.batch?"},
      {"batch=3", "--set batch: unknown key; did you mean train.batch?"},
      {"train={batch: 0}", "--set train: train.batch: expected a whole number from 1 to 2147483647; got \"0\""},
      {"train={btach: 0}", "--set train: unknown key train.btach; did you mean train.batch?"},
      {"train={batch: 3, batch: 3}", "--set train: train.batch is given twice"},
      {"train=3", "--set train: expected a mapping of keys; got \"3\""},
      {"model.hidden=[3, 0]", "--set model.hidden: expected a list of at most 64 whole numbers from 1 to 1000000, as "
                              "[64, 32] or []; got \"0\""},
      {"model.hidden=[3", "--set model.hidden: not valid YAML: "},
      {"data.file=*.h5", "--set data.file: "},
      {"data.file=a\nb: c", "--set data.file: "},
      {"data.file=a\n---\nb", "--set data.file: a second document begins"},
      {"data.file=\xff", "--set data.file: this is not UTF-8 text"},
      {"train.optimizer.beta_1=0.5", "--set train.optimizer.beta_1: train.optimizer.beta_1 does not apply to the "
                                     "optimizer sgd"},
      {"train.optimizer.name=adam", "job.yaml:2:21: train.optimizer.momentum does not apply to the optimizer adam"},
      {"train.batch_per_rank=0", NULL},
      {"train={batch: 8, batch_per_rank: 8}",
       "--set train: train.batch does not apply to a job with train.batch_per_rank"},
      {"train={batch_per_rank: 8, reproducible: 8}", "--set train: train.reproducible excludes train.batch_per_rank: "},
      {"train={reproducible: 4, shuffle: shard}",
       "--set train: train.reproducible needs train.shuffle: global or none"},
      {"train={reproducible: 3}", "--set train: train.reproducible must be a power of two that divides train.batch"},
      {"train.schedule={step_epochs: 3}", "--set train.schedule: train.schedule.step_epochs does not apply to the "
                                          "schedule constant"},
      {"train.schedule={name: cosine, step_factor: 0.3}",
       "--set train.schedule: train.schedule.step_factor does not apply to the schedule cosine"},
      {"train.schedule={name: step, final_factor: 0.3}",
       "--set train.schedule: train.schedule.final_factor does not apply to the schedule step"},
      {"train.accumulate=0", "--set train.accumulate: expected a whole number from 1 to "},
      {"model.dropout=1", "--set model.dropout: expected a number of at least 0 and below 1"},
      {"train.optimizer.nesterov=true", NULL}, /* fine: the file gives a momentum */
  };
  for (size_t i = 0; i < COUNT(cases); i++) {
    const char *const overrides[] = {"train.seed=3", cases[i].override};
    const char *text = MINIMAL "train: {optimizer: {momentum: 0.5}}\n";
    agd_status st;
    agd_config config;
    if (cases[i].message == NULL) {
      parse_with(text, overrides, COUNT(overrides), &config);
      continue;
    }
    refused(text, overrides, COUNT(overrides), &st);
    if (strncmp(st.message, cases[i].message, strlen(cases[i].message)) != 0)
      fail_msg("%s should be refused with %s:\n%s", cases[i].override, cases[i].message, st.message);
  }
}

/* Everything that libfyaml has to say goes into the one message, not to stderr. */
static void test_nothing_is_printed(void **state) {
  char path[TEMPORARY_SIZE];
  const int saved = dup(STDERR_FILENO), out = dup(STDOUT_FILENO);
  const int file = open(temporary_path(path, *state, "printed"), O_CREAT | O_RDWR, 0600);
  assert_true(saved >= 0 && out >= 0 && file >= 0);
  fflush(stdout);
  assert_true(dup2(file, STDERR_FILENO) >= 0 && dup2(file, STDOUT_FILENO) >= 0);
  const char *const cases[] = {"data: {file: a\n", "data:\n\tfile: a\n", "a: 'b", "}", "a: b: c", "a: *b",
                               "\"\\ud800\""};
  agd_code codes[COUNT(cases)];
  agd_config config;
  for (size_t i = 0; i < COUNT(cases); i++) {
    agd_status st = {0};
    codes[i] = agd_config_parse(cases[i], "job.yaml", NULL, 0, &config, &st);
  }
  fflush(stdout);
  assert_true(dup2(saved, STDERR_FILENO) >= 0 && dup2(out, STDOUT_FILENO) >= 0);
  close(saved), close(out);
  for (size_t i = 0; i < COUNT(cases); i++) assert_int_equal(codes[i], AGD_EUSAGE);
  assert_int_equal(lseek(file, 0, SEEK_END), 0);
  close(file);
}

static void check_load(const char *path, const char *what) {
  agd_config config;
  agd_status st = {0};
  assert_int_equal(agd_config_load(path, NULL, 0, &config, &st), AGD_EUSAGE);
  if (strncmp(st.message, path, strlen(path)) != 0 || strstr(st.message, what) == NULL) fail_msg("%s", st.message);
}

static void write_bytes(const char *path, const char *bytes, size_t size, size_t times) {
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  for (size_t i = 0; i < times; i++) assert_int_equal(fwrite(bytes, 1, size, file), size);
  assert_int_equal(fclose(file), 0);
}

static void test_files(void **state) {
  char path[TEMPORARY_SIZE], link[TEMPORARY_SIZE];
  check_load(temporary_path(path, *state, "missing.yaml"), "cannot be opened: No such file");
  check_load(*state, "cannot be read: Is a directory");
  temporary_path(path, *state, "job.yaml");
  write_bytes(path, "", 0, 0);
  check_load(path, ":1:1: expected a mapping of keys; got nothing");
  write_bytes(path, MINIMAL "\0", sizeof MINIMAL, 1);
  check_load(path, ":2:1: the character U+0000");
  write_bytes(path, "# comment\n", 10, 1 << 20);
  check_load(path, "no job file is larger than 1048576 bytes");
  assert_int_equal(symlink(path, temporary_path(link, path, "x")), -1);
  check_load(link, "cannot be opened: Not a directory");

  write_bytes(path, MINIMAL "train: {batch: 7}\n", sizeof MINIMAL "train: {batch: 7}\n" - 1, 1);
  agd_config loaded, parsed;
  agd_status st = {0};
  assert_int_equal(agd_config_load(path, (const char *const[]){"train.epochs=2"}, 1, &loaded, &st), AGD_OK);
  parse(MINIMAL "train: {batch: 7, epochs: 2}\n", &parsed);
  assert_memory_equal(&loaded, &parsed, sizeof loaded);
}

static char *format(const agd_config *config) {
  agd_status st = {0};
  char *text = NULL;
  assert_int_equal(agd_config_format(config, &text, &st), AGD_OK);
  assert_non_null(text);
  return text;
}

static void round_trip(const agd_config *config) {
  char *text = format(config);
  agd_config back;
  parse(text, &back);
  if (memcmp(config, &back, sizeof back) != 0) fail_msg("not the same job:\n%s", text);
  free(text);
}

static void test_format_is_the_job_in_full(void **state) {
  (void)state;
  agd_config c;
  parse(everything, &c);
  char *text = format(&c);
  assert_string_equal(text, "data:\n"
                            "  file: \"a b.h5\"\n"
                            "  x: \"features: 1\"\n"
                            "  y: target\n"
                            "  validation_split: 0.5\n"
                            "  split: random\n"
                            "  standardize: true\n"
                            "model:\n"
                            "  hidden: [7, 1000000]\n"
                            "  activation: tanh\n"
                            "  init: glorot_uniform\n"
                            "  init_weights: /x/y.weights.h5\n"
                            "  dropout: 0.25\n"
                            "  batch_norm:\n"
                            "    enabled: false\n"
                            "    momentum: 0.9\n"
                            "    epsilon: 1e-05\n"
                            "    sync: none\n"
                            "    variance: unbiased\n"
                            "    recalibrate: eval\n"
                            "train:\n"
                            "  loss: mse\n"
                            "  optimizer:\n"
                            "    name: sgd\n"
                            "    learning_rate: 5\n"
                            "    momentum: 0.9\n"
                            "    nesterov: true\n"
                            "  init_optimizer: true\n"
                            "  batch: 1\n"
                            "  batch_per_rank: 0\n"
                            "  accumulate: 3\n"
                            "  epochs: 2147483647\n"
                            "  max_steps: 12\n"
                            "  max_seconds: 0.5\n"
                            "  shuffle: none\n"
                            "  seed: 18446744073709551615\n"
                            "  reproducible: 1\n"
                            "  schedule:\n"
                            "    name: cosine\n"
                            "    warmup_epochs: 0.5\n"
                            "    base_batch: 64\n"
                            "    final_factor: 0.01\n"
                            "  clip_norm: 2\n"
                            "  weight_decay: 0.0001\n"
                            "  early_stopping:\n"
                            "    patience: 4\n"
                            "checkpoint:\n"
                            "  every_epochs: 0\n"
                            "  every_steps: 7\n"
                            "  every_minutes: 2.5\n"
                            "  keep: 0\n"
                            "  best: false\n"
                            "  on_error: warn\n"
                            "comm:\n"
                            "  timeout: 0.5\n"
                            "  check_every: 5\n"
                            "  exchange: buckets\n"
                            "log:\n"
                            "  steps: 10\n"
                            "  tensorboard: false\n"
                            "  progress: off\n");
  free(text);
  round_trip(&c);
}

static void test_texts_are_quoted_when_they_must(void **state) {
  (void)state;
  static const char *const quoted[] = {
      "null", "NULL", "true", "no", "~",  "1",       "1.5", "1e5.h5",  ".inf", "a b",      "a: b",
      "a #b", "-a",   "*a",   "&a", "!a", "a\"b\\c", "'a'", " a ",     "[a]",  "\xc3\xa4", "a,b",
      "%a",   "?",    "#",    "|",  ">",  "@",       "`",   "{{job}}", "a\\n", "=",        "\xf0\x9f\x98\x80",
      "---",  "...",  "\"",   "\\"};
  static const char *const plain[] = {"x", "data/lucas_county.h5", "/a/b-c_d.h5", "./a", "../a", "./1", "nullable"};
  for (size_t i = 0; i < COUNT(quoted) + COUNT(plain); i++) {
    agd_config c;
    parse(MINIMAL, &c);
    memset(c.data_file, 0, sizeof c.data_file);
    strcpy(c.data_file, i < COUNT(quoted) ? quoted[i] : plain[i - COUNT(quoted)]);
    strcpy(c.init_weights, c.data_file);
    round_trip(&c);
    char *text = format(&c);
    const bool has_quotes = strstr(text, "file: \"") != NULL;
    if (has_quotes != (i < COUNT(quoted))) fail_msg("%s", text);
    free(text);
  }
}

/* --- jobs drawn at random --- */

typedef struct source {
  uint64_t seed, next;
} source;

static uint64_t bits(source *s) { return agd_random_bits(s->seed, 0, s->next++); }
static uint64_t below(source *s, uint64_t n) { return bits(s) % n; }

/* Small, large and awkward numbers of a range, low >= 0. */
static double real(source *s, double low, double high) {
  const double u = agd_random_uniform(s->seed, 1, s->next++);
  if (below(s, 8) == 0) return low;
  if (below(s, 2) == 0) return (double)below(s, 1000) * 0.001 * (high < 1 ? high : 0.999) + low;
  return low + (high - low) * (below(s, 2) == 0 ? u : u * u * u * u * u * u * u * u) * 0.999;
}

static void text(source *s, char *field, size_t size) {
  static const char *const pieces[] = {"a",
                                       "Z",
                                       "/",
                                       ".",
                                       "_",
                                       "-",
                                       " ",
                                       ":",
                                       "#",
                                       "\"",
                                       "'",
                                       "\\",
                                       "{",
                                       "]",
                                       ",",
                                       "&",
                                       "*",
                                       "!",
                                       "|",
                                       ">",
                                       "%",
                                       "@",
                                       "7",
                                       "e",
                                       "null",
                                       "\xc3\xa9",
                                       "\xe4\xbd\xa0",
                                       "\xf0\x9f\x98\x80",
                                       "~",
                                       "?",
                                       "=",
                                       "$"};
  const size_t count = 1 + below(s, below(s, 20) == 0 ? 200 : 12);
  for (size_t i = 0; i < count; i++) {
    const char *piece = pieces[below(s, COUNT(pieces))];
    if (strlen(field) + strlen(piece) < size) strcat(field, piece);
  }
}

static void random_job(uint64_t seed, agd_config *c) {
  source s = {seed, 0};
  parse(MINIMAL, c); /* a start whose padding is what parsing leaves */
  memset(c->data_file, 0, sizeof c->data_file);
  memset(c->data_x, 0, sizeof c->data_x);
  memset(c->model.hidden, 0, sizeof c->model.hidden);
  text(&s, c->data_file, sizeof c->data_file);
  text(&s, c->data_x, sizeof c->data_x);
  if (below(&s, 2)) text(&s, c->init_weights, sizeof c->init_weights);
  c->init_optimizer = c->init_weights[0] != '\0' && below(&s, 2);
  c->validation_split = real(&s, 0, 1), c->standardize = below(&s, 2);
  c->model.hidden_count = below(&s, below(&s, 4) == 0 ? AGD_HIDDEN_MAX + 1 : 4);
  for (size_t i = 0; i < c->model.hidden_count; i++) c->model.hidden[i] = 1 + below(&s, 1000000);
  c->model.activation = (agd_activation)below(&s, 4), c->model.batch_norm = below(&s, 2);
  c->model.momentum = real(&s, 0, 1), c->model.epsilon = real(&s, 1e-12, 1), c->model.unbiased_variance = below(&s, 2);
  c->optimizer.name = (agd_optimizer_name)below(&s, 2), c->optimizer.learning_rate = real(&s, 0, 1e30);
  if (c->optimizer.name == AGD_ADAM) {
    c->optimizer.beta_1 = real(&s, 0, 1), c->optimizer.beta_2 = real(&s, 0, 1);
    c->optimizer.epsilon = real(&s, 1e-30, 1);
  } else {
    c->optimizer.momentum = real(&s, 0, 1);
    c->optimizer.nesterov = c->optimizer.momentum > 0 && below(&s, 2);
  }
  if (below(&s, 4) == 0)
    c->batch_per_rank = 1 + below(&s, INT_MAX);
  else
    c->batch = 1 + below(&s, INT_MAX);
  c->epochs = 1 + below(&s, INT_MAX), c->max_steps = below(&s, INT_MAX);
  c->shuffle = (agd_shuffle)below(&s, 3), c->seed = bits(&s);
  c->model.sync = (agd_sync)below(&s, 3), c->recalibrate = (agd_recalibrate)below(&s, 3);
  c->data_split = (agd_split)below(&s, 2), c->model.dropout = real(&s, 0, 1), c->accumulate = 1 + below(&s, INT_MAX);
  c->schedule.name = (agd_schedule_name)below(&s, 3);
  c->schedule.warmup_epochs = real(&s, 0, INT_MAX), c->schedule.base_batch = below(&s, INT_MAX);
  if (c->schedule.name == AGD_SCHEDULE_STEP)
    c->schedule.step_epochs = 1 + below(&s, INT_MAX), c->schedule.step_factor = real(&s, 0, 1);
  if (c->schedule.name == AGD_SCHEDULE_COSINE) c->schedule.final_factor = real(&s, 0, 1);
  c->clip_norm = real(&s, 0, 1e30), c->optimizer.weight_decay = real(&s, 0, 1), c->checkpoint_best = below(&s, 2);
  c->timeout = real(&s, 0, 1e9), c->max_seconds = real(&s, 0, 1e9), c->checkpoint_every_minutes = real(&s, 0, 1e9);
  c->checkpoint_every_steps = below(&s, INT_MAX), c->checkpoint_on_error = (agd_on_error)below(&s, 2);
  if (c->validation_split > 0) c->patience = below(&s, 5);
  if (c->batch_per_rank == 0 && c->shuffle != AGD_SHUFFLE_SHARD && c->model.sync == AGD_SYNC_GLOBAL)
    c->reproducible = c->batch & -c->batch;
  c->exchange = (agd_exchange_way)below(&s, 4);
  c->check_every = below(&s, 5);
  if (c->reproducible > 1024) c->reproducible = 0;
  c->checkpoint_every_epochs = below(&s, 5), c->checkpoint_keep = below(&s, 5), c->log_steps = below(&s, 5);
  c->tensorboard = below(&s, 2), c->progress = (agd_progress)below(&s, 4);
}

static void test_any_job_survives_its_file(void **state) {
  (void)state;
  for (uint64_t seed = 1; seed <= 500; seed++) {
    agd_config c;
    random_job(seed, &c);
    round_trip(&c);
  }
}

/* --- what people read --- */

static char *printed_keys(bool markdown) {
  char *text = NULL;
  size_t size = 0;
  FILE *out = open_memstream(&text, &size);
  assert_non_null(out);
  agd_config_print_keys(out, markdown);
  assert_int_equal(fclose(out), 0);
  return text;
}

static void assert_contains(const char *text, const char *part) {
  if (strstr(text, part) == NULL) fail_msg("\"%s\" is not in:\n%s", part, text);
}

static void test_the_keys_are_printed(void **state) {
  (void)state;
  char *text = printed_keys(false);
  assert_contains(text, "\ntrain: the training\n");
  assert_contains(text, "\n  data.file  (required)\n");
  assert_contains(text, "\n  train.batch  (32)\n      rows of a batch over all ranks\n"
                        "      a whole number from 1 to 2147483647\n");
  assert_contains(text, "\n  train.optimizer.learning_rate  (0.01; adam: 0.001)\n");
  assert_contains(text, "\n  train.optimizer.beta_1  (0.9)\n      decay of the mean of the gradients (adam only)\n");
  free(text);
  text = printed_keys(true);
  assert_contains(text,
                  "\n| `train.batch` | a whole number from 1 to 2147483647 | `32` | rows of a batch over all ranks "
                  "|\n");
  assert_contains(text, "\n| `data.file` | a path of at most 4095 bytes | required | ");
  for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
    size_t bars = 0;
    for (const char *c = line; *c != '\n'; c++) bars += *c == '|';
    assert_int_equal(bars, 5);
  }
  free(text);
}

static char *source_file(const char *name) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/%s", ALLEGRAD_SOURCE, name);
  return temporary_text(path);
}

/* Every key of the table stands in jobs/reference.yaml with its help above it and its kind beside it. */
static void test_the_reference_job_lists_every_key(void **state) {
  (void)state;
  char *reference = source_file("jobs/reference.yaml"), *keys = printed_keys(false), *rest = keys;
  size_t count = 0;
  for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
    if (strncmp(line, "  ", 2) != 0) continue;
    const char *help = strsep(&rest, "\n"), *kind = strsep(&rest, "\n");
    const char *path = strtok(line, " "), *name = strrchr(path, '.') + 1;
    const bool other = strstr(help, " only)") != NULL && strstr(help, "(sgd only)") == NULL;
    char above[256];
    snprintf(above, sizeof above, "# %s\n", help + 6);
    assert_contains(reference, above);
    const char *here = strstr(reference, above) + strlen(above);
    here += strspn(here, " ");
    if (other) here += 2; /* commented out */
    if (strncmp(here, name, strlen(name)) != 0 || here[strlen(name)] != ':') fail_msg("%s: not below its help", path);
    const char *end = strchr(here, '\n'), *comment = strstr(here, "  # ");
    if (comment == NULL || comment > end || strncmp(comment + 4, kind + 6, strlen(kind + 6)) != 0)
      fail_msg("%s: \"%s\" is not beside it", path, kind + 6);
    count++;
  }
  assert_int_equal(count, 56);
  free(keys), free(reference);
}

/* The same text for adam: what is sgd's goes, what is adam's comes. */
static char *for_adam(char *reference) {
  char *text = calloc(1, strlen(reference) + 1), *rest = reference;
  assert_non_null(text);
  bool skip = false, uncomment = false;
  for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
    char *code = line + strspn(line, " ");
    if (skip || strncmp(code, "learning_rate:", 14) == 0) code = line + strlen(line);
    if (uncomment) code += 2;
    strcat(strncat(text, line, strspn(line, " ")), strncmp(code, "name: sgd", 9) == 0 ? "name: adam" : code);
    strcat(text, "\n");
    skip = strstr(line, "(sgd only)") != NULL, uncomment = strstr(line, "(adam only)") != NULL;
  }
  return text;
}

static void test_the_reference_job_holds_the_defaults(void **state) {
  (void)state;
  char *reference = source_file("jobs/reference.yaml");
  agd_config written, defaults;
  parse(reference, &written);
  parse("data: {file: data/lucas_county.h5}", &defaults);
  assert_memory_equal(&written, &defaults, sizeof written);
  char *adam = for_adam(reference);
  parse(adam, &written);
  assert_contains(adam, "\n    beta_2: 0.999  #");
  parse("data: {file: data/lucas_county.h5}\ntrain: {optimizer: {name: adam}}", &defaults);
  assert_memory_equal(&written, &defaults, sizeof written);
  free(adam), free(reference);
}

static void test_the_jobs_are_two_models_on_two_data_sets(void **state) {
  (void)state;
  static const struct {
    const char *name, *data;
    bool batch_norm;
  } jobs[] = {{"lucas_bn", "data/lucas_county.h5", true},
              {"lucas_plain", "data/lucas_county.h5", false},
              {"california_bn", "data/california.h5", true},
              {"california_plain", "data/california.h5", false}};
  for (size_t i = 0; i < COUNT(jobs); i++) {
    char path[64];
    snprintf(path, sizeof path, "jobs/%s.yaml", jobs[i].name);
    char *job = source_file(path);
    agd_config written, expected;
    parse(job, &written);
    parse(MINIMAL, &expected);
    memset(expected.data_file, 0, sizeof expected.data_file);
    strcpy(expected.data_file, jobs[i].data);
    expected.model.batch_norm = jobs[i].batch_norm;
    assert_memory_equal(&written, &expected, sizeof written);
    free(job);
  }
}

/* What may change at a resumption is told, what may not is refused with both values. */
static void test_what_a_resumed_run_may_change(void **state) {
  (void)state;
  static const struct {
    const char *now, *changed, *refused;
  } cases[] = {
      {"data: {file: a.h5}\n", "", NULL},
      {"data: {file: b.h5}\ntrain: {epochs: 40, max_seconds: 2}\n",
       "data.file a.h5 -> b.h5, train.epochs 30 -> 40, train.max_seconds 0 -> 2", NULL},
      {"data: {file: a.h5}\ntrain: {schedule: {name: step}}\n",
       "train.schedule.name constant -> step, train.schedule.step_epochs unused -> 10, train.schedule.step_factor "
       "unused -> 0.1",
       NULL},
      {"data: {file: a.h5}\ntrain: {batch: 64, epochs: 40}\n", NULL,
       "train.batch is 64, but the run was begun with 32"},
      {"data: {file: a.h5}\ntrain: {batch_per_rank: 64}\n", NULL,
       "train.batch is unused, but the run was begun with 32"},
      {"data: {file: a.h5, validation_split: 0.1}\n", NULL,
       "data.validation_split is 0.1, but the run was begun with 0.2"},
      {"data: {file: a.h5}\nmodel: {hidden: [64]}\n", NULL,
       "model.hidden is [64], but the run was begun with [300, 256, 128, 100, 500, 100]"},
  };
  agd_config before, now;
  parse("data: {file: a.h5}\n", &before);
  for (size_t i = 0; i < COUNT(cases); i++) {
    char changed[256];
    agd_status st = {0};
    parse(cases[i].now, &now);
    const agd_code code = agd_config_check_resume(&before, &now, changed, sizeof changed, &st);
    assert_int_equal(code, cases[i].refused == NULL ? AGD_OK : AGD_EUSAGE);
    if (code == AGD_OK)
      assert_string_equal(changed, cases[i].changed);
    else
      assert_non_null(strstr(st.message, cases[i].refused));
  }
  char little[12];
  parse(cases[1].now, &now);
  assert_int_equal(agd_config_check_resume(&before, &now, little, sizeof little, NULL), AGD_OK);
  assert_string_equal(little, "data.file a");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_defaults),
      cmocka_unit_test(test_every_key_is_read),
      cmocka_unit_test(test_json_and_a_byte_order_mark_are_yaml),
      cmocka_unit_test(test_minus_zero_is_zero),
      cmocka_unit_test(test_activation_names_are_those_of_the_model),
      cmocka_unit_test(test_adam),
      cmocka_unit_test(test_bad_values_are_refused_where_they_stand),
      cmocka_unit_test(test_bad_structure_is_refused_where_it_stands),
      cmocka_unit_test(test_optimizer_keys_belong_to_their_optimizer),
      cmocka_unit_test(test_depth_and_length),
      cmocka_unit_test(test_overrides),
      cmocka_unit_test(test_bad_overrides),
      cmocka_unit_test_setup_teardown(test_nothing_is_printed, temporary_setup, temporary_teardown),
      cmocka_unit_test_setup_teardown(test_files, temporary_setup, temporary_teardown),
      cmocka_unit_test(test_format_is_the_job_in_full),
      cmocka_unit_test(test_texts_are_quoted_when_they_must),
      cmocka_unit_test(test_any_job_survives_its_file),
      cmocka_unit_test(test_the_keys_are_printed),
      cmocka_unit_test(test_the_reference_job_lists_every_key),
      cmocka_unit_test(test_the_reference_job_holds_the_defaults),
      cmocka_unit_test(test_the_jobs_are_two_models_on_two_data_sets),
      cmocka_unit_test(test_what_a_resumed_run_may_change),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
