/* hostile N SEED FOLDER [KIND]: damages sound files of every kind N times each and loads them, and prints what came of
 * it, a line a kind. An input that crashes or hangs the loading, makes it ask for memory that the file does not
 * justify, is refused without a reason or, under a digest of ours, is read as something else is a failure: it is kept
 * in FOLDER, where the work is done, and the exit code is 1. So it is when a kind was never accepted or never refused.
 * KIND: only the kinds whose name begins so.
 * hostile seeds FOLDER: writes the sound files, for libFuzzer to begin with, to FOLDER/weights, dataset, config, table.
 *
 * Loading takes place in child processes, BATCH inputs each, which tell in shared memory how far they are. */
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "load.h"
#include "mutate.h"
#include "seeds.h"

enum { BATCH = 100, PATIENCE = 10, PATH_SIZE = 4096, KEPT_MAX = 20 };

typedef enum verdict {
  UNTRIED,
  UNCHANGED,
  CHANGED,
  REFUSED,
  MUTE, /* refused without a reason that names the file */
  GREEDY,
  CRASHED,
  HUNG,
  VERDICTS
} verdict;

/* What a child tells. */
typedef struct report {
  size_t at;     /* the input it is at */
  size_t most;   /* bytes of memory, of any input */
  size_t denied; /* inputs for which HDF5 asked for too much memory */
  verdict verdict[BATCH];
  char mute[AGD_MESSAGE_MAX]; /* the last message that lacks the file */
} report;

static report *told;

/* ---- memory: what the libraries ask for counts, too ---- */

#ifdef HOSTILE_SANITIZED /* has its own malloc, which gives no more, either */
static void memory_begin(void) {}
static bool memory_exceeded(void) { return false; }
static bool memory_denied(void) { return false; }
static size_t memory_most(void) { return 0; }
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
  return "detect_leaks=0:max_allocation_size_mb=32:allocator_may_return_null=1";
}
#else
/* What a small file may take: its own size, HDF5's caches, a job file's buffer, and what deflate can honestly gain. */
static const size_t memory_limit = (size_t)32 << 20;

static atomic_size_t in_use, most_in_use;
static size_t base;
static atomic_bool counting, exceeded, denied;

static void memory_begin(void) {
  base = in_use;
  most_in_use = in_use;
  exceeded = denied = false;
  counting = true;
}
static bool memory_exceeded(void) {
  counting = false;
  return exceeded;
}
static bool memory_denied(void) { return denied; }
static size_t memory_most(void) { return most_in_use - base; }

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *memory);

/* HDF5 1.10.8 asks for what a damaged header says before it finds that the file ends long before. It gets nothing, as
 * on a machine without so much memory, and must refuse the file. All others are greedy. */
static bool is_hdf5(void *caller) {
  Dl_info info;
  return dladdr(caller, &info) != 0 && info.dli_fname != NULL && strstr(info.dli_fname, "libhdf5") != NULL;
}

static bool allowed(size_t size, void *caller) {
  if (!counting || (size <= memory_limit && in_use + size <= base + memory_limit)) return true;
  *(is_hdf5(caller) ? &denied : &exceeded) = true;
  errno = ENOMEM;
  return false;
}

static void *taken(void *memory) {
  if (memory == NULL) return NULL;
  const size_t now = atomic_fetch_add(&in_use, malloc_usable_size(memory)) + malloc_usable_size(memory);
  if (now > most_in_use) most_in_use = now;
  return memory;
}

void *malloc(size_t size) { return allowed(size, __builtin_return_address(0)) ? taken(__libc_malloc(size)) : NULL; }

void *calloc(size_t count, size_t size) {
  return allowed(size > 0 && count > SIZE_MAX / size ? SIZE_MAX : count * size, __builtin_return_address(0))
             ? taken(__libc_calloc(count, size))
             : NULL;
}

void free(void *memory) {
  if (memory != NULL) in_use -= malloc_usable_size(memory);
  __libc_free(memory);
}

void *realloc(void *memory, size_t size) {
  if (!allowed(size, __builtin_return_address(0))) return NULL;
  const size_t before = memory != NULL ? malloc_usable_size(memory) : 0;
  void *grown = __libc_realloc(memory, size);
  if (grown != NULL || size == 0) in_use -= before;
  return taken(grown);
}

void *aligned_alloc(size_t align, size_t size) {
  return allowed(size, __builtin_return_address(0)) ? taken(__libc_memalign(align, size)) : NULL;
}
#endif

/* ---- kinds ---- */

typedef struct kind {
  const char *name;
  const char *fuzzer; /* fuzz_*.c of such files */
  load_function *load;
  void (*make)(const char *folder, seeds *out);
  bool text;
  bool renewed; /* the digest is made to fit: anything may be read, but not anyhow */
  bool exact;   /* no other numbers than were written may be read */
} kind;

static const kind kinds[] = {
    {"weights (ours)", "weights", load_weights, seeds_weights_ours, .exact = true},
    {"weights (digest renewed)", "weights", load_weights, seeds_weights_ours, .renewed = true},
    {"weights (old format, digest renewed)", "weights", load_weights, seeds_weights_old, .renewed = true},
    {"weights (foreign)", "weights", load_weights, seeds_weights_foreign, .text = false},
    {"data (ours)", "dataset", load_dataset, seeds_datasets_ours, .exact = true},
    {"data (digest renewed)", "dataset", load_dataset, seeds_datasets_ours, .renewed = true},
    {"data (foreign)", "dataset", load_dataset, seeds_datasets_foreign, .text = false},
    {"jobs", "config", load_config, seeds_jobs, .text = true},
    {"tables", "table", load_table, seeds_tables, .text = true},
};

typedef struct campaign {
  const kind *kind;
  const char *folder;
  seeds seeds;
  uint64_t content[SEEDS_MAX]; /* what loading them says */
  uint64_t random;
  size_t count[VERDICTS], failures;
  size_t most, denied;
} campaign;

/* Input `i`, and the number of the seed it comes from. */
static mutate_file make_input(const campaign *c, size_t i, size_t *seed) {
  *seed = i % c->seeds.count;
  mutate_file f = mutate(&c->seeds.list[*seed], c->kind->text, c->random ^ (i * 0xd1342543de82ef95U));
  if (c->kind->renewed) mutate_renew_trailer(&f);
  return f;
}

/* A data file whose trailer itself has been destroyed carries no digest of ours. */
static bool has_trailer(const mutate_file *f) {
  const size_t end = f->size < 4096 ? f->size : 4096;
  return f->size >= 64 && memmem(f->bytes + f->size - end, end, "AGDTRAIL", 8) != NULL;
}

static bool has_reason(const char *path, const agd_status *st) {
  return (st->code == AGD_EDATA || st->code == AGD_EUSAGE) && strstr(st->message, path) != NULL;
}

static verdict judge(const campaign *c, size_t seed, const char *path, const load_outcome *out) {
  if (memory_exceeded() || (memory_denied() && out->status.code == AGD_OK)) return GREEDY;
  told->denied += memory_denied();
  if (out->status.code != AGD_OK && !has_reason(path, &out->status)) {
    memcpy(told->mute, out->status.message, sizeof told->mute);
    return MUTE;
  }
  if (out->status.code != AGD_OK) return REFUSED;
  return out->content == c->content[seed] ? UNCHANGED : CHANGED;
}

static verdict load_input(const campaign *c, size_t i) {
  size_t seed;
  load_outcome out = {0};
  const mutate_file f = make_input(c, i, &seed);
  const char *path = load_path(f.bytes, f.size);
  alarm(PATIENCE);
  memory_begin();
  c->kind->load(path, &out);
  const verdict found = judge(c, seed, path, &out);
  alarm(0);
  if (memory_most() > told->most) told->most = memory_most();
  free(f.bytes);
  return found;
}

/* Loads inputs [first, end) in a child. Returns the first that was not loaded to its end. */
static size_t load_batch(campaign *c, size_t first, size_t end, int *status) {
  memset(told, 0, sizeof *told);
  fflush(NULL);
  const pid_t child = fork();
  if (child == 0) {
    for (told->at = first; told->at < end; told->at++) told->verdict[told->at - first] = load_input(c, told->at);
    _exit(0);
  }
  if (child < 0 || waitpid(child, status, 0) != child) {
    perror("hostile");
    exit(2);
  }
  return told->at;
}

static bool is_failure(const campaign *c, size_t i, verdict v) {
  if (v == CHANGED && c->kind->exact) {
    size_t seed;
    const mutate_file f = make_input(c, i, &seed);
    const bool digest = has_trailer(&f) || c->kind->load == load_weights;
    free(f.bytes);
    return digest;
  }
  return v >= MUTE;
}

static bool write_file(const char *path, const mutate_file *f) {
  FILE *file = fopen(path, "wb");
  return file != NULL && fwrite(f->bytes, 1, f->size, file) == f->size && fclose(file) == 0;
}

/* Keeps what failed, up to a number that a person would look at. */
static void keep(campaign *c, size_t i, verdict v, const char *message) {
  static const char *const words[VERDICTS] = {[CHANGED] = "read as something else",
                                              [MUTE] = "refused without a reason",
                                              [GREEDY] = "asks for too much memory",
                                              [CRASHED] = "crash",
                                              [HUNG] = "hang"};
  char path[PATH_SIZE];
  size_t seed;
  if (c->failures++ >= KEPT_MAX) return;
  snprintf(path, sizeof path, "%s/failed-%td-%zu", c->folder, c->kind - kinds, i);
  const mutate_file f = make_input(c, i, &seed);
  printf("FAILED: %s, input %zu: %s: %s%s%s\n", c->kind->name, i, words[v],
         write_file(path, &f) ? path : "cannot be kept", message[0] != '\0' ? ": " : "", message);
  free(f.bytes);
}

static void tally(campaign *c, size_t i, verdict v, const char *message) {
  c->count[v]++;
  if (is_failure(c, i, v)) keep(c, i, v, message);
}

static void describe_end(int status, char *text, size_t size) {
  if (WIFSIGNALED(status))
    snprintf(text, size, "%s", strsignal(WTERMSIG(status)));
  else
    snprintf(text, size, "exit code %d", WEXITSTATUS(status));
}

static void run_batch(campaign *c, size_t first, size_t end) {
  while (first < end) {
    int status = 0;
    const size_t stopped = load_batch(c, first, end, &status);
    for (size_t i = first; i < stopped; i++)
      tally(c, i, told->verdict[i - first], told->verdict[i - first] == MUTE ? told->mute : "");
    if (told->most > c->most) c->most = told->most;
    c->denied += told->denied;
    if (stopped == end) return;
    char how[AGD_MESSAGE_MAX];
    describe_end(status, how, sizeof how);
    tally(c, stopped, WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? HUNG : CRASHED, how);
    first = stopped + 1;
  }
}

static void load_seeds(campaign *c) {
  for (size_t i = 0; i < c->seeds.count; i++) {
    load_outcome out = {0};
    const mutate_file *f = &c->seeds.list[i];
    c->kind->load(load_path(f->bytes, f->size), &out);
    c->content[i] = out.content;
    if (out.status.code == AGD_OK) continue;
    printf("hostile: %s: a sound file is refused: %s\n", c->kind->name, out.status.message);
    exit(1);
  }
}

/* Whether no input failed and both ways of ending well were met. */
static bool run_kind(const kind *k, size_t inputs, uint64_t random, const char *folder) {
  campaign c = {.kind = k, .folder = folder, .random = random};
  struct timespec begin, end;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  k->make(folder, &c.seeds);
  load_seeds(&c);
  for (size_t i = 0; i < inputs; i += BATCH) run_batch(&c, i, i + BATCH < inputs ? i + BATCH : inputs);
  for (size_t i = 0; i < c.seeds.count; i++) free(c.seeds.list[i].bytes);
  clock_gettime(CLOCK_MONOTONIC, &end);
  printf("%s: %zu inputs: %zu accepted unchanged, %zu accepted changed, %zu refused (%zu as HDF5 asked for too much), "
         "%zu crashes, %zu hangs, %zu too much memory, %zu without a reason; %zu failures; at most %.1f MB, %.1f s\n",
         k->name, inputs, c.count[UNCHANGED], c.count[CHANGED], c.count[REFUSED], c.denied, c.count[CRASHED],
         c.count[HUNG], c.count[GREEDY], c.count[MUTE], c.failures, (double)c.most / 1e6,
         (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9);
  fflush(stdout);
  return c.failures == 0 && c.count[UNCHANGED] > 0 && c.count[REFUSED] > 0;
}

static int write_seeds(const char *folder) {
  for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
    seeds all = {0};
    kinds[k].make(folder, &all);
    for (size_t i = 0; i < all.count; i++) {
      char path[PATH_SIZE];
      snprintf(path, sizeof path, "%s/%s/%zu-%zu", folder, kinds[k].fuzzer, k, i);
      if (!write_file(path, &all.list[i])) return 2;
      free(all.list[i].bytes);
    }
  }
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "seeds") == 0) return write_seeds(argv[2]);
  if (argc < 4) {
    fprintf(stderr, "usage: hostile N SEED FOLDER [KIND], hostile seeds FOLDER\n");
    return 2;
  }
  told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (told == MAP_FAILED) return 2;
  bool good = true;
  for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
    if (argc < 5 || strncmp(kinds[k].name, argv[4], strlen(argv[4])) == 0)
      good = run_kind(&kinds[k], strtoul(argv[1], NULL, 10), strtoull(argv[2], NULL, 10), argv[3]) && good;
  return good ? 0 : 1;
}
