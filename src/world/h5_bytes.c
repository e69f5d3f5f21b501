#include "h5_bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

uint64_t agd_h5_bytes_number(const unsigned char *from, int bytes) {
  uint64_t value = 0;
  for (int i = 0; i < bytes; i++) value |= (uint64_t)from[i] << (8 * i);
  return value;
}

bool agd_h5_bytes_read(const agd_h5_bytes *bytes, uint64_t at, void *to, uint64_t size) {
  if (at > bytes->size || size > bytes->size - at) return false;
  if (bytes->memory != NULL) {
    memcpy(to, bytes->memory + at, (size_t)size);
    return true;
  }
  for (uint64_t done = 0; done < size;) {
    const ssize_t got = pread(bytes->fd, (char *)to + done, (size_t)(size - done), (off_t)(at + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    done += (uint64_t)got;
  }
  return true;
}

/* A part of the file in memory: all of it, or as much as was read last. */
enum { PIECE = 1 << 20 };
typedef struct window {
  const agd_h5_bytes *bytes;
  unsigned char *piece; /* owned; NULL: the file is in memory */
  uint64_t start, length;
  bool failed;
} window;

static bool window_open(window *w, const agd_h5_bytes *bytes) {
  *w = (window){.bytes = bytes};
  if (bytes->memory != NULL) return true;
  w->piece = malloc(PIECE);
  return w->piece != NULL;
}

/* Bytes from `at` on, as many as are at hand; none at the end of the file. */
static const unsigned char *window_from(window *w, uint64_t at, uint64_t least, uint64_t *length) {
  const uint64_t left = w->bytes->size - at;
  if (w->piece == NULL) return *length = left, w->bytes->memory + at;
  if (at < w->start || at - w->start > w->length || (w->length - (at - w->start) < least && left >= least)) {
    w->start = at, w->length = left < PIECE ? left : PIECE;
    if (!agd_h5_bytes_read(w->bytes, at, w->piece, w->length)) w->failed = true, w->length = 0;
  }
  return *length = w->length - (at - w->start), w->piece + (at - w->start);
}

/* Where `what` stands next, from `at` on; UINT64_MAX: nowhere. */
static uint64_t find(window *w, uint64_t at, const void *what, size_t size) {
  while (!w->failed && at < w->bytes->size && w->bytes->size - at >= size) {
    uint64_t length;
    const unsigned char *part = window_from(w, at, size, &length);
    const unsigned char *found = length < size ? NULL : memmem(part, (size_t)length, what, size);
    if (found != NULL) return at + (uint64_t)(found - part);
    if (length < size) break;
    at += length - size + 1;
  }
  return UINT64_MAX;
}

/* The superblock stands at 0, or behind something else at 512, 1024, 2048, ...; all addresses count from it. */
enum { SUPERBLOCK = 16, SUPERBLOCK_FIRST = 512 };

/* False when there is none: HDF5 will say so. */
static bool find_superblock(const agd_h5_bytes *bytes, unsigned char block[SUPERBLOCK], uint64_t *base) {
  for (*base = 0; agd_h5_bytes_read(bytes, *base, block, SUPERBLOCK);
       *base = *base == 0 ? SUPERBLOCK_FIRST : 2 * *base) {
    if (memcmp(block, "\211HDF\r\n\032\n", 8) == 0) return true;
    if (*base > bytes->size / 2) return false;
  }
  return false;
}

/* Addresses and lengths have 8 bytes in every file but those of rare purposes. */
static bool has_usual_sizes(const unsigned char block[SUPERBLOCK]) {
  enum { AT_VERSION = 8, AT_SIZES_OLD = 13, AT_SIZES = 9 };
  const unsigned char *sizes = block + (block[AT_VERSION] < 2 ? AT_SIZES_OLD : AT_SIZES);
  return sizes[0] == 8 && sizes[1] == 8;
}

/* A local heap: "HEAP", version 0, 3 bytes, then the size of its data, where its free space begins, the address of the
 * data. A free block begins with the next one's place in the data and its own size; 1 ends the list. */
enum { AT_SIZE = 8, AT_FREE = 16, AT_ADDRESS = 24, HEAP = 32, FREE_BLOCK = 16, FREE_END = 1, DOUBTFUL_MAX = 16 };
static const unsigned char mark[5] = "HEAP";

/* Steps through lists of free space that are left: the heaps of a file do not overlap, so that all their lists together
 * are no longer than the file. */
static bool is_list_sound(const agd_h5_bytes *bytes, uint64_t data, uint64_t size, uint64_t free, uint64_t *steps) {
  while (free != FREE_END) {
    unsigned char block[FREE_BLOCK];
    if (*steps == 0 || free >= size || size - free < FREE_BLOCK ||
        !agd_h5_bytes_read(bytes, data + free, block, FREE_BLOCK))
      return false;
    --*steps;
    if (agd_h5_bytes_number(block + 8, 8) > size - free) return false;
    free = agd_h5_bytes_number(block, 8);
  }
  return true;
}

static bool is_heap_sound(const agd_h5_bytes *bytes, uint64_t base, uint64_t at, uint64_t *steps) {
  unsigned char head[HEAP];
  if (!agd_h5_bytes_read(bytes, at, head, HEAP)) return false;
  const uint64_t size = agd_h5_bytes_number(head + AT_SIZE, 8), address = agd_h5_bytes_number(head + AT_ADDRESS, 8);
  if (address > bytes->size - base || size > bytes->size - base - address) return false;
  return is_list_sound(bytes, base + address, size, agd_h5_bytes_number(head + AT_FREE, 8), steps);
}

/* Whether the address of `at` stands anywhere in the file. */
static bool is_referred_to(window *w, uint64_t base, uint64_t at) {
  unsigned char address[8];
  for (int i = 0; i < 8; i++) address[i] = (unsigned char)((at - base) >> (8 * i));
  return find(w, 0, address, sizeof address) != UINT64_MAX;
}

static const char *check_heaps(window *heaps, window *references, uint64_t base) {
  const agd_h5_bytes *bytes = heaps->bytes;
  uint64_t steps = bytes->size / FREE_BLOCK + 1;
  int doubtful = 0;
  for (uint64_t at = find(heaps, base, mark, sizeof mark); at != UINT64_MAX;
       at = find(heaps, at + 1, mark, sizeof mark)) {
    if (is_heap_sound(bytes, base, at, &steps)) continue;
    if (++doubtful > DOUBTFUL_MAX || steps == 0 || is_referred_to(references, base, at))
      return "a list of names leads out of it";
  }
  return heaps->failed || references->failed ? "it cannot be read" : NULL;
}

const char *agd_h5_bytes_check(const agd_h5_bytes *bytes) {
  unsigned char block[SUPERBLOCK];
  uint64_t base;
  window heaps, references;
  if (!find_superblock(bytes, block, &base)) return NULL;
  if (!has_usual_sizes(block)) return "its addresses or lengths have other than 8 bytes";
  const char *wrong = "out of memory";
  const bool first = window_open(&heaps, bytes), second = window_open(&references, bytes);
  if (first && second) wrong = check_heaps(&heaps, &references, base);
  free(heaps.piece);
  free(references.piece);
  return wrong;
}
