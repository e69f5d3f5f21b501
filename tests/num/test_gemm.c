/* The products of a dense layer against their reference twin: every library, shapes around the vector widths, empty
 * extents, strided operands whose padding is NaN. */
#include "cmocka_all.h"

#include "allegrad/fold.h"
#include "allegrad/gemm.h"
#include "allegrad/matrix.h"
#include "allegrad/rng.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef ALLEGRAD_DOUBLE
#define REAL_EPSILON DBL_EPSILON
#else
#define REAL_EPSILON FLT_EPSILON
#endif

/* A row-major matrix whose rows are `ld` apart: entries in (-1, 1), NaN between the rows' ends. */
static agd_real *random_matrix(size_t rows, size_t cols, size_t ld, uint64_t stream) {
  agd_real *x = malloc((rows * ld + 1) * sizeof *x);
  assert_non_null(x);
  for (size_t i = 0; i < rows * ld; i++) {
    x[i] = i % ld < cols ? (agd_real)(2 * agd_random_uniform(4, stream, i) - 1) : (agd_real)NAN;
  }
  return x;
}

static void shapes_of(const agd_gemm *g, size_t shape[3][2]) {
  const size_t in = g->in, out = g->out, b = g->batch;
  const size_t forward[3][2] = {{in, out}, {in, b}, {out, b}};
  const size_t input[3][2] = {{in, out}, {out, b}, {in, b}};
  const size_t kernel[3][2] = {{in, b}, {b, out}, {in, out}};
  memcpy(shape,
         g->product == AGD_FORWARD          ? forward
         : g->product == AGD_BACKWARD_INPUT ? input
                                            : kernel,
         sizeof forward);
}

static void check(agd_gemm_library library, agd_product product, size_t in, size_t out, size_t batch, size_t pad) {
  agd_gemm g = {.product = product, .in = in, .out = out, .batch = batch};
  size_t shape[3][2];
  shapes_of(&g, shape);
  g = agd_gemm_plan_with(library, product, in, out, batch, shape[0][1] + pad + 1, agd_padded_ld(shape[1][1] + pad),
                         shape[2][1] + pad + 1);
  agd_real *a = random_matrix(shape[0][0], shape[0][1], g.lda, 1);
  agd_real *b = random_matrix(shape[1][0], shape[1][1], g.ldb, 2);
  agd_real *c = random_matrix(shape[2][0], shape[2][1], g.ldc, 3);
  agd_real *expected = random_matrix(shape[2][0], shape[2][1], g.ldc, 3);
  for (size_t i = 0; i < shape[2][0]; i++) { /* what was there must not count */
    for (size_t j = 0; j < shape[2][1]; j++) c[i * g.ldc + j] = (agd_real)NAN;
  }
  agd_gemm_run(&g, a, b, c);
  agd_gemm_reference(&g, a, b, expected);
  const size_t inner = product == AGD_FORWARD ? in : product == AGD_BACKWARD_INPUT ? out : batch;
  const double tolerance = (double)(inner + 1) * (double)REAL_EPSILON;
  for (size_t i = 0; i < shape[2][0] * g.ldc; i++) {
    const size_t j = i % g.ldc;
    if (j >= shape[2][1]) {
      assert_true(isnan(c[i])); /* nothing is written between the rows */
    } else if (!(fabs((double)c[i] - (double)expected[i]) <= tolerance)) {
      fail_msg("library %d product %d in %zu out %zu batch %zu: c[%zu] is %.9g, not %.9g", (int)library, (int)product,
               in, out, batch, i, (double)c[i], (double)expected[i]);
    }
  }
  free(a), free(b), free(c), free(expected);
}

static void products_equal_their_reference(void **state) {
  (void)state;
  const size_t extents[] = {0, 1, 2, 7, 16, 17, 33, 70};
  const size_t n = sizeof extents / sizeof *extents;
  for (int library = AGD_GEMM_OWN; library <= AGD_GEMM_OPENBLAS; library++) {
    for (int product = AGD_FORWARD; product <= AGD_BACKWARD_KERNEL; product++) {
      for (size_t i = 0; i < n * n * n; i++) {
        check((agd_gemm_library)library, (agd_product)product, extents[i / n / n], extents[i / n % n], extents[i % n],
              i % 2 * 5);
      }
    }
  }
}

static void large_products_equal_their_reference(void **state) {
  (void)state;
  for (int library = AGD_GEMM_OWN; library <= AGD_GEMM_OPENBLAS; library++) {
    for (int product = AGD_FORWARD; product <= AGD_BACKWARD_KERNEL; product++) {
      check((agd_gemm_library)library, (agd_product)product, 300, 256, 256, 15);
      check((agd_gemm_library)library, (agd_product)product, 100, 500, 257, 0);
      check((agd_gemm_library)library, (agd_product)product, 530, 1, 131, 1);
    }
  }
}

/* The bits of an element do not depend on what is computed beside it: any columns and rows of a product alone. */
static void our_elements_do_not_know_their_neighbours(void **state) {
  (void)state;
  enum { IN = 37, OUT = 45, BATCH = 70 };
  const size_t ld = agd_padded_ld(BATCH);
  agd_real *w = random_matrix(IN, OUT, OUT, 1), *x = random_matrix(IN, BATCH, ld, 2),
           *whole = random_matrix(OUT, ld, ld, 3), *part = random_matrix(OUT, ld, ld, 3);
  const agd_gemm g = agd_gemm_plan_with(AGD_GEMM_OWN, AGD_FORWARD, IN, OUT, BATCH, OUT, ld, ld);
  agd_gemm_run(&g, w, x, whole);
  for (size_t cols = 1; cols <= BATCH; cols += 3) {
    const agd_gemm few = agd_gemm_plan_with(AGD_GEMM_OWN, AGD_FORWARD, IN, OUT, cols, OUT, ld, ld);
    agd_gemm_run(&few, w, x, part);
    for (size_t i = 0; i < OUT; i++) assert_memory_equal(part + i * ld, whole + i * ld, cols * sizeof *part);
  }
  for (size_t rows = 1; rows <= OUT; rows += 2) {
    const agd_gemm few = agd_gemm_plan_with(AGD_GEMM_OWN, AGD_FORWARD, IN, rows, BATCH, OUT, ld, ld);
    agd_gemm_run(&few, w, x, part);
    for (size_t i = 0; i < rows; i++) assert_memory_equal(part + i * ld, whole + i * ld, BATCH * sizeof *part);
  }
  free(w), free(x), free(whole), free(part);
}

/* A product by lanes is the fold of the lanes' products, bit by bit; short and empty lanes included. */
static void lanes_are_folded_by_the_tree(void **state) {
  (void)state;
  enum { IN = 19, OUT = 21, WIDTH = 5, MOST = 16 };
  const size_t ld = MOST * WIDTH + 3, ldt = agd_padded_ld(OUT);
  agd_real *x = random_matrix(IN, MOST * WIDTH, ld, 1), *dy_t = random_matrix(MOST * WIDTH, ldt, ldt, 2);
  for (size_t count = 1; count <= MOST; count *= 2) {
    size_t rows[MOST];
    for (size_t l = 0; l < count; l++) rows[l] = l + 2 < count ? WIDTH : l + 2 == count ? 2 : 0;
    const agd_gemm_lanes lanes = {count, WIDTH, rows};
    const agd_gemm g = agd_gemm_plan_with(AGD_GEMM_OWN, AGD_BACKWARD_KERNEL, IN, OUT, 0, ld, ldt, OUT);
    agd_real folded[IN * OUT], *each = calloc(count * IN * OUT, sizeof *each);
    assert_non_null(each);
    agd_gemm_run_lanes(&g, &lanes, x, dy_t, folded);
    for (size_t l = 0; l < count; l++) {
      const agd_gemm one = agd_gemm_plan_with(AGD_GEMM_OWN, AGD_BACKWARD_KERNEL, IN, OUT, rows[l], ld, ldt, OUT);
      agd_gemm_run(&one, x + l * WIDTH, dy_t + l * WIDTH * ldt, each + l * IN * OUT);
    }
    agd_fold_reals(count, IN * OUT, IN * OUT, each);
    assert_memory_equal(folded, each, sizeof folded);
    free(each);
  }
  free(x), free(dy_t);
}

static void a_plan_follows_the_rule(void **state) {
  (void)state;
  const size_t extents[] = {1, 8, 100, 300, 1024};
  const size_t n = sizeof extents / sizeof *extents;
  for (int product = AGD_FORWARD; product <= AGD_BACKWARD_KERNEL; product++) {
    for (size_t i = 0; i < n * n * n; i++) {
      const size_t in = extents[i / n / n], out = extents[i / n % n], batch = extents[i % n];
      const agd_gemm g = agd_gemm_plan((agd_product)product, in, out, batch, 1024, 1024, 1024);
      assert_int_equal(g.library, agd_gemm_rule((agd_product)product, in, out, batch));
    }
  }
}

static void the_libraries_have_names(void **state) {
  (void)state;
  char text[128];
  assert_true(strlen(agd_gemm_blas_kernel()) > 0);
  assert_non_null(strstr(agd_gemm_describe(text, sizeof text), "OpenBLAS 0."));
  assert_non_null(strstr(text, agd_gemm_blas_kernel()));
  assert_int_equal(strlen(agd_gemm_describe(text, 9)), 8);
}

int main(void) {
  agd_gemm_set_threads(1);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(products_equal_their_reference),
      cmocka_unit_test(large_products_equal_their_reference),
      cmocka_unit_test(our_elements_do_not_know_their_neighbours),
      cmocka_unit_test(lanes_are_folded_by_the_tree),
      cmocka_unit_test(a_plan_follows_the_rule),
      cmocka_unit_test(the_libraries_have_names),
  };
  return cmocka_run_group_tests_name("gemm", tests, NULL, NULL);
}
