#include "allegrad/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "allegrad/memory.h"

enum { DIGEST = 32, PIECE = 1 << 18, PATH_SIZE = 4096 };

/* The trailer's fields, by offset. */
enum { AT_MAGIC = 0, AT_VERSION = 8, AT_SIZE = 12, AT_LENGTH = 16, AT_DIGEST = 32 };
static const unsigned char magic[8] = {'A', 'G', 'D', 'T', 'R', 'A', 'I', 'L'};
enum { TRAILER_VERSION = 1, MAGIC_ALIKE = 6, END = 4096 };

/* A path longer than a message must not push the reason out of it. */
static agd_code io_failure(agd_status *st, const char *verb, const char *path, int error) {
  return agd_fail(st, AGD_EDATA, "cannot %s %.*s: %s", verb, AGD_MESSAGE_MAX - 256, path, strerror(error));
}

static void put_le(unsigned char *to, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; i++) to[i] = (unsigned char)(value >> (8 * i));
}

static void trailer_build(unsigned char trailer[AGD_TRAILER_SIZE], size_t length, const unsigned char digest[DIGEST]) {
  memset(trailer, 0, AGD_TRAILER_SIZE);
  memcpy(trailer + AT_MAGIC, magic, sizeof magic);
  put_le(trailer + AT_VERSION, TRAILER_VERSION, 4);
  put_le(trailer + AT_SIZE, AGD_TRAILER_SIZE, 4);
  put_le(trailer + AT_LENGTH, length, 8);
  memcpy(trailer + AT_DIGEST, digest, DIGEST);
}

agd_code agd_sha256(const void *bytes, size_t size, unsigned char digest[32], agd_status *st) {
  if (EVP_Digest(bytes, size, digest, NULL, EVP_sha256(), NULL) != 1)
    return agd_fail(st, AGD_EDATA, "libcrypto cannot compute a SHA-256");
  return AGD_OK;
}

/* Reads exactly size bytes at offset; 0, or an errno (EIO when the file ends before). */
static int read_at(int fd, void *to, size_t size, off_t offset) {
  char *at = to;
  while (size > 0) {
    const ssize_t got = pread(fd, at, size, offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return got < 0 ? errno : EIO;
    at += got, offset += got, size -= (size_t)got;
  }
  return 0;
}

static int write_all(int fd, const void *from, size_t size) {
  const char *at = from;
  while (size > 0) {
    const ssize_t put = write(fd, at, size);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return put < 0 ? errno : ENOSPC;
    at += put, size -= (size_t)put;
  }
  return 0;
}

/* SHA-256 of the first `length` bytes of an open file, read piece by piece. */
static agd_code digest_of_file(int fd, const char *path, size_t length, unsigned char digest[DIGEST], agd_status *st) {
  void *piece;
  AGD_TRY(agd_allocate(PIECE, 1, "a piece of a file", &piece, st));
  EVP_MD_CTX *context = EVP_MD_CTX_new();
  bool good = context != NULL && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1;
  int error = 0;
  for (size_t done = 0; done < length && good && error == 0;) {
    const size_t part = length - done < PIECE ? length - done : PIECE;
    error = read_at(fd, piece, part, (off_t)done);
    if (error == 0) good = EVP_DigestUpdate(context, piece, part) == 1;
    done += part;
  }
  if (error == 0 && good) good = EVP_DigestFinal_ex(context, digest, NULL) == 1;
  EVP_MD_CTX_free(context);
  agd_release(&piece);
  if (error != 0) return io_failure(st, "read", path, error);
  if (!good) return agd_fail(st, AGD_EDATA, "libcrypto cannot compute the SHA-256 of %s", path);
  return AGD_OK;
}

/* Opens a regular file for reading. O_NONBLOCK, so that a FIFO without a writer is refused instead of waited for. */
static agd_code open_regular(const char *path, int *fd, size_t *size, agd_status *st) {
  *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (*fd < 0) return io_failure(st, "open", path, errno);
  struct stat info;
  agd_code code = AGD_OK;
  if (fstat(*fd, &info) != 0)
    code = io_failure(st, "read", path, errno);
  else if (!S_ISREG(info.st_mode))
    code =
        agd_fail(st, AGD_EDATA, "%s is %s, not a file", path, S_ISDIR(info.st_mode) ? "a folder" : "a device or pipe");
  else if (info.st_size == 0)
    code = agd_fail(st, AGD_EDATA, "%s is empty", path);
  else
    *size = (size_t)info.st_size;
  if (code != AGD_OK) close(*fd);
  return code;
}

static bool is_trailer(const unsigned char bytes[AGD_TRAILER_SIZE]) { return memcmp(bytes, magic, sizeof magic) == 0; }

/* Whether the end of a file shows that it had a trailer, which is cut, has moved or is itself damaged: else such a file
 * would count as foreign, and its numbers as not ours to judge. */
static bool has_remains(const unsigned char *end, size_t size) {
  for (size_t at = 0; at + sizeof magic <= size; at++) {
    size_t alike = 0;
    for (size_t i = 0; i < sizeof magic; i++) alike += end[at + i] == magic[i];
    if (alike >= MAGIC_ALIKE) return true;
  }
  return false;
}

/* Whether a trailer is the one that belongs to `length` bytes with this digest. */
static agd_trailer_state judge(const unsigned char found[AGD_TRAILER_SIZE], size_t length,
                               const unsigned char digest[DIGEST]) {
  unsigned char expected[AGD_TRAILER_SIZE];
  trailer_build(expected, length, digest);
  return memcmp(found, expected, sizeof expected) == 0 ? AGD_TRAILER_VALID : AGD_TRAILER_BROKEN;
}

static agd_code verify_open(int fd, const char *path, size_t size, agd_trailer_state *state, agd_status *st) {
  unsigned char end[END], digest[DIGEST];
  const size_t looked_at = size < END ? size : END;
  *state = AGD_TRAILER_NONE;
  if (size < AGD_TRAILER_SIZE) return AGD_OK;
  const size_t length = size - AGD_TRAILER_SIZE;
  const int error = read_at(fd, end, looked_at, (off_t)(size - looked_at));
  if (error != 0) return io_failure(st, "read", path, error);
  const unsigned char *found = end + looked_at - AGD_TRAILER_SIZE;
  if (!is_trailer(found)) {
    if (has_remains(end, looked_at)) *state = AGD_TRAILER_BROKEN;
    return AGD_OK;
  }
  AGD_TRY(digest_of_file(fd, path, length, digest, st));
  *state = judge(found, length, digest);
  return AGD_OK;
}

agd_code agd_file_verify(const char *path, agd_trailer_state *state, agd_status *st) {
  int fd;
  size_t size = 0;
  AGD_TRY(open_regular(path, &fd, &size, st));
  const agd_code code = verify_open(fd, path, size, state, st);
  close(fd);
  return code;
}

/* The digest is taken of the bytes in memory, so that what was verified is what is used. */
static agd_code read_open(int fd, const char *path, unsigned char *bytes, size_t *size, agd_trailer_state *state,
                          agd_status *st) {
  const int error = read_at(fd, bytes, *size, 0);
  if (error != 0) return io_failure(st, "read", path, error);
  *state = AGD_TRAILER_NONE;
  if (*size < AGD_TRAILER_SIZE) return AGD_OK;
  const size_t length = *size - AGD_TRAILER_SIZE, looked_at = *size < END ? *size : END;
  if (!is_trailer(bytes + length)) {
    if (has_remains(bytes + *size - looked_at, looked_at)) *state = AGD_TRAILER_BROKEN;
    return AGD_OK;
  }
  unsigned char digest[DIGEST];
  AGD_TRY(agd_sha256(bytes, length, digest, st));
  *state = judge(bytes + length, length, digest);
  if (*state == AGD_TRAILER_VALID) *size = length;
  return AGD_OK;
}

agd_code agd_file_read(const char *path, void **content, size_t *size, agd_trailer_state *state, agd_status *st) {
  int fd;
  *content = NULL, *size = 0;
  AGD_TRY(open_regular(path, &fd, size, st));
  agd_code code = agd_allocate(*size, 1, path, content, st);
  if (code == AGD_OK) code = read_open(fd, path, *content, size, state, st);
  close(fd);
  if (code != AGD_OK) agd_release(content);
  return code;
}

/* Makes a new file beside `path`. O_EXCL and a number, because two nodes that share a disk can have equal process ids;
 * mode 0666, so that the umask alone decides who reads the result. */
static int open_temporary(const char *path, char name[PATH_SIZE]) {
  for (int attempt = 0; attempt < 100; attempt++) {
    const int length = snprintf(name, PATH_SIZE, "%s.%ld-%d.tmp", path, (long)getpid(), attempt);
    if (length < 0 || length >= PATH_SIZE) {
      errno = ENAMETOOLONG;
      return -1;
    }
    const int fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0 || errno != EEXIST) return fd;
  }
  return -1;
}

/* What a file is to hold. */
typedef struct image {
  const void *content;
  size_t size;
  unsigned char trailer[AGD_TRAILER_SIZE];
  size_t tail; /* bytes of the trailer to write: all or none */
} image;

/* Compares a part of a file with what was meant to be written there. */
static agd_code compare_back(int fd, const char *path, const void *meant, size_t size, off_t offset, void *piece,
                             agd_status *st) {
  for (size_t done = 0; done < size;) {
    const size_t part = size - done < PIECE ? size - done : PIECE;
    const int error = read_at(fd, piece, part, offset + (off_t)done);
    if (error != 0) return io_failure(st, "read back", path, error);
    if (memcmp(piece, (const char *)meant + done, part) != 0)
      return agd_fail(st, AGD_EDATA, "the disk returned other bytes than were written to %s", path);
    done += part;
  }
  return AGD_OK;
}

static agd_code read_back(int fd, const char *path, const image *meant, agd_status *st) {
  void *piece;
  AGD_TRY(agd_allocate(PIECE, 1, "a piece of a file", &piece, st));
  /* Asks the kernel to forget its copy, so that the disk is read. */
  posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  agd_code code = compare_back(fd, path, meant->content, meant->size, 0, piece, st);
  if (code == AGD_OK) code = compare_back(fd, path, meant->trailer, meant->tail, (off_t)meant->size, piece, st);
  agd_release(&piece);
  return code;
}

/* write, fsync, read back, close. A failed fsync is final: a second one would report success for lost pages. */
static agd_code fill(int fd, const char *path, const image *meant, agd_status *st) {
  int error = write_all(fd, meant->content, meant->size);
  if (error == 0) error = write_all(fd, meant->trailer, meant->tail);
  if (error == 0 && fsync(fd) != 0) error = errno;
  agd_code code = AGD_OK;
  if (error != 0) code = io_failure(st, "write", path, error);
  if (code == AGD_OK) code = read_back(fd, path, meant, st);
  if (close(fd) != 0 && code == AGD_OK) code = io_failure(st, "write", path, errno);
  return code;
}

/* The name in a folder is only durable once the folder itself is written. */
static agd_code sync_folder(const char *path, agd_status *st) {
  char folder[PATH_SIZE];
  const char *slash = strrchr(path, '/');
  const int length = slash == NULL ? 1 : slash == path ? 1 : (int)(slash - path);
  snprintf(folder, sizeof folder, "%.*s", length, slash == NULL ? "." : path);
  const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  /* EINVAL: a file system that has nothing to write for a folder. */
  const int error = fd < 0 || (fsync(fd) != 0 && errno != EINVAL) ? errno : 0;
  if (fd >= 0) close(fd);
  if (error != 0) return io_failure(st, "write the folder", folder, error);
  return AGD_OK;
}

/* A rename over a symbolic link would leave its target stale, one over a folder or a device fails or destroys it. */
static agd_code refuse_special(const char *path, agd_status *st) {
  struct stat info;
  if (lstat(path, &info) != 0 || S_ISREG(info.st_mode)) return AGD_OK;
  const char *what = S_ISDIR(info.st_mode)   ? "a folder"
                     : S_ISLNK(info.st_mode) ? "a symbolic link"
                                             : "a device or pipe";
  return agd_fail(st, AGD_EDATA, "cannot write %s: it is %s; name a file", path, what);
}

static agd_code replace(const char *path, const image *meant, agd_status *st) {
  char temporary[PATH_SIZE];
  AGD_TRY(refuse_special(path, st));
  const int fd = open_temporary(path, temporary);
  if (fd < 0) return io_failure(st, "write", path, errno);
  agd_code code = fill(fd, path, meant, st);
  if (code == AGD_OK && rename(temporary, path) != 0) code = io_failure(st, "write", path, errno);
  if (code != AGD_OK) {
    unlink(temporary);
    return code;
  }
  return sync_folder(path, st);
}

agd_code agd_files_replace(const char *const *paths, size_t count, const void *content, size_t size, bool trailer,
                           agd_status *st) {
  image meant = {.content = content, .size = size};
  if (trailer) {
    unsigned char digest[DIGEST];
    AGD_TRY(agd_sha256(content, size, digest, st));
    trailer_build(meant.trailer, size, digest);
    meant.tail = sizeof meant.trailer;
  }
  for (size_t i = 0; i < count; i++) AGD_TRY(replace(paths[i], &meant, st));
  return AGD_OK;
}

agd_code agd_file_replace(const char *path, const void *content, size_t size, bool trailer, agd_status *st) {
  return agd_files_replace(&path, 1, content, size, trailer, st);
}

/* A checkpoint in a folder: its number and name. */
typedef struct entry {
  uint64_t step;
  char name[256];
} entry;

typedef struct entries {
  size_t count;
  entry *list;
} entries;

/* step-<digits>.weights.h5, and nothing else. */
static bool parse_name(const char *name, uint64_t *step) {
  static const char head[] = "step-", tail[] = ".weights.h5";
  if (strncmp(name, head, sizeof head - 1) != 0) return false;
  const char *digits = name + sizeof head - 1;
  const size_t count = strspn(digits, "0123456789");
  if (count == 0 || count > 19 || strcmp(digits + count, tail) != 0) return false;
  *step = strtoull(digits, NULL, 10);
  return true;
}

static int newest_first(const void *a, const void *b) {
  const uint64_t x = ((const entry *)a)->step, y = ((const entry *)b)->step;
  return x < y ? 1 : x > y ? -1 : 0;
}

/* The checkpoints of a folder, newest first; release the list with free. */
static agd_code list_checkpoints(const char *folder, entries *found, agd_status *st) {
  *found = (entries){0};
  DIR *stream = opendir(folder);
  if (stream == NULL) return io_failure(st, "read the folder", folder, errno);
  for (const struct dirent *item; (item = readdir(stream)) != NULL;) {
    uint64_t step;
    if (!parse_name(item->d_name, &step)) continue;
    entry *grown = realloc(found->list, (found->count + 1) * sizeof *grown);
    if (grown == NULL) {
      closedir(stream);
      free(found->list);
      *found = (entries){0};
      return agd_fail(st, AGD_EDATA, "out of memory: the list of checkpoints in %s", folder);
    }
    found->list = grown;
    entry *added = &found->list[found->count++];
    added->step = step;
    snprintf(added->name, sizeof added->name, "%s", item->d_name);
  }
  closedir(stream);
  if (found->count > 0) qsort(found->list, found->count, sizeof *found->list, newest_first);
  return AGD_OK;
}

static agd_code join(const char *folder, const char *name, char *path, size_t size, agd_status *st) {
  const int length = snprintf(path, size, "%s/%s", folder, name);
  if (length < 0 || (size_t)length >= size) return agd_fail(st, AGD_EDATA, "the path %s/%s is too long", folder, name);
  return AGD_OK;
}

/* Removes entries [first, end) and releases the list. */
static agd_code remove_entries(const char *folder, entries *found, size_t first, size_t end, agd_status *st) {
  agd_code code = AGD_OK;
  for (size_t i = first; i < end && code == AGD_OK; i++) {
    char path[PATH_SIZE];
    code = join(folder, found->list[i].name, path, sizeof path, st);
    if (code == AGD_OK && unlink(path) != 0 && errno != ENOENT)
      code = io_failure(st, "remove the old checkpoint", path, errno);
  }
  free(found->list);
  return code;
}

agd_code agd_checkpoints_prune(const char *folder, size_t keep, agd_status *st) {
  if (keep == 0) return AGD_OK;
  entries found;
  AGD_TRY(list_checkpoints(folder, &found, st));
  return remove_entries(folder, &found, keep, found.count, st);
}

/* Whether a checkpoint can be used; if not, says why through note. */
static bool usable(const char *path, void (*note)(const char *)) {
  agd_status st = {0};
  agd_trailer_state state;
  if (agd_file_verify(path, &state, &st) == AGD_OK) {
    if (state == AGD_TRAILER_VALID) return true;
    agd_fail(&st, AGD_EDATA, "%s is damaged (its checksum %s)", path,
             state == AGD_TRAILER_NONE ? "is missing" : "does not fit");
  }
  if (note != NULL) note(st.message);
  return false;
}

agd_code agd_checkpoints_newest(const char *folder, char *path, size_t size, void (*note)(const char *),
                                agd_status *st) {
  entries found;
  AGD_TRY(list_checkpoints(folder, &found, st));
  agd_code code = AGD_OK;
  bool good = false;
  for (size_t i = 0; i < found.count && code == AGD_OK && !good; i++) {
    code = join(folder, found.list[i].name, path, size, st);
    if (code == AGD_OK) good = usable(path, note);
  }
  free(found.list);
  if (code == AGD_OK && !good) code = agd_fail(st, AGD_EDATA, "%s holds no valid checkpoint", folder);
  return code;
}

agd_code agd_checkpoints_remove_after(const char *folder, uint64_t step, agd_status *st) {
  entries found;
  size_t later = 0;
  AGD_TRY(list_checkpoints(folder, &found, st));
  while (later < found.count && found.list[later].step > step) later++;
  return remove_entries(folder, &found, 0, later, st);
}

size_t agd_checkpoints_count(const char *folder) {
  entries found;
  if (list_checkpoints(folder, &found, NULL) != AGD_OK) return 0;
  free(found.list);
  return found.count;
}

uint64_t agd_checkpoint_step(const char *path) {
  const char *slash = strrchr(path, '/');
  uint64_t step;
  return parse_name(slash != NULL ? slash + 1 : path, &step) ? step : 0;
}

/* <name>.<process>-<attempt>.tmp, as open_temporary names them. */
static bool is_temporary(const char *name) {
  const size_t length = strlen(name);
  if (length < 8 || strcmp(name + length - 4, ".tmp") != 0) return false;
  size_t at = length - 4, digits = 0;
  while (at > 0 && name[at - 1] >= '0' && name[at - 1] <= '9') at--, digits++;
  if (digits == 0 || at == 0 || name[at - 1] != '-') return false;
  at--, digits = 0;
  while (at > 0 && name[at - 1] >= '0' && name[at - 1] <= '9') at--, digits++;
  return digits > 0 && at > 1 && name[at - 1] == '.';
}

void agd_file_remove_temporaries(const char *folder) {
  DIR *stream = opendir(folder);
  if (stream == NULL) return;
  for (const struct dirent *item; (item = readdir(stream)) != NULL;)
    if (is_temporary(item->d_name)) unlinkat(dirfd(stream), item->d_name, 0);
  closedir(stream);
}
