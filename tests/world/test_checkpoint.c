/* The system calls of the replacing write are wrapped (see CMakeLists.txt): they are counted, made to fail, and a
 * process is ended at each of them. */
#include "allegrad/checkpoint.h"
#include "allegrad/memory.h"
#include "temporary.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>

/* What the wrapped calls do; one letter per call is logged: w write, s fsync, p pread, r rename. */
static struct {
  char log[256];
  char fail;  /* the letter of the call that fails ... */
  int after;  /* ... after so many good ones */
  int error;  /* its errno; 0: a write takes half, a pread returns another byte */
  int end_at; /* the process ends before this call, counted from 1; 0: never */
} fault;

static void fault_none(void) { memset(&fault, 0, sizeof fault); }

/* Logs a call; true when it is the one that fails. */
static bool failing(char letter) {
  const size_t calls = strlen(fault.log);
  int before = 0;
  for (size_t i = 0; i < calls; i++) before += fault.log[i] == letter;
  if (fault.end_at > 0 && calls + 1 == (size_t)fault.end_at) _exit(9);
  if (calls + 1 < sizeof fault.log) fault.log[calls] = letter;
  if (letter != fault.fail || before != fault.after) return false;
  errno = fault.error;
  return true;
}

ssize_t __real_write(int fd, const void *bytes, size_t size);
ssize_t __wrap_write(int fd, const void *bytes, size_t size);
ssize_t __wrap_write(int fd, const void *bytes, size_t size) {
  if (!failing('w')) return __real_write(fd, bytes, size);
  return fault.error != 0 ? -1 : __real_write(fd, bytes, (size + 1) / 2);
}

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd) { return failing('s') ? -1 : __real_fsync(fd); }

ssize_t __real_pread(int fd, void *bytes, size_t size, off_t offset);
ssize_t __wrap_pread(int fd, void *bytes, size_t size, off_t offset);
ssize_t __wrap_pread(int fd, void *bytes, size_t size, off_t offset) {
  const bool fails = failing('p');
  if (fails && fault.error != 0) return -1;
  const ssize_t got = __real_pread(fd, bytes, size, offset);
  if (fails && got > 0) ((char *)bytes)[0] ^= 1;
  return got;
}

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to) { return failing('r') ? -1 : __real_rename(from, to); }

static int setup(void **state) {
  fault_none();
  return temporary_setup(state);
}

static int teardown(void **state) {
  fault_none();
  return temporary_teardown(state);
}

static size_t entries_of(const char *folder) {
  DIR *stream = opendir(folder);
  assert_non_null(stream);
  size_t count = 0;
  while (readdir(stream) != NULL) count++;
  closedir(stream);
  return count - 2;
}

static void expect_content(const char *path, const void *expected, size_t size, agd_trailer_state expected_state) {
  agd_status st = {0};
  agd_trailer_state state, verified;
  void *content;
  size_t found;
  assert_int_equal(agd_file_read(path, &content, &found, &state, &st), AGD_OK);
  assert_int_equal(state, expected_state);
  assert_int_equal(found, size);
  assert_memory_equal(content, expected, size);
  assert_int_equal(agd_file_verify(path, &verified, &st), AGD_OK);
  assert_int_equal(verified, expected_state);
  agd_release(&content);
}

static void put(const char *path, const void *bytes, size_t size) {
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(bytes, 1, size, file), size);
  assert_int_equal(fclose(file), 0);
}

/* FIPS 180-2, appendix B.1. */
static const unsigned char abc_digest[32] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
                                             0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
                                             0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};

static void test_trailer_bytes(void **state) {
  char path[TEMPORARY_SIZE];
  unsigned char expected[3 + AGD_TRAILER_SIZE] = "abcAGDTRAIL\1\0\0\0\100\0\0\0\3", found[sizeof expected + 1];
  memcpy(expected + 3 + 32, abc_digest, 32);
  assert_int_equal(agd_file_replace(temporary_path(path, *state, "file"), "abc", 3, true, NULL), AGD_OK);
  FILE *file = fopen(path, "rb");
  assert_non_null(file);
  assert_int_equal(fread(found, 1, sizeof found, file), sizeof expected);
  assert_memory_equal(found, expected, sizeof expected);
  fclose(file);
  unsigned char digest[32];
  assert_int_equal(agd_sha256("abc", 3, digest, NULL), AGD_OK);
  assert_memory_equal(digest, abc_digest, 32);
}

/* Sizes around the trailer's and around the piece in which a file is hashed. */
static void test_round_trip(void **state) {
  const size_t sizes[] = {1, 63, 64, 65, (1 << 18) - 1, 1 << 18, (1 << 18) + 1};
  char path[TEMPORARY_SIZE], *bytes = malloc((1 << 18) + 1);
  assert_non_null(bytes);
  for (size_t i = 0; i <= 1 << 18; i++) bytes[i] = (char)(i * 7919 >> 3);
  temporary_path(path, *state, "file");
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    assert_int_equal(agd_file_replace(path, bytes, sizes[i], true, NULL), AGD_OK);
    expect_content(path, bytes, sizes[i], AGD_TRAILER_VALID);
    assert_int_equal(agd_file_replace(path, bytes, sizes[i], false, NULL), AGD_OK);
    expect_content(path, bytes, sizes[i], AGD_TRAILER_NONE);
  }
  assert_int_equal(entries_of(*state), 1);
  free(bytes);
}

static void test_permissions_follow_umask(void **state) {
  char path[TEMPORARY_SIZE];
  struct stat info;
  const mode_t old = umask(0027);
  assert_int_equal(agd_file_replace(temporary_path(path, *state, "file"), "abc", 3, true, NULL), AGD_OK);
  umask(old);
  assert_int_equal(stat(path, &info), 0);
  assert_int_equal(info.st_mode & 0777, 0640);
}

/* Of a file with a trailer no single damaged byte and no truncation passes for valid, and none for a foreign file as
 * long as the trailer can be told. */
static void test_damage_is_found(void **state) {
  enum { SIZE = 100, WHOLE = SIZE + AGD_TRAILER_SIZE };
  char path[TEMPORARY_SIZE], content[SIZE], bytes[WHOLE];
  agd_trailer_state found;
  for (int i = 0; i < SIZE; i++) content[i] = (char)i;
  temporary_path(path, *state, "file");
  assert_int_equal(agd_file_replace(path, content, SIZE, true, NULL), AGD_OK);
  FILE *file = fopen(path, "rb");
  assert_int_equal(fread(bytes, 1, WHOLE, file), WHOLE);
  fclose(file);
  for (int i = 0; i < WHOLE; i++) {
    bytes[i] ^= 0x10;
    put(path, bytes, WHOLE);
    bytes[i] ^= 0x10;
    assert_int_equal(agd_file_verify(path, &found, NULL), AGD_OK);
    assert_int_equal(found, AGD_TRAILER_BROKEN);
  }
  for (size_t size = 1; size < WHOLE; size++) {
    put(path, bytes, size);
    assert_int_equal(agd_file_verify(path, &found, NULL), AGD_OK);
    assert_int_equal(found, size >= SIZE + 8 ? AGD_TRAILER_BROKEN : AGD_TRAILER_NONE);
  }
  put(path, bytes + 1, WHOLE - 1);
  assert_int_equal(agd_file_verify(path, &found, NULL), AGD_OK);
  assert_int_equal(found, AGD_TRAILER_BROKEN);
}

static void expect_unreadable(const char *path, const char *reason) {
  agd_status st = {0};
  agd_trailer_state found;
  void *content = &st;
  size_t size = 1;
  assert_int_equal(agd_file_read(path, &content, &size, &found, &st), AGD_EDATA);
  assert_null(content);
  assert_non_null(strstr(st.message, path));
  assert_non_null(strstr(st.message, reason));
  memset(&st, 0, sizeof st);
  assert_int_equal(agd_file_verify(path, &found, &st), AGD_EDATA);
  assert_non_null(strstr(st.message, path));
  assert_non_null(strstr(st.message, reason));
}

static void test_unreadable(void **state) {
  char path[TEMPORARY_SIZE];
  expect_unreadable(temporary_path(path, *state, "missing"), "No such file");
  expect_unreadable(*state, "a folder");
  put(temporary_path(path, *state, "empty"), "", 0);
  expect_unreadable(path, "is empty");
  assert_int_equal(mkfifo(temporary_path(path, *state, "pipe"), 0600), 0);
  expect_unreadable(path, "pipe");
  put(temporary_path(path, *state, "bad-disk"), "abc", 3);
  fault.fail = 'p', fault.error = EIO;
  agd_trailer_state found;
  agd_status st = {0};
  void *content;
  size_t size;
  assert_int_equal(agd_file_read(path, &content, &size, &found, &st), AGD_EDATA);
  assert_non_null(strstr(st.message, strerror(EIO)));
}

/* Order: data and trailer, fsync, read back (content, trailer), rename, fsync of the folder. */
static void test_order_of_calls(void **state) {
  char path[TEMPORARY_SIZE];
  temporary_path(path, *state, "file");
  assert_int_equal(agd_file_replace(path, "abc", 3, true, NULL), AGD_OK);
  assert_string_equal(fault.log, "wwspprs");
}

static void test_short_write_is_continued(void **state) {
  char path[TEMPORARY_SIZE];
  temporary_path(path, *state, "file");
  fault.fail = 'w';
  assert_int_equal(agd_file_replace(path, "abcdef", 6, true, NULL), AGD_OK);
  assert_string_equal(fault.log, "wwwspprs");
  fault_none();
  expect_content(path, "abcdef", 6, AGD_TRAILER_VALID);
}

static void test_failing_calls(void **state) {
  const struct {
    char letter;
    int after, error;
    const char *reason, *log;
  } cases[] = {{'w', 0, ENOSPC, "No space left", "w"},
               {'w', 1, EDQUOT, "quota", "ww"},
               {'w', 0, EINTR, NULL, "wwwspprs"},
               {'s', 0, EIO, "Input/output error", "wws"}, /* a second fsync would lie */
               {'p', 0, EIO, "Input/output error", "wwsp"},
               {'p', 0, 0, "other bytes", "wwsp"},
               {'p', 1, 0, "other bytes", "wwspp"},
               {'r', 0, EACCES, "Permission denied", "wwsppr"}};
  char path[TEMPORARY_SIZE];
  temporary_path(path, *state, "file");
  assert_int_equal(agd_file_replace(path, "old", 3, true, NULL), AGD_OK);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    agd_status st = {0};
    fault_none();
    fault.fail = cases[i].letter, fault.after = cases[i].after, fault.error = cases[i].error;
    const agd_code code = agd_file_replace(path, "new", 3, true, &st);
    assert_string_equal(fault.log, cases[i].log);
    fault_none();
    assert_int_equal(entries_of(*state), 1);
    assert_int_equal(code, cases[i].reason == NULL ? AGD_OK : AGD_EDATA);
    expect_content(path, cases[i].reason == NULL ? "new" : "old", 3, AGD_TRAILER_VALID);
    if (cases[i].reason == NULL) {
      assert_int_equal(agd_file_replace(path, "old", 3, true, NULL), AGD_OK);
      continue;
    }
    assert_non_null(strstr(st.message, path));
    assert_non_null(strstr(st.message, cases[i].reason));
  }
}

/* The rename is done, so the file is new, yet it might not outlive a power failure: that is told. */
static void test_failing_folder_sync(void **state) {
  char path[TEMPORARY_SIZE];
  agd_status st = {0};
  temporary_path(path, *state, "file");
  fault.fail = 's', fault.after = 1, fault.error = EIO;
  assert_int_equal(agd_file_replace(path, "new", 3, true, &st), AGD_EDATA);
  assert_non_null(strstr(st.message, *state));
  fault_none();
  fault.fail = 's', fault.after = 1, fault.error = EINVAL; /* a file system without fsync of folders */
  assert_int_equal(agd_file_replace(path, "new", 3, true, &st), AGD_OK);
}

/* A process that dies before any of the calls leaves the old file or the new one. */
static void test_killed_at_every_call(void **state) {
  char path[TEMPORARY_SIZE];
  temporary_path(path, *state, "file");
  for (int call = 1; call <= 7; call++) {
    assert_int_equal(agd_file_replace(path, "old", 3, true, NULL), AGD_OK);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
      fault_none();
      fault.end_at = call;
      _exit(agd_file_replace(path, "new", 3, true, NULL) == AGD_OK ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 9);
    expect_content(path, call <= 6 ? "old" : "new", 3, AGD_TRAILER_VALID);
    fault_none();
  }
}

static void expect_unwritable(const char *path, const char *reason) {
  agd_status st = {0};
  assert_int_equal(agd_file_replace(path, "new", 3, true, &st), AGD_EDATA);
  assert_non_null(strstr(st.message, path));
  assert_non_null(strstr(st.message, reason));
}

static void test_unwritable(void **state) {
  char path[TEMPORARY_SIZE], target[TEMPORARY_SIZE];
  expect_unwritable(temporary_path(path, *state, "missing/file"), "No such file");
  expect_unwritable(*state, "a folder");
  put(temporary_path(target, *state, "target"), "old", 3);
  expect_unwritable(temporary_path(path, *state, "target/file"), "Not a directory");
  assert_int_equal(symlink(target, temporary_path(path, *state, "link")), 0);
  expect_unwritable(path, "symbolic link");
  expect_content(target, "old", 3, AGD_TRAILER_NONE);
  assert_int_equal(mkfifo(temporary_path(path, *state, "pipe"), 0600), 0);
  expect_unwritable(path, "pipe");
  assert_int_equal(entries_of(*state), 3);

  char *long_path = malloc(5001);
  memset(long_path, 'a', 5000);
  long_path[5000] = '\0';
  agd_status st = {0};
  assert_int_equal(agd_file_replace(long_path, "new", 3, true, &st), AGD_EDATA);
  assert_non_null(strstr(st.message, strerror(ENAMETOOLONG)));
  free(long_path);
}

/* Root may write anywhere, so it becomes nobody for a moment. */
static void test_folder_without_permission(void **state) {
  char path[TEMPORARY_SIZE];
  put(temporary_path(path, *state, "file"), "old", 3);
  assert_int_equal(chmod(*state, 0555), 0);
  const bool root = geteuid() == 0;
  if (root) assert_int_equal(seteuid(65534), 0);
  expect_unwritable(path, "Permission denied");
  if (root) assert_int_equal(seteuid(0), 0);
  assert_int_equal(chmod(*state, 0755), 0);
  expect_content(path, "old", 3, AGD_TRAILER_NONE);
}

/* A real write that the system cuts short: the limit stands between content and trailer. */
static void test_file_size_limit(void **state) {
  char path[TEMPORARY_SIZE];
  put(temporary_path(path, *state, "file"), "old", 3);
  temporary_disk_limit(16);
  expect_unwritable(path, strerror(EFBIG));
  temporary_disk_limit(RLIM_INFINITY);
  assert_int_equal(entries_of(*state), 1);
  expect_content(path, "old", 3, AGD_TRAILER_NONE);
}

static void make_checkpoint(const char *folder, const char *name, const char *content) {
  char path[TEMPORARY_SIZE];
  assert_int_equal(agd_file_replace(temporary_path(path, folder, name), content, strlen(content), true, NULL), AGD_OK);
}

static bool exists(const char *folder, const char *name) {
  char path[TEMPORARY_SIZE];
  return access(temporary_path(path, folder, name), F_OK) == 0;
}

/* Oldest by number, not by text; other files are not touched. */
static void test_prune(void **state) {
  const char *const others[] = {"best.weights.h5",    "step-1.weights.h5.tmp", "step-.weights.h5",
                                "step-1a.weights.h5", "step-1.weights.h5x",    "xstep-1.weights.h5"};
  const char *const steps[] = {"step-00000009.weights.h5", "step-00000100.weights.h5", "step-99999999.weights.h5",
                               "step-100000000.weights.h5"};
  for (size_t i = 0; i < 6; i++) make_checkpoint(*state, others[i], "x");
  for (size_t i = 0; i < 4; i++) make_checkpoint(*state, steps[i], "x");
  assert_int_equal(agd_checkpoints_prune(*state, 0, NULL), AGD_OK);
  assert_int_equal(agd_checkpoints_prune(*state, 4, NULL), AGD_OK);
  assert_int_equal(entries_of(*state), 10);
  assert_int_equal(agd_checkpoints_prune(*state, 1, NULL), AGD_OK);
  assert_true(exists(*state, steps[3]));
  for (size_t i = 0; i < 3; i++) assert_false(exists(*state, steps[i]));
  assert_int_equal(entries_of(*state), 7);

  char path[TEMPORARY_SIZE];
  agd_status st = {0};
  assert_int_equal(agd_checkpoints_prune(temporary_path(path, *state, "missing"), 1, &st), AGD_EDATA);
  assert_non_null(strstr(st.message, path));
}

static char notes[2 * AGD_MESSAGE_MAX];
static void take_note(const char *text) {
  assert_null(strchr(text, '\n'));
  snprintf(notes + strlen(notes), sizeof notes - strlen(notes), "%s\n", text);
}

static void test_newest(void **state) {
  char path[TEMPORARY_SIZE], expected[TEMPORARY_SIZE], found[TEMPORARY_SIZE] = "";
  agd_status st = {0};
  assert_int_equal(agd_checkpoints_newest(*state, found, sizeof found, take_note, &st), AGD_EDATA);
  assert_non_null(strstr(st.message, *state));

  make_checkpoint(*state, "step-00000100.weights.h5", "old");
  make_checkpoint(*state, "step-00000200.weights.h5", "newer");
  temporary_path(expected, *state, "step-00000200.weights.h5");
  assert_int_equal(agd_checkpoints_newest(*state, found, sizeof found, take_note, &st), AGD_OK);
  assert_string_equal(found, expected);
  assert_string_equal(notes, "");

  assert_int_equal(truncate(expected, 20), 0);
  put(temporary_path(path, *state, "step-00000300.weights.h5"), "", 0);
  put(temporary_path(path, *state, "step-00000400.weights.h5"), "no trailer", 10);
  temporary_path(expected, *state, "step-00000100.weights.h5");
  assert_int_equal(agd_checkpoints_newest(*state, found, sizeof found, take_note, &st), AGD_OK);
  assert_string_equal(found, expected);
  const char *first = strstr(notes, "400"), *second = strstr(notes, "300"), *third = strstr(notes, "200");
  assert_true(first != NULL && first < second && second < third);
  assert_int_equal(agd_checkpoints_newest(*state, found, sizeof found, NULL, &st), AGD_OK);
  assert_int_equal(agd_checkpoints_newest(*state, found, strlen(expected), NULL, &st), AGD_EDATA);
  assert_non_null(strstr(st.message, "too long"));

  assert_int_equal(truncate(expected, 20), 0);
  assert_int_equal(agd_checkpoints_newest(*state, found, sizeof found, NULL, &st), AGD_EDATA);
  assert_int_equal(agd_checkpoints_newest(temporary_path(path, *state, "missing"), found, sizeof found, NULL, &st),
                   AGD_EDATA);
  assert_non_null(strstr(st.message, path));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
  const struct CMUnitTest tests[] = {TEST(test_trailer_bytes),
                                     TEST(test_round_trip),
                                     TEST(test_permissions_follow_umask),
                                     TEST(test_damage_is_found),
                                     TEST(test_unreadable),
                                     TEST(test_order_of_calls),
                                     TEST(test_short_write_is_continued),
                                     TEST(test_failing_calls),
                                     TEST(test_failing_folder_sync),
                                     TEST(test_killed_at_every_call),
                                     TEST(test_unwritable),
                                     TEST(test_folder_without_permission),
                                     TEST(test_file_size_limit),
                                     TEST(test_prune),
                                     TEST(test_newest)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
