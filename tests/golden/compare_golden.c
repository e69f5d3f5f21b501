/* compare_golden TRACE.h5 ERRORS.csv KERAS.weights.h5 RUN PREDICTIONS.csv
 *
 * Holds a run to the oracle's trace: losses of steps and epochs, predictions of the held-out rows, final weights; and
 * the final weights file to the groups, shapes and types of one that Keras wrote. Prints a line per quantity; exits 1
 * when anything is out of its tolerance, 2 when a file cannot be read.
 *
 * Errors are measured as in make_golden.py: losses relative, predictions absolute, weights relative to the largest
 * entry of their tensor, moving averages each for itself. The tolerance is ten times the error of centred float32, 2e-5
 * at least; what is computed from the running averages (validation) gets three times that. */
#include <hdf5.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allegrad/table.h"

enum { NAME_MAX_SIZE = 512, RANK_MAX = 2 };

static void die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
static void die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("compare_golden: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  exit(2);
}

/* A tensor of at most two dimensions, as doubles. */
typedef struct tensor {
  size_t count;
  double *value;
} tensor;

static hid_t open_file(const char *path) {
  const hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
  if (file < 0) die("cannot open %s", path);
  return file;
}

static tensor read_tensor(hid_t at, const char *name) {
  const hid_t set = H5Dopen2(at, name, H5P_DEFAULT);
  if (set < 0) die("no dataset %s", name);
  const hid_t space = H5Dget_space(set);
  tensor t = {.count = (size_t)H5Sget_simple_extent_npoints(space)};
  t.value = calloc(t.count + 1, sizeof *t.value);
  if (t.value == NULL || H5Dread(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, t.value) < 0)
    die("cannot read dataset %s", name);
  H5Sclose(space);
  H5Dclose(set);
  return t;
}

/* The larger error; NaN, once met, stays. */
static double worse(double a, double b) { return isnan(a) || a > b ? a : b; }

static agd_table read_table(const char *path) {
  agd_table table = {0};
  agd_status st = {0};
  if (agd_table_read(path, NULL, AGD_MISSING_ERROR, &table, &st) != AGD_OK) die("%s", st.message);
  return table;
}

static size_t column_index(const agd_table *table, const char *name) {
  const long i = agd_names_find(&table->names, name);
  if (i < 0) die("no column %s", name);
  return (size_t)i;
}

static tensor column(const agd_table *table, const char *name) {
  const size_t c = column_index(table, name);
  tensor t = {.count = (size_t)table->rows, .value = calloc((size_t)table->rows + 1, sizeof(double))};
  if (t.value == NULL) die("out of memory");
  for (size_t i = 0; i < t.count; i++) t.value[i] = table->value[i * table->names.count + c];
  return t;
}

static double tolerance(const agd_table *errors, const char *quantity) {
  const double error = errors->value[column_index(errors, quantity)];
  const bool validation = strstr(quantity, "val_") != NULL;
  return (validation ? 3 : 1) * fmax(10 * error, 2e-5);
}

static bool verdict(const char *quantity, double error, double allowed) {
  const bool ok = error <= allowed; /* not so for NaN */
  printf("%-6s  %-15s  error %.1e  tolerance %.1e\n", ok ? "ok" : "FAILED", quantity, error, allowed);
  return ok;
}

static bool complain(const char *quantity, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool complain(const char *quantity, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  printf("%-6s  %-15s  ", "FAILED", quantity);
  vprintf(format, arguments);
  putchar('\n');
  va_end(arguments);
  return false;
}

/* A column of a log against a dataset of the oracle; `counter` is the column that must count 1, 2, 3, ... */
static bool check_losses(hid_t trace, const agd_table *errors, const char *log, const char *counter, const char *loss,
                         const char *quantity) {
  char name[NAME_MAX_SIZE];
  snprintf(name, sizeof name, "oracle/%s", quantity);
  const tensor expected = read_tensor(trace, name);
  agd_table table = read_table(log);
  const tensor found = column(&table, loss), count = column(&table, counter);
  agd_table_clear(&table);
  bool ok = found.count == expected.count;
  if (!ok) complain(quantity, "%zu lines in %s, %zu expected", found.count, log, expected.count);
  double error = 0;
  for (size_t i = 0; ok && i < expected.count; i++) {
    if (count.value[i] != (double)(i + 1))
      ok = complain(quantity, "line %zu of %s counts %g", i + 1, log, count.value[i]);
    error = worse(error, fabs(found.value[i] - expected.value[i]) / fabs(expected.value[i]));
  }
  free(expected.value), free(found.value), free(count.value);
  return ok && verdict(quantity, error, tolerance(errors, quantity));
}

/* The last rows of the predictions are those of the held-out rows. */
static bool check_predictions(hid_t trace, const agd_table *errors, const char *path) {
  const char *quantity = "val_predictions";
  const tensor expected = read_tensor(trace, "oracle/val_predictions");
  agd_table table = read_table(path);
  const size_t count = (size_t)table.rows * table.names.count;
  bool ok = count >= expected.count && expected.count % table.names.count == 0;
  if (!ok) complain(quantity, "%zu numbers in %s, at least %zu expected", count, path, expected.count);
  double error = 0;
  for (size_t i = 0; ok && i < expected.count; i++)
    error = worse(error, fabs(table.value[count - expected.count + i] - expected.value[i]));
  agd_table_clear(&table);
  free(expected.value);
  return ok && verdict(quantity, error, tolerance(errors, quantity));
}

/* Layers of one kind in a group, in the order of their numbers, which may start anywhere: dense, dense_1, ... */
typedef struct layer_list {
  const char *kind;
  size_t count;
  long number[64];
} layer_list;

static herr_t add_layer(hid_t group, const char *name, const H5L_info_t *info, void *context) {
  (void)group, (void)info;
  layer_list *list = context;
  const size_t length = strlen(list->kind);
  if (strncmp(name, list->kind, length) != 0) return 0;
  if (list->count == sizeof list->number / sizeof *list->number) die("too many layers");
  const long number = name[length] == '_' ? strtol(name + length + 1, NULL, 10) : 0;
  size_t i = list->count++;
  for (; i > 0 && list->number[i - 1] > number; i--) list->number[i] = list->number[i - 1];
  list->number[i] = number;
  return 0;
}

static layer_list list_layers(hid_t file, const char *group, const char *kind) {
  layer_list list = {.kind = kind};
  if (H5Literate_by_name(file, group, H5_INDEX_NAME, H5_ITER_INC, NULL, add_layer, &list, H5P_DEFAULT) < 0)
    die("no group %s", group);
  return list;
}

static tensor read_layer(hid_t file, const char *group, const layer_list *list, size_t i, const char *leaf) {
  char name[NAME_MAX_SIZE];
  if (list->number[i] == 0)
    snprintf(name, sizeof name, "%s/%s/%s", group, list->kind, leaf);
  else
    snprintf(name, sizeof name, "%s/%s_%ld/%s", group, list->kind, list->number[i], leaf);
  return read_tensor(file, name);
}

/* The largest |found - expected|, each divided by its entry of `size`, or all by the largest |expected| when that is
 * NULL; infinite when the extents differ. */
static double tensor_error(const tensor *found, const tensor *expected, const double *size) {
  if (found->count != expected->count) return INFINITY;
  double largest = 0, error = 0;
  for (size_t i = 0; i < expected->count; i++) largest = fmax(largest, fabs(expected->value[i]));
  if (largest == 0) largest = 1;
  for (size_t i = 0; i < expected->count; i++)
    error = worse(error, fabs(found->value[i] - expected->value[i]) / (size == NULL ? largest : size[i]));
  return error;
}

/* Tensors of a layer, in the order of their numbers in a weights file. */
enum { MOVING_MEAN = 2, MOVING_VARIANCE = 3, TENSORS_MAX = 4 };

/* The error of one layer. Moving averages of raw features differ by orders of magnitude: each mean is held to its own
 * size or standard deviation, each variance to itself. */
static double layer_error(const tensor *found, const tensor *expected, size_t count) {
  double error = 0;
  for (size_t k = 0; k < count; k++) {
    double *size = NULL;
    if (k >= MOVING_MEAN) {
      size = calloc(expected[k].count + 1, sizeof *size);
      if (size == NULL) die("out of memory");
      for (size_t i = 0; i < expected[k].count; i++) {
        const double variance = expected[MOVING_VARIANCE].value[i];
        size[i] = k == MOVING_VARIANCE ? variance : fmax(fabs(expected[k].value[i]), sqrt(variance));
      }
    }
    error = worse(error, tensor_error(&found[k], &expected[k], size));
    free(size);
  }
  return error;
}

/* All layers of one kind, `count` tensors each. */
static double kind_error(hid_t trace, hid_t ours, const char *kind, const char *const *tensors, size_t count) {
  const layer_list there = list_layers(trace, "oracle/weights", kind), here = list_layers(ours, "layers", kind);
  if (here.count != there.count) return INFINITY;
  double error = 0;
  for (size_t i = 0; i < there.count; i++) {
    tensor found[TENSORS_MAX], expected[TENSORS_MAX];
    for (size_t k = 0; k < count; k++) {
      char leaf[32];
      snprintf(leaf, sizeof leaf, "vars/%zu", k);
      found[k] = read_layer(ours, "layers", &here, i, leaf);
      expected[k] = read_layer(trace, "oracle/weights", &there, i, tensors[k]);
    }
    error = worse(error, layer_error(found, expected, count));
    for (size_t k = 0; k < count; k++) free(found[k].value), free(expected[k].value);
  }
  return error;
}

static bool check_weights(hid_t trace, hid_t ours, const agd_table *errors) {
  const char *const dense[] = {"kernel", "bias"};
  const char *const norm[TENSORS_MAX] = {"gamma", "beta", "moving_mean", "moving_variance"};
  const double error = worse(kind_error(trace, ours, "dense", dense, 2),
                             kind_error(trace, ours, "batch_normalization", norm, TENSORS_MAX));
  return verdict("weights", error, tolerance(errors, "weights"));
}

/* One direction of the comparison of two trees: everything in the visited file has its like in `other`. */
typedef struct tree_walk {
  hid_t other;
  const char *missing; /* what to say of something that `other` lacks */
  size_t objects, faults;
} tree_walk;

static bool same_type(hid_t a, hid_t b) {
  const bool same = H5Tget_class(a) == H5T_STRING
                        ? H5Tget_class(b) == H5T_STRING && H5Tis_variable_str(a) == H5Tis_variable_str(b)
                        : H5Tequal(a, b) > 0;
  H5Tclose(a), H5Tclose(b);
  return same;
}

static bool same_space(hid_t a, hid_t b) {
  const bool same = H5Sextent_equal(a, b) > 0;
  H5Sclose(a), H5Sclose(b);
  return same;
}

static bool same_dataset(hid_t a, hid_t b) {
  const hid_t create_a = H5Dget_create_plist(a), create_b = H5Dget_create_plist(b);
  const bool layout = H5Pget_layout(create_a) == H5Pget_layout(create_b);
  H5Pclose(create_a), H5Pclose(create_b);
  const bool type = same_type(H5Dget_type(a), H5Dget_type(b)), space = same_space(H5Dget_space(a), H5Dget_space(b));
  return layout && type && space;
}

/* Keras' attribute "name" holds "dense_7" in one file and "dense" in another, where layers were counted anew. */
static void read_keras_name(hid_t object, char name[NAME_MAX_SIZE]) {
  name[0] = '\0';
  if (H5Aexists(object, "name") <= 0) return;
  const hid_t attribute = H5Aopen(object, "name", H5P_DEFAULT), type = H5Aget_type(attribute);
  char *text = NULL;
  if (H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) <= 0 || H5Aread(attribute, type, (void *)&text) < 0)
    die("an attribute \"name\" is no string of variable length");
  snprintf(name, NAME_MAX_SIZE, "%s", text);
  H5free_memory(text);
  const size_t digits = strcspn(name, "0123456789");
  if (digits > 0 && name[digits - 1] == '_') name[digits - 1] = '\0';
  H5Tclose(type);
  H5Aclose(attribute);
}

static herr_t visit(hid_t root, const char *path, const H5O_info_t *info, void *context) {
  tree_walk *walk = context;
  if (strncmp(path, "trainer", strlen("trainer")) == 0) return 0; /* ours alone: Keras ignores it */
  walk->objects++;
  if (H5Lexists(walk->other, path, H5P_DEFAULT) <= 0 && strcmp(path, ".") != 0) {
    walk->faults++, complain("tree", "/%s: %s", path, walk->missing);
    return 0;
  }
  const hid_t a = H5Oopen(root, path, H5P_DEFAULT), b = H5Oopen(walk->other, path, H5P_DEFAULT);
  bool same = H5Iget_type(a) == H5Iget_type(b);
  if (same && info->type == H5O_TYPE_DATASET) same = same_dataset(a, b);
  char name_a[NAME_MAX_SIZE], name_b[NAME_MAX_SIZE];
  read_keras_name(a, name_a), read_keras_name(b, name_b);
  if (!same) walk->faults++, complain("tree", "/%s: another kind, shape, type or layout", path);
  if (strcmp(name_a, name_b) != 0) walk->faults++, complain("tree", "/%s: name \"%s\", \"%s\"", path, name_a, name_b);
  H5Oclose(a), H5Oclose(b);
  return 0;
}

static bool check_tree(hid_t keras, hid_t ours) {
  tree_walk there = {.other = ours, .missing = "not in ours"}, back = {.other = keras, .missing = "not in Keras'"};
  if (H5Ovisit2(keras, H5_INDEX_NAME, H5_ITER_INC, visit, &there, H5O_INFO_BASIC) < 0 ||
      H5Ovisit2(ours, H5_INDEX_NAME, H5_ITER_INC, visit, &back, H5O_INFO_BASIC) < 0)
    die("cannot walk a weights file");
  if (there.faults + back.faults > 0) return false;
  printf("%-6s  %-15s  %zu groups and datasets as Keras writes them\n", "ok", "tree", there.objects);
  return true;
}

int main(int argc, char **argv) {
  if (argc != 6) die("usage: compare_golden TRACE.h5 ERRORS.csv KERAS.weights.h5 RUN PREDICTIONS.csv");
  const char *run = argv[4];
  char steps[NAME_MAX_SIZE], metrics[NAME_MAX_SIZE], weights[NAME_MAX_SIZE];
  snprintf(steps, sizeof steps, "%s/steps.csv", run);
  snprintf(metrics, sizeof metrics, "%s/metrics.csv", run);
  snprintf(weights, sizeof weights, "%s/final.weights.h5", run);
  const hid_t trace = open_file(argv[1]), keras = open_file(argv[3]), ours = open_file(weights);
  agd_table errors = read_table(argv[2]);
  bool ok = check_losses(trace, &errors, steps, "step", "loss", "step_loss");
  ok = check_losses(trace, &errors, metrics, "epoch", "loss", "epoch_loss") && ok;
  ok = check_losses(trace, &errors, metrics, "epoch", "val_loss", "epoch_val_loss") && ok;
  ok = check_predictions(trace, &errors, argv[5]) && ok;
  ok = check_weights(trace, ours, &errors) && ok;
  ok = check_tree(keras, ours) && ok;
  agd_table_clear(&errors);
  H5Fclose(trace), H5Fclose(keras), H5Fclose(ours);
  return ok ? 0 : 1;
}
