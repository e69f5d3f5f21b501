/* The table of keys, written: the effective job file, --help, and the README's table. */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "allegrad/config.h"
#include "allegrad/number.h"
#include "config_keys.h"

/* Whether any YAML reader takes the bare text for the text that it is: a path or a name of plain letters that is no
 * word with another meaning and cannot be a number. */
static bool needs_no_quotes(const char *text) {
  static const char *const words[] = {"null", "true", "false", "yes", "no", "on", "off"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strcasecmp(text, words[i]) == 0) return false;
  if (!isalpha((unsigned char)text[0]) && strncmp(text, "/", 1) != 0 && strncmp(text, "./", 2) != 0 &&
      strncmp(text, "../", 3) != 0)
    return false;
  return strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./") == strlen(text);
}

static void write_text(const char *text, bool nullable, FILE *out) {
  if (nullable && *text == '\0') {
    fputs("null", out);
  } else if (needs_no_quotes(text)) {
    fputs(text, out);
  } else {
    putc('"', out);
    for (; *text != '\0'; text++) {
      if (*text == '"' || *text == '\\') putc('\\', out);
      putc(*text, out);
    }
    putc('"', out);
  }
}

static void write_widths(const agd_model_spec *model, FILE *out) {
  putc('[', out);
  for (size_t i = 0; i < model->hidden_count; i++) fprintf(out, "%s%zu", i == 0 ? "" : ", ", model->hidden[i]);
  putc(']', out);
}

static unsigned choice_index(const agd_key *key, const char *field) {
  if (key->size == sizeof(bool)) return *field != 0;
  unsigned index;
  memcpy(&index, field, sizeof index);
  return index;
}

static void write_value(const agd_key *key, const agd_config *config, FILE *out) {
  const char *field = (const char *)config + key->offset;
  char number[AGD_NUMBER_SIZE];
  double real;
  uint64_t integer;
  switch (key->kind) {
  case AGD_KIND_SECTION:
    break;
  case AGD_KIND_TEXT:
    write_text(field, key->nullable, out);
    break;
  case AGD_KIND_REAL:
    memcpy(&real, field, sizeof real);
    agd_number_format(real, number);
    fputs(number, out);
    break;
  case AGD_KIND_INTEGER:
    memcpy(&integer, field, sizeof integer);
    fprintf(out, "%llu", (unsigned long long)integer);
    break;
  case AGD_KIND_BOOLEAN:
    fputs(*field ? "true" : "false", out);
    break;
  case AGD_KIND_CHOICE:
    fputs(key->choices[choice_index(key, field)], out);
    break;
  case AGD_KIND_WIDTHS:
    write_widths(&config->model, out);
    break;
  }
}

static int depth(const char *path) {
  int points = 0;
  for (; *path != '\0'; path++) points += *path == '.';
  return points;
}

agd_code agd_config_format(const agd_config *config, char **text, agd_status *st) {
  size_t size = 0;
  *text = NULL;
  FILE *out = open_memstream(text, &size);
  if (out == NULL) return agd_fail(st, AGD_EDATA, "out of memory: the effective job file");
  for (size_t i = 0; i < agd_config_key_count; i++) {
    const agd_key *key = &agd_config_keys[i];
    if (!agd_key_applies(key, config)) continue;
    fprintf(out, "%*s%s:%s", 2 * depth(key->path), "", agd_key_name(key), key->kind == AGD_KIND_SECTION ? "" : " ");
    write_value(key, config, out);
    putc('\n', out);
  }
  if (fclose(out) == 0) return AGD_OK;
  free(*text);
  *text = NULL;
  return agd_fail(st, AGD_EDATA, "out of memory: the effective job file");
}

/* A value as text, cut at `size`. */
static void format_value(const agd_key *key, const agd_config *config, char *text, size_t size) {
  FILE *out = fmemopen(text, size, "w");
  *text = '\0';
  if (out == NULL) return;
  write_value(key, config, out);
  fclose(out);
  text[size - 1] = '\0';
}

agd_code agd_config_check_resume(const agd_config *before, const agd_config *now, char *changed, size_t size,
                                 agd_status *st) {
  enum { VALUE_SIZE = AGD_PATH_MAX + 16, SHOWN = 400 };
  size_t used = 0;
  *changed = '\0';
  for (size_t i = 0; i < agd_config_key_count; i++) {
    const agd_key *key = &agd_config_keys[i];
    const bool applied = agd_key_applies(key, before), applies = agd_key_applies(key, now);
    char old[VALUE_SIZE] = "unused", new[VALUE_SIZE] = "unused";
    if (key->kind == AGD_KIND_SECTION) continue;
    if (applied) format_value(key, before, old, sizeof old);
    if (applies) format_value(key, now, new, sizeof new);
    if (strcmp(old, new) == 0) continue;
    if (!key->may_change)
      return agd_fail(
          st, AGD_EUSAGE,
          "%s is %.*s, but the run was begun with %.*s; a resumed run keeps it (use another --run to change "
          "it)",
          key->path, SHOWN, new, SHOWN, old);
    if (used < size)
      used += (size_t)snprintf(changed + used, size - used, "%s%s %.*s -> %.*s", used > 0 ? ", " : "", key->path, SHOWN,
                               old, SHOWN, new);
  }
  return AGD_OK;
}

/* The default as people read it: "0.01; adam: 0.001". */
static void default_text(const agd_key *key, char text[AGD_DESCRIPTION_MAX]) {
  if (key->fallback == NULL)
    snprintf(text, AGD_DESCRIPTION_MAX, "required");
  else if (key->fallback_adam == NULL)
    snprintf(text, AGD_DESCRIPTION_MAX, "%s", key->fallback);
  else
    snprintf(text, AGD_DESCRIPTION_MAX, "%s; adam: %s", key->fallback, key->fallback_adam);
}

static const char *applies_text(agd_applies applies) {
  static const char *const text[] = {[AGD_TO_ALL] = "",
                                     [AGD_TO_SGD] = " (sgd only)",
                                     [AGD_TO_ADAM] = " (adam only)",
                                     [AGD_TO_STEP] = " (step only)",
                                     [AGD_TO_COSINE] = " (cosine only)",
                                     [AGD_TO_GLOBAL_BATCH] = ""};
  return text[applies];
}

void agd_config_print_keys(FILE *out, bool markdown) {
  if (markdown) fputs("| key | value | default | meaning |\n|---|---|---|---|\n", out);
  for (size_t i = 0; i < agd_config_key_count; i++) {
    const agd_key *key = &agd_config_keys[i];
    char type[AGD_DESCRIPTION_MAX], fallback[AGD_DESCRIPTION_MAX];
    agd_key_describe(key, type);
    default_text(key, fallback);
    const char *only = applies_text(key->applies);
    if (key->kind == AGD_KIND_SECTION) {
      fprintf(out, markdown ? "| **`%s`** | | | %s |\n" : "\n%s: %s\n", key->path, key->help);
    } else if (markdown) {
      fprintf(out, "| `%s` | %s | %s%s%s | %s%s |\n", key->path, type, key->fallback ? "`" : "", fallback,
              key->fallback ? "`" : "", key->help, only);
    } else {
      fprintf(out, "  %s  (%s)\n      %s%s\n      %s\n", key->path, fallback, key->help, only, type);
    }
  }
}
