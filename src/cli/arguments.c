#include "arguments.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "command.h"

/* What getopt_long returns: options by their place in the table from OPTION on, clear of all characters. */
enum { OPTION = 1000, HELP = OPTION + AGD_OPTIONS_MAX, POSITIONAL = 1, MISSING = ':' };

static size_t option_count(const agd_command *command) {
  size_t count = 0;
  while (command->option[count].name != NULL) count++;
  AGD_REQUIRE(count <= AGD_OPTIONS_MAX);
  return count;
}

agd_code agd_arguments_refuse(const agd_arguments *a, agd_status *st, const char *what, const char *word) {
  const char *name = a->command->name;
  return agd_fail(st, AGD_EUSAGE, "%s: %s%.200s (see allegrad %s --help)", name, what, word, name);
}

static void append(agd_words *list, const char *word) { list->word[list->count++] = word; }

static agd_code take_positional(agd_arguments *a, const char *word, agd_status *st) {
  if (*word == '\0') return agd_arguments_refuse(a, st, "an argument is empty", "");
  if (a->positional.count > 0 && !a->command->many) return agd_arguments_refuse(a, st, "unexpected argument ", word);
  append(&a->positional, word);
  return AGD_OK;
}

/* `value`: NULL for a flag. `separate`: the value is a word of its own, so that a forgotten value would swallow the
 * next option. */
static agd_code take_value(agd_arguments *a, size_t option, const char *value, bool separate, agd_status *st) {
  const agd_option *o = &a->command->option[option];
  const bool takes = o->kind != AGD_OPTION_FLAG;
  char what[128];
  if (takes && *value == '\0') {
    snprintf(what, sizeof what, "--%s has an empty %s", o->name, o->value);
    return agd_arguments_refuse(a, st, what, "");
  }
  if (takes && separate && value[0] == '-' && value[1] != '\0') {
    snprintf(what, sizeof what, "--%s needs a %s before ", o->name, o->value);
    return agd_arguments_refuse(a, st, what, value);
  }
  if ((!takes || o->kind == AGD_OPTION_ONCE) && a->value[option].count > 0)
    return agd_arguments_refuse(a, st, "given twice: --", o->name);
  append(&a->value[option], value);
  return AGD_OK;
}

static agd_code refuse_option(const agd_arguments *a, int found, const char *word, agd_status *st) {
  const char letter[] = {'-', (char)optopt, '\0'};
  char what[128];
  if (found == MISSING) {
    const agd_option *o = &a->command->option[optopt - OPTION];
    snprintf(what, sizeof what, "--%s needs a %s", o->name, o->value);
    return agd_arguments_refuse(a, st, what, "");
  }
  if (optopt >= OPTION) { /* getopt_long names an option here only for a value that it does not take */
    snprintf(what, sizeof what, "--%s takes no value",
             optopt == HELP ? "help" : a->command->option[optopt - OPTION].name);
    return agd_arguments_refuse(a, st, what, "");
  }
  return agd_arguments_refuse(a, st, "unknown option ", optopt != 0 ? letter : word);
}

/* The table as getopt_long wants it. */
static void translate(const agd_command *command, struct option table[AGD_OPTIONS_MAX + 2]) {
  const size_t count = option_count(command);
  for (size_t i = 0; i < count; i++) {
    const agd_option *o = &command->option[i];
    const int argument = o->kind == AGD_OPTION_FLAG ? no_argument : required_argument;
    table[i] = (struct option){o->name, argument, NULL, OPTION + (int)i};
  }
  table[count] = (struct option){"help", no_argument, NULL, HELP};
  table[count + 1] = (struct option){0};
}

static agd_code read_words(agd_arguments *a, int argc, char **argv, agd_status *st) {
  struct option table[AGD_OPTIONS_MAX + 2];
  translate(a->command, table);
  long open_list = -1; /* the option whose list goes on */
  opterr = 0;
  for (int found; !a->help && (found = getopt_long(argc, argv, "-:h", table, NULL)) != -1;) {
    if (found == 'h' || found == HELP) {
      a->help = true;
    } else if (found >= OPTION) {
      const size_t option = (size_t)(found - OPTION);
      AGD_TRY(take_value(a, option, optarg, optarg == argv[optind - 1], st));
      open_list = a->command->option[option].kind == AGD_OPTION_LIST ? (long)option : -1;
    } else if (found != POSITIONAL) {
      return refuse_option(a, found, argv[optind - 1], st);
    } else if (open_list >= 0) {
      AGD_TRY(take_value(a, (size_t)open_list, optarg, false, st));
    } else {
      AGD_TRY(take_positional(a, optarg, st));
    }
  }
  for (; !a->help && optind < argc; optind++) AGD_TRY(take_positional(a, argv[optind], st));
  return AGD_OK;
}

static agd_code check_complete(const agd_arguments *a, agd_status *st) {
  if (a->positional.count == 0) return agd_arguments_refuse(a, st, "missing: ", a->command->positional);
  for (size_t i = 0; i < option_count(a->command); i++)
    if (a->command->option[i].required && a->value[i].count == 0)
      return agd_arguments_refuse(a, st, "missing: --", a->command->option[i].name);
  return AGD_OK;
}

agd_code agd_arguments_parse(const agd_command *command, int argc, char **argv, agd_arguments *out, agd_status *st) {
  const size_t lists = option_count(command) + 1;
  *out = (agd_arguments){.command = command};
  out->words = calloc(lists * (size_t)argc, sizeof *out->words);
  if (out->words == NULL) return agd_fail(st, AGD_EDATA, "out of memory: the command line");
  out->positional.word = out->words;
  for (size_t i = 1; i < lists; i++) out->value[i - 1].word = out->words + i * (size_t)argc;
  AGD_TRY(read_words(out, argc, argv, st));
  return out->help ? AGD_OK : check_complete(out, st);
}

void agd_arguments_clear(agd_arguments *arguments) {
  free(arguments->words);
  *arguments = (agd_arguments){0};
}

const agd_words *agd_arguments_list(const agd_arguments *arguments, const char *name) {
  size_t i = 0;
  while (arguments->command->option[i].name != NULL && strcmp(arguments->command->option[i].name, name) != 0) i++;
  AGD_REQUIRE(arguments->command->option[i].name != NULL);
  return &arguments->value[i];
}

const char *agd_arguments_value(const agd_arguments *arguments, const char *name) {
  const agd_words *list = agd_arguments_list(arguments, name);
  return list->count > 0 ? list->word[0] : NULL;
}

bool agd_arguments_flag(const agd_arguments *arguments, const char *name) {
  return agd_arguments_list(arguments, name)->count > 0;
}

bool agd_ends_in(const char *path, const char *ending) {
  const size_t length = strlen(path), tail = strlen(ending);
  return length > tail && strcasecmp(path + length - tail, ending) == 0;
}

agd_code agd_arguments_check_ending(const agd_arguments *arguments, const char *name, const char *ending,
                                    const char *other, agd_status *st) {
  const char *path = agd_arguments_value(arguments, name);
  if (agd_ends_in(path, ending) || (other != NULL && agd_ends_in(path, other))) return AGD_OK;
  char what[128];
  snprintf(what, sizeof what, "--%s must end in %s%s%s, not be ", name, ending, other != NULL ? " or " : "",
           other != NULL ? other : "");
  return agd_arguments_refuse(arguments, st, what, path);
}

/* "--set KEY=VALUE", as it stands in the help. */
static int print_option(FILE *out, const agd_option *o) {
  if (o->kind == AGD_OPTION_FLAG) return fprintf(out, "--%s", o->name);
  return fprintf(out, "--%s %s%s", o->name, o->value, o->kind == AGD_OPTION_LIST ? "..." : "");
}

void agd_arguments_help(const agd_command *command, FILE *out) {
  fprintf(out, "Usage: allegrad %s %s%s", command->name, command->positional, command->many ? "..." : "");
  for (const agd_option *o = command->option; o->name != NULL; o++) {
    fputs(o->required ? " " : " [", out);
    print_option(out, o);
    if (!o->required) fputs(o->kind == AGD_OPTION_REPEATED ? "]..." : "]", out);
  }
  fprintf(out, "\n\n%s\nOptions:\n", command->description);
  enum { HELP_COLUMN = 26 };
  for (const agd_option *o = command->option; o->name != NULL; o++) {
    fputs("  ", out);
    const int width = print_option(out, o);
    fprintf(out, "%*s%s\n", width < HELP_COLUMN ? HELP_COLUMN - width : 1, "", o->help);
  }
  fprintf(out, "  --help%*sprint this\n\nExamples:\n%s", HELP_COLUMN - 6, "", command->examples);
  if (command->more_help != NULL) command->more_help(out);
}
