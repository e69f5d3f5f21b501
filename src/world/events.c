#include "allegrad/events.h"

#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <isa-l/crc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "allegrad/folder.h"
#include "allegrad/memory.h"
#include "events.pb-c.h"

struct agd_events {
  FILE *file;
  char *path;
};

enum { LENGTH_BYTES = 8, CRC_BYTES = 4, HEAD_BYTES = LENGTH_BYTES + CRC_BYTES };
enum { RECORD_MAX = 1 << 20 }; /* a record is shorter */

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* TFRecord's masked CRC32C (tensorflow/core/lib/hash/crc32c.h): rotated right by 15 bits, plus a constant, because a
 * CRC of data that holds its own CRC is weak. ISA-L leaves the initial and final complement to the caller. */
static void put_masked_crc(unsigned char *to, unsigned char *bytes, size_t size) {
  const uint32_t crc = crc32_iscsi(bytes, (int)size, 0xffffffffu) ^ 0xffffffffu;
  const uint32_t masked = htole32(((crc >> 15) | (crc << 17)) + 0xa282ead8u);
  memcpy(to, &masked, CRC_BYTES);
}

/* Record: length (uint64 LE), its masked CRC, the bytes, their masked CRC. Written at once and flushed, so that a
 * reader sees whole records as soon as they exist. */
static agd_code write_event(agd_events *events, const Agd__Event *event, agd_status *st) {
  const size_t size = agd__event__get_packed_size(event);
  AGD_REQUIRE(size < RECORD_MAX); /* crc32_iscsi counts in int */
  unsigned char *record = malloc(HEAD_BYTES + size + CRC_BYTES);
  if (record == NULL) return agd_fail(st, AGD_EDATA, "out of memory: an event for %s", events->path);
  const uint64_t length = htole64(size);
  memcpy(record, &length, LENGTH_BYTES);
  put_masked_crc(record + LENGTH_BYTES, record, LENGTH_BYTES);
  agd__event__pack(event, record + HEAD_BYTES);
  put_masked_crc(record + HEAD_BYTES + size, record + HEAD_BYTES, size);
  const size_t bytes = HEAD_BYTES + size + CRC_BYTES;
  const bool good = fwrite(record, 1, bytes, events->file) == bytes && fflush(events->file) == 0;
  const int error = errno;
  free(record);
  return good ? AGD_OK : agd_fail(st, AGD_EDATA, "cannot write %s: %s", events->path, strerror(error));
}

/* Opens a file whose name TensorBoard recognises and nobody else has: time, host, process, and a number because a
 * process may open several within a second. */
static agd_code open_new(const char *folder, agd_events *events, agd_status *st) {
  char host[256] = "localhost";
  gethostname(host, sizeof host - 1);
  int fd = -1;
  for (int number = 0; fd < 0; number++) {
    free(events->path);
    if (asprintf(&events->path, "%s/events.out.tfevents.%010lld.%s.%ld.%d.v2", folder, (long long)time(NULL), host,
                 (long)getpid(), number) < 0) {
      events->path = NULL;
      return agd_fail(st, AGD_EDATA, "out of memory: a file name in %s", folder);
    }
    fd = open(events->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0 && errno != EEXIST) return agd_fail(st, AGD_EDATA, "cannot write %s: %s", events->path, strerror(errno));
  }
  events->file = fdopen(fd, "wb");
  if (events->file != NULL) return AGD_OK;
  close(fd);
  unlink(events->path);
  return agd_fail(st, AGD_EDATA, "out of memory: %s", events->path);
}

static agd_code write_version(agd_events *events, agd_status *st) {
  char version[] = "brain.Event:2";
  Agd__Event event = AGD__EVENT__INIT;
  event.wall_time = now();
  event.what_case = AGD__EVENT__WHAT_FILE_VERSION;
  event.file_version = version;
  return write_event(events, &event, st);
}

agd_code agd_events_open(const char *folder, agd_events **out, agd_status *st) {
  *out = NULL;
  AGD_TRY(agd_folder_create(folder, st));
  agd_events *events = calloc(1, sizeof *events);
  if (events == NULL) return agd_fail(st, AGD_EDATA, "out of memory: event files in %s", folder);
  agd_code code = open_new(folder, events, st);
  if (code == AGD_OK && (code = write_version(events, st)) != AGD_OK) {
    fclose(events->file);
    unlink(events->path); /* NOLINT(*NonNullParamChecker): open_new has named it */
  }
  if (code == AGD_OK) {
    *out = events;
    return AGD_OK;
  }
  free(events->path);
  free(events);
  return code;
}

/* ---- going on with a file ---- */

static agd_code cannot(const char *verb, const char *path, int error, agd_status *st) {
  return agd_fail(st, AGD_EDATA, "cannot %s %s: %s", verb, path, strerror(error));
}

/* The newest event file among those of an open folder, to be freed; NULL when there is none. Names begin with the time.
 * False when memory is short. */
static bool take_newest(DIR *stream, char **newest) {
  static const char head[] = "events.out.tfevents.";
  *newest = NULL;
  for (const struct dirent *item; (item = readdir(stream)) != NULL;) {
    if (strncmp(item->d_name, head, sizeof head - 1) != 0) continue;
    if (*newest != NULL && strcmp(item->d_name, *newest) < 0) continue;
    free(*newest);
    *newest = strdup(item->d_name);
    if (*newest == NULL) return false;
  }
  return true;
}

/* The path of the newest event file in a folder, to be freed; NULL when there is none. What cannot be looked at is not
 * taken for that: the file would not be gone on with. */
static agd_code find_newest(const char *folder, char **path, agd_status *st) {
  char *newest;
  *path = NULL;
  DIR *stream = opendir(folder);
  if (stream == NULL) return errno == ENOENT ? AGD_OK : cannot("read the folder", folder, errno, st);
  bool good = take_newest(stream, &newest);
  closedir(stream);
  if (newest != NULL && asprintf(path, "%s/%s", folder, newest) < 0) *path = NULL, good = false;
  free(newest);
  return good ? AGD_OK : agd_fail(st, AGD_EDATA, "out of memory: the event files in %s", folder);
}

/* Reads a record of the file; false at the end and when it is none. */
static bool read_record(FILE *file, uint8_t bytes[RECORD_MAX], size_t *size) {
  unsigned char head[HEAD_BYTES], crc[CRC_BYTES], expected[CRC_BYTES];
  uint64_t length;
  if (fread(head, 1, HEAD_BYTES, file) != HEAD_BYTES) return false;
  put_masked_crc(expected, head, LENGTH_BYTES);
  memcpy(&length, head, LENGTH_BYTES);
  length = le64toh(length);
  if (memcmp(expected, head + LENGTH_BYTES, CRC_BYTES) != 0 || length >= RECORD_MAX) return false;
  *size = (size_t)length;
  if (fread(bytes, 1, *size, file) != *size || fread(crc, 1, CRC_BYTES, file) != CRC_BYTES) return false;
  put_masked_crc(expected, bytes, *size);
  return memcmp(expected, crc, CRC_BYTES) == 0;
}

/* Where the whole records of steps before `end` end; 0 when the file does not even begin as one. */
static agd_code find_end(FILE *file, const char *path, int64_t end, long *place, agd_status *st) {
  size_t size;
  uint8_t *bytes;
  *place = 0;
  AGD_TRY(agd_allocate(RECORD_MAX, 1, "a record of an event file", (void **)&bytes, st));
  for (bool wanted = true; wanted && read_record(file, bytes, &size);) {
    Agd__Event *event = agd__event__unpack(NULL, size, bytes);
    wanted = event != NULL && (event->what_case != AGD__EVENT__WHAT_SUMMARY || event->step < end);
    if (event != NULL) agd__event__free_unpacked(event, NULL);
    if (wanted) *place = ftell(file);
  }
  agd_release(&bytes);
  return ferror(file) == 0 ? AGD_OK : cannot("read", path, errno, st);
}

/* Goes on with a file, whose path it takes over with *out; *out stays NULL when it is no event file. */
static agd_code continue_file(char *path, int64_t end, agd_events **out, agd_status *st) {
  long place;
  FILE *file = fopen(path, "r+be");
  if (file == NULL) return cannot("open", path, errno, st);
  agd_code code = find_end(file, path, end, &place, st);
  agd_events *events = code == AGD_OK && place > 0 ? calloc(1, sizeof *events) : NULL;
  if (events != NULL && ftruncate(fileno(file), place) == 0 && fseek(file, place, SEEK_SET) == 0) {
    *events = (agd_events){.file = file, .path = path};
    *out = events;
    return AGD_OK;
  }
  if (code == AGD_OK && place > 0) code = cannot("write", path, errno, st);
  fclose(file);
  free(events);
  return code;
}

agd_code agd_events_continue(const char *folder, int64_t end, agd_events **out, agd_status *st) {
  char *path;
  *out = NULL;
  AGD_TRY(find_newest(folder, &path, st));
  const agd_code code = path != NULL ? continue_file(path, end, out, st) : AGD_OK;
  if (*out != NULL) return AGD_OK;
  free(path);
  return code == AGD_OK ? agd_events_open(folder, out, st) : code;
}

agd_code agd_events_sync(agd_events *events, agd_status *st) {
  if (fsync(fileno(events->file)) == 0) return AGD_OK;
  return agd_fail(st, AGD_EDATA, "cannot write %s: %s", events->path, strerror(errno));
}

agd_code agd_events_scalar(agd_events *events, const char *tag, int64_t step, double value, agd_status *st) {
  char plugin_name[] = "scalars", *tag_text = strdup(tag);
  if (tag_text == NULL) return agd_fail(st, AGD_EDATA, "out of memory: an event for %s", events->path);
  Agd__TensorShapeProto shape = AGD__TENSOR_SHAPE_PROTO__INIT;
  Agd__TensorProto tensor = AGD__TENSOR_PROTO__INIT;
  const float single = (float)value;
  uint32_t bits;
  memcpy(&bits, &single, sizeof bits);
  bits = htole32(bits);
  tensor.dtype = AGD__DATA_TYPE__DT_FLOAT, tensor.tensor_shape = &shape;
  tensor.tensor_content.len = sizeof bits, tensor.tensor_content.data = (uint8_t *)&bits;
  Agd__SummaryMetadata__PluginData plugin = AGD__SUMMARY_METADATA__PLUGIN_DATA__INIT;
  plugin.plugin_name = plugin_name;
  Agd__SummaryMetadata metadata = AGD__SUMMARY_METADATA__INIT;
  metadata.plugin_data = &plugin;
  Agd__Summary__Value scalar = AGD__SUMMARY__VALUE__INIT, *scalars = &scalar;
  scalar.tag = tag_text, scalar.metadata = &metadata;
  scalar.value_case = AGD__SUMMARY__VALUE__VALUE_TENSOR, scalar.tensor = &tensor;
  Agd__Summary summary = AGD__SUMMARY__INIT;
  summary.n_value = 1, summary.value = &scalars;
  Agd__Event event = AGD__EVENT__INIT;
  event.wall_time = now(), event.step = step;
  event.what_case = AGD__EVENT__WHAT_SUMMARY, event.summary = &summary;
  const agd_code code = write_event(events, &event, st);
  free(tag_text);
  return code;
}

agd_code agd_events_close(agd_events **events, agd_status *st) {
  if (*events == NULL) return AGD_OK;
  agd_code code = AGD_OK;
  if (fclose((*events)->file) != 0)
    code = agd_fail(st, AGD_EDATA, "cannot write %s: %s", (*events)->path, strerror(errno));
  free((*events)->path);
  free(*events);
  *events = NULL;
  return code;
}
