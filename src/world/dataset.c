#include "allegrad/dataset.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "allegrad/checkpoint.h"
#include "allegrad/h5.h"
#include "allegrad/memory.h"

#ifdef ALLEGRAD_DOUBLE
#define H5_REAL H5T_NATIVE_DOUBLE
#define TYPE_NAME "float64"
#else
#define H5_REAL H5T_NATIVE_FLOAT
#define TYPE_NAME "float32"
#endif

/* Bytes that one rank reads in one call: far below the 2 GiB that MPI's int counts can name, large for a disk. */
enum { PIECE = 1 << 24 };

static const char NAMES[] = "columns";

struct agd_dataset_file {
  char *path;
  char *name[2]; /* of x and y */
  const agd_comm *comm;
  hid_t id;
  agd_h5_array array[2]; /* x and y */
};

enum { X, Y };

/* Opens the file together with all ranks of comm, after one of them has looked at it alone. */
static agd_code open_file(const char *path, const agd_comm *comm, hid_t *file, agd_status *st) {
  *file = -1;
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  if (access >= 0 && H5Pset_fclose_degree(access, H5F_CLOSE_STRONG) >= 0 &&
      H5Pset_fapl_mpio(access, comm->mpi, MPI_INFO_NULL) >= 0)
    *file = H5Fopen(path, H5F_ACC_RDONLY, access);
  const agd_code code = *file >= 0 ? AGD_OK : agd_h5_fail(st, path, "is no HDF5 file, or a truncated or damaged one");
  if (access >= 0) H5Pclose(access);
  return code;
}

static agd_code check_shapes(const agd_dataset *d, agd_status *st) {
  const struct agd_dataset_file *f = d->file;
  const agd_h5_array *x = &f->array[X], *y = &f->array[Y];
  if (x->rank != 2)
    return agd_fail(st, AGD_EDATA, "%s: the dataset %s has %d dimensions, not 2: rows and features", f->path,
                    f->name[X], x->rank);
  if (x->dims[0] == 0 || x->dims[1] == 0)
    return agd_fail(st, AGD_EDATA, "%s: the dataset %s is empty", f->path, f->name[X]);
  if (f->name[Y] != NULL && (y->rank < 1 || y->dims[1] == 0))
    return agd_fail(st, AGD_EDATA, "%s: the dataset %s must be [rows, targets] or [rows]", f->path, f->name[Y]);
  if (f->name[Y] != NULL && y->dims[0] != x->dims[0])
    return agd_fail(st, AGD_EDATA, "%s: %s has %llu rows, but %s has %llu", f->path, f->name[X],
                    (unsigned long long)x->dims[0], f->name[Y], (unsigned long long)y->dims[0]);
  for (int i = X; i <= Y; i++)
    if (f->name[i] != NULL && f->array[i].dims[1] > PIECE / sizeof(double))
      return agd_fail(st, AGD_EDATA, "%s: %s has %llu columns; at most %zu can be read", f->path, f->name[i],
                      (unsigned long long)f->array[i].dims[1], PIECE / sizeof(double));
  return AGD_OK;
}

/* Opens and checks the datasets of the open file. Not collective, also in a file that is open on all ranks. */
static agd_code open_arrays(agd_dataset *d, agd_status *st) {
  struct agd_dataset_file *f = d->file;
  for (int i = X; i <= Y; i++)
    if (f->name[i] != NULL) AGD_TRY(agd_h5_open_array(f->id, f->path, f->name[i], &f->array[i], st));
  AGD_TRY(check_shapes(d, st));
  d->rows = f->array[X].dims[0];
  d->features = (size_t)f->array[X].dims[1];
  d->targets = f->name[Y] != NULL ? (size_t)f->array[Y].dims[1] : 0;
  return AGD_OK;
}

static agd_code read_names(const agd_dataset *d, int which, agd_names *names, agd_status *st) {
  const struct agd_dataset_file *f = d->file;
  if (f->name[which] == NULL) return AGD_OK;
  const size_t columns = (size_t)f->array[which].dims[1];
  AGD_TRY(agd_h5_read_names(f->array[which].id, f->path, NAMES, names, st));
  if (names->count == columns) return AGD_OK;
  if (names->count != 0)
    return agd_fail(st, AGD_EDATA, "%s: the attribute %s of %s has %zu names for %zu columns", f->path, NAMES,
                    f->name[which], names->count, columns);
  if (which == Y && columns == 1) return agd_names_add(names, f->name[Y], st);
  for (size_t i = 0; i < columns; i++) {
    char name[32];
    snprintf(name, sizeof name, "%c%zu", which == X ? 'x' : 'y', i);
    AGD_TRY(agd_names_add(names, name, st));
  }
  return AGD_OK;
}

/* Everything that one process alone can find out; leaves the file open. */
static agd_code inspect(agd_dataset *d, agd_status *st) {
  struct agd_dataset_file *f = d->file;
  agd_trailer_state state;
  AGD_TRY(agd_file_verify(f->path, &state, st));
  if (state == AGD_TRAILER_BROKEN) return agd_fail(st, AGD_EDATA, "%s is damaged: its checksum does not fit", f->path);
  AGD_TRY(agd_h5_open_path(f->path, &f->id, st));
  AGD_TRY(open_arrays(d, st));
  AGD_TRY(read_names(d, X, &d->x_names, st));
  return read_names(d, Y, &d->y_names, st);
}

/* Closes what is open of the file, its datasets included (H5F_CLOSE_STRONG). */
static void close_file(struct agd_dataset_file *f) {
  if (f->id >= 0) H5Fclose(f->id);
  f->id = f->array[X].id = f->array[Y].id = -1;
}

/* Gives rank 0's names to all. Collective; the outcome is agreed. */
static void share_names(const agd_comm *comm, agd_names *names, agd_status *st) {
  size_t size = 0;
  for (size_t i = 0; i < names->count; i++) size += strlen(names->name[i]) + 1;
  agd_comm_broadcast(comm, &size, sizeof size);
  char *text = NULL;
  agd_allocate(size, 1, "column names", (void **)&text, st);
  if (agd_comm_agree(comm, st) == AGD_OK) {
    for (size_t i = 0, at = 0; i < names->count; at += strlen(names->name[i]) + 1, i++)
      memcpy(text + at, names->name[i], strlen(names->name[i]) + 1);
    agd_comm_broadcast(comm, text, size);
    for (size_t at = 0; comm->rank != 0 && at < size && st->code == AGD_OK; at += strlen(text + at) + 1)
      agd_names_add(names, text + at, st);
    agd_comm_agree(comm, st);
  }
  agd_release(&text);
}

/* What rank 0 found, for the others to compare. */
typedef struct findings {
  uint64_t bytes, rows, features, targets;
} findings;

/* Whether this rank sees the file that rank 0 has looked at. A rank that fails inside the parallel open would leave the
 * others waiting there. */
static void check_visible(const agd_comm *comm, const char *path, const findings *expected, agd_status *st) {
  struct stat info;
  if (stat(path, &info) != 0)
    agd_fail(st, AGD_EDATA, "cannot open %s on rank %d: %s", path, comm->rank, strerror(errno));
  else if (access(path, R_OK) != 0)
    agd_fail(st, AGD_EDATA, "cannot read %s on rank %d: %s", path, comm->rank, strerror(errno));
  else if ((uint64_t)info.st_size != expected->bytes)
    agd_fail(st, AGD_EDATA, "%s has %lld bytes on rank %d, but %llu on rank 0: is it on a shared disk?", path,
             (long long)info.st_size, comm->rank, (unsigned long long)expected->bytes);
  agd_comm_agree(comm, st);
}

/* Rank 0 inspects, alone, and tells the others. Collective; the outcome is agreed. */
static agd_code inspect_for_all(agd_dataset *d, findings *found, agd_status *st) {
  struct agd_dataset_file *f = d->file;
  struct stat info;
  *found = (findings){0};
  if (f->comm->rank == 0 && inspect(d, st) == AGD_OK) {
    const uint64_t bytes = stat(f->path, &info) == 0 ? (uint64_t)info.st_size : 0;
    *found = (findings){.bytes = bytes, .rows = d->rows, .features = d->features, .targets = d->targets};
  }
  close_file(f);
  AGD_TRY(agd_comm_agree(f->comm, st));
  agd_comm_broadcast(f->comm, found, sizeof *found);
  share_names(f->comm, &d->x_names, st);
  AGD_TRY(st->code);
  share_names(f->comm, &d->y_names, st);
  return st->code;
}

static agd_code open_together(agd_dataset *d, agd_status *st) {
  struct agd_dataset_file *f = d->file;
  findings found;
  AGD_TRY(inspect_for_all(d, &found, st));
  check_visible(f->comm, f->path, &found, st);
  AGD_TRY(st->code);
  open_file(f->path, f->comm, &f->id, st);
  if (agd_comm_agree(f->comm, st) != AGD_OK) {
    f->id = -1; /* closing is collective, too, but not all have it open */
    return st->code;
  }
  if (open_arrays(d, st) == AGD_OK &&
      (d->rows != found.rows || d->features != found.features || d->targets != found.targets))
    agd_fail(st, AGD_EDATA, "%s holds other datasets on rank %d than on rank 0", f->path, f->comm->rank);
  return agd_comm_agree(f->comm, st);
}

static agd_code create(const char *path, const char *x, const char *y, const agd_comm *comm, agd_dataset **out,
                       agd_status *st) {
  agd_dataset *d = calloc(1, sizeof *d);
  struct agd_dataset_file *f = calloc(1, sizeof *f);
  bool good = d != NULL && f != NULL;
  if (good) {
    *f = (struct agd_dataset_file){.comm = comm, .id = -1, .array = {{.id = -1}, {.id = -1}}};
    f->path = strdup(path);
    f->name[X] = strdup(x);
    f->name[Y] = y != NULL ? strdup(y) : NULL;
    d->file = f;
    *out = d;
    good = f->path != NULL && f->name[X] != NULL && (y == NULL || f->name[Y] != NULL);
  } else {
    free(d);
    free(f);
  }
  return good ? AGD_OK : agd_fail(st, AGD_EDATA, "out of memory: opening %s", path);
}

agd_code agd_dataset_open(const char *path, const char *x, const char *y, const agd_comm *comm, agd_dataset **out,
                          agd_status *st) {
  agd_status mine = {0};
  *out = NULL;
  create(path, x, y, comm, out, &mine);
  if (comm != NULL) agd_comm_agree(comm, &mine);
  if (mine.code == AGD_OK && *out != NULL) {
    H5E_BEGIN_TRY {
      if (comm != NULL)
        open_together(*out, &mine);
      else
        inspect(*out, &mine);
    }
    H5E_END_TRY
  }
  if (mine.code == AGD_OK) return AGD_OK;
  agd_dataset_close(out);
  if (st != NULL) *st = mine;
  return mine.code;
}

void agd_dataset_close(agd_dataset **dataset) {
  agd_dataset *d = *dataset;
  *dataset = NULL;
  if (d == NULL) return;
  struct agd_dataset_file *f = d->file;
  H5E_BEGIN_TRY { close_file(f); }
  H5E_END_TRY
  agd_names_clear(&d->x_names);
  agd_names_clear(&d->y_names);
  free(f->path);
  free(f->name[X]);
  free(f->name[Y]);
  free(f);
  free(d);
}

/* What the pieces of one read share. */
typedef struct transfer {
  hid_t array, disk, memory, properties;
  int rank;
  size_t columns;
} transfer;

static bool transfer_begin(transfer *t, const agd_h5_array *array, const agd_comm *comm, hsize_t piece_rows) {
  const hsize_t extent[1] = {piece_rows * array->dims[1]};
  *t = (transfer){.array = array->id, .rank = array->rank, .columns = (size_t)array->dims[1]};
  t->disk = H5Dget_space(array->id);
  t->memory = H5Screate_simple(1, extent, NULL);
  t->properties = H5Pcreate(H5P_DATASET_XFER);
  return t->disk >= 0 && t->memory >= 0 && t->properties >= 0 &&
         (comm == NULL || H5Pset_dxpl_mpio(t->properties, H5FD_MPIO_COLLECTIVE) >= 0);
}

static void transfer_end(transfer *t) {
  if (t->disk >= 0) H5Sclose(t->disk);
  if (t->memory >= 0) H5Sclose(t->memory);
  if (t->properties >= 0) H5Pclose(t->properties);
}

/* Reads rows [first, first + count) to `out`; with count 0 it only takes part in the others' collective read. HDF5
 * converts; where it has to (float64 to float32, byte order) it reads independently in the background. */
static bool transfer_piece(const transfer *t, uint64_t first, uint64_t count, agd_real *out) {
  const hsize_t start[2] = {first, 0}, extent[2] = {count, t->columns}, zero[1] = {0};
  const hsize_t numbers[1] = {count * t->columns};
  const bool selected = count > 0 && H5Sselect_hyperslab(t->disk, H5S_SELECT_SET, start, NULL, extent, NULL) >= 0 &&
                        H5Sselect_hyperslab(t->memory, H5S_SELECT_SET, zero, NULL, numbers, NULL) >= 0;
  if (!selected) H5Sselect_none(t->disk), H5Sselect_none(t->memory);
  const bool read = H5Dread(t->array, H5_REAL, t->memory, t->disk, t->properties, out) >= 0;
  return read && (selected || count == 0);
}

/* Rows of the longest range that any rank wants, so that all make the same number of calls; UINT64_MAX when a rank
 * cannot. Collective if the file was opened with a comm. */
static uint64_t longest_range(const agd_comm *comm, bool able, uint64_t count) {
  uint64_t longest = able ? count : UINT64_MAX;
  if (comm != NULL) MPI_Allreduce(MPI_IN_PLACE, &longest, 1, MPI_UINT64_T, MPI_MAX, comm->mpi);
  return longest;
}

/* Reads one dataset's rows, piece by piece, in step with the other ranks. A rank that fails reads on: the others wait
 * for it in every call. */
static void read_rows(const struct agd_dataset_file *f, int which, uint64_t first, uint64_t count, agd_real *out,
                      agd_status *st) {
  const agd_h5_array *array = &f->array[which];
  const size_t columns = (size_t)array->dims[1];
  const uint64_t piece_rows = PIECE / (columns * sizeof(double));
  transfer t;
  const bool able = transfer_begin(&t, array, f->comm, piece_rows);
  if (!able) agd_h5_fail(st, f->path, f->name[which]);
  const uint64_t longest = longest_range(f->comm, able, count);
  for (uint64_t at = 0; longest != UINT64_MAX && at < longest; at += piece_rows) {
    const uint64_t left = at < count ? count - at : 0, part = left < piece_rows ? left : piece_rows;
    if (!transfer_piece(&t, first + (part > 0 ? at : 0), part, part > 0 ? out + at * columns : NULL) &&
        st->code == AGD_OK)
      agd_h5_fail(st, f->path, f->name[which]);
  }
  transfer_end(&t);
}

static void check_finite(const agd_dataset *d, int which, uint64_t first, uint64_t count, const agd_real *values,
                         agd_status *st) {
  const agd_names *names = which == X ? &d->x_names : &d->y_names;
  const uint64_t total = count * names->count;
  uint64_t i = 0;
  while (i < total && isfinite(values[i])) i++;
  const unsigned long long row = first + i / names->count;
  if (i < total)
    agd_fail(st, AGD_EDATA, "%s: %s, row %llu (counted from 0), column \"%s\": %s", d->file->path, d->file->name[which],
             row, names->name[i % names->count], isnan(values[i]) ? "NaN" : "infinite, or too large for " TYPE_NAME);
}

agd_code agd_dataset_read(agd_dataset *dataset, uint64_t first, uint64_t count, agd_real *x, agd_real *y,
                          agd_status *st) {
  AGD_REQUIRE(first <= dataset->rows && count <= dataset->rows - first && (y == NULL || dataset->targets > 0));
  const struct agd_dataset_file *f = dataset->file;
  agd_status mine = {0};
  H5E_BEGIN_TRY {
    read_rows(f, X, first, count, x, &mine);
    if (y != NULL) read_rows(f, Y, first, count, y, &mine);
  }
  H5E_END_TRY
  if (mine.code == AGD_OK) check_finite(dataset, X, first, count, x, &mine);
  if (mine.code == AGD_OK && y != NULL) check_finite(dataset, Y, first, count, y, &mine);
  if (f->comm != NULL) agd_comm_agree(f->comm, &mine);
  if (mine.code != AGD_OK && st != NULL) *st = mine;
  return mine.code;
}

/* Refuses what the stored type cannot hold as a finite number. */
static agd_code check_writable(const char *path, const char *dataset, uint64_t rows, const agd_names *names,
                               const double *values, bool as_float64, agd_status *st) {
  const double largest = as_float64 ? DBL_MAX : (double)FLT_MAX;
  for (uint64_t i = 0; i < rows * names->count; i++)
    if (!(fabs(values[i]) <= largest))
      return agd_fail(st, AGD_EDATA,
                      "cannot write %s: %s, row %llu (counted from 0), column \"%s\": %g is no finite %s", path,
                      dataset, (unsigned long long)(i / names->count), names->name[i % names->count], values[i],
                      as_float64 ? "float64" : "float32");
  return AGD_OK;
}

static agd_code write_array(hid_t file, const char *path, const char *name, uint64_t rows, const agd_names *names,
                            const double *values, bool as_float64, agd_status *st) {
  if (names->count == 0) return AGD_OK;
  const hsize_t dims[2] = {rows, names->count};
  const hid_t array = agd_h5_make_dataset(file, name, as_float64 ? H5T_IEEE_F64LE : H5T_IEEE_F32LE, 2, dims);
  const bool good = array >= 0 && H5Dwrite(array, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0 &&
                    agd_h5_write_names(array, NAMES, names);
  const agd_code code = good ? AGD_OK : agd_h5_fail(st, path, "cannot be built in memory");
  if (array >= 0) H5Dclose(array);
  return code;
}

static agd_code build_image(const char *path, uint64_t rows, const agd_names *x_names, const double *x,
                            const agd_names *y_names, const double *y, bool as_float64, void **bytes, size_t *size,
                            agd_status *st) {
  agd_h5_image image;
  AGD_TRY(agd_h5_image_create(&image, rows * (x_names->count + y_names->count) * sizeof(double), st));
  agd_code code = write_array(image.file, path, "x", rows, x_names, x, as_float64, st);
  if (code == AGD_OK) code = write_array(image.file, path, "y", rows, y_names, y, as_float64, st);
  const agd_code closed = agd_h5_image_finish(&image, code == AGD_OK, bytes, size, code == AGD_OK ? st : NULL);
  return code != AGD_OK ? code : closed;
}

agd_code agd_dataset_write(const char *path, uint64_t rows, const agd_names *x_names, const double *x,
                           const agd_names *y_names, const double *y, bool as_float64, agd_status *st) {
  AGD_REQUIRE(rows > 0 && x_names->count > 0);
  AGD_TRY(check_writable(path, "x", rows, x_names, x, as_float64, st));
  AGD_TRY(check_writable(path, "y", rows, y_names, y, as_float64, st));
  void *bytes = NULL;
  size_t size = 0;
  agd_code code;
  H5E_BEGIN_TRY { code = build_image(path, rows, x_names, x, y_names, y, as_float64, &bytes, &size, st); }
  H5E_END_TRY
  if (code == AGD_OK) code = agd_file_replace(path, bytes, size, true, st);
  agd_release(&bytes);
  return code;
}
