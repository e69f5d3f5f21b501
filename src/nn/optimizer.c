#include "allegrad/optimizer.h"

#include <math.h>

#include "allegrad/kernels.h"
#include "allegrad/memory.h"

size_t agd_optimizer_slot_count(const agd_optimizer_spec *spec) {
  if (spec->name == AGD_ADAM) return 2;
  return spec->momentum != 0 ? 1 : 0;
}

agd_code agd_optimizer_create(const agd_optimizer_spec *spec, size_t count, agd_optimizer **out, agd_status *st) {
  *out = NULL;
  agd_optimizer *optimizer = NULL;
  AGD_TRY(agd_allocate(1, sizeof *optimizer, "the optimizer", (void **)&optimizer, st));
  *optimizer = (agd_optimizer){.spec = *spec,
                               .kernels = agd_kernels_select(),
                               .count = count,
                               .slot_count = agd_optimizer_slot_count(spec),
                               .learning_rate = spec->learning_rate};
  for (size_t s = 0; s < optimizer->slot_count; s++) {
    const agd_code code =
        agd_allocate(count, sizeof(agd_real), "the optimizer's slots", (void **)&optimizer->slots[s], st);
    if (code == AGD_OK) continue;
    agd_optimizer_destroy(&optimizer);
    return code;
  }
  *out = optimizer;
  return AGD_OK;
}

void agd_optimizer_destroy(agd_optimizer **optimizer) {
  if (*optimizer == NULL) return;
  for (size_t s = 0; s < (*optimizer)->slot_count; s++) agd_release(&(*optimizer)->slots[s]);
  agd_release(optimizer);
}

/* Keras' Adam: the two bias corrections folded into the step size. */
static double adam_alpha(const agd_optimizer *o) {
  const double t = (double)o->iteration;
  return o->learning_rate * sqrt(1 - pow(o->spec.beta_2, t)) / (1 - pow(o->spec.beta_1, t));
}

void agd_optimizer_begin(agd_optimizer *o, double learning_rate) {
  o->iteration++;
  o->learning_rate = learning_rate;
  o->step_size = (agd_real)(o->spec.name == AGD_ADAM ? adam_alpha(o) : learning_rate);
}

void agd_optimizer_update(agd_optimizer *o, agd_real *weights, const agd_real *gradients, size_t offset, size_t count) {
  AGD_REQUIRE(o->iteration > 0 && offset <= o->count && count <= o->count - offset);
  const agd_kernels *k = o->kernels;
  const agd_optimizer_spec *s = &o->spec;
  agd_real *w = weights + offset;
  const agd_real *g = gradients + offset;
  const agd_real rate = o->step_size;
  if (s->weight_decay > 0) k->decay(count, w, (agd_real)(s->weight_decay * o->learning_rate));
  if (s->name == AGD_ADAM)
    k->adam(count, w, g, o->slots[0] + offset, o->slots[1] + offset, rate, (agd_real)(1 - s->beta_1),
            (agd_real)(1 - s->beta_2), (agd_real)s->epsilon);
  else if (o->slot_count == 1)
    k->sgd_momentum(count, w, g, o->slots[0] + offset, rate, (agd_real)s->momentum, s->nesterov);
  else
    k->sgd(count, w, g, rate);
}
