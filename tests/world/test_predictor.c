#include "allegrad/checkpoint.h"
#include "allegrad/memory.h"
#include "allegrad/predictor.h"
#include "allegrad/weights.h"
#include "temporary.h"

#include <math.h>
#include <mpi.h>

static const agd_model_spec spec = {.inputs = 2,
                                    .outputs = 2,
                                    .hidden_count = 1,
                                    .hidden = {3},
                                    .activation = AGD_TANH,
                                    .batch_norm = true,
                                    .momentum = 0.9,
                                    .epsilon = 0.5};

static agd_model *make_model(void) {
  agd_model *model;
  assert_int_equal(agd_model_create(&spec, &model, NULL), AGD_OK);
  agd_model_initialize(model, AGD_GLOROT_UNIFORM, 3);
  const agd_layer *l = model->layers;
  for (size_t i = 0; i < 2; i++) {
    model->weights[l[0].gamma + i] = (agd_real)(0.5 + (double)i);
    model->weights[l[0].beta + i] = (agd_real)(0.25 - (double)i);
    model->averages[l[0].mean + i] = (agd_real)(1 + (double)i);
    model->averages[l[0].variance + i] = (agd_real)(2 - (double)i);
    model->weights[l[1].bias + i] = (agd_real)(i ? -0.125 : 0.375);
  }
  for (size_t i = 0; i < 3; i++) model->weights[l[0].bias + i] = (agd_real)(0.1 * (double)i);
  return model;
}

/* The model of make_model, straight from the formulas, in double. */
static void reference(const agd_model *m, const double *x, double *y) {
  const agd_layer *l = m->layers;
  double z[2], h[3];
  for (size_t i = 0; i < 2; i++)
    z[i] = (double)m->weights[l[0].gamma + i] * (x[i] - (double)m->averages[l[0].mean + i]) /
               sqrt((double)m->averages[l[0].variance + i] + 0.5) +
           (double)m->weights[l[0].beta + i];
  for (size_t o = 0; o < 3; o++) {
    h[o] = (double)m->weights[l[0].bias + o];
    for (size_t i = 0; i < 2; i++) h[o] += z[i] * (double)m->weights[l[0].kernel + i * 3 + o];
    h[o] = tanh(h[o]);
  }
  for (size_t o = 0; o < 2; o++) {
    y[o] = (double)m->weights[l[1].bias + o];
    for (size_t i = 0; i < 3; i++) y[o] += h[i] * (double)m->weights[l[1].kernel + i * 2 + o];
  }
}

enum { ROWS = 600 }; /* more than one piece, the last not full */

/* Predicts ROWS rows and compares each with the reference on (x - mean) / sd. */
static void expect_predictions(agd_predictor *p, const agd_model *m, const double *mean, const double *sd) {
  agd_real x[ROWS * 2], y[ROWS * 2];
  for (size_t i = 0; i < ROWS * 2; i++) x[i] = (agd_real)(1000 + sin((double)(i * i)));
  if (mean == NULL)
    for (size_t i = 0; i < ROWS * 2; i++) x[i] -= 1000;
  assert_int_equal(agd_predictor_run(p, x, ROWS, y, NULL), AGD_OK);
  for (size_t j = 0; j < ROWS; j++) {
    double row[2] = {(double)x[2 * j], (double)x[2 * j + 1]}, expected[2];
    for (size_t i = 0; mean != NULL && i < 2; i++) row[i] = (row[i] - mean[i]) / sd[i];
    reference(m, row, expected);
    for (size_t o = 0; o < 2; o++) assert_true(fabs((double)y[2 * j + o] - expected[o]) < 2e-6);
  }
  assert_int_equal(agd_predictor_run(p, x, 0, y, NULL), AGD_OK);
}

static void test_raw_rows(void **state) {
  char path[TEMPORARY_SIZE];
  agd_model *m = make_model();
  agd_predictor *p;
  const agd_training training = {.seed = 1};
  temporary_path(path, *state, "final.weights.h5");
  assert_int_equal(agd_weights_save(path, m, NULL, &training, NULL), AGD_OK);
  assert_int_equal(agd_predictor_open(path, NULL, &p, NULL), AGD_OK);
  assert_int_equal(agd_predictor_inputs(p), 2);
  assert_int_equal(agd_predictor_outputs(p), 2);
  assert_int_equal(agd_predictor_x_names(p)->count, 0);
  expect_predictions(p, m, NULL, NULL);
  agd_predictor_close(&p);
  assert_null(p);
  agd_predictor_close(&p);
  agd_model_destroy(&m);
}

/* Raw rows go in; what the model was trained on comes from the file. */
static void test_standardized_rows(void **state) {
  char path[TEMPORARY_SIZE];
  agd_model *m = make_model();
  agd_predictor *p;
  double mean[2] = {1000.25, 999}, sd[2] = {0.5, 2};
  char *x_names[] = {"rooms", "age"}, *y_names[] = {"price", "rent"};
  char job[] = "train: {batch: 32}";
  const agd_training training = {.config = job,
                                 .standardized = true,
                                 .x_mean = mean,
                                 .x_sd = sd,
                                 .x_names = {.count = 2, .name = x_names},
                                 .y_names = {.count = 2, .name = y_names}};
  temporary_path(path, *state, "final.weights.h5");
  assert_int_equal(agd_weights_save(path, m, NULL, &training, NULL), AGD_OK);
  assert_int_equal(agd_predictor_open(path, NULL, &p, NULL), AGD_OK);
  assert_string_equal(agd_predictor_x_names(p)->name[1], "age");
  assert_string_equal(agd_predictor_y_names(p)->name[0], "price");
  assert_string_equal(agd_predictor_job(p), job);
  expect_predictions(p, m, mean, sd);
  agd_predictor_close(&p);
  agd_model_destroy(&m);
}

static void test_foreign_file(void **state) {
  char path[TEMPORARY_SIZE];
  agd_model *m = make_model();
  agd_predictor *p = (agd_predictor *)(void *)m;
  agd_status st = {0};
  void *image;
  size_t size;
  temporary_path(path, *state, "keras.weights.h5");
  assert_int_equal(agd_weights_image(m, NULL, NULL, &image, &size, NULL), AGD_OK);
  assert_int_equal(agd_file_replace(path, image, size, false, NULL), AGD_OK);
  assert_int_equal(agd_predictor_open(path, NULL, &p, &st), AGD_EUSAGE);
  assert_null(p);
  assert_non_null(strstr(st.message, path));
  assert_int_equal(agd_predictor_open(path, &spec, &p, NULL), AGD_OK);
  assert_null(agd_predictor_job(p));
  expect_predictions(p, m, NULL, NULL);
  agd_predictor_close(&p);
  agd_release(&image);
  agd_model_destroy(&m);
}

static void test_refused(void **state) {
  char path[TEMPORARY_SIZE];
  agd_model *m = make_model();
  agd_predictor *p = (agd_predictor *)(void *)m;
  agd_status st = {0};
  const agd_training training = {.seed = 1};
  assert_int_equal(agd_predictor_open(temporary_path(path, *state, "missing"), NULL, &p, &st), AGD_EDATA);
  assert_null(p);
  assert_non_null(strstr(st.message, path));

  agd_real *const spoiled[] = {m->weights + m->layers[1].bias, m->averages + m->layers[0].variance};
  for (int i = 0; i < 2; i++) {
    const agd_real value = *spoiled[i];
    *spoiled[i] = (agd_real)(i == 0 ? NAN : INFINITY);
    temporary_path(path, *state, "diverged.weights.h5");
    assert_int_equal(agd_weights_save(path, m, NULL, &training, NULL), AGD_OK);
    assert_int_equal(agd_predictor_open(path, NULL, &p, &st), AGD_EDATA);
    assert_null(p);
    assert_non_null(strstr(st.message, path));
    assert_non_null(strstr(st.message, "diverged"));
    *spoiled[i] = value;
  }
  agd_model_destroy(&m);
}

static void test_rows_that_are_not_finite(void **state) {
  char path[TEMPORARY_SIZE];
  agd_model *m = make_model();
  agd_predictor *p;
  agd_status st = {0};
  const agd_training training = {.seed = 1};
  agd_real x[8] = {1, 2, 3, 4, 5, (agd_real)NAN, 7, 8}, y[8] = {0};
  temporary_path(path, *state, "final.weights.h5");
  assert_int_equal(agd_weights_save(path, m, NULL, &training, NULL), AGD_OK);
  assert_int_equal(agd_predictor_open(path, NULL, &p, NULL), AGD_OK);
  assert_int_equal(agd_predictor_run(p, x, 4, y, &st), AGD_EDATA);
  assert_string_equal(st.message, "row 2, column 1 of x is nan: not finite");
  for (int i = 0; i < 8; i++) assert_true(y[i] == 0);
  agd_predictor_close(&p);
  agd_model_destroy(&m);
}

static void test_no_mpi(void **state) {
  (void)state;
  int initialized;
  MPI_Initialized(&initialized);
  assert_false(initialized);
}

#define IN_FOLDER(name) cmocka_unit_test_setup_teardown(name, temporary_setup, temporary_teardown)

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_FOLDER(test_raw_rows), IN_FOLDER(test_standardized_rows),        IN_FOLDER(test_foreign_file),
      IN_FOLDER(test_refused),  IN_FOLDER(test_rows_that_are_not_finite), cmocka_unit_test(test_no_mpi)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
