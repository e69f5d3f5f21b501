#include "allegrad/events.h"

#include "temporary.h"

#include <dirent.h>
#include <errno.h>

/* CRC32C bit by bit, masked as a TFRecord wants it: the plain twin of what events.c takes from ISA-L. */
static uint32_t masked_crc(const unsigned char *bytes, size_t size) {
  uint32_t crc = 0xffffffffu;
  for (size_t i = 0; i < size; i++) {
    crc ^= bytes[i];
    for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
  }
  crc = ~crc;
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

static uint64_t little(const unsigned char *bytes, int count) {
  uint64_t value = 0;
  for (int i = count; i-- > 0;) value = value << 8 | bytes[i];
  return value;
}

/* Serialised by Google's protobuf from TensorBoard's own messages; bytes 1..8 hold the wall time. */
static const unsigned char version_event[] = {0x09, 0,    0,    0,    0,    0,    0,    0,    0,    0x1a, 0x0d, 0x62,
                                              0x72, 0x61, 0x69, 0x6e, 0x2e, 0x45, 0x76, 0x65, 0x6e, 0x74, 0x3a, 0x32};
static const unsigned char scalar_event[] = {
    0x09, 0,    0,    0,    0,    0,    0,    0,    0,    0x10, 0x02, 0x2a, 0x27, 0x0a, 0x25, 0x0a, 0x0a, 0x65,
    0x70, 0x6f, 0x63, 0x68, 0x5f, 0x6c, 0x6f, 0x73, 0x73, 0x42, 0x0a, 0x08, 0x01, 0x12, 0x00, 0x22, 0x04, 0x00,
    0x00, 0x00, 0x3f, 0x4a, 0x0b, 0x0a, 0x09, 0x0a, 0x07, 0x73, 0x63, 0x61, 0x6c, 0x61, 0x72, 0x73};

/* Checks the record at `bytes`, with any wall time of this century, and returns its size. */
static size_t check_record(const unsigned char *bytes, size_t left, const unsigned char *event, size_t size) {
  assert_true(left >= size + 16);
  assert_int_equal(little(bytes, 8), size);
  assert_int_equal(little(bytes + 8, 4), masked_crc(bytes, 8));
  assert_int_equal(bytes[12], event[0]);
  double wall_time;
  memcpy(&wall_time, bytes + 13, sizeof wall_time);
  assert_true(wall_time > 1e9 && wall_time < 4e9);
  assert_memory_equal(bytes + 12 + 9, event + 9, size - 9);
  assert_int_equal(little(bytes + 12 + size, 4), masked_crc(bytes + 12, size));
  return size + 16;
}

/* Paths of the event files in a folder; returns how many there are. */
static int find_files(const char *folder, char paths[8][TEMPORARY_SIZE]) {
  int count = 0;
  DIR *stream = opendir(folder);
  assert_non_null(stream);
  for (const struct dirent *item; (item = readdir(stream)) != NULL;) {
    if (strncmp(item->d_name, "events.out.tfevents.", 20) != 0) continue;
    assert_in_range(count, 0, 7);
    temporary_path(paths[count++], folder, item->d_name);
  }
  closedir(stream);
  return count;
}

static void test_records(void **state) {
  char folder[TEMPORARY_SIZE], paths[8][TEMPORARY_SIZE];
  agd_status st = {0};
  agd_events *events;
  assert_int_equal(agd_events_open(temporary_path(folder, *state, "run/events/train"), &events, &st), AGD_OK);
  assert_int_equal(agd_events_scalar(events, "epoch_loss", 2, 0.5, &st), AGD_OK);
  assert_int_equal(find_files(folder, paths), 1);

  unsigned char bytes[4096];
  FILE *file = fopen(paths[0], "rb"); /* before the close: a record is there as soon as it is written */
  assert_non_null(file);
  const size_t size = fread(bytes, 1, sizeof bytes, file);
  fclose(file);
  const size_t first = check_record(bytes, size, version_event, sizeof version_event);
  const size_t second = check_record(bytes + first, size - first, scalar_event, sizeof scalar_event);
  assert_int_equal(first + second, size);
  assert_int_equal(agd_events_close(&events, &st), AGD_OK);
  assert_null(events);
  assert_int_equal(agd_events_close(&events, &st), AGD_OK);
}

static void test_every_open_makes_a_new_file(void **state) {
  char paths[8][TEMPORARY_SIZE];
  agd_status st = {0};
  for (int i = 0; i < 3; i++) {
    agd_events *events;
    assert_int_equal(agd_events_open(*state, &events, &st), AGD_OK);
    assert_int_equal(agd_events_close(&events, &st), AGD_OK);
  }
  assert_int_equal(find_files(*state, paths), 3);
}

static void test_unwritable(void **state) {
  char path[TEMPORARY_SIZE];
  agd_status st = {0};
  agd_events *events;
  temporary_write(temporary_path(path, *state, "file"), "x");
  assert_int_equal(agd_events_open(path, &events, &st), AGD_EDATA);
  assert_non_null(strstr(st.message, path));
  assert_null(events);
  assert_int_equal(agd_events_open("/proc/self", &events, &st), AGD_EDATA);
  assert_non_null(strstr(st.message, "cannot write /proc/self/events.out.tfevents."));
}

static void test_full_disk(void **state) {
  char paths[8][TEMPORARY_SIZE];
  agd_status open_st = {0}, write_st = {0}, st = {0};
  agd_events *none, *events;
  temporary_disk_limit(10);
  const agd_code opened = agd_events_open(*state, &none, &open_st);
  temporary_disk_limit(RLIM_INFINITY);
  assert_int_equal(opened, AGD_EDATA);
  assert_non_null(strstr(open_st.message, strerror(EFBIG)));
  assert_int_equal(find_files(*state, paths), 0); /* nothing half-written */

  assert_int_equal(agd_events_open(*state, &events, &st), AGD_OK);
  temporary_disk_limit(60);
  const agd_code wrote = agd_events_scalar(events, "epoch_loss", 0, 1, &write_st);
  temporary_disk_limit(RLIM_INFINITY);
  assert_int_equal(wrote, AGD_EDATA);
  assert_non_null(strstr(write_st.message, "events.out.tfevents."));
  agd_events_close(&events, &st);
}

/* What cannot be gone on with for a reason of the system's is told, not begun anew. */
static void test_unreadable(void **state) {
  char path[TEMPORARY_SIZE];
  agd_status st = {0};
  agd_events *events;
  assert_int_equal(mkdir(temporary_path(path, *state, "events.out.tfevents.1"), 0777), 0);
  assert_int_equal(agd_events_continue(*state, 1, &events, &st), AGD_EDATA);
  assert_null(events);
  assert_non_null(strstr(st.message, path));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_records, temporary_setup, temporary_teardown),
      cmocka_unit_test_setup_teardown(test_every_open_makes_a_new_file, temporary_setup, temporary_teardown),
      cmocka_unit_test_setup_teardown(test_unwritable, temporary_setup, temporary_teardown),
      cmocka_unit_test_setup_teardown(test_full_disk, temporary_setup, temporary_teardown),
      cmocka_unit_test_setup_teardown(test_unreadable, temporary_setup, temporary_teardown)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
