/* The product of a dense layer in GNU vector extensions. Each product_<isa>.c compiles this file for its instruction
 * set.
 *
 * A tile of C stays in registers while the inner index runs: a row of B is loaded, the elements of A are broadcast.
 * Every element of C is one chain of multiply-adds in the order of the inner index (of its lane), whatever the tile it
 * falls into: its bits do not depend on how many rows and columns are computed beside it. */
#include "product_set.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define ROWS_WIDE 14 /* rows of a tile two vectors wide: 28 sums and 2 of B in 32 registers */
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#define ROWS_WIDE 6 /* 12 sums, 2 of B and 1 of A in 16 registers */
#else
#define VECTOR_BYTES 16
#define ROWS_WIDE 6
#endif
#define ROWS_NARROW (2 * ROWS_WIDE) /* rows of a tile one vector wide */

#define LANES (VECTOR_BYTES / sizeof(agd_real))

#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#define TWICE _Pragma("clang loop unroll_count(2)")
#else
#define UNROLL _Pragma("GCC unroll 28")
#define TWICE _Pragma("GCC unroll 2")
#endif
/* Rows of A are addressed by groups of four: from a pointer, with the row's stride once, twice and three times. With a
 * pointer for every row, which compilers make of a plain loop, there are no registers left, and every multiply-add
 * waits for its address. */
#define GROUP 4
#define FOR_GROUPS UNROLL for (size_t g = 0; g < (rows + GROUP - 1) / GROUP; g++)
#define KEEP_APART(value) __asm__("" : "+r"(value))

#define FOR_SUMS UNROLL for (size_t i = 0; i < rows; i++) UNROLL for (size_t v = 0; v < vectors; v++)

typedef agd_real vec __attribute__((vector_size(VECTOR_BYTES)));

INLINE vec load(const agd_real *p) {
  vec v;
  memcpy(&v, p, sizeof v);
  return v;
}

INLINE void store(agd_real *p, vec v) { memcpy(p, &v, sizeof v); }

/* Adds the products of inner elements [0, count) to the sums of a tile of `rows` rows and `vectors` vectors of columns;
 * a_k and b_k move on. */
INLINE void multiply(size_t rows, size_t vectors, const agd_product_operands *p, size_t count,
                     const agd_real *a_k[ROWS_NARROW / GROUP], const agd_real **b_k, vec sum[ROWS_NARROW][2]) {
  const size_t a_inner = p->a_inner, ldb = p->ldb;
  size_t offset[GROUP] = {0, p->a_row, 2 * p->a_row, 3 * p->a_row};
  KEEP_APART(offset[3]);
  TWICE for (size_t k = count; k > 0; k--, *b_k += ldb) {
    vec row[2];
    UNROLL for (size_t v = 0; v < vectors; v++) row[v] = load(*b_k + v * LANES);
    FOR_SUMS sum[i][v] += (a_k[i / GROUP][offset[i % GROUP]] - (vec){0}) * row[v];
    FOR_GROUPS {
      a_k[g] += a_inner;
      KEEP_APART(a_k[g]);
    }
  }
}

/* Stores a tile of which the first `cols` columns exist. */
INLINE void store_tile(size_t rows, size_t vectors, vec sum[ROWS_NARROW][2], agd_real *c, size_t ldc, size_t cols) {
  if (cols == vectors * LANES) {
    FOR_SUMS store(c + i * ldc + v * LANES, sum[i][v]);
  } else {
    UNROLL for (size_t i = 0; i < rows; i++) {
      agd_real line[2 * LANES];
      UNROLL for (size_t v = 0; v < vectors; v++) store(line + v * LANES, sum[i][v]);
      memcpy(c + i * ldc, line, cols * sizeof *c);
    }
  }
}

/* c = a b for a tile, of one lane. */
INLINE void tile(size_t rows, size_t vectors, const agd_product_operands *p, const agd_real *a, const agd_real *b,
                 agd_real *c, size_t cols) {
  vec sum[ROWS_NARROW][2];
  const agd_real *a_k[ROWS_NARROW / GROUP];
  FOR_SUMS sum[i][v] = (vec){0};
  FOR_GROUPS a_k[g] = a + g * GROUP * p->a_row;
  multiply(rows, vectors, p, p->lane_inner[0], a_k, &b, sum);
  store_tile(rows, vectors, sum, c, p->ldc, cols);
}

/* c = a b for a tile of half the height, two lanes at a time, so that the sums of a pair are added in registers. Pairs
 * are added by a binary tree, as a counter carries: after pair l as many pairs of pairs are complete as l has trailing
 * ones.
 */
INLINE void tile_of_lanes(size_t rows, size_t vectors, const agd_product_operands *p, const agd_real *a,
                          const agd_real *b, agd_real *c, size_t cols) {
  vec sum[2][ROWS_NARROW][2], partial[AGD_LANE_LEVELS][ROWS_NARROW][2];
  size_t pair = 0;
  do {
    const size_t *inner = p->lane_inner + 2 * pair;
    const agd_real *a_k[2][ROWS_NARROW / GROUP], *b_k[2];
    UNROLL for (size_t l = 0; l < 2; l++) {
      const size_t first = (2 * pair + l) * p->lane_width;
      FOR_SUMS sum[l][i][v] = (vec){0};
      FOR_GROUPS a_k[l][g] = a + first * p->a_inner + g * GROUP * p->a_row;
      b_k[l] = b + first * p->ldb;
    }
    for (size_t k = inner[1]; k > 0; k--)
      UNROLL for (size_t l = 0; l < 2; l++) multiply(rows, vectors, p, 1, a_k[l], &b_k[l], sum[l]);
    multiply(rows, vectors, p, inner[0] - inner[1], a_k[0], &b_k[0], sum[0]); /* rows fill lanes in order */
    FOR_SUMS sum[0][i][v] += sum[1][i][v];
    size_t level = 0;
    for (size_t carry = pair; carry & 1; carry >>= 1, level++)
      FOR_SUMS sum[0][i][v] = partial[level][i][v] + sum[0][i][v];
    FOR_SUMS partial[level][i][v] = sum[0][i][v];
  } while (2 * ++pair < p->lanes);
  store_tile(rows, vectors, sum[0], c, p->ldc, cols);
}

typedef void tile_function(const agd_product_operands *p, const agd_real *a, const agd_real *b, agd_real *c,
                           size_t cols);

/* A tile of each height has a function of its own. */
#define TILE(rows, vectors)                                                                                            \
  static __attribute__((noinline)) void tile_##rows##_##vectors(const agd_product_operands *p, const agd_real *a,      \
                                                                const agd_real *b, agd_real *c, size_t cols) {         \
    tile(rows, vectors, p, a, b, c, cols);                                                                             \
  }                                                                                                                    \
  _Static_assert((rows) * (vectors) <= ROWS_NARROW, "a tile must stay in registers")

TILE(1, 2);
TILE(2, 2);
TILE(3, 2);
TILE(4, 2);
TILE(5, 2);
TILE(6, 2);
TILE(1, 1);
TILE(2, 1);
TILE(3, 1);
TILE(4, 1);
TILE(5, 1);
TILE(6, 1);
TILE(7, 1);
TILE(8, 1);
TILE(9, 1);
TILE(10, 1);
TILE(11, 1);
TILE(12, 1);
#if ROWS_WIDE == 14
TILE(7, 2);
TILE(8, 2);
TILE(9, 2);
TILE(10, 2);
TILE(11, 2);
TILE(12, 2);
TILE(13, 2);
TILE(14, 2);
TILE(13, 1);
TILE(14, 1);
TILE(15, 1);
TILE(16, 1);
TILE(17, 1);
TILE(18, 1);
TILE(19, 1);
TILE(20, 1);
TILE(21, 1);
TILE(22, 1);
TILE(23, 1);
TILE(24, 1);
TILE(25, 1);
TILE(26, 1);
TILE(27, 1);
TILE(28, 1);
#endif

#define LANE_TILE(rows, vectors)                                                                                       \
  static __attribute__((noinline)) void lane_tile_##rows##_##vectors(const agd_product_operands *p, const agd_real *a, \
                                                                     const agd_real *b, agd_real *c, size_t cols) {    \
    tile_of_lanes(rows, vectors, p, a, b, c, cols);                                                                    \
  }                                                                                                                    \
  _Static_assert(2 * (rows) * (vectors) <= ROWS_NARROW, "both lanes' sums must stay in registers")

LANE_TILE(1, 2);
LANE_TILE(2, 2);
LANE_TILE(3, 2);
LANE_TILE(1, 1);
LANE_TILE(2, 1);
LANE_TILE(3, 1);
LANE_TILE(4, 1);
LANE_TILE(5, 1);
LANE_TILE(6, 1);
#if ROWS_WIDE == 14
LANE_TILE(4, 2);
LANE_TILE(5, 2);
LANE_TILE(6, 2);
LANE_TILE(7, 2);
LANE_TILE(7, 1);
LANE_TILE(8, 1);
LANE_TILE(9, 1);
LANE_TILE(10, 1);
LANE_TILE(11, 1);
LANE_TILE(12, 1);
LANE_TILE(13, 1);
LANE_TILE(14, 1);
#endif

static tile_function *const LANES_WIDE[ROWS_WIDE / 2] = {
    lane_tile_1_2, lane_tile_2_2, lane_tile_3_2,
#if ROWS_WIDE == 14
    lane_tile_4_2, lane_tile_5_2, lane_tile_6_2, lane_tile_7_2,
#endif
};

static tile_function *const LANES_NARROW[ROWS_NARROW / 2] = {
    lane_tile_1_1,  lane_tile_2_1,  lane_tile_3_1, lane_tile_4_1,  lane_tile_5_1,  lane_tile_6_1,
#if ROWS_WIDE == 14
    lane_tile_7_1,  lane_tile_8_1,  lane_tile_9_1, lane_tile_10_1, lane_tile_11_1, lane_tile_12_1,
    lane_tile_13_1, lane_tile_14_1,
#endif
};

static tile_function *const WIDE[ROWS_WIDE] = {
    tile_1_2, tile_2_2, tile_3_2, tile_4_2,  tile_5_2,  tile_6_2,
#if ROWS_WIDE == 14
    tile_7_2, tile_8_2, tile_9_2, tile_10_2, tile_11_2, tile_12_2, tile_13_2, tile_14_2,
#endif
};

static tile_function *const NARROW[ROWS_NARROW] = {
    tile_1_1,  tile_2_1,  tile_3_1,  tile_4_1,  tile_5_1,  tile_6_1,  tile_7_1,  tile_8_1,
    tile_9_1,  tile_10_1, tile_11_1, tile_12_1,
#if ROWS_WIDE == 14
    tile_13_1, tile_14_1, tile_15_1, tile_16_1, tile_17_1, tile_18_1, tile_19_1, tile_20_1,
    tile_21_1, tile_22_1, tile_23_1, tile_24_1, tile_25_1, tile_26_1, tile_27_1, tile_28_1,
#endif
};

/* All rows of the columns [j, j + cols): as few tiles as hold them, of heights that differ by one at most. */
INLINE void column_panel(const agd_product_operands *p, size_t j, size_t cols, tile_function *const *function,
                         size_t tallest) {
  const size_t tiles = (p->rows + tallest - 1) / tallest;
  for (size_t t = 0, i = 0; t < tiles; t++) {
    const size_t rows = p->rows / tiles + (t < p->rows % tiles);
    function[rows - 1](p, p->a + i * p->a_row, p->b + j, p->c + i * p->ldc + j, cols);
    i += rows;
  }
}

/* Panels of two vectors, then one or two for what is left. The last may overlap the one before, with the same bits,
 * rather than end within a vector. */
INLINE void product(const agd_product_operands *p) {
  for (size_t j = 0; j < p->cols;) {
    const size_t left = p->cols - j, wide = left > LANES, whole = wide ? 2 * LANES : LANES;
    if (left < whole && p->cols >= whole) j = p->cols - whole;
    const size_t cols = p->cols - j < whole ? p->cols - j : whole;
    if (p->lanes == 1)
      column_panel(p, j, cols, wide ? WIDE : NARROW, wide ? ROWS_WIDE : ROWS_NARROW);
    else
      column_panel(p, j, cols, wide ? LANES_WIDE : LANES_NARROW, wide ? ROWS_WIDE / 2 : ROWS_NARROW / 2);
    j += cols;
  }
}
