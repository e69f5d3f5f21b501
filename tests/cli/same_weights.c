/* same_weights FILE FILE: exit code 0 when two weights files hold the same bits: weights, running averages, and the
 * optimizer's slots, of adam. */
#include <stdio.h>
#include <string.h>

#include "allegrad/weights.h"

int main(int argc, char **argv) {
  const agd_optimizer_spec adam = {.name = AGD_ADAM};
  agd_status st = {0};
  agd_model *model[2];
  agd_optimizer *optimizer[2];
  if (argc != 3) return fprintf(stderr, "usage: same_weights FILE FILE\n"), 2;
  for (int i = 0; i < 2; i++)
    if (agd_weights_load(argv[1 + i], NULL, &model[i], NULL, &st) != AGD_OK ||
        agd_optimizer_create(&adam, model[i]->weight_count, &optimizer[i], &st) != AGD_OK ||
        agd_weights_load_optimizer(argv[1 + i], model[i], optimizer[i], &st) != AGD_OK)
      return fprintf(stderr, "same_weights: %s\n", st.message), 2;
  const size_t size = model[0]->weight_count * sizeof(agd_real), averages = model[0]->average_count * sizeof(agd_real);
  int differ = size != model[1]->weight_count * sizeof(agd_real) ||
               memcmp(model[0]->weights, model[1]->weights, size) != 0 ||
               memcmp(model[0]->averages, model[1]->averages, averages) != 0;
  for (int s = 0; s < 2 && !differ; s++) differ = memcmp(optimizer[0]->slots[s], optimizer[1]->slots[s], size) != 0;
  if (differ) fprintf(stderr, "%s and %s differ\n", argv[1], argv[2]);
  for (int i = 0; i < 2; i++) {
    agd_optimizer_destroy(&optimizer[i]);
    agd_model_destroy(&model[i]);
  }
  return differ;
}
