#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmocka_mpi.h"

static void test_agree_on_success(void **state) {
  (void)state;
  agd_status st = {0};
  assert_int_equal(agd_comm_agree(&world, &st), AGD_OK);
  assert_int_equal(st.code, AGD_OK);
}

/* Whichever rank fails, all leave with its code and message; of several the lowest rank's. It is named once, however
 * often they agree. */
static void test_agree_on_failure(void **state) {
  (void)state;
  for (int failing = 0; failing < world.size; failing++) {
    agd_status st = {0};
    char expected[64];
    if (failing == 0)
      snprintf(expected, sizeof expected, "0 failed");
    else
      snprintf(expected, sizeof expected, "rank %d: %d failed", failing, failing);
    if (world.rank >= failing) agd_fail(&st, AGD_EDATA, "%d failed", world.rank);
    for (int time = 0; time < 2; time++) {
      assert_int_equal(agd_comm_agree(&world, &st), AGD_EDATA);
      assert_string_equal(st.message, expected);
    }
  }
}

static void test_broadcast_and_sum(void **state) {
  (void)state;
  double values[3] = {world.rank + 1, 0.5, -world.rank};
  agd_comm_sum(&world, values, 3);
  assert_true(values[0] == world.size * (world.size + 1) / 2.0);
  assert_true(values[1] == 0.5 * world.size);
  assert_true(values[2] == -world.size * (world.size - 1) / 2.0);
  char text[6] = "other";
  if (world.rank == 0) memcpy(text, "roots", sizeof text);
  agd_comm_broadcast(&world, text, sizeof text);
  assert_string_equal(text, "roots");
}

/* One process in MPI's eyes, several in the launcher's: refused, naming the launcher. */
static void test_wrong_launcher(void **state) {
  (void)state;
  const char *const variables[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "PMIX_RANK", "SLURM_NTASKS", "SLURM_STEP_ID"};
  for (size_t i = 0; i < 5; i++) unsetenv(variables[i]);
  const agd_comm alone = {.mpi = MPI_COMM_SELF, .rank = 0, .size = 1};
  agd_status st = {0};
  assert_int_equal(agd_comm_check_launcher(&alone, &st), AGD_OK);
  for (size_t i = 0; i < 3; i++) {
    setenv(variables[i], "4", 1);
    assert_int_equal(agd_comm_check_launcher(&alone, &st), AGD_EUSAGE);
    assert_non_null(strstr(st.message, variables[i]));
    setenv(variables[i], i == 2 ? "0" : "1", 1);
    assert_int_equal(agd_comm_check_launcher(&alone, &st), AGD_OK);
    setenv(variables[i], "nonsense", 1);
    assert_int_equal(agd_comm_check_launcher(&alone, &st), AGD_OK);
    unsetenv(variables[i]);
  }
  setenv("SLURM_NTASKS", "4", 1); /* inside a batch script, started without srun: one process is meant */
  assert_int_equal(agd_comm_check_launcher(&alone, &st), AGD_OK);
  setenv("SLURM_STEP_ID", "0", 1);
  assert_int_equal(agd_comm_check_launcher(&alone, &st), AGD_EUSAGE);
  unsetenv("SLURM_NTASKS");
  const agd_comm several = {.mpi = MPI_COMM_SELF, .rank = 0, .size = 2};
  setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
  assert_int_equal(agd_comm_check_launcher(&several, &st), AGD_OK);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_agree_on_success), cmocka_unit_test(test_agree_on_failure),
    cmocka_unit_test(test_broadcast_and_sum), cmocka_unit_test(test_wrong_launcher)};
AGD_RUN_MPI_TESTS(tests)
