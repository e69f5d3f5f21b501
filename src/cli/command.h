/** @file command.h
 * The commands of the program, one file each, and how main calls them.
 */
#ifndef ALLEGRAD_CLI_COMMAND_H
#define ALLEGRAD_CLI_COMMAND_H

#include <stdbool.h>
#include <stdio.h>

#include "allegrad/comm.h"
#include "arguments.h"

/** A command. Static data. */
typedef struct agd_command {
  const char *name;
  const char *summary;          /**< one line for `allegrad --help` */
  const char *positional;       /**< what the words without an option are, e.g. "JOB.yaml" */
  bool many;                    /**< one positional or more; else exactly one */
  const agd_option *option;     /**< ended by one without a name; at most AGD_OPTIONS_MAX */
  const char *description;      /**< whole lines */
  const char *examples;         /**< whole lines */
  void (*more_help)(FILE *out); /**< printed last; may be NULL */
  bool collective;              /**< run is called on every rank; else on rank 0 only, and makes no MPI call */
  /** Does the work. Prints results on standard output, nothing about its failure. */
  agd_code (*run)(agd_comm *comm, const agd_arguments *arguments, agd_status *st);
} agd_command;

extern const agd_command agd_command_train, agd_command_eval, agd_command_predict, agd_command_import, agd_command_info,
    agd_command_compare, agd_command_export;

#endif
