#include "allegrad/h5.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allegrad/memory.h"
#include "h5_bytes.h"
#include "h5_text.h"

enum { PATH_SIZE = 1024, GROWTH = 1 << 18, RESERVE = 1 << 20, ELEMENT_MAX = 64 };

/* The innermost entry of HDF5's error stack is the cause; the others tell through which functions it went. */
static herr_t first_reason(unsigned n, const H5E_error2_t *error, void *reason) {
  if (n == 0) *(const char **)reason = error->desc;
  return 0;
}

agd_code agd_h5_fail(agd_status *st, const char *file_name, const char *what) {
  const char *reason = NULL;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, first_reason, &reason);
  return agd_fail(st, AGD_EDATA, "%s: %s (%s)", file_name, what, reason != NULL ? reason : "HDF5 gives no reason");
}

/* Why callbacks: H5Fget_file_image returns a stale superblock checksum (HDF5 1.10.8); the buffer that the core driver
 * lets go at H5Fclose is what a file on disk would hold. */
static void *image_realloc(void *buffer, size_t size, H5FD_file_image_op_t operation, void *context) {
  (void)buffer, (void)operation;
  agd_h5_image *image = context;
  if (size > image->capacity) {
    void *grown = realloc(image->bytes, size);
    if (grown == NULL) return NULL;
    image->bytes = grown, image->capacity = size;
  }
  image->size = size;
  return image->bytes;
}

/* HDF5 lets go of the buffer, agd_h5_image_finish hands it over. */
static herr_t image_free(void *buffer, H5FD_file_image_op_t operation, void *context) {
  (void)buffer, (void)operation, (void)context;
  return 0;
}

static void *context_copy(void *context) { return context; }
static herr_t context_free(void *context) {
  (void)context;
  return 0;
}

/* The core driver tells files apart by name alone and takes two of one name for the same file. The address of something
 * that lives as long as the file is unique. */
static void unique_name(char name[64], const void *object) { snprintf(name, 64, "memory:%p", object); }

static hid_t memory_access(void) {
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  if (access < 0) return access;
  if (H5Pset_fapl_core(access, GROWTH, false) >= 0 && H5Pset_fclose_degree(access, H5F_CLOSE_STRONG) >= 0)
    return access;
  H5Pclose(access);
  return -1;
}

agd_code agd_h5_image_create(agd_h5_image *image, size_t content, agd_status *st) {
  *image = (agd_h5_image){.file = -1, .capacity = content + content / 8 + RESERVE};
  image->bytes = image->capacity > content ? malloc(image->capacity) : NULL;
  if (image->bytes == NULL) return agd_fail(st, AGD_EDATA, "out of memory: a file in memory needs %zu bytes", content);
  H5FD_file_image_callbacks_t callbacks = {.image_realloc = image_realloc,
                                           .image_free = image_free,
                                           .udata_copy = context_copy,
                                           .udata_free = context_free,
                                           .udata = image};
  char name[64];
  unique_name(name, image);
  const hid_t access = memory_access(), creation = H5Pcreate(H5P_FILE_CREATE);
  if (access >= 0 && creation >= 0 && H5Pset_obj_track_times(creation, false) >= 0 &&
      H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST) >= 0 &&
      H5Pset_file_image_callbacks(access, &callbacks) >= 0)
    image->file = H5Fcreate(name, H5F_ACC_TRUNC, creation, access);
  agd_code code = AGD_OK;
  if (image->file < 0) {
    code = agd_h5_fail(st, "a file in memory", "cannot be made");
    free(image->bytes);
  }
  if (creation >= 0) H5Pclose(creation);
  if (access >= 0) H5Pclose(access);
  return code;
}

/* The core driver grows its buffer in pieces; the superblock (version 2 or 3) tells where the file ends. */
static size_t end_of_file(const agd_h5_image *image) {
  enum { AT_VERSION = 8, AT_OFFSET_SIZE = 9, AT_END = 28 };
  const unsigned char *bytes = image->bytes;
  AGD_REQUIRE(image->size >= 48 && memcmp(bytes, "\211HDF\r\n\032\n", 8) == 0);
  AGD_REQUIRE((bytes[AT_VERSION] == 2 || bytes[AT_VERSION] == 3) && bytes[AT_OFFSET_SIZE] == 8);
  const uint64_t end = agd_h5_bytes_number(bytes + AT_END, 8);
  AGD_REQUIRE(end <= image->size);
  return (size_t)end;
}

agd_code agd_h5_image_finish(agd_h5_image *image, bool keep, void **bytes, size_t *size, agd_status *st) {
  *bytes = NULL, *size = 0;
  agd_code code = AGD_OK;
  if (H5Fclose(image->file) < 0) code = agd_h5_fail(st, "a file in memory", "cannot be closed");
  if (code == AGD_OK && keep) {
    *size = end_of_file(image);
    *bytes = image->bytes;
  } else {
    free(image->bytes);
  }
  *image = (agd_h5_image){.file = -1};
  return code;
}

/* Addresses and lengths have 8 bytes in every file but those of rare purposes; what looks into heaps counts on it. */
static bool has_usual_sizes(hid_t file) {
  const hid_t creation = H5Fget_create_plist(file);
  size_t address = 0, length = 0;
  const bool good = creation >= 0 && H5Pget_sizes(creation, &address, &length) >= 0 && address == 8 && length == 8;
  if (creation >= 0) H5Pclose(creation);
  return good;
}

/* Of a file in memory, HDF5 is told a name that it accepts. */
static agd_code open_read_only(const char *file_name, const void *bytes, size_t size, hid_t *file, agd_status *st) {
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  *file = -1;
  if (access >= 0 && H5Pset_fclose_degree(access, H5F_CLOSE_STRONG) >= 0 && agd_h5_bytes_set(access, bytes, size))
    *file = H5Fopen(bytes != NULL ? "memory" : file_name, H5F_ACC_RDONLY, access);
  agd_code code = AGD_OK;
  if (*file < 0) code = agd_h5_fail(st, file_name, "is no HDF5 file, or a damaged one");
  if (access >= 0) H5Pclose(access);
  if (code != AGD_OK || has_usual_sizes(*file)) return code;
  H5Fclose(*file);
  *file = -1;
  return agd_fail(st, AGD_EDATA, "%s: its addresses or lengths have other than 8 bytes", file_name);
}

agd_code agd_h5_open_bytes(const char *file_name, const void *bytes, size_t size, hid_t *file, agd_status *st) {
  return open_read_only(file_name, bytes, size, file, st);
}

agd_code agd_h5_open_path(const char *path, hid_t *file, agd_status *st) {
  return open_read_only(path, NULL, 0, file, st);
}

hid_t agd_h5_make_group(hid_t at, const char *path) {
  const hid_t creation = H5Pcreate(H5P_GROUP_CREATE);
  hid_t group = -1;
  if (creation >= 0 && H5Pset_obj_track_times(creation, false) >= 0)
    group = H5Gcreate2(at, path, H5P_DEFAULT, creation, H5P_DEFAULT);
  if (creation >= 0) H5Pclose(creation);
  return group;
}

hid_t agd_h5_make_dataset(hid_t at, const char *path, hid_t type, int rank, const hsize_t *dims) {
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  const hid_t space = rank == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(rank, dims, NULL);
  hid_t dataset = -1;
  if (creation >= 0 && space >= 0 && H5Pset_obj_track_times(creation, false) >= 0)
    dataset = H5Dcreate2(at, path, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
  if (space >= 0) H5Sclose(space);
  if (creation >= 0) H5Pclose(creation);
  return dataset;
}

/* What a path leads to. */
typedef enum target { TARGET_ABSENT, TARGET_OBJECT, TARGET_LINK, TARGET_UNREADABLE } target;

/* Every link on the way is looked at before it is followed. */
static target look_up(hid_t file, const char *path) {
  char prefix[PATH_SIZE];
  const size_t length = strlen(path);
  if (length >= sizeof prefix) return TARGET_ABSENT;
  for (size_t end = 1; end <= length; end++) {
    if (path[end] != '/' && path[end] != '\0') continue;
    memcpy(prefix, path, end);
    prefix[end] = '\0';
    H5L_info_t link;
    const htri_t exists = H5Lexists(file, prefix, H5P_DEFAULT);
    if (exists == 0) return TARGET_ABSENT;
    if (exists < 0 || H5Lget_info(file, prefix, &link, H5P_DEFAULT) < 0) return TARGET_UNREADABLE;
    if (link.type != H5L_TYPE_HARD) return TARGET_LINK;
  }
  return TARGET_OBJECT;
}

bool agd_h5_exists(hid_t file, const char *path) { return look_up(file, path) == TARGET_OBJECT; }

/* HDF5's own filters; anything else would load a plug-in from the user's disk. */
static bool filters_built_in(hid_t creation) {
  const int count = H5Pget_nfilters(creation);
  for (int i = 0; i < count; i++) {
    unsigned flags, config;
    size_t values = 0;
    const H5Z_filter_t filter = H5Pget_filter2(creation, (unsigned)i, &flags, &values, NULL, 0, NULL, &config);
    if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE && filter != H5Z_FILTER_FLETCHER32) return false;
  }
  return count >= 0;
}

bool agd_h5_file_holds(const char *path, const char *object) {
  bool found = false;
  H5E_BEGIN_TRY {
    hid_t file;
    if (agd_h5_open_path(path, &file, NULL) == AGD_OK) {
      found = agd_h5_exists(file, object);
      H5Fclose(file);
    }
  }
  H5E_END_TRY
  return found;
}

const char *agd_h5_describe(char *text, size_t size) {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  snprintf(text, size, "HDF5 %u.%u.%u", major, minor, release);
  return text;
}

/* Bytes that `size` bytes take at least: deflate gains no more than a factor of 1032. */
static hsize_t least_storage(hid_t creation, hsize_t size) {
  return H5Pget_nfilters(creation) > 0 ? size / 1032 + 1 : size;
}

/* Where the numbers are stored: NULL when that is acceptable, else what is wrong. */
static const char *check_storage(hid_t file, hid_t dataset, hsize_t elements, size_t type_size) {
  const hid_t creation = H5Dget_create_plist(dataset);
  hsize_t file_size = 0;
  if (creation < 0) return "has unreadable properties";
  const hsize_t stored = H5Dget_storage_size(dataset);
  const char *wrong = NULL;
  const H5D_layout_t layout = H5Pget_layout(creation);
  if (layout != H5D_CONTIGUOUS && layout != H5D_CHUNKED && layout != H5D_COMPACT)
    wrong = "is a virtual dataset: its numbers are in other files";
  else if (H5Pget_external_count(creation) != 0)
    wrong = "keeps its numbers in an external file";
  else if (!filters_built_in(creation))
    wrong = "is compressed by a filter other than deflate, shuffle or fletcher32";
  else if (H5Fget_filesize(file, &file_size) < 0 || stored > file_size)
    wrong = "claims more bytes than the file has";
  else if (elements > 0 && stored < least_storage(creation, elements * type_size))
    wrong = "was never filled: fewer bytes are stored than its shape needs";
  H5Pclose(creation);
  return wrong;
}

/* What the elements of a dataset may be, and what to say of others. */
typedef struct expectation {
  const hid_t *types;
  size_t count;
  const char *otherwise;
} expectation;

/* Element size of a dataset of one of the types, else 0. */
static size_t element_size(hid_t dataset, const expectation *expected) {
  const hid_t type = H5Dget_type(dataset);
  size_t size = 0;
  for (size_t i = 0; type >= 0 && i < expected->count && size == 0; i++)
    if (H5Tequal(type, expected->types[i]) > 0) size = H5Tget_size(type);
  if (type >= 0) H5Tclose(type);
  return size;
}

/* Rank and extents, if they are such that rows * columns elements, the largest that anybody expects, fit memory. */
static const char *get_shape(agd_h5_array *array) {
  const hid_t space = H5Dget_space(array->id);
  if (space < 0) return "has an unreadable shape";
  const char *wrong = NULL;
  array->dims[0] = array->dims[1] = 1;
  array->rank = H5Sis_simple(space) > 0 ? H5Sget_simple_extent_ndims(space) : -1;
  if (array->rank < 0 || array->rank > 2)
    wrong = "is no vector or matrix";
  else if (array->rank > 0 && H5Sget_simple_extent_dims(space, array->dims, NULL) < 0)
    wrong = "has an unreadable shape";
  else if (array->dims[1] > 0 && array->dims[0] > SIZE_MAX / 2 / ELEMENT_MAX / array->dims[1])
    wrong = "is larger than memory can address";
  H5Sclose(space);
  return wrong;
}

static agd_code open_array(hid_t file, const char *file_name, const char *path, const expectation *expected,
                           agd_h5_array *out, agd_status *st) {
  *out = (agd_h5_array){.id = -1};
  const target found = look_up(file, path);
  if (found == TARGET_LINK)
    return agd_fail(st, AGD_EDATA, "%s: %s is reached by a soft or external link, which is refused", file_name, path);
  if (found == TARGET_ABSENT) return agd_fail(st, AGD_EDATA, "%s: there is no dataset %s", file_name, path);
  if (found == TARGET_OBJECT) out->id = H5Oopen(file, path, H5P_DEFAULT);
  if (out->id < 0) return agd_h5_fail(st, file_name, path);
  const char *wrong = H5Iget_type(out->id) == H5I_DATASET ? NULL : "is a group, not a dataset";
  if (wrong == NULL) wrong = get_shape(out);
  if (wrong == NULL) {
    out->type_size = element_size(out->id, expected);
    if (out->type_size == 0) wrong = expected->otherwise;
  }
  if (wrong == NULL) wrong = check_storage(file, out->id, out->dims[0] * out->dims[1], out->type_size);
  if (wrong == NULL) return AGD_OK;
  H5Oclose(out->id);
  out->id = -1;
  return agd_fail(st, AGD_EDATA, "%s: %s %s", file_name, path, wrong);
}

agd_code agd_h5_open_array(hid_t file, const char *file_name, const char *path, agd_h5_array *out, agd_status *st) {
  const hid_t types[] = {H5T_IEEE_F32LE, H5T_IEEE_F32BE, H5T_IEEE_F64LE, H5T_IEEE_F64BE};
  const expectation reals = {types, sizeof types / sizeof *types, "holds no float32 or float64 numbers"};
  return open_array(file, file_name, path, &reals, out, st);
}

agd_code agd_h5_open_records(hid_t file, const char *file_name, const char *path, const hid_t *types, size_t count,
                             agd_h5_array *out, agd_status *st) {
  const expectation records = {types, count, "holds other records than this version of allegrad reads"};
  AGD_TRY(open_array(file, file_name, path, &records, out, st));
  if (out->rank == 1) return AGD_OK;
  H5Dclose(out->id);
  return agd_fail(st, AGD_EDATA, "%s: %s is no vector", file_name, path);
}

agd_code agd_h5_read_integer(hid_t file, const char *file_name, const char *path, int64_t *value, agd_status *st) {
  agd_h5_array array;
  const hid_t types[] = {H5T_STD_I32LE, H5T_STD_I32BE, H5T_STD_I64LE, H5T_STD_I64BE};
  const expectation integers = {types, sizeof types / sizeof *types, "holds no int32 or int64 numbers"};
  AGD_TRY(open_array(file, file_name, path, &integers, &array, st));
  agd_code code = AGD_OK;
  if (array.rank != 0)
    code = agd_fail(st, AGD_EDATA, "%s: %s is not a single number", file_name, path);
  else if (H5Dread(array.id, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, value) < 0)
    code = agd_h5_fail(st, file_name, path);
  H5Dclose(array.id);
  return code;
}

/* Variable-length UTF-8, as h5py writes a str. */
static hid_t text_type(void) {
  const hid_t type = H5Tcopy(H5T_C_S1);
  if (type >= 0 && (H5Tset_size(type, H5T_VARIABLE) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0)) {
    H5Tclose(type);
    return -1;
  }
  return type;
}

bool agd_h5_write_numbers(hid_t at, const char *name, hid_t type, size_t count, const void *values) {
  const hsize_t dims[1] = {count};
  const hid_t space = count == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, dims, NULL);
  if (space < 0) return false;
  const hid_t attribute = H5Acreate2(at, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
  bool good = attribute >= 0 && H5Awrite(attribute, type, values) >= 0;
  if (attribute >= 0 && H5Aclose(attribute) < 0) good = false;
  H5Sclose(space);
  return good;
}

bool agd_h5_write_text(hid_t at, const char *name, const char *text) {
  const hid_t type = text_type();
  if (type < 0) return false;
  const bool good = agd_h5_write_numbers(at, name, type, 0, &text);
  H5Tclose(type);
  return good;
}

bool agd_h5_write_names(hid_t at, const char *name, const agd_names *names) {
  if (names->count == 0) return true;
  const hid_t type = text_type();
  if (type < 0) return false;
  const bool good = agd_h5_write_numbers(at, name, type, names->count, names->name);
  H5Tclose(type);
  return good;
}

/* Opens an attribute that must hold `count` elements (0: a scalar; SIZE_MAX: a vector of any length, told in found). */
static hid_t open_attribute(hid_t at, const char *name, H5T_class_t class, size_t count, size_t *found) {
  if (H5Aexists(at, name) <= 0) return -1;
  const hid_t attribute = H5Aopen(at, name, H5P_DEFAULT);
  if (attribute < 0) return -1;
  const hid_t space = H5Aget_space(attribute), type = H5Aget_type(attribute);
  hsize_t extent = 1;
  const int rank = space < 0 ? -1 : H5Sget_simple_extent_ndims(space);
  const bool variable = type >= 0 && H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) > 0;
  bool good = type >= 0 && H5Tget_class(type) == class && (class != H5T_STRING || variable);
  good = good && rank == (count == 0 ? 0 : 1) && H5Sget_simple_extent_type(space) != H5S_NULL;
  good = good && (rank == 0 || H5Sget_simple_extent_dims(space, &extent, NULL) >= 0);
  good = good && (count == 0 || count == SIZE_MAX || extent == count);
  if (space >= 0) H5Sclose(space);
  if (type >= 0) H5Tclose(type);
  *found = (size_t)extent;
  if (good) return attribute;
  H5Aclose(attribute);
  return -1;
}

static agd_code bad_attribute(agd_status *st, const char *file_name, const char *name) {
  return agd_fail(st, AGD_EDATA, "%s: the attribute %s is missing or of another kind or size than expected", file_name,
                  name);
}

agd_code agd_h5_read_numbers(hid_t at, const char *file_name, const char *name, hid_t type, size_t count, void *values,
                             agd_status *st) {
  size_t found;
  const hid_t attribute = open_attribute(at, name, H5Tget_class(type), count, &found);
  if (attribute < 0) return bad_attribute(st, file_name, name);
  const herr_t error = H5Aread(attribute, type, values);
  H5Aclose(attribute);
  return error < 0 ? agd_h5_fail(st, file_name, name) : AGD_OK;
}

static void free_texts(char **texts, size_t count) {
  for (size_t i = 0; i < count; i++) free(texts[i]);
  free(texts);
}

/* The texts of an attribute, to be released with free_texts; NULL and a failed status when there are none. A text takes
 * a reference of 16 bytes at least, so that no more are believed in than the file has room for. */
static char **read_texts(hid_t at, const char *file_name, const char *name, size_t count, size_t *found,
                         agd_status *st) {
  const hid_t attribute = open_attribute(at, name, H5T_STRING, count, found);
  if (attribute < 0) {
    bad_attribute(st, file_name, name);
    return NULL;
  }
  const bool possible = *found <= H5Aget_storage_size(attribute) / 16;
  char **texts = possible ? calloc(*found + 1, sizeof *texts) : NULL;
  const char *wrong = "cannot be read: out of memory";
  if (texts != NULL) wrong = agd_h5_text_read(attribute, *found, texts);
  H5Aclose(attribute);
  if (wrong == NULL) return texts;
  agd_fail(st, AGD_EDATA, "%s: the attribute %s %s", file_name, name, wrong);
  if (texts != NULL) free_texts(texts, *found);
  return NULL;
}

agd_code agd_h5_read_text(hid_t at, const char *file_name, const char *name, char **text, agd_status *st) {
  size_t count;
  *text = NULL;
  char **texts = read_texts(at, file_name, name, 0, &count, st);
  if (texts == NULL) return AGD_EDATA;
  *text = texts[0];
  free(texts);
  return AGD_OK;
}

agd_code agd_h5_read_names(hid_t at, const char *file_name, const char *name, agd_names *names, agd_status *st) {
  size_t count;
  agd_names_clear(names);
  if (H5Aexists(at, name) == 0) return AGD_OK;
  char **texts = read_texts(at, file_name, name, SIZE_MAX, &count, st);
  if (texts == NULL) return AGD_EDATA;
  agd_code code = AGD_OK;
  for (size_t i = 0; i < count && code == AGD_OK; i++) code = agd_names_add(names, texts[i], st);
  free_texts(texts, count);
  return code;
}
