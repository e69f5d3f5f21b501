#include "allegrad/rows.h"

#include <isa-l/crc64.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "allegrad/memory.h"
#include "allegrad/rng.h"

agd_code agd_rows_create(const agd_comm *comm, const agd_shard_plan *plan, const agd_permutation *order, uint64_t first,
                         size_t features, size_t targets, agd_rows *out, agd_status *st) {
  *out = (agd_rows){.plan = *plan,
                    .order = *order,
                    .first = first,
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

uint64_t agd_rows_fingerprint(const agd_rows *rows, uint64_t start) {
  const size_t x_size = rows->features * sizeof *rows->x, y_size = rows->targets * sizeof *rows->y;
  uint64_t sum = 0;
  for (uint64_t i = 0; i < rows->count; i++) {
    const void *x = rows->x + i * rows->features, *y = rows->y + i * rows->targets;
    sum += crc64_ecma_refl(crc64_ecma_refl(start + i + 1, x, x_size), y, y_size);
  }
  return sum;
}

static void copy_row(const agd_rows *from, uint64_t i, agd_rows *to, uint64_t j) {
  memcpy(to->x + j * to->features, from->x + i * from->features, to->features * sizeof *to->x);
  memcpy(to->y + j * to->targets, from->y + i * from->targets, to->targets * sizeof *to->y);
}

/* ---- rows that stay on their rank ---- */

/* A rank's own order in an epoch; home is where its rows are before the first. */
static agd_permutation local_order(uint64_t count, uint64_t seed, int rank, uint64_t epoch) {
  const uint64_t own = agd_random_bits(seed, agd_stream(AGD_STREAM_SHUFFLE, 0), (uint64_t)rank);
  return agd_permutation_init(count, own, agd_stream(AGD_STREAM_SHUFFLE, (uint32_t)epoch));
}

void agd_rows_reshuffle(const agd_rows *from, const uint64_t *epoch_of_from, agd_rows *to, uint64_t epoch,
                        uint64_t seed, int rank) {
  const agd_permutation order = local_order(from->count, seed, rank, epoch);
  const agd_permutation now = epoch_of_from != NULL ? local_order(from->count, seed, rank, *epoch_of_from)
                                                    : agd_permutation_identity(from->count);
  for (uint64_t i = 0; i < to->count; i++) copy_row(from, agd_permute_inverse(&now, agd_permute(&order, i)), to, i);
}

/* ---- where rows are ---- */

/* The row in a local place of a rank. */
static uint64_t row_at(const agd_rows *rows, int rank, uint64_t index) {
  return rows->first + agd_permute(&rows->order, agd_plan_position(&rows->plan, rank, index));
}

/* Rank and local place of a row; false when it is not among these rows. */
static bool find_row(const agd_rows *rows, uint64_t row, int *rank, uint64_t *index) {
  if (row < rows->first || row - rows->first >= rows->plan.rows) return false;
  agd_plan_owner(&rows->plan, agd_permute_inverse(&rows->order, row - rows->first), rank, index);
  return true;
}

/* ---- rounds ---- */

/* As many that a round's buffers are a small share of a shard, and no more than that rounds are worth their while; a
 * round's counts are far from what an int holds. */
enum { ROUNDS = 16, SMALLEST_ROUND = 256, LARGEST_ROUND = 1 << 24 };

uint64_t agd_transfer_rounds(uint64_t largest_shard) {
  const uint64_t least = largest_shard / LARGEST_ROUND + 1, most = largest_shard / SMALLEST_ROUND + 1;
  const uint64_t rounds = most < ROUNDS ? most : ROUNDS;
  return rounds > least ? rounds : least;
}

/* A row to be sent. Its place there is of round place % rounds: so every round takes a like part of any order. */
typedef struct parcel {
  uint64_t there, here; /* rank << RANK_SHIFT | place there; place here */
} parcel;

enum { RANK_SHIFT = 40 };
static const uint64_t place_mask = ((uint64_t)1 << RANK_SHIFT) - 1;

struct agd_transfer {
  const agd_comm *comm;
  const agd_rows *from;
  agd_rows *to;
  uint64_t rounds, next; /* next to be started */
  parcel *parcels;       /* [from->count at most], by round, rank, place there */
  uint64_t parcel_count, sent;
  uint64_t *starts, *ends;                      /* [rounds]: of the parcels, while they are sorted */
  int *send_counts, *receive_counts;            /* [rounds, ranks]: rows */
  int *send_offsets, *receive_offsets, *cursor; /* [ranks]: rows, of a round */
  agd_real *send, *receive;                     /* rows, features before targets */
  MPI_Datatype row;
  MPI_Request request; /* of the round under way, MPI_REQUEST_NULL when there is none */
};

/* By rank, then by place there. */
static int by_place(const void *left, const void *right) {
  const parcel *a = left, *b = right;
  return (a->there > b->there) - (a->there < b->there);
}

static uint64_t round_of(const agd_transfer *t, const parcel *p) { return (p->there & place_mask) % t->rounds; }

/* Lists what this rank has to send and counts it, [round, rank]. */
static void list_parcels(agd_transfer *t) {
  for (uint64_t i = 0; i < t->from->count; i++) {
    int rank;
    uint64_t there;
    if (!find_row(t->to, row_at(t->from, t->comm->rank, i), &rank, &there)) continue;
    AGD_REQUIRE(there <= place_mask);
    const parcel p = {.there = (uint64_t)rank << RANK_SHIFT | there, .here = i};
    t->parcels[t->parcel_count++] = p;
    t->send_counts[round_of(t, &p) * (uint64_t)t->comm->size + (uint64_t)rank]++;
  }
}

/* In place, round by round: an American flag sort, then each round by rank and place. */
static void sort_parcels(agd_transfer *t) {
  uint64_t *start = t->starts, *end = t->ends;
  const size_t ranks = (size_t)t->comm->size;
  uint64_t first = 0;
  for (uint64_t r = 0; r < t->rounds; r++) {
    start[r] = first;
    for (size_t k = 0; k < ranks; k++) first += (uint64_t)t->send_counts[r * ranks + k];
    end[r] = first;
  }
  for (uint64_t r = 0; r < t->rounds; r++) {
    while (start[r] < end[r]) {
      const uint64_t its = round_of(t, &t->parcels[start[r]]);
      if (its == r) {
        start[r]++;
        continue;
      }
      const parcel swapped = t->parcels[start[its]];
      t->parcels[start[its]++] = t->parcels[start[r]];
      t->parcels[start[r]] = swapped;
    }
  }
  for (uint64_t r = 0, begin = 0; r < t->rounds; begin = end[r++])
    qsort(t->parcels + begin, end[r] - begin, sizeof *t->parcels, by_place);
}

/* The most rows of any round. */
static uint64_t largest_round(const agd_transfer *t, const int *counts) {
  uint64_t largest = 0;
  for (uint64_t r = 0; r < t->rounds; r++) {
    uint64_t rows = 0;
    for (int k = 0; k < t->comm->size; k++) rows += (uint64_t)counts[r * (uint64_t)t->comm->size + (uint64_t)k];
    if (rows > largest) largest = rows;
  }
  AGD_REQUIRE(largest <= INT_MAX);
  return largest;
}

static size_t row_width(const agd_transfer *t) { return t->from->features + t->from->targets; }

static int offsets(const int *counts, int ranks, int *out) {
  int sum = 0;
  for (int k = 0; k < ranks; k++) {
    out[k] = sum;
    sum += counts[k];
  }
  return sum;
}

/* Packs what the next round sends and starts it. */
static void start_round(agd_transfer *t) {
  const int ranks = t->comm->size;
  const int *send_counts = t->send_counts + t->next * (uint64_t)ranks,
            *receive_counts = t->receive_counts + t->next * (uint64_t)ranks;
  const agd_rows *from = t->from;
  const int count = offsets(send_counts, ranks, t->send_offsets);
  offsets(receive_counts, ranks, t->receive_offsets);
  agd_real *to = t->send;
  for (int i = 0; i < count; i++, to += row_width(t)) {
    const uint64_t here = t->parcels[t->sent++].here;
    memcpy(to, from->x + here * from->features, from->features * sizeof *to);
    memcpy(to + from->features, from->y + here * from->targets, from->targets * sizeof *to);
  }
  MPI_Ialltoallv(t->send, send_counts, t->send_offsets, t->row, t->receive, receive_counts, t->receive_offsets, t->row,
                 t->comm->mpi, &t->request);
  t->next++;
}

/* Waits for the round under way and puts its rows in their places: those of a rank come in the order of the places. */
static void finish_round(agd_transfer *t) {
  agd_rows *to = t->to;
  MPI_Wait(&t->request, MPI_STATUS_IGNORE); /* NOLINT(*MPI-Checker): of start_round */
  memcpy(t->cursor, t->receive_offsets, (size_t)t->comm->size * sizeof *t->cursor);
  for (uint64_t i = t->next - 1; i < to->count; i += t->rounds) {
    int rank = 0;
    uint64_t there;
    const bool found = find_row(t->from, row_at(to, t->comm->rank, i), &rank, &there);
    AGD_REQUIRE(found);
    const agd_real *row = t->receive + (size_t)t->cursor[rank]++ * row_width(t);
    memcpy(to->x + i * to->features, row, to->features * sizeof *row);
    memcpy(to->y + i * to->targets, row + to->features, to->targets * sizeof *row);
  }
}

/* ---- a transfer ---- */

static void clear_transfer(agd_transfer **transfer) {
  agd_transfer *t = *transfer;
  if (t == NULL) return;
  if (t->row != MPI_DATATYPE_NULL) MPI_Type_free(&t->row);
  agd_release(&t->parcels);
  agd_release(&t->starts);
  agd_release(&t->ends);
  agd_release(&t->send_counts);
  agd_release(&t->receive_counts);
  agd_release(&t->send_offsets);
  agd_release(&t->receive_offsets);
  agd_release(&t->cursor);
  agd_release(&t->send);
  agd_release(&t->receive);
  agd_release(transfer);
}

static const char what[] = "moving the rows";

static agd_code allocate_tables(agd_transfer *t, agd_status *st) {
  const size_t ranks = (size_t)t->comm->size;
  AGD_TRY(agd_allocate(t->from->count, sizeof *t->parcels, what, (void **)&t->parcels, st));
  AGD_TRY(agd_allocate(t->rounds, sizeof *t->starts, what, (void **)&t->starts, st));
  AGD_TRY(agd_allocate(t->rounds, sizeof *t->ends, what, (void **)&t->ends, st));
  AGD_TRY(agd_allocate(t->rounds * ranks, sizeof *t->send_counts, what, (void **)&t->send_counts, st));
  AGD_TRY(agd_allocate(t->rounds * ranks, sizeof *t->receive_counts, what, (void **)&t->receive_counts, st));
  AGD_TRY(agd_allocate(ranks, sizeof *t->send_offsets, what, (void **)&t->send_offsets, st));
  AGD_TRY(agd_allocate(ranks, sizeof *t->receive_offsets, what, (void **)&t->receive_offsets, st));
  return agd_allocate(ranks, sizeof *t->cursor, what, (void **)&t->cursor, st);
}

/* Every rank tells every other how many rows it sends it in each round. */
static agd_code exchange_counts(agd_transfer *t, agd_status *st) {
  const size_t ranks = (size_t)t->comm->size, rounds = t->rounds;
  int *told = NULL, *heard = NULL; /* [ranks, rounds] */
  if (agd_allocate(ranks * rounds, sizeof *told, what, (void **)&told, st) == AGD_OK)
    agd_allocate(ranks * rounds, sizeof *heard, what, (void **)&heard, st);
  const agd_code code = agd_comm_agree(t->comm, st);
  if (code == AGD_OK) {
    /* NOLINTBEGIN(*NullDereference): agreed means allocated */
    for (size_t r = 0; r < rounds; r++)
      for (size_t k = 0; k < ranks; k++) told[k * rounds + r] = t->send_counts[r * ranks + k];
    MPI_Alltoall(told, (int)rounds, MPI_INT, heard, (int)rounds, MPI_INT, t->comm->mpi);
    for (size_t r = 0; r < rounds; r++)
      for (size_t k = 0; k < ranks; k++) t->receive_counts[r * ranks + k] = heard[k * rounds + r];
    /* NOLINTEND(*NullDereference) */
  }
  agd_release(&told);
  agd_release(&heard);
  return code;
}

static agd_code prepare(agd_transfer *t, agd_status *st) {
  allocate_tables(t, st);
  AGD_TRY(agd_comm_agree(t->comm, st));
  list_parcels(t);
  sort_parcels(t);
  AGD_TRY(exchange_counts(t, st));
  const size_t row_bytes = row_width(t) * sizeof *t->send;
  if (agd_allocate(largest_round(t, t->send_counts), row_bytes, what, (void **)&t->send, st) == AGD_OK)
    agd_allocate(largest_round(t, t->receive_counts), row_bytes, what, (void **)&t->receive, st);
  return agd_comm_agree(t->comm, st);
}

/* One rank has all rows: they need not be sent for. */
static void copy_all(const agd_rows *from, agd_rows *to) {
  for (uint64_t i = 0; i < to->count; i++) {
    int rank;
    uint64_t there = 0;
    const bool found = find_row(from, row_at(to, 0, i), &rank, &there);
    AGD_REQUIRE(found);
    copy_row(from, there, to, i);
  }
}

agd_code agd_transfer_start(const agd_comm *comm, const agd_rows *from, agd_rows *to, agd_transfer **out,
                            agd_status *st) {
  agd_transfer *t = NULL;
  *out = NULL;
  if (comm->size == 1) {
    copy_all(from, to);
    return AGD_OK;
  }
  agd_allocate(1, sizeof *t, what, (void **)&t, st);
  agd_code code = agd_comm_agree(comm, st);
  if (code != AGD_OK) {
    agd_release(&t); /* nothing is in it yet, where there is one */
    return code;
  }
  uint64_t largest = 0;
  for (int rank = 0; rank < comm->size; rank++) {
    const uint64_t rows = agd_plan_shard_rows(&to->plan, rank);
    if (rows > largest) largest = rows;
  }
  /* NOLINTNEXTLINE(*NullDereference): agreed means allocated, on this rank too */
  *t = (agd_transfer){.comm = comm, .from = from, .to = to, .rounds = agd_transfer_rounds(largest)};
  t->request = MPI_REQUEST_NULL;
  MPI_Type_contiguous((int)row_width(t), AGD_MPI_REAL, &t->row);
  MPI_Type_commit(&t->row);
  code = prepare(t, st);
  if (code == AGD_OK)
    start_round(t);
  else
    clear_transfer(&t);
  *out = t;
  return code;
}

void agd_transfer_poke(agd_transfer *t) {
  if (t == NULL || t->next == t->rounds) return;
  finish_round(t);
  start_round(t);
}

void agd_transfer_finish(agd_transfer **transfer) {
  agd_transfer *t = *transfer;
  if (t == NULL) return;
  while (t->next < t->rounds) agd_transfer_poke(t);
  finish_round(t);
  clear_transfer(transfer);
}
