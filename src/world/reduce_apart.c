/* Two ways to hold a window's weights and gradients. Together: one array of weights that all ranks read, gradients
 * where the others read them. Apart: arrays of a rank's own, and what others need of them is streamed past the caches.
 *
 * Which is faster depends on what it costs to write a line that another core has read: where a cache line needs some
 * 100 ns between two cores, together is; where it needs 500, stores crawl, and apart is. On virtual machines the one
 * becomes the other from one second to the next, so the ranks measure it now and then. The bits are the same. */
#include "reduce_internal.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "allegrad/clock.h"
#include "allegrad/memory.h"

/* Round trips of a measurement, and how long one may take, in seconds, for the ranks to stay together. */
enum { PINGS = 16 };
static const double near = 400e-9;

/* Copies whole cache lines without taking them into the cache. */
static void stream(const agd_real *from, size_t count, agd_real *to) {
#ifdef __SSE2__
  const __m128i *source = (const __m128i *)(const void *)from;
  __m128i *target = (__m128i *)(void *)to;
  for (size_t i = 0; i < count * sizeof *to / sizeof *target; i++)
    _mm_stream_si128(target + i, _mm_load_si128(source + i));
  _mm_sfence(); /* streamed stores know no order of their own */
#else
  memcpy(to, from, count * sizeof *to);
#endif
}

agd_code agd_window_allocate_apart(agd_reduce *r, agd_status *st) {
  window *w = r->window;
  const size_t runs = agd_lanes_runs(&r->lanes, (uint64_t)r->comm->rank), count = r->model->weight_count;
  AGD_TRY(agd_allocate(runs * count, sizeof *w->own_gradients, "the gradients", (void **)&w->own_gradients, st));
  return agd_allocate(count, sizeof *w->own_weights, "the weights", (void **)&w->own_weights, st);
}

/* Between two steps all ranks hold the same weights, and the common array does, too: apart, every rank streams its
 * share there. */
static void move(agd_reduce *r, bool apart) {
  window *w = r->window;
  if (apart == w->apart) return;
  w->apart = apart;
  r->gradients = apart ? w->own_gradients : w->peer[w->rank].gradients;
  if (apart) memcpy(w->own_weights, r->model->weights, r->model->weight_count * sizeof *w->own_weights);
  r->model->weights = apart ? w->own_weights : (agd_real *)(void *)w->memory;
  agd_window_point_own_runs(r);
}

/* Seconds of a round trip between the first and the last rank of the node, on the first. */
static double measure(const window *w) {
  _Atomic uint64_t *there = w->peer[0].ping, *back = w->peer[w->size - 1].ping;
  const bool first = w->rank == 0, last = w->rank == w->size - 1;
  const uint64_t begin = atomic_load_explicit(first ? there : back, memory_order_relaxed);
  const double start = agd_clock();
  for (uint64_t i = begin + 1; i <= begin + PINGS && (first || last); i++) {
    if (first) atomic_store_explicit(there, i, memory_order_release);
    agd_window_await(w, first ? back : there, i);
    if (last) atomic_store_explicit(back, i, memory_order_release);
  }
  return (agd_clock() - start) / PINGS;
}

void agd_reduce_adapt(agd_reduce *r, agd_adaption how) {
  window *w = r->window;
  if (w == NULL || w->size == 1) return;
  if (how != AGD_ADAPT_MEASURED) {
    move(r, how == AGD_ADAPT_APART);
    return;
  }
  if (w->spin == 0) return; /* ranks that share cores have other worries */
  agd_window_publish(r);
  const double trip = measure(w);
  if (w->rank == 0) atomic_store_explicit(w->peer[0].far, trip > near, memory_order_relaxed);
  agd_window_publish(r);
  move(r, atomic_load_explicit(w->peer[0].far, memory_order_relaxed) != 0);
}

void agd_window_stream_gradients(const agd_reduce *r) {
  const window *w = r->window;
  const size_t runs = agd_lanes_runs(&r->lanes, (uint64_t)r->comm->rank), total = r->model->weight_count;
  for (int peer = 0; peer < w->shares; peer++) {
    agd_range share = agd_window_share_of(r, peer);
    if (peer == w->rank || share.first >= r->model->exchange_count) continue;
    if (share.count > r->model->exchange_count - share.first) share.count = r->model->exchange_count - share.first;
    for (size_t run = 0; run < runs; run++)
      stream(w->own_gradients + run * total + share.first, share.count,
             w->peer[w->rank].gradients + run * total + share.first);
  }
}

void agd_window_stream_weights(const agd_reduce *r) {
  const window *w = r->window;
  const agd_range share = agd_window_share(r);
  stream(w->own_weights + share.first, share.count, (agd_real *)(void *)w->memory + share.first);
}

void agd_window_fetch_weights(agd_reduce *r) {
  const window *w = r->window;
  for (int peer = 0; peer < w->shares; peer++) {
    const agd_range share = agd_window_share_of(r, peer);
    if (peer != w->rank)
      memcpy(w->own_weights + share.first, (agd_real *)(void *)w->memory + share.first, share.count * sizeof(agd_real));
  }
}
