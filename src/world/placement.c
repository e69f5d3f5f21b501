#include "allegrad/placement.h"

#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "allegrad/checkpoint.h"
#include "allegrad/memory.h"

enum { DIGEST = 32, EDGE = 1 << 12, LIST_SIZE = 256, PROCESSORS = CPU_SETSIZE };

/* What a rank tells rank 0; sent as bytes. */
typedef struct place {
  char host[64];
  int node;                                    /* world rank of the node's first rank */
  int node_rank;                               /* number on the node */
  cpu_set_t processors;                        /* that it may run on */
  cpu_set_t cores;                             /* the same, each core by its first processor */
  unsigned char program[DIGEST], data[DIGEST]; /* 0: not to be had */
} place;

/* The first processor of a processor's core: itself where the system does not tell. */
static size_t core_of(size_t processor) {
  char path[128];
  char text[32] = "";
  snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%zu/topology/thread_siblings_list", processor);
  FILE *file = fopen(path, "re");
  if (file == NULL) return processor;
  if (fgets(text, sizeof text, file) == NULL) text[0] = '\0';
  fclose(file);
  char *end;
  const size_t first = strtoul(text, &end, 10);
  return end != text && first < PROCESSORS ? first : processor;
}

/* A digest of a file's size, its beginning and its end. */
static void digest_edges(const char *path, unsigned char digest[DIGEST]) {
  struct {
    uint64_t size;
    unsigned char first[EDGE], last[EDGE];
  } edges = {0};
  struct stat info;
  const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return;
  if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) {
    edges.size = (uint64_t)info.st_size;
    const off_t last = info.st_size > EDGE ? info.st_size - EDGE : 0;
    if (pread(fd, edges.first, EDGE, 0) >= 0 && pread(fd, edges.last, EDGE, last) >= 0)
      agd_sha256(&edges, sizeof edges, digest, NULL);
  }
  close(fd);
}

static void digest_program(unsigned char digest[DIGEST]) {
  void *bytes;
  size_t size;
  agd_trailer_state trailer;
  if (agd_file_read("/proc/self/exe", &bytes, &size, &trailer, NULL) != AGD_OK) return;
  agd_sha256(bytes, size, digest, NULL);
  agd_release(&bytes);
}

static void look(const agd_comm *comm, const char *data_file, place *p) {
  memset(p, 0, sizeof *p);
  gethostname(p->host, sizeof p->host - 1);
  p->node = comm->rank, p->node_rank = comm->node_rank;
  MPI_Bcast(&p->node, 1, MPI_INT, 0, comm->node);
  sched_getaffinity(0, sizeof p->processors, &p->processors);
  for (size_t c = 0; c < PROCESSORS; c++)
    if (CPU_ISSET(c, &p->processors)) CPU_SET(core_of(c), &p->cores);
  if (comm->size == 1) return; /* nothing to compare them with */
  digest_program(p->program);
  digest_edges(data_file, p->data);
}

/* "0-3,8" */
static const char *list_processors(const cpu_set_t *set, char text[LIST_SIZE]) {
  size_t used = 0;
  text[0] = '\0';
  for (size_t c = 0; c < PROCESSORS && used < LIST_SIZE - 32; c++) {
    if (!CPU_ISSET(c, set)) continue;
    const size_t first = c;
    while (c + 1 < PROCESSORS && CPU_ISSET(c + 1, set)) c++;
    used += (size_t)snprintf(text + used, LIST_SIZE - used, first == c ? "%s%zu" : "%s%zu-%zu", used > 0 ? "," : "",
                             first, c);
  }
  return text;
}

/* Ranks on the cores of a node: a matching in which every core has at most one rank. */
typedef struct matching {
  const place *places;
  int rank_of[PROCESSORS]; /* -1: free */
  bool tried[PROCESSORS];
} matching;

/* Finds a core for a rank; ranks that have one move to another when they can (Kuhn's algorithm). The depth is at most
 * the number of ranks of a node. */
static bool seat(matching *m, int rank) {
  for (size_t c = 0; c < PROCESSORS; c++) {
    if (!CPU_ISSET(c, &m->places[rank].cores) || m->tried[c]) continue;
    m->tried[c] = true;
    if (m->rank_of[c] >= 0 && !seat(m, m->rank_of[c])) continue; /* NOLINT(misc-no-recursion) */
    m->rank_of[c] = rank;
    return true;
  }
  return false;
}

/* Of the ranks on the node of rank `first`, how many can have a core of their own, and how many they are. */
static int count_seats(const place *places, int ranks, int first, int *all) {
  matching m = {.places = places};
  int seats = 0;
  *all = 0;
  for (size_t c = 0; c < PROCESSORS; c++) m.rank_of[c] = -1;
  for (int r = first; r < ranks; r++) {
    if (places[r].node != first) continue;
    memset(m.tried, 0, sizeof m.tried);
    seats += seat(&m, r);
    ++*all;
  }
  return seats;
}

static void check_cores(const place *places, int ranks, void (*note)(const char *)) {
  char message[AGD_MESSAGE_MAX];
  for (int r = 0; r < ranks; r++) {
    if (places[r].node != r) continue;
    int all;
    const int seats = count_seats(places, ranks, r, &all);
    if (seats == all) continue;
    snprintf(message, sizeof message,
             "%s has cores for %d of its %d ranks (where they may run: --verbose); those that share one wait for each "
             "other. Start fewer, or one a core: mpirun --bind-to core, srun --cpu-bind=cores",
             places[r].host, seats, all);
    note(message);
    return;
  }
}

static bool is_known(const unsigned char digest[DIGEST]) {
  static const unsigned char none[DIGEST];
  return memcmp(digest, none, DIGEST) != 0;
}

static void check_same(const place *places, int ranks, const char *data_file, void (*note)(const char *)) {
  char message[AGD_MESSAGE_MAX];
  bool programs = true, data = true;
  for (int r = 1; r < ranks; r++) {
    const place *p = &places[r];
    if (programs && is_known(p->program) && memcmp(p->program, places->program, DIGEST) != 0) {
      programs = false;
      snprintf(message, sizeof message, "rank %d on %s runs another build of allegrad than rank 0 on %s", r, p->host,
               places->host);
      note(message);
    }
    if (data && is_known(p->data) && is_known(places->data) && memcmp(p->data, places->data, DIGEST) != 0) {
      data = false;
      snprintf(message, sizeof message, "rank %d on %s sees another %.512s than rank 0 on %s", r, p->host, data_file,
               places->host);
      note(message);
    }
  }
}

static void print_places(FILE *out, const place *places, int ranks) {
  char list[LIST_SIZE];
  for (int r = 0; r < ranks; r++)
    fprintf(out, "rank %d: %s, number %d there, may run on processors %s\n", r, places[r].host, places[r].node_rank,
            list_processors(&places[r].processors, list));
}

void agd_placement_check(const agd_comm *comm, const char *data_file, FILE *out, void (*note)(const char *)) {
  place mine, *places = NULL;
  look(comm, data_file, &mine);
  if (comm->rank == 0) places = calloc((size_t)comm->size, sizeof *places);
  int wanted = places != NULL; /* else memory is short, and there is nothing to tell */
  MPI_Bcast(&wanted, 1, MPI_INT, 0, comm->mpi);
  if (wanted) MPI_Gather(&mine, (int)sizeof mine, MPI_BYTE, places, (int)sizeof mine, MPI_BYTE, 0, comm->mpi);
  if (places != NULL) {
    if (out != NULL) print_places(out, places, comm->size);
    check_cores(places, comm->size, note);
    check_same(places, comm->size, data_file, note);
  }
  free(places);
}
