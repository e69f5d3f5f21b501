/* Reads by events, not by a tree: what is not expected is refused where it stands, however deep or long it goes on. */
#include "config_read.h"

#include <libfyaml.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXCERPT = 48, PATH_SIZE = 128 };

/* What the last event said. */
typedef struct item {
  enum fy_event_type type;
  const char *text; /* SCALAR: until the next event */
  bool quoted;      /* SCALAR: in any style but the plain one */
} item;

typedef struct reader {
  agd_job *job;
  struct fy_parser *parser;
  struct fy_event *event;
  const agd_key *whole; /* whose value the document is */
  agd_place place;      /* of the last event that has one */
  item item;
} reader;

static const agd_key root = {.path = "", .kind = AGD_KIND_SECTION};

agd_code agd_job_fail(const agd_job *job, agd_place place, const char *format, ...) {
  char message[AGD_MESSAGE_MAX];
  va_list args;
  va_start(args, format);
  vsnprintf(message, sizeof message, format, args);
  va_end(args);
  AGD_REQUIRE(place.source != AGD_FROM_DEFAULT);
  if (place.source == AGD_FROM_FILE)
    return agd_fail(job->st, AGD_EUSAGE, "%s:%d:%d: %s", job->name, place.line, place.column, message);
  const char *override = job->overrides[place.source - AGD_FROM_OVERRIDE];
  return agd_fail(job->st, AGD_EUSAGE, "--set %.*s: %s", (int)strcspn(override, "="), override, message);
}

/* Decodes one character of UTF-8 (RFC 3629, section 4); its length in bytes, or 0 when it is none. */
static size_t decode(const unsigned char *text, size_t length, uint32_t *code) {
  static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  const unsigned char first = text[0];
  const size_t size = first < 0x80 ? 1 : first < 0xc0 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  if (size == 0 || size > length) return 0;
  *code = size == 1 ? first : first & (0x7fu >> size);
  for (size_t i = 1; i < size; i++) {
    if ((text[i] & 0xc0) != 0x80) return 0;
    *code = *code << 6 | (text[i] & 0x3fu);
  }
  if (*code < least[size] || *code > 0x10ffff || (*code >= 0xd800 && *code <= 0xdfff)) return 0;
  return size;
}

/* Controls, the line breaks that only some readers see, and marks of byte order have no place in a job. */
static bool printable(uint32_t code) {
  return code >= 0x20 && (code < 0x7f || code > 0x9f) && code != 0x2028 && code != 0x2029 && code != 0xfeff &&
         code < 0xfffe + (code > 0xffff ? 0x110000u : 0u);
}

/* Checks the bytes before the parser sees them: libfyaml 0.7.12 hangs on some that are not UTF-8 (in directives, which
 * no job needs). */
static agd_code check_text(const agd_job *job, size_t source, const char *text, size_t length) {
  agd_place place = {source, 1, 1};
  uint32_t code = 0;
  for (size_t i = 0, size; i < length; i += size, place.column++) {
    size = decode((const unsigned char *)text + i, length - i, &code);
    if (size == 0) return agd_job_fail(job, place, "this is not UTF-8 text");
    if (code == '%' && place.column == 1) return agd_job_fail(job, place, "a line of a job may not begin with %%");
    if (code == '\n') place.line++, place.column = 0;
    const bool mark = code == 0xfeff && i == 0;
    if (mark) place.column = 0;
    if (!printable(code) && !mark && code != '\t' && code != '\n' && code != '\r')
      return agd_job_fail(job, place, "the character U+%04X is not allowed in a job", (unsigned)code);
  }
  return AGD_OK;
}

static agd_code syntax_error(const reader *r) {
  struct fy_diag *diag = fy_parser_get_diag(r->parser);
  void *next = NULL;
  const struct fy_diag_error *error = fy_diag_errors_iterate(diag, &next);
  agd_place place = r->place;
  if (error != NULL && error->line > 0) place.line = error->line, place.column = error->column;
  const agd_code code =
      agd_job_fail(r->job, place, "not valid YAML: %s", error == NULL ? "it cannot be read on" : error->msg);
  fy_diag_unref(diag);
  return code;
}

static agd_code set_scalar(reader *r, struct fy_token *token) {
  size_t length = 0;
  const char *text = token == NULL ? "" : fy_token_get_text(token, &length);
  uint32_t code = 0;
  for (size_t i = 0, size; i < length; i += size) {
    size = decode((const unsigned char *)text + i, length - i, &code);
    if (size == 0 || !printable(code))
      return agd_job_fail(r->job, r->place, "a text may hold printable characters only");
  }
  r->item.text = token == NULL ? "" : fy_token_get_text0(token);
  if (r->item.text == NULL) return agd_fail(r->job->st, AGD_EDATA, "out of memory: the job file");
  return AGD_OK;
}

static void set_place(reader *r) {
  const struct fy_mark *mark = fy_event_start_mark(r->event);
  if (mark == NULL) return; /* a value left out: the place of its key stands */
  /* libfyaml counts from 0, and takes quoted texts and aliases to start behind their first character */
  const bool behind = (r->item.quoted || r->item.type == FYET_ALIAS) && mark->column > 0;
  r->place.line = mark->line + 1;
  r->place.column = mark->column + !behind;
}

static bool decorated(const struct fy_event *event) {
  switch (event->type) {
  case FYET_SCALAR:
    return event->scalar.anchor != NULL || event->scalar.tag != NULL;
  case FYET_SEQUENCE_START:
    return event->sequence_start.anchor != NULL || event->sequence_start.tag != NULL;
  case FYET_MAPPING_START:
    return event->mapping_start.anchor != NULL || event->mapping_start.tag != NULL;
  default:
    return event->type == FYET_ALIAS;
  }
}

/* Goes on to the next event. */
static agd_code advance(reader *r) {
  if (r->event != NULL) fy_parser_event_free(r->parser, r->event);
  r->event = fy_parser_parse(r->parser);
  if (r->event == NULL) return syntax_error(r);
  struct fy_token *token = r->event->type == FYET_SCALAR ? r->event->scalar.value : NULL;
  const enum fy_scalar_style style = token == NULL ? FYSS_PLAIN : fy_token_scalar_style(token);
  r->item = (item){.type = r->event->type, .quoted = style != FYSS_PLAIN};
  set_place(r);
  if (decorated(r->event))
    return agd_job_fail(r->job, r->place,
                        "anchors (&), aliases (*) and tags (!) are not allowed in a job; "
                        "quote a text that begins so");
  return r->item.type == FYET_SCALAR ? set_scalar(r, token) : AGD_OK;
}

static bool is_null(const item *it) {
  static const char *const words[] = {"", "~", "null", "Null", "NULL"};
  if (it->quoted) return false;
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strcmp(it->text, words[i]) == 0) return true;
  return false;
}

/* Writes what stands there, for messages. */
static void describe_item(const item *it, char text[2 * EXCERPT]) {
  if (it->type == FYET_MAPPING_START) {
    snprintf(text, 2 * EXCERPT, "a mapping");
  } else if (it->type == FYET_SEQUENCE_START) {
    snprintf(text, 2 * EXCERPT, "a list");
  } else if (it->text[0] == '\0' && !it->quoted) {
    snprintf(text, 2 * EXCERPT, "nothing");
  } else {
    size_t cut = strlen(it->text);
    if (cut > EXCERPT)
      for (cut = EXCERPT; ((unsigned char)it->text[cut] & 0xc0) == 0x80;) cut--;
    snprintf(text, 2 * EXCERPT, "%s\"%.*s%s\"", it->quoted ? "the quoted text " : "", (int)cut, it->text,
             it->text[cut] == '\0' ? "" : "...");
  }
}

/* Says what the value of a key must be, and what it is. */
static agd_code unexpected(const reader *r, const agd_key *key) {
  char expected[AGD_DESCRIPTION_MAX], got[2 * EXCERPT];
  agd_key_describe(key, expected);
  describe_item(&r->item, got);
  if (key == r->whole) return agd_job_fail(r->job, r->place, "expected %s; got %s", expected, got);
  return agd_job_fail(r->job, r->place, "%s: expected %s; got %s", key->path, expected, got);
}

static agd_code nothing(reader *r) {
  r->item = (item){.type = FYET_SCALAR, .text = ""};
  r->place.line = r->place.column = 1;
  return unexpected(r, r->whole);
}

static agd_code unknown_key(const reader *r, const char *path) {
  if (strchr(r->item.text, '.') != NULL)
    return agd_job_fail(r->job, r->place, "unknown key %s: a section is a mapping of its own, its keys stand below it",
                        path);
  const agd_key *meant = agd_key_suggest(path);
  if (meant == NULL) return agd_job_fail(r->job, r->place, "unknown key %s", path);
  return agd_job_fail(r->job, r->place, "unknown key %s; did you mean %s?", path, meant->path);
}

static agd_code read_widths(reader *r, const agd_key *key) {
  if (r->item.type != FYET_SEQUENCE_START) return unexpected(r, key);
  agd_model_spec spec = {0};
  for (;;) {
    AGD_TRY(advance(r));
    if (r->item.type == FYET_SEQUENCE_END) break;
    uint64_t width;
    if (r->item.type != FYET_SCALAR || !agd_key_parse_integer(key, r->item.text, r->item.quoted, &width))
      return unexpected(r, key);
    if (spec.hidden_count == AGD_HIDDEN_MAX)
      return agd_job_fail(r->job, r->place, "%s: more than %d hidden layers", key->path, (int)AGD_HIDDEN_MAX);
    spec.hidden[spec.hidden_count++] = (size_t)width;
  }
  memcpy(r->job->config->model.hidden, spec.hidden, sizeof spec.hidden);
  r->job->config->model.hidden_count = spec.hidden_count;
  return AGD_OK;
}

static agd_code read_value(reader *r, const agd_key *key);

/* Takes the key that stands there and notes its place. */
static agd_code read_key(reader *r, const agd_key *section, long *index) {
  if (r->item.type != FYET_SCALAR || r->item.text[0] == '\0')
    return agd_job_fail(r->job, r->place, "expected the name of a key");
  char path[PATH_SIZE];
  snprintf(path, sizeof path, "%s%s%s", section->path, section == &root ? "" : ".", r->item.text);
  *index = strchr(r->item.text, '.') == NULL ? agd_key_find(path) : -1;
  if (*index < 0) return unknown_key(r, path);
  agd_place *written = &r->job->written[*index];
  if (written->source == r->place.source)
    return agd_job_fail(r->job, r->place, "%s is given twice (first in line %d)", path, written->line);
  *written = r->place;
  return AGD_OK;
}

static agd_code read_section(reader *r, const agd_key *section) {
  if (r->item.type != FYET_MAPPING_START) return unexpected(r, section);
  for (;;) {
    AGD_TRY(advance(r));
    if (r->item.type == FYET_MAPPING_END) return AGD_OK;
    long index = -1;
    AGD_TRY(read_key(r, section, &index));
    AGD_TRY(advance(r));
    AGD_TRY(read_value(r, &agd_config_keys[index]));
  }
}

/* Recursion ends with the table: a section that it does not know is refused by read_key. */
static agd_code read_value(reader *r, const agd_key *key) {
  if (key->kind == AGD_KIND_SECTION) return read_section(r, key);
  if (key->kind == AGD_KIND_WIDTHS) return read_widths(r, key);
  if (r->item.type != FYET_SCALAR) return unexpected(r, key);
  const char *text = is_null(&r->item) ? NULL : r->item.text;
  if (!agd_key_store(key, text, r->item.quoted, r->job->config)) return unexpected(r, key);
  return AGD_OK;
}

static agd_code read_document(reader *r) {
  AGD_TRY(advance(r)); /* the stream starts */
  AGD_TRY(advance(r)); /* the document, or nothing */
  if (r->item.type == FYET_STREAM_END) return nothing(r);
  AGD_TRY(advance(r));
  AGD_TRY(read_value(r, r->whole));
  AGD_TRY(advance(r)); /* the document ends */
  AGD_TRY(advance(r)); /* and so should the stream */
  if (r->item.type == FYET_STREAM_END) return AGD_OK;
  return agd_job_fail(r->job, r->place, "a second document begins; a job is one");
}

static agd_code read_with(reader *r, struct fy_diag *diag, const char *text, size_t length) {
  fy_diag_set_collect_errors(diag, true);
  const struct fy_parse_cfg config = {.flags = FYPCF_DEFAULT_VERSION_1_2, .diag = diag};
  r->parser = fy_parser_create(&config);
  if (r->parser == NULL) return agd_fail(r->job->st, AGD_EDATA, "out of memory: the job file");
  const agd_code code = fy_parser_set_string(r->parser, text, length) == 0
                            ? read_document(r)
                            : agd_fail(r->job->st, AGD_EDATA, "out of memory: the job file");
  if (r->event != NULL) fy_parser_event_free(r->parser, r->event);
  fy_parser_destroy(r->parser);
  return code;
}

/* The last line gets its end: libfyaml 0.7.12 fails an assertion, where it has them, on a text that ends in `"\`. */
static agd_code read_whole_lines(reader *r, struct fy_diag *diag, const char *text, size_t length) {
  char *lines = malloc(length + 1);
  if (lines == NULL) return agd_fail(r->job->st, AGD_EDATA, "out of memory: the job file");
  memcpy(lines, text, length);
  lines[length] = '\n';
  const bool ended = length > 0 && text[length - 1] == '\n';
  const agd_code code = read_with(r, diag, lines, ended ? length : length + 1);
  free(lines);
  return code;
}

agd_code agd_job_read(agd_job *job, size_t source, long key, const char *text, size_t length) {
  AGD_TRY(check_text(job, source, text, length));
  reader r = {.job = job, .place = {source, 1, 1}, .whole = key < 0 ? &root : &agd_config_keys[key]};
  struct fy_diag_cfg quiet;
  fy_diag_cfg_default(&quiet);
  quiet.fp = NULL; /* not stderr: findings are collected, and one is told by syntax_error */
  struct fy_diag *diag = fy_diag_create(&quiet);
  if (diag == NULL) return agd_fail(job->st, AGD_EDATA, "out of memory: the job file");
  const agd_code code = read_whole_lines(&r, diag, text, length);
  fy_diag_destroy(diag);
  return code;
}
