/** @file config_read.h
 * YAML into agd_config, and where every key was written. Private to the room config.
 */
#ifndef ALLEGRAD_CONFIG_READ_H
#define ALLEGRAD_CONFIG_READ_H

#include <stddef.h>

#include "config_keys.h"

/** Where a value stands. Lines and columns count from 1. */
typedef struct agd_place {
  size_t source; /**< AGD_FROM_DEFAULT, AGD_FROM_FILE, or AGD_FROM_OVERRIDE + its index */
  int line, column;
} agd_place;

enum { AGD_FROM_DEFAULT, AGD_FROM_FILE, AGD_FROM_OVERRIDE };

enum { AGD_KEYS_MAX = 96 };

/** A job while it is read; everything is borrowed. */
typedef struct agd_job {
  const char *name;             /**< of the job file, for messages */
  const char *const *overrides; /**< for messages */
  agd_config *config;
  agd_place written[AGD_KEYS_MAX]; /**< by index of the key */
  agd_status *st;
} agd_job;

/** Fails with AGD_EUSAGE and the place before the message: "job.yaml:3:9: " or "--set train.batch: ". */
agd_code agd_job_fail(const agd_job *job, agd_place place, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** Reads one YAML document into job->config.
 * @param source  where the text comes from
 * @param key     index of the key whose value the document is; -1: it is a whole job
 * @return AGD_OK, AGD_EUSAGE, AGD_EDATA (memory) */
agd_code agd_job_read(agd_job *job, size_t source, long key, const char *text, size_t length);

#endif
