#include "h5_text.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "h5_bytes.h"

static const char broken[] = "refers to a damaged heap of texts", no_memory[] = "cannot be read: out of memory";

/* A reference as it stands in the file: length, address and index, little-endian. */
enum { AT_LENGTH = 0, AT_ADDRESS = 4, AT_INDEX = 12, REFERENCE = 16 };

/* A heap ("global heap collection" in HDF5's file format specification): a head, then objects, each with a head of its
 * own and padded; index 0 is what is free. Lengths have 8 bytes. */
enum { AT_VERSION = 4, AT_SIZE = 8, HEAD = 16, AT_OBJECT_SIZE = 8, OBJECT_HEAD = 16, ALIGN = 8, HEAP_LEAST = 4096 };

/* The bytes of an open file, and the heap that was used last. */
typedef struct store {
  const agd_h5_bytes *bytes;
  uint64_t base; /* of HDF5's addresses */
  uint64_t left; /* bytes of heaps that may still be read: a file that jumps between heaps would take for ever */
  uint64_t heap_address, heap_size;
  unsigned char *heap; /* owned */
} store;

static bool open_store(hid_t file, store *s) {
  const hid_t creation = H5Fget_create_plist(file);
  hsize_t base = 0;
  *s = (store){.bytes = agd_h5_bytes_of(file)};
  const bool good = s->bytes != NULL && creation >= 0 && H5Pget_userblock(creation, &base) >= 0;
  if (creation >= 0) H5Pclose(creation);
  if (!good) return false;
  s->base = base, s->left = 4 * s->bytes->size;
  return true;
}

/* Makes the heap at an address the one in use; NULL, or what is wrong. */
static const char *use_heap(store *s, uint64_t address) {
  unsigned char head[HEAD];
  if (s->heap != NULL && s->heap_address == address) return NULL;
  free(s->heap);
  s->heap = NULL;
  if (address > s->bytes->size || !agd_h5_bytes_read(s->bytes, s->base + address, head, HEAD)) return broken;
  const uint64_t size = agd_h5_bytes_number(head + AT_SIZE, 8);
  if (memcmp(head, "GCOL", 4) != 0 || head[AT_VERSION] != 1 || size < HEAP_LEAST || size > s->bytes->size ||
      size > s->left)
    return broken;
  s->left -= size;
  s->heap = malloc((size_t)size);
  s->heap_address = address, s->heap_size = size;
  if (s->heap == NULL) return no_memory;
  return agd_h5_bytes_read(s->bytes, s->base + address, s->heap, size) ? NULL : broken;
}

/* An object of the heap in use, NULL when there is none of that index. */
static const unsigned char *find_object(const store *s, uint64_t index, uint64_t *size) {
  for (uint64_t at = HEAD; s->heap_size - at >= OBJECT_HEAD;) {
    const unsigned char *head = s->heap + at;
    const uint64_t found = agd_h5_bytes_number(head, 2), room = s->heap_size - at - OBJECT_HEAD;
    *size = agd_h5_bytes_number(head + AT_OBJECT_SIZE, 8);
    if (found == 0 || *size > room) return NULL; /* what is free is the last */
    if (found == index) return head + OBJECT_HEAD;
    const uint64_t padded = (*size + ALIGN - 1) / ALIGN * ALIGN;
    if (padded > room) return NULL;
    at += OBJECT_HEAD + padded;
  }
  return NULL;
}

/* The text that a reference leads to; no heap is needed for an empty one. */
static const char *read_text(store *s, const unsigned char reference[REFERENCE], char **text) {
  const uint64_t length = agd_h5_bytes_number(reference + AT_LENGTH, 4),
                 index = agd_h5_bytes_number(reference + AT_INDEX, 4);
  const unsigned char *bytes = NULL;
  uint64_t size = 0;
  if (length > 0) {
    const char *wrong = use_heap(s, agd_h5_bytes_number(reference + AT_ADDRESS, 8));
    if (wrong != NULL) return wrong;
    bytes = find_object(s, index, &size);
    if (bytes == NULL || length > size) return broken;
  }
  *text = malloc((size_t)length + 1);
  if (*text == NULL) return no_memory;
  if (length > 0) memcpy(*text, bytes, (size_t)length);
  (*text)[length] = '\0';
  return NULL;
}

/* Nothing to convert: a reference stays the bytes that it is. */
static herr_t keep_reference(hid_t from, hid_t to, H5T_cdata_t *data, size_t count, size_t stride,
                             size_t background_stride, void *values, void *background, hid_t properties) {
  (void)count, (void)stride, (void)background_stride, (void)values, (void)background, (void)properties;
  if (data->command != H5T_CONV_INIT) return 0;
  return H5Tget_size(to) == REFERENCE && H5Tis_variable_str(from) > 0 ? 0 : -1;
}

/* HDF5 converts what it reads, and a conversion of one's own is the way to what stands in the file. */
static bool read_references(hid_t attribute, unsigned char *references) {
  const hid_t raw = H5Tcreate(H5T_OPAQUE, REFERENCE), type = H5Aget_type(attribute);
  bool good = raw >= 0 && type >= 0 && H5Tregister(H5T_PERS_SOFT, "allegrad", type, raw, keep_reference) >= 0;
  if (good) {
    good = H5Aread(attribute, raw, references) >= 0;
    H5Tunregister(H5T_PERS_SOFT, "allegrad", type, raw, keep_reference);
  }
  if (type >= 0) H5Tclose(type);
  if (raw >= 0) H5Tclose(raw);
  return good;
}

const char *agd_h5_text_read(hid_t attribute, size_t count, char **texts) {
  unsigned char *references = calloc(count + 1, REFERENCE);
  const hid_t file = H5Iget_file_id(attribute);
  store s = {0};
  const char *wrong = NULL;
  if (references == NULL)
    wrong = no_memory;
  else if (file < 0 || !open_store(file, &s) || !read_references(attribute, references))
    wrong = "holds texts in a way that cannot be read";
  for (size_t i = 0; i < count && wrong == NULL; i++) wrong = read_text(&s, references + i * REFERENCE, &texts[i]);
  free(s.heap);
  free(references);
  if (file >= 0) H5Fclose(file);
  return wrong;
}
