#include "allegrad/rows.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "allegrad/memory.h"

agd_code agd_rows_create(const agd_comm *comm, const agd_shard_plan *plan, const agd_permutation *order,
                         size_t features, size_t targets, agd_rows *out, agd_status *st) {
  *out = (agd_rows){.plan = *plan,
                    .order = *order,
                    .features = features,
                    .targets = targets,
                    .count = agd_plan_shard_rows(plan, comm->rank)};
  if (agd_allocate(out->count, features * sizeof *out->x, "the rows", (void **)&out->x, st) == AGD_OK)
    agd_allocate(out->count, targets * sizeof *out->y, "the rows", (void **)&out->y, st);
  const agd_code code = agd_comm_agree(comm, st);
  if (code != AGD_OK) agd_rows_clear(out);
  return code;
}

void agd_rows_clear(agd_rows *rows) {
  agd_release(&rows->x);
  agd_release(&rows->y);
  *rows = (agd_rows){0};
}

/* One local row's journey: which rank is at the other end, and the local index there. */
typedef struct move {
  uint64_t there; /* index on the other rank */
  uint64_t here;
  int rank;
} move;

/* The other ends of this rank's rows in `mine`: where they are in `other`. */
static void find_moves(const agd_comm *comm, const agd_rows *mine, const agd_rows *other, move *moves) {
  for (uint64_t i = 0; i < mine->count; i++) {
    const uint64_t row = agd_permute(&mine->order, agd_plan_position(&mine->plan, comm->rank, i));
    const uint64_t position = agd_permute_inverse(&other->order, row);
    moves[i].here = i;
    agd_plan_owner(&other->plan, position, &moves[i].rank, &moves[i].there);
  }
}

/* Rank by rank; within a rank in the order of the receiving side, on which both sides agree without talking. */
static int by_index_here(const void *a, const void *b) {
  const move *left = a, *right = b;
  if (left->rank != right->rank) return left->rank < right->rank ? -1 : 1;
  return (left->here > right->here) - (left->here < right->here);
}

static int by_index_there(const void *a, const void *b) {
  const move *left = a, *right = b;
  if (left->rank != right->rank) return left->rank < right->rank ? -1 : 1;
  return (left->there > right->there) - (left->there < right->there);
}

/* One side of the exchange: for every other rank a datatype that picks its rows out of the local array. */
typedef struct side {
  move *moves;
  MPI_Aint *displacement;
  MPI_Datatype *type; /* [size] */
  int *count;         /* [size]: 1 where there is anything to move, else 0 */
  int *zero;          /* [size] byte offsets of MPI_Alltoallw, all 0 */
} side;

static void clear_side(side *s) {
  agd_release(&s->moves);
  agd_release(&s->displacement);
  agd_release(&s->type);
  agd_release(&s->count);
  agd_release(&s->zero);
}

static agd_code allocate_side(const agd_comm *comm, uint64_t rows, side *s, agd_status *st) {
  const size_t size = (size_t)comm->size;
  const char *what = "moving the rows";
  *s = (side){0};
  if (rows > INT_MAX)
    return agd_fail(st, AGD_EDATA, "%llu rows on one rank are more than one MPI message holds; use more ranks",
                    (unsigned long long)rows);
  AGD_TRY(agd_allocate(rows, sizeof *s->moves, what, (void **)&s->moves, st));
  AGD_TRY(agd_allocate(rows, sizeof *s->displacement, what, (void **)&s->displacement, st));
  AGD_TRY(agd_allocate(size, sizeof *s->type, what, (void **)&s->type, st));
  AGD_TRY(agd_allocate(size, sizeof *s->count, what, (void **)&s->count, st));
  return agd_allocate(size, sizeof *s->zero, what, (void **)&s->zero, st);
}

/* Builds the datatypes for rows of `width` reals from the sorted moves. */
static void build_types(const agd_comm *comm, uint64_t rows, size_t width, side *s) {
  const size_t row_bytes = width * sizeof(agd_real);
  for (uint64_t i = 0; i < rows; i++) s->displacement[i] = (MPI_Aint)(s->moves[i].here * row_bytes);
  uint64_t first = 0;
  for (int r = 0; r < comm->size; r++) {
    uint64_t end = first;
    while (end < rows && s->moves[end].rank == r) end++;
    s->count[r] = end > first;
    s->type[r] = AGD_MPI_REAL;
    if (end > first) {
      MPI_Type_create_hindexed_block((int)(end - first), (int)width, s->displacement + first, AGD_MPI_REAL,
                                     &s->type[r]);
      MPI_Type_commit(&s->type[r]);
    }
    first = end;
  }
}

static void free_types(const agd_comm *comm, side *s) {
  for (int r = 0; r < comm->size; r++)
    if (s->count[r] > 0) MPI_Type_free(&s->type[r]);
}

/* x and y are two exchanges with the same moves. */
enum { PARTS = 2 };

struct agd_transfer {
  const agd_comm *comm;
  struct part {
    side send, receive;
    MPI_Request request;
  } part[PARTS];
};

static void clear_transfer(agd_transfer **transfer) {
  for (int p = 0; p < PARTS; p++) {
    clear_side(&(*transfer)->part[p].send);
    clear_side(&(*transfer)->part[p].receive);
  }
  agd_release(transfer);
}

static agd_code allocate_transfer(const agd_comm *comm, const agd_rows *from, const agd_rows *to, agd_transfer **out,
                                  agd_status *st) {
  AGD_TRY(agd_allocate(1, sizeof **out, "moving the rows", (void **)out, st));
  (*out)->comm = comm;
  for (int p = 0; p < PARTS; p++) {
    AGD_TRY(allocate_side(comm, from->count, &(*out)->part[p].send, st));
    AGD_TRY(allocate_side(comm, to->count, &(*out)->part[p].receive, st));
  }
  return AGD_OK;
}

static void start_part(const agd_comm *comm, struct part *part, const agd_rows *from, const agd_rows *to, size_t width,
                       const agd_real *source, agd_real *destination) {
  side *send = &part->send, *receive = &part->receive;
  build_types(comm, from->count, width, send);
  build_types(comm, to->count, width, receive);
  MPI_Ialltoallw(source, send->count, send->zero, send->type, destination, receive->count, receive->zero, receive->type,
                 comm->mpi, &part->request);
}

agd_code agd_transfer_start(const agd_comm *comm, const agd_rows *from, agd_rows *to, agd_transfer **out,
                            agd_status *st) {
  agd_transfer *t = NULL;
  allocate_transfer(comm, from, to, &t, st);
  const agd_code code = agd_comm_agree(comm, st);
  *out = NULL;
  if (code != AGD_OK) {
    if (t != NULL) clear_transfer(&t);
    return code;
  }
  side *send = &t->part[0].send, *receive = &t->part[0].receive;
  find_moves(comm, from, to, send->moves);
  find_moves(comm, to, from, receive->moves);
  /* NOLINTBEGIN(*NonNullParamChecker): agreed means allocated, on this rank too */
  qsort(send->moves, from->count, sizeof *send->moves, by_index_there);
  qsort(receive->moves, to->count, sizeof *receive->moves, by_index_here);
  memcpy(t->part[1].send.moves, send->moves, from->count * sizeof *send->moves);
  memcpy(t->part[1].receive.moves, receive->moves, to->count * sizeof *receive->moves);
  /* NOLINTEND(*NonNullParamChecker) */
  start_part(comm, &t->part[0], from, to, from->features, from->x, to->x);
  start_part(comm, &t->part[1], from, to, from->targets, from->y, to->y);
  *out = t;
  return AGD_OK;
}

void agd_transfer_poke(agd_transfer *transfer) {
  int done;
  for (int p = 0; transfer != NULL && p < PARTS; p++) MPI_Test(&transfer->part[p].request, &done, MPI_STATUS_IGNORE);
}

void agd_transfer_finish(agd_transfer **transfer) {
  if (*transfer == NULL) return;
  for (int p = 0; p < PARTS; p++) {
    struct part *part = &(*transfer)->part[p];
    MPI_Wait(&part->request, MPI_STATUS_IGNORE); /* NOLINT(*MPI-Checker): of start_part */
    free_types((*transfer)->comm, &part->send);
    free_types((*transfer)->comm, &part->receive);
  }
  clear_transfer(transfer);
}
