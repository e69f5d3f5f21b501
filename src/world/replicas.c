#include "allegrad/replicas.h"

#include <string.h>

#include "allegrad/checkpoint.h"
#include "allegrad/memory.h"

enum { DIGEST = 32 };

/* Weights and averages in one digest: that of their two digests. Averages of a node or rank are its own. */
static agd_code digest_of(const agd_model *model, unsigned char digest[DIGEST], agd_status *st) {
  unsigned char both[2 * DIGEST];
  const size_t averages = model->spec.sync == AGD_SYNC_GLOBAL ? model->average_count : 0;
  AGD_TRY(agd_sha256(model->weights, model->weight_count * sizeof *model->weights, both, st));
  AGD_TRY(agd_sha256(model->averages, averages * sizeof *model->averages, both + DIGEST, st));
  return agd_sha256(both, sizeof both, digest, st);
}

static size_t holders(const unsigned char *digests, size_t ranks, size_t of) {
  size_t count = 0;
  for (size_t r = 0; r < ranks; r++) count += memcmp(digests + r * DIGEST, digests + of * DIGEST, DIGEST) == 0;
  return count;
}

/* The first rank that holds what most hold. */
static size_t model_of_most(const unsigned char *digests, size_t ranks) {
  size_t best = 0;
  for (size_t r = 1; r < ranks; r++) {
    if (holders(digests, ranks, r) > holders(digests, ranks, best)) best = r;
  }
  return best;
}

agd_code agd_replicas_check(const agd_comm *comm, const agd_model *model, uint64_t step, agd_status *st) {
  const size_t ranks = (size_t)comm->size;
  if (ranks == 1) return AGD_OK;
  unsigned char *digests = NULL, mine[DIGEST] = {0};
  if (agd_allocate(ranks, DIGEST, "the digests of the replicas", (void **)&digests, st) == AGD_OK)
    digest_of(model, mine, st);
  agd_code code = agd_comm_agree(comm, st);
  if (code == AGD_OK) {
    MPI_Allgather(mine, DIGEST, MPI_BYTE, digests, DIGEST, MPI_BYTE, comm->mpi);
    const size_t right = model_of_most(digests, ranks);
    for (size_t r = 0; r < ranks && code == AGD_OK; r++) { /* the same on every rank */
      if (memcmp(digests + r * DIGEST, digests + right * DIGEST, DIGEST) != 0)
        code =
            agd_fail(st, AGD_EINTERNAL, "rank %zu has drifted: after step %llu its weights are not those of rank %zu",
                     r, (unsigned long long)step, right);
    }
  }
  agd_release(&digests);
  return code;
}
