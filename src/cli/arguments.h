/** @file arguments.h
 * The command line: a table of options per command, read by getopt_long. Not collective; equal on all ranks, for their
 * command lines are.
 */
#ifndef ALLEGRAD_CLI_ARGUMENTS_H
#define ALLEGRAD_CLI_ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "allegrad/status.h"

typedef enum agd_option_kind {
  AGD_OPTION_ONCE,     /**< --name VALUE, at most once */
  AGD_OPTION_REPEATED, /**< --name VALUE, any number of times */
  AGD_OPTION_FLAG,     /**< --name, once or not at all */
  AGD_OPTION_LIST      /**< --name VALUE VALUE ..., up to the next option; any number of times */
} agd_option_kind;

/** An option. Static data. */
typedef struct agd_option {
  const char *name;  /**< without the dashes */
  const char *value; /**< what stands for the value in the help; NULL for a flag */
  agd_option_kind kind;
  bool required;
  const char *help; /**< a line */
} agd_option;

enum { AGD_OPTIONS_MAX = 8 };

typedef struct agd_words {
  size_t count;
  const char **word; /**< borrowed from argv */
} agd_words;

struct agd_command;

/** A parsed command line. Start with `{0}`. */
typedef struct agd_arguments {
  const struct agd_command *command;
  bool help; /**< --help was there: nothing else counts */
  agd_words positional;
  agd_words value[AGD_OPTIONS_MAX]; /**< of the command's options */
  const char **words;               /**< owned: the lists' space */
} agd_arguments;

/** Reads the words after the program's name; argv[0] is the command. Options may stand before and after the others,
 * as `--name VALUE` or `--name=VALUE`; `--` ends them.
 * @param out  release with agd_arguments_clear, also on failure
 * @return AGD_OK, AGD_EUSAGE with a message that points to --help, AGD_EDATA (memory) */
agd_code agd_arguments_parse(const struct agd_command *command, int argc, char **argv, agd_arguments *out,
                             agd_status *st);

void agd_arguments_clear(agd_arguments *arguments);

/** Values of an option, in order. The option must be in the command's table. */
const agd_words *agd_arguments_list(const agd_arguments *arguments, const char *name);

/** The value of an option that is given at most once, or NULL. */
const char *agd_arguments_value(const agd_arguments *arguments, const char *name);

/** Whether a flag is there. */
bool agd_arguments_flag(const agd_arguments *arguments, const char *name);

/** AGD_EUSAGE with "command: what word", pointing to --help. */
agd_code agd_arguments_refuse(const agd_arguments *arguments, agd_status *st, const char *what, const char *word);

/** Whether a file's name has an ending such as ".csv", in either case. */
bool agd_ends_in(const char *path, const char *ending);

/** AGD_EUSAGE unless the value of a required option ends in `ending` or in `other` (may be NULL). */
agd_code agd_arguments_check_ending(const agd_arguments *arguments, const char *name, const char *ending,
                                    const char *other, agd_status *st);

/** Prints a command's help. */
void agd_arguments_help(const struct agd_command *command, FILE *out);

#endif
