/** @file config_keys.h
 * The table of keys of a job file: what config.c reads by, config_format.c writes by, and --help and the README show.
 * Private to the room config.
 */
#ifndef ALLEGRAD_CONFIG_KEYS_H
#define ALLEGRAD_CONFIG_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allegrad/config.h"

typedef enum agd_kind {
  AGD_KIND_SECTION, /**< a mapping of further keys */
  AGD_KIND_TEXT,    /**< char[size]; null, where allowed, is "" */
  AGD_KIND_REAL,    /**< double */
  AGD_KIND_INTEGER, /**< uint64_t */
  AGD_KIND_BOOLEAN, /**< bool */
  AGD_KIND_CHOICE,  /**< an enum of the names in order, or a bool for two */
  AGD_KIND_WIDTHS   /**< agd_model_spec.hidden and its count */
} agd_kind;

/** The jobs that read a key: all, or those with this optimizer, this schedule, or a global batch. */
typedef enum agd_applies {
  AGD_TO_ALL,
  AGD_TO_SGD,
  AGD_TO_ADAM,
  AGD_TO_STEP,
  AGD_TO_COSINE,
  AGD_TO_GLOBAL_BATCH
} agd_applies;

/** One key. Static storage. */
typedef struct agd_key {
  const char *path; /**< "train.optimizer.name" */
  agd_kind kind;
  agd_applies applies;        /**< the jobs that read it */
  size_t offset, size;        /**< of the field in agd_config */
  double low, high;           /**< REAL: the range */
  uint64_t least, most;       /**< INTEGER, and the elements of WIDTHS: the range */
  const char *const *choices; /**< CHOICE: names, NULL at the end */
  const char *fallback;       /**< the default as YAML; NULL for a required key and for a section */
  const char *fallback_adam;  /**< the default under adam where it differs, else NULL */
  const char *help;           /**< one line */
  bool below_high;            /**< REAL: high itself is excluded */
  bool nullable;              /**< TEXT: null is allowed */
  bool may_change;            /**< a run may be resumed with another value */
} agd_key;

extern const agd_key agd_config_keys[];
extern const size_t agd_config_key_count;

enum { AGD_DESCRIPTION_MAX = 160 };

/** Index of the key with this path, or -1. */
long agd_key_find(const char *path);

/** The part of a path behind its last point. */
const char *agd_key_name(const agd_key *key);

/** Writes what a value must be: "a whole number from 1 to 100". */
void agd_key_describe(const agd_key *key, char text[AGD_DESCRIPTION_MAX]);

/** Whether this job reads the key. */
bool agd_key_applies(const agd_key *key, const agd_config *config);

/** The key that someone who wrote `path` probably meant, or NULL. */
const agd_key *agd_key_suggest(const char *path);

/** Stores a scalar (any kind but SECTION and WIDTHS) in its field.
 * @param text    the scalar; NULL for null
 * @param quoted  it stood in quotes, so that it is text and nothing else
 * @return false, and config untouched, when it is not what agd_key_describe says */
bool agd_key_store(const agd_key *key, const char *text, bool quoted, agd_config *config);

/** Reads a whole number as agd_key_store does: plain decimal digits without leading zeros, least to most of the key. */
bool agd_key_parse_integer(const agd_key *key, const char *text, bool quoted, uint64_t *out);

#endif
