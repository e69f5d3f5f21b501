#include "mutate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allegrad/checkpoint.h"

enum { EXTRA = 4096, WORD_MAX = 64 };

/* splitmix64 (Steele, Lea, Flood 2014). */
static uint64_t next(uint64_t *state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15U);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

static size_t below(uint64_t *state, size_t limit) { return limit == 0 ? 0 : (size_t)(next(state) % limit); }

static void put_le(unsigned char *to, uint64_t value, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) to[i] = (unsigned char)(value >> (8 * i));
}

static void flip_bit(mutate_file *f, uint64_t *state) {
  f->bytes[below(state, f->size)] ^= (unsigned char)(1U << below(state, 8));
}

static void set_byte(mutate_file *f, uint64_t *state) { f->bytes[below(state, f->size)] = (unsigned char)next(state); }

/* Sizes, counts and addresses that overflow, or nearly; and those of this file. */
static void set_integer(mutate_file *f, uint64_t *state) {
  const uint64_t values[] = {0,
                             1,
                             0x7f,
                             0x80,
                             0xff,
                             0x7fff,
                             0x8000,
                             0xffff,
                             INT32_MAX,
                             0x80000000U,
                             UINT32_MAX,
                             INT64_MAX,
                             1ULL << 63,
                             UINT64_MAX,
                             UINT64_MAX - 1,
                             UINT64_MAX / 8,
                             1ULL << 40,
                             f->size,
                             f->size - 1,
                             f->size + 1,
                             f->size / 2,
                             below(state, f->size),
                             1ULL << 32,
                             64};
  const size_t width = (size_t)1 << below(state, 4);
  if (f->size < width) return;
  put_le(f->bytes + below(state, f->size - width + 1), values[below(state, sizeof values / sizeof *values)], width);
}

/* A little more or less than stands there. */
static void add_to_byte(mutate_file *f, uint64_t *state) {
  f->bytes[below(state, f->size)] +=
      (unsigned char)(below(state, 2) == 0 ? 1 + below(state, 4) : 255 - below(state, 4));
}

static void truncate_end(mutate_file *f, uint64_t *state) { f->size = 1 + below(state, f->size); }

static void extend(mutate_file *f, uint64_t *state) {
  const size_t more = 1 + below(state, EXTRA / 4);
  for (size_t i = 0; i < more; i++) f->bytes[f->size++] = (unsigned char)(more % 2 == 0 ? 0 : next(state));
}

static size_t block(const mutate_file *f, uint64_t *state, size_t *at) {
  const size_t longest = (size_t)4 << below(state, 7);
  *at = below(state, f->size);
  return 1 + below(state, f->size - *at < longest ? f->size - *at : longest);
}

static void copy_block(mutate_file *f, uint64_t *state) {
  size_t from, to;
  const size_t size = block(f, state, &from);
  to = below(state, f->size - size + 1);
  memmove(f->bytes + to, f->bytes + from, size);
}

static void clear_block(mutate_file *f, uint64_t *state) {
  size_t at;
  const size_t size = block(f, state, &at);
  memset(f->bytes + at, below(state, 2) == 0 ? 0 : 0xff, size);
}

/* All behind it moves on. */
static void repeat_block(mutate_file *f, uint64_t *state) {
  size_t at;
  const size_t size = block(f, state, &at);
  memmove(f->bytes + at + size, f->bytes + at, f->size - at);
  f->size += size;
}

static void remove_block(mutate_file *f, uint64_t *state) {
  size_t at;
  const size_t size = block(f, state, &at);
  if (size == f->size) return;
  memmove(f->bytes + at, f->bytes + at + size, f->size - at - size);
  f->size -= size;
}

static bool in_word(unsigned char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '.' || c == '_' || c == '-';
}

/* A word of the text; its size is 0 when there is none where chance looks. */
static size_t word(const mutate_file *f, uint64_t *state, size_t *at) {
  size_t end = below(state, f->size);
  while (end < f->size && !in_word(f->bytes[end])) end++;
  while (end < f->size && in_word(f->bytes[end])) end++;
  *at = end;
  while (*at > 0 && end - *at < WORD_MAX && in_word(f->bytes[*at - 1])) --*at;
  return end - *at;
}

static void replace(mutate_file *f, size_t at, size_t size, const void *with, size_t with_size) {
  memmove(f->bytes + at + with_size, f->bytes + at + size, f->size - at - size);
  memcpy(f->bytes + at, with, with_size);
  f->size = f->size - size + with_size;
}

static void replace_word(mutate_file *f, uint64_t *state) {
  static const char *const words[] = {"0",
                                      "-1",
                                      "1e309",
                                      "nan",
                                      "inf",
                                      "-0",
                                      "0x10",
                                      "1e-320",
                                      "18446744073709551616",
                                      "9223372036854775807",
                                      "0.1",
                                      "1e9",
                                      "00",
                                      "3.5.",
                                      "null",
                                      "~",
                                      "true",
                                      "[",
                                      "{",
                                      "]",
                                      "}",
                                      ": ",
                                      "- ",
                                      "\"",
                                      "'",
                                      "&a",
                                      "*a",
                                      "!!int",
                                      "|\n",
                                      "#",
                                      ",",
                                      "\t",
                                      "\r\n",
                                      "\n",
                                      "...",
                                      "---\n",
                                      "?",
                                      "%YAML",
                                      "\xef\xbb\xbf",
                                      "\xc3",
                                      "sgd",
                                      "adam",
                                      "relu",
                                      "",
                                      "NA",
                                      "[1, 2]",
                                      "\\",
                                      "<<: ",
                                      "\"\"",
                                      "train.batch",
                                      "1,5",
                                      "\"\n\"",
                                      "'\n'",
                                      "a: b",
                                      "? a",
                                      "[[[[[[",
                                      "{a: ",
                                      ">\n ",
                                      "@",
                                      "\xff\xfe"};
  size_t at;
  const size_t size = word(f, state, &at);
  const char *with = words[below(state, sizeof words / sizeof *words)];
  replace(f, at, size, with, strlen(with));
}

static void swap_words(mutate_file *f, uint64_t *state) {
  char copy[WORD_MAX];
  size_t from, to;
  const size_t size = word(f, state, &from);
  memcpy(copy, f->bytes + from, size);
  const size_t other = word(f, state, &to);
  replace(f, to, other, copy, size);
}

static void damage(mutate_file *f, bool text, uint64_t *state) {
  typedef void damage_function(mutate_file * f, uint64_t * state);
  static damage_function *const ways[] = {replace_word, swap_words,  replace_word, swap_words,  flip_bit,     set_byte,
                                          set_integer,  set_integer, set_integer,  add_to_byte, truncate_end, extend,
                                          copy_block,   clear_block, repeat_block, remove_block};
  enum { ALL = sizeof ways / sizeof *ways, TEXT_ONLY = 4 };
  ways[text ? below(state, ALL) : TEXT_ONLY + below(state, ALL - TEXT_ONLY)](f, state);
}

mutate_file mutate(const mutate_file *from, bool text, uint64_t random) {
  uint64_t state = random;
  mutate_file f = {.bytes = malloc(2 * from->size + EXTRA), .size = from->size};
  if (f.bytes == NULL) abort();
  memcpy(f.bytes, from->bytes, from->size);
  if (below(&state, 50) == 0) return f; /* unharmed: must be accepted */
  /* One or a few places; where sizes differ, no step may outgrow the buffer. */
  for (size_t left = (size_t)1 << below(&state, 4); left > 0 && f.size < from->size + EXTRA / 2; left--)
    damage(&f, text, &state);
  return f;
}

void mutate_renew_trailer(mutate_file *f) {
  if (f->size <= AGD_TRAILER_SIZE) return;
  const size_t length = f->size - AGD_TRAILER_SIZE;
  unsigned char *trailer = f->bytes + length;
  memset(trailer, 0, AGD_TRAILER_SIZE);
  memcpy(trailer, "AGDTRAIL", 8);
  put_le(trailer + 8, 1, 4);
  put_le(trailer + 12, AGD_TRAILER_SIZE, 4);
  put_le(trailer + 16, length, 8);
  if (agd_sha256(f->bytes, length, trailer + 32, NULL) != AGD_OK) abort();
}
