/* What a training step costs beside its matrix products.
 *
 *   bench_step [REPEATS]
 *
 * The floor is the plain products of a step of the reference model, one after the other as a step takes them, on one
 * core: 7 forward, 7 dW and 7 dX (the last one gives the gradients of the input BN), each by the faster of OpenBLAS and
 * libxsmm at that shape. The step is agd_network_train with agd_optimizer on a data set of the reference job's size.
 * Both are taken by turns, a few steps at a time, and the fastest of REPEATS turns counts: what the machine does beside
 * disturbs neither. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef ALLEGRAD_LIBXSMM
#include <libxsmm.h>
#endif

#include "allegrad/clock.h"
#include "allegrad/gemm.h"
#include "allegrad/matrix.h"
#include "allegrad/memory.h"
#include "allegrad/network.h"
#include "allegrad/optimizer.h"
#include "allegrad/rng.h"
#include "reference_model.h"

enum { PRODUCTS = 3, TURN_ROWS = 256 };
enum { OPENBLAS, LIBXSMM, OURS, CANDIDATES };
static const double TARGET = 1.15, LIMIT = 1.25;
static const char *const PRODUCT_NAME[PRODUCTS] = {"forward", "dX", "dW"};

static agd_real *random_reals(size_t count) {
  static uint64_t stream = 0;
  agd_status st = {0};
  agd_real *x = NULL;
  if (agd_allocate(count, sizeof *x, "the benchmark", (void **)&x, &st) != AGD_OK) {
    fprintf(stderr, "bench_step: %s\n", st.message);
    exit((int)st.code);
  }
  stream++;
  for (size_t i = 0; i < count; i++) x[i] = (agd_real)(2 * agd_random_uniform(1, stream, i) - 1);
  return x;
}

/* ---- the floor ---- */

/* Computes c from a and b; see agd_product for who is who. */
typedef struct product {
  agd_gemm gemm;          /* by OpenBLAS or by our kernel, */
  void (*compiled)(void); /* or, if not NULL, by libxsmm */
  const agd_real *a, *b;
  agd_real *c;
} product;

/* The operands of one layer's products, of its own as in a network. */
typedef struct layer {
  agd_real *x, *w, *y, *dy, *dy_t, *dx, *dw;
  product products[PRODUCTS];
} layer;

#ifdef ALLEGRAD_LIBXSMM
/* libxsmm is column-major: a row-major C = op(A) B is its C^T = B^T op(A)^T, so A and B change places. */
static void (*compile(const agd_gemm *g))(void) {
  const bool dw = g->product == AGD_BACKWARD_KERNEL;
  const int m = (int)(dw ? g->out : g->batch), n = (int)(g->product == AGD_FORWARD ? g->out : g->in);
  const int k = (int)(dw ? g->batch : g->product == AGD_FORWARD ? g->in : g->out);
  const int ld_first = (int)g->ldb, ld_second = (int)g->lda, ldc = (int)g->ldc, prefetch = LIBXSMM_GEMM_PREFETCH_NONE;
  const int flags = g->product == AGD_FORWARD ? LIBXSMM_GEMM_FLAG_TRANS_B : LIBXSMM_GEMM_FLAG_NONE;
  const float alpha = 1, beta = 0;
  return (void (*)(void))libxsmm_smmdispatch(m, n, k, &ld_first, &ld_second, &ldc, &alpha, &beta, &flags, &prefetch);
}

static void run_compiled(const product *p) { ((libxsmm_smmfunction)p->compiled)(p->b, p->a, p->c); }

static const char *libxsmm_name(void) { return "libxsmm " LIBXSMM_VERSION; }

static const char *libxsmm_target(void) { return libxsmm_get_target_arch(); }
#else
static void (*compile(const agd_gemm *g))(void) { return (void)g, NULL; }

static void run_compiled(const product *p) { (void)p; }

static const char *libxsmm_name(void) { return "no libxsmm"; }

static const char *libxsmm_target(void) { return "none"; }
#endif

static void run_product(const product *p) {
  if (p->compiled != NULL)
    run_compiled(p);
  else
    agd_gemm_run(&p->gemm, p->a, p->b, p->c);
}

/* The same product by another candidate; false where that cannot. */
static bool by(product *p, int candidate) {
  const agd_gemm *g = &p->gemm;
  p->compiled = candidate == LIBXSMM ? compile(g) : NULL;
  p->gemm = agd_gemm_plan_with(candidate == OURS ? AGD_GEMM_OWN : AGD_GEMM_OPENBLAS, g->product, g->in, g->out,
                               g->batch, g->lda, g->ldb, g->ldc);
  return candidate != LIBXSMM || p->compiled != NULL;
}

static layer layer_create(size_t in, size_t out, size_t batch) {
  const size_t ld = agd_padded_ld(batch), ldt = agd_padded_ld(out);
  layer l = {.x = random_reals(in * ld),
             .w = random_reals(in * out),
             .y = random_reals(out * ld),
             .dy = random_reals(out * ld),
             .dy_t = random_reals(batch * ldt),
             .dx = random_reals(in * ld),
             .dw = random_reals(in * out)};
  const agd_gemm forward = agd_gemm_plan(AGD_FORWARD, in, out, batch, out, ld, ld);
  const agd_gemm dx = agd_gemm_plan(AGD_BACKWARD_INPUT, in, out, batch, out, ld, ld);
  const agd_gemm dw = agd_gemm_plan(AGD_BACKWARD_KERNEL, in, out, batch, ld, ldt, out);
  l.products[AGD_FORWARD] = (product){.gemm = forward, .a = l.w, .b = l.x, .c = l.y};
  l.products[AGD_BACKWARD_INPUT] = (product){.gemm = dx, .a = l.w, .b = l.dy, .c = l.dx};
  l.products[AGD_BACKWARD_KERNEL] = (product){.gemm = dw, .a = l.x, .b = l.dy_t, .c = l.dw};
  return l;
}

static void layer_clear(layer *l) {
  agd_real **all[] = {&l->x, &l->w, &l->y, &l->dy, &l->dy_t, &l->dx, &l->dw};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) agd_release(all[i]);
}

static double flops(const product *p) { return 2.0 * (double)p->gemm.in * (double)p->gemm.out * (double)p->gemm.batch; }

/* The fastest of `repeats` turns of a product, each long enough for the clock. */
static double time_product(const product *p, int repeats) {
  const int calls = 1 + (int)(5e6 / flops(p));
  double best = HUGE_VAL;
  for (int r = 0; r < repeats; r++) {
    const double start = agd_clock();
    for (int c = 0; c < calls; c++) run_product(p);
    best = fmin(best, (agd_clock() - start) / calls);
  }
  return best;
}

/* Times a product by every candidate, prints GFLOP/s, and leaves it to the faster of the libraries. */
static void compare_libraries(product *p, int repeats) {
  double fastest = HUGE_VAL;
  int winner = OPENBLAS;
  for (int candidate = 0; candidate < CANDIDATES; candidate++) {
    if (!by(p, candidate)) {
      printf(" %10s", "-");
      continue;
    }
    const double seconds = time_product(p, repeats);
    printf(" %10.1f", flops(p) / seconds * 1e-9);
    if (candidate == OURS || seconds >= fastest) continue;
    fastest = seconds;
    winner = candidate;
  }
  by(p, winner);
}

static void compare_all(layer *layers, int repeats) {
  printf("GFLOP/s %9s %10s %10s %10s\n", "", "OpenBLAS", "libxsmm", "ours");
  for (int p = 0; p < PRODUCTS; p++) {
    for (int i = 0; i < LAYERS; i++) {
      char shape[32];
      snprintf(shape, sizeof shape, "%zu-%zu", WIDTH[i], WIDTH[i + 1]);
      printf("%-7s %9s", PRODUCT_NAME[p], shape);
      compare_libraries(&layers[i].products[p], repeats);
      puts("");
    }
  }
}

static double time_floor(const layer *layers, int steps) {
  const double start = agd_clock();
  for (int s = 0; s < steps; s++) {
    for (int i = 0; i < LAYERS; i++) run_product(&layers[i].products[AGD_FORWARD]);
    for (int i = LAYERS; i-- > 0;) {
      run_product(&layers[i].products[AGD_BACKWARD_INPUT]);
      run_product(&layers[i].products[AGD_BACKWARD_KERNEL]);
    }
  }
  return (agd_clock() - start) / steps;
}

/* ---- the step ---- */

typedef struct training {
  agd_model *model;
  agd_network *network;
  agd_optimizer *optimizer;
  agd_real *x, *y; /* [ROWS, inputs] and [ROWS, 1] */
  size_t batch, next;
} training;

static void update(void *context, size_t offset, size_t count) {
  training *t = context;
  agd_optimizer_update(t->optimizer, t->model->weights, agd_network_gradients(t->network), offset, count);
}

static training training_create(size_t batch) {
  const agd_model_spec spec = reference_model();
  training t = {.batch = batch, .x = random_reals(ROWS * WIDTH[0]), .y = random_reals(ROWS * WIDTH[LAYERS])};
  agd_status st = {0};
  agd_code code = agd_model_create(&spec, &t.model, &st);
  const agd_lanes lanes = agd_lanes_of_ranks(1);
  if (code == AGD_OK) code = agd_network_create(t.model, &lanes, 0, batch, NULL, &t.network, &st);
  if (code == AGD_OK) code = agd_optimizer_create(&REFERENCE_SGD, t.model->weight_count, &t.optimizer, &st);
  if (code != AGD_OK) {
    fprintf(stderr, "bench_step: %s\n", st.message);
    exit((int)code);
  }
  agd_model_initialize(t.model, AGD_GLOROT_UNIFORM, 1);
  return t;
}

static void training_clear(training *t) {
  agd_optimizer_destroy(&t->optimizer);
  agd_network_destroy(&t->network);
  agd_model_destroy(&t->model);
  agd_release(&t->x);
  agd_release(&t->y);
}

static double time_steps(training *t, int steps) {
  const agd_exchange exchange = {.groups = 1, .gradient_ready = update, .gradient_context = t};
  const double start = agd_clock();
  for (int s = 0; s < steps; s++) {
    if (t->next + t->batch > ROWS) t->next = 0;
    agd_optimizer_begin(t->optimizer, t->optimizer->spec.learning_rate);
    const agd_batch batch = {.x = t->x + t->next * WIDTH[0],
                             .y = t->y + t->next * WIDTH[LAYERS],
                             .global_rows = t->batch,
                             .step_rows = t->batch};
    double loss;
    agd_network_prepare(t->network, &batch, &exchange);
    agd_network_train(t->network, &exchange, &loss);
    t->next += t->batch;
  }
  return (agd_clock() - start) / steps;
}

/* ---- side by side ---- */

static void bench_batch(size_t batch, int repeats) {
  layer layers[LAYERS];
  for (size_t i = 0; i < LAYERS; i++) layers[i] = layer_create(WIDTH[i], WIDTH[i + 1], batch);
  training t = training_create(batch);
  printf("batch %zu\n", batch);
  compare_all(layers, repeats);
  const int steps = (int)(TURN_ROWS / batch);
  double floor = HUGE_VAL, step = HUGE_VAL, work = 0;
  for (int r = 0; r < repeats; r++) {
    floor = fmin(floor, time_floor(layers, steps));
    step = fmin(step, time_steps(&t, steps));
  }
  for (int p = 0; p < PRODUCTS; p++) {
    for (int i = 0; i < LAYERS; i++) work += flops(&layers[i].products[p]);
  }
  const double epoch = (double)ROWS / (double)batch;
  printf("floor  %.4f s/epoch  %6.1f GFLOP/s\n", floor * epoch, work / floor * 1e-9);
  printf("step   %.4f s/epoch  %6.1f GFLOP/s\n", step * epoch, work / step * 1e-9);
  printf("step / floor  %.3f  (target %.2f, limit %.2f)\n\n", step / floor, TARGET, LIMIT);
  for (size_t i = 0; i < LAYERS; i++) layer_clear(&layers[i]);
  training_clear(&t);
}

int main(int argc, char **argv) {
  const int repeats = argc > 1 ? atoi(argv[1]) : 300;
  if (argc > 2 || repeats < 1) {
    fprintf(stderr, "usage: bench_step [REPEATS]\n");
    return AGD_EUSAGE;
  }
  char libraries[128];
  agd_gemm_set_threads(1);
  printf("%s, %s (%s), our kernels %s\n%d rows an epoch, one core, the fastest of %d turns\n\n",
         agd_gemm_describe(libraries, sizeof libraries), libxsmm_name(), libxsmm_target(), agd_kernels_select()->isa,
         ROWS, repeats);
  const size_t batches[] = {16, 32, 256};
  for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) bench_batch(batches[i], repeats);
  return AGD_OK;
}
