#include "allegrad/replicas.h"

#include <stdio.h>
#include <string.h>

#include "cmocka_mpi.h"

static agd_model *make_model(void) {
  const agd_model_spec spec = {.inputs = 3, .outputs = 1, .hidden_count = 1, .hidden = {5}, .batch_norm = true};
  agd_model *model = NULL;
  agd_status st = {0};
  assert_int_equal(agd_model_create(&spec, &model, &st), AGD_OK);
  agd_model_initialize(model, AGD_GLOROT_UNIFORM, 1);
  return model;
}

static void flip_a_bit(agd_real *value) {
  unsigned char byte;
  memcpy(&byte, value, 1);
  byte ^= 1;
  memcpy(value, &byte, 1);
}

static void equal_replicas_pass(void **state) {
  (void)state;
  agd_model *model = make_model();
  agd_status st = {0};
  assert_int_equal(agd_replicas_check(&world, model, 7, &st), AGD_OK);
  agd_model_destroy(&model);
}

/* One bit in one rank: that rank is named, on every rank; of two the second, for who is right cannot be told. */
static void check_flip(int rank, int in_averages) {
  agd_model *model = make_model();
  agd_status st = {0};
  char named[32];
  snprintf(named, sizeof named, "rank %d has drifted", world.size == 2 ? 1 : rank);
  if (world.rank == rank)
    flip_a_bit(in_averages ? &model->averages[model->layers[0].variance] : &model->weights[model->layers[0].kernel]);
  assert_int_equal(agd_replicas_check(&world, model, 7, &st), AGD_EINTERNAL);
  assert_non_null(strstr(st.message, named));
  assert_non_null(strstr(st.message, "step 7"));
  agd_model_destroy(&model);
}

static void a_flipped_bit_names_its_rank(void **state) {
  (void)state;
  for (int rank = 0; rank < world.size; rank++) {
    check_flip(rank, 0);
    check_flip(rank, 1);
  }
}

static const struct CMUnitTest tests[] = {cmocka_unit_test(equal_replicas_pass),
                                          cmocka_unit_test(a_flipped_bit_names_its_rank)};
AGD_RUN_MPI_TESTS(tests)
