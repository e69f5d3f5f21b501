#include "seeds.h"

#include <dirent.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allegrad/checkpoint.h"
#include "allegrad/dataset.h"
#include "allegrad/h5.h"
#include "allegrad/memory.h"
#include "allegrad/weights.h"

enum { PATH_SIZE = 4096, ROWS = 60, FEATURES = 3 };

static void require(bool good, const char *what) {
  if (good) return;
  fprintf(stderr, "hostile: cannot make a sound file: %s\n", what);
  exit(2);
}

static void add_file(seeds *out, const char *path) {
  void *bytes;
  size_t size;
  agd_trailer_state state;
  agd_status st = {0};
  require(out->count < SEEDS_MAX, "too many");
  require(agd_file_read(path, &bytes, &size, &state, &st) == AGD_OK, st.message);
  if (state == AGD_TRAILER_VALID) size += AGD_TRAILER_SIZE; /* it stands behind, too */
  mutate_file *seed = &out->list[out->count++];
  *seed = (mutate_file){.bytes = malloc(size), .size = size};
  require(seed->bytes != NULL, "out of memory");
  memcpy(seed->bytes, bytes, size);
  agd_release(&bytes);
}

/* ---- weights ---- */

/* Which of the things that a weights file can hold it holds. */
typedef struct features {
  agd_optimizer_spec rule;
  bool batch_norm, named, standardized;
  double dropout;
} features;

static const features variants[] = {
    {.rule = {.name = AGD_SGD, .learning_rate = 0.1}},
    {.rule = {.name = AGD_SGD, .learning_rate = 0.1, .momentum = 0.9}, .batch_norm = true, .named = true},
    {.rule = {.name = AGD_ADAM, .learning_rate = 0.1}, .batch_norm = true, .named = true, .standardized = true},
    {.rule = {.name = AGD_ADAM, .learning_rate = 0.1}, .standardized = true, .dropout = 0.5}};
enum { VARIANTS = sizeof variants / sizeof *variants };

static void fill(agd_real *values, size_t count) {
  for (size_t i = 0; i < count; i++) values[i] = (agd_real)(1 + i % 97) / 64;
}

static void add_names(agd_names *names, size_t count) {
  for (size_t i = 0; i < count; i++) {
    char name[32];
    snprintf(name, sizeof name, "column %zu", i);
    require(agd_names_add(names, name, NULL) == AGD_OK, "names");
  }
}

static void make_training(const features *f, const agd_model_spec *spec, agd_training *t) {
  *t =
      (agd_training){.seed = 7, .epoch = 2, .step = 40, .batch = 8, .ranks = 2, .kernels = "avx2", .libraries = "HDF5"};
  t->standardized = f->standardized;
  if (f->named) add_names(&t->x_names, spec->inputs), add_names(&t->y_names, spec->outputs);
  if (f->standardized)
    require(agd_allocate(spec->inputs, sizeof(double), "", (void **)&t->x_mean, NULL) == AGD_OK &&
                agd_allocate(spec->inputs, sizeof(double), "", (void **)&t->x_sd, NULL) == AGD_OK,
            "means");
  for (size_t i = 0; f->standardized && i < spec->inputs; i++) t->x_mean[i] = (double)i, t->x_sd[i] = (double)i + 1;
  t->config = strdup("data: {file: a.h5}\nmodel: {hidden: [4, 3]}\n");
  t->epoch_count = 2;
  t->history = calloc(2, sizeof *t->history);
  require(t->config != NULL && t->history != NULL, "out of memory");
  for (size_t i = 0; i < 2; i++) t->history[i] = (agd_epoch_metrics){i + 1, 20 * (i + 1), 0.5, 0.75, 1.5};
}

static agd_model_spec make_spec(const features *f) {
  return (agd_model_spec){.inputs = 3,
                          .outputs = 2,
                          .hidden_count = 2,
                          .hidden = {4, 3},
                          .activation = AGD_TANH,
                          .batch_norm = f->batch_norm,
                          .momentum = 0.9,
                          .epsilon = 1e-3,
                          .dropout = f->dropout};
}

/* The bytes of a file with one of the variants, without a trailer. */
static void make_weights(const features *f, bool with_training, void **image, size_t *size) {
  const agd_model_spec spec = make_spec(f);
  agd_model *model;
  agd_optimizer *optimizer;
  agd_training training;
  agd_status st = {0};
  require(agd_model_create(&spec, &model, &st) == AGD_OK, st.message);
  require(agd_optimizer_create(&f->rule, model->weight_count, &optimizer, &st) == AGD_OK, st.message);
  fill(model->weights, model->weight_count);
  fill(model->averages, model->average_count);
  for (size_t s = 0; s < optimizer->slot_count; s++) fill(optimizer->slots[s], optimizer->count);
  optimizer->iteration = 40;
  make_training(f, &spec, &training);
  require(agd_weights_image(model, optimizer, with_training ? &training : NULL, image, size, &st) == AGD_OK,
          st.message);
  agd_training_clear(&training);
  agd_optimizer_destroy(&optimizer);
  agd_model_destroy(&model);
}

/* The same objects in the format that h5py writes unless told otherwise: no checksums. /trainer is written anew:
 * H5Ocopy of HDF5 1.10.8 crashes on its texts. */
static void write_old(const char *path, const features *f, bool with_training, const void *image, size_t size) {
  static const char *const groups[] = {"/layers", "/optimizer", "/vars"};
  const agd_model_spec spec = make_spec(f);
  agd_training training;
  hid_t from;
  require(agd_h5_open_bytes(path, image, size, &from, NULL) == AGD_OK, path);
  const hid_t to = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
    require(H5Ocopy(from, groups[i], to, groups[i], H5P_DEFAULT, H5P_DEFAULT) >= 0, groups[i]);
  make_training(f, &spec, &training);
  if (with_training) require(agd_training_write(to, &spec, &training), "/trainer");
  agd_training_clear(&training);
  H5Fclose(from);
  require(H5Fclose(to) >= 0, path);
}

/* Gives a file our trailer. */
static void seal(const char *path) {
  void *bytes;
  size_t size;
  agd_trailer_state state;
  require(agd_file_read(path, &bytes, &size, &state, NULL) == AGD_OK, path);
  require(agd_file_replace(path, bytes, size, true, NULL) == AGD_OK, path);
  agd_release(&bytes);
}

static const char *file_path(char path[PATH_SIZE], const char *folder) {
  snprintf(path, PATH_SIZE, "%s/seed", folder);
  return path;
}

static void make_all_weights(const char *folder, bool ours, bool old, seeds *out) {
  char path[PATH_SIZE];
  for (size_t i = 0; i < VARIANTS; i++) {
    void *image;
    size_t size;
    make_weights(&variants[i], ours, &image, &size);
    if (old)
      write_old(file_path(path, folder), &variants[i], ours, image, size);
    else
      require(agd_file_replace(file_path(path, folder), image, size, false, NULL) == AGD_OK, path);
    if (ours) seal(path);
    add_file(out, path);
    agd_release(&image);
  }
}

void seeds_weights_ours(const char *folder, seeds *out) { make_all_weights(folder, true, false, out); }
void seeds_weights_old(const char *folder, seeds *out) { make_all_weights(folder, true, true, out); }
void seeds_weights_foreign(const char *folder, seeds *out) {
  make_all_weights(folder, false, true, out);
  make_all_weights(folder, false, false, out);
}

/* ---- data files ---- */

static double values[ROWS * FEATURES];

void seeds_datasets_ours(const char *folder, seeds *out) {
  char path[PATH_SIZE];
  agd_names x_names = {0}, y_names = {0};
  add_names(&x_names, FEATURES);
  add_names(&y_names, 1);
  for (size_t i = 0; i < ROWS * FEATURES; i++) values[i] = (double)i / 8;
  for (int wide = 0; wide < 2; wide++) {
    require(agd_dataset_write(file_path(path, folder), ROWS, &x_names, values, &y_names, values, wide == 1, NULL) ==
                AGD_OK,
            path);
    add_file(out, path);
  }
  agd_names_clear(&x_names);
  agd_names_clear(&y_names);
}

static void write_array(hid_t file, const char *name, int rank, hid_t type, hid_t creation) {
  const hsize_t dims[2] = {ROWS, FEATURES};
  const hid_t space = H5Screate_simple(rank, dims, NULL);
  const hid_t array = H5Dcreate2(file, name, type, space, H5P_DEFAULT, creation, H5P_DEFAULT);
  require(H5Dwrite(array, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0, name);
  if (rank == 2) {
    agd_names names = {0};
    add_names(&names, FEATURES);
    require(agd_h5_write_names(array, "columns", &names), "names");
    agd_names_clear(&names);
  }
  H5Dclose(array);
  H5Sclose(space);
}

enum { CONTIGUOUS, COMPACT, CHUNKED, COMPRESSED, CHECKED, LAYOUTS };

static hid_t layout(int which, int rank) {
  const hsize_t chunk[2] = {16, 2};
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
  if (which == COMPACT) H5Pset_layout(creation, H5D_COMPACT);
  if (which >= CHUNKED) H5Pset_chunk(creation, rank, chunk);
  if (which == COMPRESSED) H5Pset_shuffle(creation), H5Pset_deflate(creation, 6);
  if (which == CHECKED) H5Pset_fletcher32(creation);
  return creation;
}

void seeds_datasets_foreign(const char *folder, seeds *out) {
  char path[PATH_SIZE];
  for (size_t i = 0; i < ROWS * FEATURES; i++) values[i] = (double)i / 8;
  for (int newest = 0; newest < 2; newest++)
    for (int which = 0; which < LAYOUTS; which++) {
      const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
      if (newest) H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
      const hid_t file = H5Fcreate(file_path(path, folder), H5F_ACC_TRUNC, H5P_DEFAULT, access);
      const hid_t x = layout(which, 2), y = layout(which, 1);
      write_array(file, "x", 2, H5T_IEEE_F32LE, x);
      write_array(file, "y", 1, H5T_IEEE_F64BE, y);
      H5Pclose(x), H5Pclose(y), H5Pclose(access);
      require(H5Fclose(file) >= 0, path);
      add_file(out, path);
    }
}

/* ---- text ---- */

static int is_job(const struct dirent *entry) {
  const char *end = strrchr(entry->d_name, '.');
  return end != NULL && strcmp(end, ".yaml") == 0;
}

void seeds_jobs(const char *folder, seeds *out) {
  (void)folder;
  struct dirent **jobs;
  const int count = scandir(ALLEGRAD_SOURCE "/jobs", &jobs, is_job, alphasort);
  require(count > 0, ALLEGRAD_SOURCE "/jobs");
  for (int i = 0; i < count; i++) {
    char path[PATH_SIZE];
    snprintf(path, sizeof path, ALLEGRAD_SOURCE "/jobs/%s", jobs[i]->d_name);
    add_file(out, path);
    free(jobs[i]);
  }
  free(jobs);
}

void seeds_tables(const char *folder, seeds *out) {
  static const char *const texts[] = {"a,b,c\n1,2,3\n4,5.5,-6e-3\n7,8,9\n",
                                      "\"a, b\",\"c\"\"d\"\r\n\" 1 \",2\r\n\r\n3,4\r\n",
                                      "\xef\xbb\xbfx;1,y\n1,NA\n,2\n3,4\n5,\"6\"\n", "only\n1\n2\n3"};
  char path[PATH_SIZE];
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    FILE *file = fopen(file_path(path, folder), "wb");
    require(file != NULL && fputs(texts[i], file) >= 0 && fclose(file) == 0, path);
    add_file(out, path);
  }
}
