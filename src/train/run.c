#include "allegrad/run.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "allegrad/checkpoint.h"
#include "allegrad/clock.h"
#include "allegrad/events.h"
#include "allegrad/folder.h"
#include "allegrad/memory.h"
#include "allegrad/number.h"
#include "allegrad/plot.h"
#include "allegrad/weights.h"

struct agd_run {
  char *folder;
  int lock;                       /* an open file that is locked, as long as it is */
  FILE *metrics, *steps;          /* steps: NULL when log.steps is 0 */
  agd_events *train, *validation; /* NULL without log.tensorboard; validation also without validation rows */
  uint64_t log_steps;
  bool validates;
};

#define READ_COLUMNS "epoch,step,loss,val_loss,seconds"
static const char metrics_header[] = READ_COLUMNS ",learning_rate,compute,batch_norm,gradients,rows,io,slowest_rank,"
                                                  "slowest_compute,fastest_rank,fastest_compute\n";
enum { FURTHER_COLUMNS = 10 };
static const char steps_header[] = "step,loss\n";

/* Space for the longest name in a run folder, the separator and a temporary ending. */
enum { LONGEST_NAME = 128, DIGITS = 9 };

const char *agd_run_state_word(agd_run_state state) {
  static const char *const words[] = {"running", "finished", "diverged", "interrupted", "failed"};
  AGD_REQUIRE((size_t)state < sizeof words / sizeof *words);
  return words[state];
}

static void join(char path[AGD_PATH_MAX], const char *folder, const char *name) {
  snprintf(path, AGD_PATH_MAX, "%s/%s", folder, name);
}

static agd_code check_length(const char *folder, agd_status *st) {
  if (strlen(folder) + LONGEST_NAME < AGD_PATH_MAX) return AGD_OK;
  return agd_fail(st, AGD_EDATA, "the path of the run folder is too long: %.60s...", folder);
}

/* What makes a folder a run. */
static const char *const contents[] = {"config.yaml", "metrics.csv",     "steps.csv",        "status",
                                       "checkpoints", "best.weights.h5", "final.weights.h5", "events"};
enum { CONTENTS = sizeof contents / sizeof *contents };

static agd_code refuse_held(const char *folder, agd_status *st) {
  for (size_t i = 0; i < CONTENTS; i++) {
    char path[AGD_PATH_MAX];
    struct stat info;
    join(path, folder, contents[i]);
    if (lstat(path, &info) == 0)
      return agd_fail(st, AGD_EUSAGE,
                      "%s already holds a run (%s is there); --resume goes on with it, or name another "
                      "folder",
                      folder, contents[i]);
  }
  return AGD_OK;
}

static agd_code write_failed(const char *folder, const char *name, agd_status *st) {
  return agd_fail(st, AGD_EDATA, "cannot write %s/%s: %s", folder, name, strerror(errno));
}

/* ---- the lock ---- */

/* Who holds a lock, as its file tells. */
static void describe_holder(int fd, char *text, size_t size) {
  const ssize_t length = pread(fd, text, size - 1, 0);
  text[length > 0 ? length : 0] = '\0';
  text[strcspn(text, "\n")] = '\0';
}

/* Opens the file `lock` and locks it; *fd stays -1 when another process has it. A file that was removed meanwhile is no
 * lock any more. The kind of lock: of the open file, so that no other close in this process drops it; NFS knows it. */
static agd_code try_lock(const char *folder, const char *path, int *fd, agd_status *st) {
  struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
  struct stat mine, there;
  char host[256] = "localhost";
  const int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (file < 0) return write_failed(folder, "lock", st);
  *fd = -1;
  if (fcntl(file, F_OFD_SETLK, &whole) != 0) {
    const int error = errno;
    char holder[300] = "";
    if (error == EAGAIN || error == EACCES) {
      describe_holder(file, holder, sizeof holder);
      agd_fail(st, AGD_EUSAGE, "%s is being written by another process%s%s", folder, *holder != '\0' ? ": " : "",
               holder);
      close(file);
      return AGD_OK;
    }
    close(file);
    return agd_fail(st, AGD_EDATA, "cannot lock %s/lock: %s", folder, strerror(error));
  }
  if (fstat(file, &mine) != 0 || stat(path, &there) != 0 || mine.st_ino != there.st_ino) {
    close(file);
    return try_lock(folder, path, fd, st);
  }
  gethostname(host, sizeof host - 1);
  if (ftruncate(file, 0) != 0 || dprintf(file, "process %ld on %s\n", (long)getpid(), host) < 0) {
    const agd_code code = write_failed(folder, "lock", st);
    unlink(path);
    close(file);
    return code;
  }
  *fd = file;
  return AGD_OK;
}

static agd_code lock_folder(const char *folder, double patience, int *fd, agd_status *st) {
  char path[AGD_PATH_MAX];
  const double start = agd_clock();
  const struct timespec nap = {.tv_nsec = 50000000};
  agd_status held = {0};
  join(path, folder, "lock");
  for (;;) {
    const agd_code code = try_lock(folder, path, fd, &held);
    if (code != AGD_OK) return agd_fail(st, code, "%s", held.message);
    if (*fd >= 0) return AGD_OK;
    if (agd_clock() - start >= patience) return agd_fail(st, held.code, "%s", held.message);
    nanosleep(&nap, NULL);
  }
}

/* ---- a new run ---- */

/* Opens a log that must be new (two programs may race for a folder) and writes its header. */
static agd_code open_log(const agd_run *run, const char *name, const char *header, FILE **log, agd_status *st) {
  char path[AGD_PATH_MAX];
  join(path, run->folder, name);
  *log = fopen(path, "wxe");
  if (*log == NULL && errno == EEXIST)
    return agd_fail(st, AGD_EUSAGE, "%s already holds a run (another program has just begun it)", run->folder);
  if (*log == NULL || fputs(header, *log) < 0 || fflush(*log) != 0) return write_failed(run->folder, name, st);
  return AGD_OK;
}

static agd_code write_status(const agd_run *run, agd_run_state state, const char *explanation, agd_status *st) {
  char path[AGD_PATH_MAX], text[AGD_MESSAGE_MAX + 64];
  const int head = snprintf(text, sizeof text, "state: %s\n", agd_run_state_word(state));
  const int length = head + snprintf(text + head, AGD_MESSAGE_MAX, "%.*s", AGD_MESSAGE_MAX - 1, explanation);
  for (char *c = text + head; *c != '\0'; c++)
    if (*c == '\n' || *c == '\r') *c = ' ';
  text[length] = '\n';
  join(path, run->folder, "status");
  return agd_file_replace(path, text, (size_t)length + 1, false, st);
}

static agd_code write_config(const agd_run *run, const agd_config *config, agd_status *st) {
  char path[AGD_PATH_MAX], *text;
  AGD_TRY(agd_config_format(config, &text, st));
  join(path, run->folder, "config.yaml");
  const agd_code code = agd_file_replace(path, text, strlen(text), false, st);
  free(text);
  return code;
}

/* What the run needs to know of its job. */
static void take_config(agd_run *run, const agd_config *config) {
  run->log_steps = config->log_steps;
  run->validates = config->validation_split > 0;
}

/* Opens the event files behind the records of so many epochs. */
static agd_code open_events(agd_run *run, uint64_t epochs, agd_status *st) {
  char path[AGD_PATH_MAX];
  join(path, run->folder, "events/train");
  AGD_TRY(agd_events_continue(path, (int64_t)epochs, &run->train, st));
  if (!run->validates) return AGD_OK;
  join(path, run->folder, "events/validation");
  return agd_events_continue(path, (int64_t)epochs, &run->validation, st);
}

/* metrics.csv comes first: whoever creates it owns the folder. */
static agd_code fill(agd_run *run, const agd_config *config, agd_status *st) {
  char path[AGD_PATH_MAX], since[64];
  const time_t now = time(NULL);
  struct tm utc;
  strftime(since, sizeof since, "since %Y-%m-%d %H:%M:%S UTC", gmtime_r(&now, &utc));
  AGD_TRY(open_log(run, "metrics.csv", metrics_header, &run->metrics, st));
  if (run->log_steps > 0) AGD_TRY(open_log(run, "steps.csv", steps_header, &run->steps, st));
  AGD_TRY(write_config(run, config, st));
  join(path, run->folder, "checkpoints");
  AGD_TRY(agd_folder_create(path, st));
  if (config->tensorboard) AGD_TRY(open_events(run, 0, st));
  return write_status(run, AGD_RUN_RUNNING, since, st);
}

static int remove_item(const char *path, const struct stat *info, int type, struct FTW *at) {
  (void)info, (void)type, (void)at;
  return remove(path);
}

/* Closes what is open. A log's last bytes are written here, so this can fail as a write can. */
static agd_code close_logs(agd_run *run, agd_status *st) {
  agd_code code = AGD_OK;
  if (run->metrics != NULL && fclose(run->metrics) != 0) code = write_failed(run->folder, "metrics.csv", st);
  if (run->steps != NULL && fclose(run->steps) != 0) code = write_failed(run->folder, "steps.csv", st);
  const agd_code train = agd_events_close(&run->train, st), validation = agd_events_close(&run->validation, st);
  return code != AGD_OK ? code : train != AGD_OK ? train : validation;
}

void agd_run_release(agd_run **run) {
  if (*run == NULL) return;
  if ((*run)->lock >= 0) close((*run)->lock);
  free((*run)->folder);
  free(*run);
  *run = NULL;
}

static void remove_contents(const char *folder) {
  for (size_t i = 0; i < CONTENTS; i++) {
    char path[AGD_PATH_MAX];
    join(path, folder, contents[i]);
    nftw(path, remove_item, 8, FTW_DEPTH | FTW_PHYS);
  }
  agd_file_remove_temporaries(folder);
}

/* Removes what a failed creation has begun: refuse_held found none of it, and metrics.csv made the folder ours. */
static void undo(agd_run *run) {
  char lock[AGD_PATH_MAX];
  const bool ours = run->metrics != NULL;
  close_logs(run, NULL);
  run->metrics = run->steps = NULL;
  if (ours) remove_contents(run->folder);
  join(lock, run->folder, "lock");
  unlink(lock);
}

/* Takes hold of a folder. */
static agd_code take_folder(const char *folder, double patience, agd_run **out, agd_status *st) {
  AGD_TRY(agd_folder_create(folder, st));
  agd_run *run = calloc(1, sizeof *run);
  if (run == NULL || (run->folder = strdup(folder)) == NULL) {
    free(run);
    return agd_fail(st, AGD_EDATA, "out of memory: the run folder %s", folder);
  }
  run->lock = -1;
  const agd_code code = lock_folder(folder, patience, &run->lock, st);
  if (code != AGD_OK) agd_run_release(&run);
  *out = run;
  return code;
}

static agd_code begin(agd_run *run, const agd_config *config, agd_status *st) {
  take_config(run, config);
  const agd_code code = fill(run, config, st);
  if (code != AGD_OK) undo(run);
  return code;
}

agd_code agd_run_create(const char *folder, const agd_config *config, agd_run **out, agd_status *st) {
  *out = NULL;
  AGD_TRY(check_length(folder, st));
  AGD_TRY(refuse_held(folder, st));
  AGD_TRY(take_folder(folder, 0, out, st));
  AGD_REQUIRE(*out != NULL);
  agd_code code = refuse_held(folder, st); /* another may have been quicker, and done */
  if (code == AGD_OK) code = begin(*out, config, st);
  if (code != AGD_OK) agd_run_release(out);
  return code;
}

/* ---- lines of metrics.csv ---- */

/* ",number", or a lone comma for what there is none of. */
static void put_number(FILE *out, double number, bool there) {
  char text[AGD_NUMBER_SIZE] = "";
  if (there) agd_number_format_digits(number, DIGITS, text);
  fprintf(out, ",%s", text);
}

static void put_metrics(FILE *out, const agd_epoch_metrics *m, const agd_epoch_details *d, bool validates) {
  const double numbers[1 + FURTHER_COLUMNS] = {
      m->seconds, d->learning_rate, d->compute,         d->batch_norm,   d->gradients,      d->rows,
      d->io,      d->slowest_rank,  d->slowest_compute, d->fastest_rank, d->fastest_compute};
  fprintf(out, "%" PRIu64 ",%" PRIu64, m->epoch, m->step);
  put_number(out, m->loss, true);
  put_number(out, m->val_loss, validates);
  for (size_t i = 0; i < 1 + FURTHER_COLUMNS; i++) put_number(out, numbers[i], true);
  putc('\n', out);
}

/* A text file as a string, to be freed. */
static agd_code read_text(const char *path, char **text, agd_status *st) {
  void *content;
  size_t size;
  agd_trailer_state trailer;
  AGD_TRY(agd_file_read(path, &content, &size, &trailer, st));
  *text = strndup(content, size);
  agd_release(&content);
  return *text != NULL ? AGD_OK : agd_fail(st, AGD_EDATA, "out of memory: %s", path);
}

static bool parse_count(const char *text, uint64_t *count) {
  if (*text == '\0' || text[strspn(text, "0123456789")] != '\0') return false;
  errno = 0;
  *count = strtoull(text, NULL, 10);
  return errno == 0;
}

static bool parse_loss(const char *text, double *loss) {
  static const struct {
    const char *word;
    double value;
  } words[] = {{"", NAN}, {"nan", NAN}, {"inf", INFINITY}, {"-inf", -INFINITY}};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (strcmp(text, words[i].word) == 0) return *loss = words[i].value, true;
  return agd_number_parse(text, loss);
}

/* Takes a line apart in place: the columns that are read, and `further` numbers. */
static bool parse_metrics(char *line, size_t further, agd_epoch_metrics *metrics) {
  char *field[5];
  for (size_t i = 0; i < 5; i++) field[i] = strsep(&line, ",");
  if (field[4] == NULL || !parse_count(field[0], &metrics->epoch) || !parse_count(field[1], &metrics->step) ||
      *field[2] == '\0' || !parse_loss(field[2], &metrics->loss) || !parse_loss(field[3], &metrics->val_loss) ||
      !agd_number_parse(field[4], &metrics->seconds))
    return false;
  for (double number; further > 0 && line != NULL; further--)
    if (!agd_number_parse(strsep(&line, ","), &number)) return false;
  return further == 0 && line == NULL;
}

/* ---- a run that goes on ---- */

/* Whether the logs that are there were begun by a run: what a killed one leaves, and not a file of somebody's. */
static agd_code find_begun(const char *folder, bool *ours, agd_status *st) {
  char path[AGD_PATH_MAX], head[sizeof READ_COLUMNS] = "";
  struct stat info;
  join(path, folder, "metrics.csv");
  *ours = false;
  FILE *file = fopen(path, "re");
  if (file == NULL)
    return errno == ENOENT ? AGD_OK : agd_fail(st, AGD_EDATA, "cannot open %s: %s", path, strerror(errno));
  *ours = (fstat(fileno(file), &info) == 0 && info.st_size == 0) ||
          (fgets(head, sizeof head, file) != NULL && strcmp(head, READ_COLUMNS) == 0);
  fclose(file);
  return AGD_OK;
}

/* A copy, because checkpoints may be on another file system, and the final weights stay until the run goes on. */
static agd_code copy_weights(const char *from, const char *to, agd_status *st) {
  void *content;
  size_t size;
  agd_trailer_state trailer;
  AGD_TRY(agd_file_read(from, &content, &size, &trailer, st));
  const agd_code code = agd_file_replace(to, content, size, true, st);
  agd_release(&content);
  return code;
}

agd_code agd_run_find_checkpoint(const agd_run *run, char *checkpoint, void (*note)(const char *), agd_status *st) {
  char folder[AGD_PATH_MAX], final[AGD_PATH_MAX];
  agd_status none = {0};
  agd_model *model = NULL;
  agd_training training = {0};
  join(folder, run->folder, "checkpoints");
  agd_run_final_path(run, final, sizeof final);
  if (agd_checkpoints_newest(folder, checkpoint, AGD_PATH_MAX, note, &none) != AGD_OK) *checkpoint = '\0';
  if (access(final, F_OK) != 0)
    return *checkpoint == '\0' && agd_checkpoints_count(folder) > 0 ? agd_fail(st, AGD_EDATA, "%s", none.message)
                                                                    : AGD_OK;
  agd_code code = AGD_OK;
  if (agd_weights_load(final, NULL, &model, &training, &none) != AGD_OK) {
    if (note != NULL) note(none.message);
  } else if (training.step > agd_checkpoint_step(checkpoint)) {
    agd_run_checkpoint_path(run, training.step, checkpoint, AGD_PATH_MAX);
    code = agd_folder_create(folder, st);
    if (code == AGD_OK) code = copy_weights(final, checkpoint, st);
  }
  agd_training_clear(&training);
  agd_model_destroy(&model);
  return code;
}

agd_code agd_run_open(const char *folder, double patience, agd_run **out, agd_run_state *state, agd_status *st) {
  char text[AGD_MESSAGE_MAX];
  *out = NULL, *state = AGD_RUN_RUNNING;
  AGD_TRY(check_length(folder, st));
  AGD_TRY(take_folder(folder, patience, out, st));
  bool ours;
  agd_code code = find_begun(folder, &ours, st);
  if (code == AGD_OK && !ours) code = refuse_held(folder, st);
  if (code == AGD_OK && agd_run_status(folder, state, text, sizeof text, NULL) != AGD_OK) *state = AGD_RUN_RUNNING;
  if (code != AGD_OK) agd_run_release(out);
  return code;
}

agd_code agd_run_restart(agd_run *run, const agd_config *config, agd_status *st) {
  remove_contents(run->folder);
  return begin(run, config, st);
}

/* What a log holds, to be freed; NULL when it is not there or empty. One that cannot be read is not taken for that. */
static agd_code read_log(const char *path, char **text, agd_status *st) {
  struct stat info;
  *text = NULL;
  if (stat(path, &info) != 0 ? errno == ENOENT : info.st_size == 0) return AGD_OK;
  return read_text(path, text, st);
}

/* The text of metrics.csv up to an epoch: the lines that are there, else what the history tells. */
static agd_code rebuild_metrics(const agd_run *run, const agd_training *from, agd_status *st) {
  char path[AGD_PATH_MAX], *old = NULL, *text = NULL;
  size_t size = 0;
  join(path, run->folder, "metrics.csv");
  AGD_TRY(read_log(path, &old, st));
  const size_t head = sizeof metrics_header - 1;
  char *line = old != NULL && strncmp(old, metrics_header, head) == 0 ? old + head : NULL;
  FILE *out = open_memstream(&text, &size);
  if (out != NULL) fputs(metrics_header, out);
  for (size_t e = 0; e < from->epoch_count && out != NULL; e++) {
    char *end = line != NULL ? strchr(line, '\n') : NULL;
    char *copy = end != NULL ? strndup(line, (size_t)(end - line)) : NULL;
    agd_epoch_metrics there;
    const agd_epoch_details none = {0};
    const bool good = copy != NULL && parse_metrics(copy, FURTHER_COLUMNS, &there) &&
                      there.epoch == from->history[e].epoch && there.step == from->history[e].step;
    if (good)
      fprintf(out, "%.*s\n", (int)(end - line), line);
    else
      put_metrics(out, &from->history[e], &none, run->validates);
    free(copy);
    line = good ? end + 1 : NULL;
  }
  const bool whole = out != NULL && fclose(out) == 0;
  const agd_code code =
      whole ? agd_file_replace(path, text, size, false, st) : agd_fail(st, AGD_EDATA, "out of memory: %s", path);
  free(text);
  free(old);
  return code;
}

/* Cuts steps.csv behind the last whole line up to a step. */
static agd_code cut_steps(const agd_run *run, uint64_t step, agd_status *st) {
  char path[AGD_PATH_MAX], *text = NULL;
  join(path, run->folder, "steps.csv");
  AGD_TRY(read_log(path, &text, st));
  if (text == NULL || strncmp(text, steps_header, sizeof steps_header - 1) != 0) {
    free(text);
    return agd_file_replace(path, steps_header, sizeof steps_header - 1, false, st);
  }
  char *at = text + sizeof steps_header - 1;
  for (char *end; (end = strchr(at, '\n')) != NULL && strtoull(at, NULL, 10) <= step; at = end + 1) continue;
  const agd_code code = agd_file_replace(path, text, (size_t)(at - text), false, st);
  free(text);
  return code;
}

static agd_code reopen_log(const agd_run *run, const char *name, FILE **log, agd_status *st) {
  char path[AGD_PATH_MAX];
  join(path, run->folder, name);
  *log = fopen(path, "ae");
  return *log != NULL ? AGD_OK : write_failed(run->folder, name, st);
}

agd_code agd_run_continue(agd_run *run, const agd_config *config, const agd_training *from, agd_status *st) {
  char path[AGD_PATH_MAX], text[64];
  take_config(run, config);
  agd_file_remove_temporaries(run->folder);
  join(path, run->folder, "checkpoints");
  agd_file_remove_temporaries(path);
  AGD_TRY(agd_checkpoints_remove_after(path, from->step, st));
  AGD_TRY(rebuild_metrics(run, from, st));
  AGD_TRY(reopen_log(run, "metrics.csv", &run->metrics, st));
  if (run->log_steps > 0) {
    AGD_TRY(cut_steps(run, from->step, st));
    AGD_TRY(reopen_log(run, "steps.csv", &run->steps, st));
  }
  if (config->tensorboard) AGD_TRY(open_events(run, from->epoch, st));
  AGD_TRY(write_config(run, config, st));
  snprintf(text, sizeof text, "resumed after step %" PRIu64, from->step);
  AGD_TRY(write_status(run, AGD_RUN_RUNNING, text, st));
  agd_run_final_path(run, path, sizeof path);
  if (unlink(path) != 0 && errno != ENOENT) return write_failed(run->folder, "final.weights.h5", st);
  return AGD_OK;
}

agd_code agd_run_sync(const agd_run *run, agd_status *st) {
  if (fsync(fileno(run->metrics)) != 0) return write_failed(run->folder, "metrics.csv", st);
  if (run->steps != NULL && fsync(fileno(run->steps)) != 0) return write_failed(run->folder, "steps.csv", st);
  if (run->train != NULL) AGD_TRY(agd_events_sync(run->train, st));
  return run->validation != NULL ? agd_events_sync(run->validation, st) : AGD_OK;
}

agd_code agd_run_flush_steps(agd_run *run, agd_status *st) {
  return run->steps == NULL || fflush(run->steps) == 0 ? AGD_OK : write_failed(run->folder, "steps.csv", st);
}

/* ---- logs ---- */

agd_code agd_run_step(agd_run *run, uint64_t step, double loss, agd_status *st) {
  if (run->steps == NULL || step % run->log_steps != 0) return AGD_OK;
  char number[AGD_NUMBER_SIZE];
  agd_number_format_digits(loss, DIGITS, number);
  if (fprintf(run->steps, "%" PRIu64 ",%s\n", step, number) < 0) return write_failed(run->folder, "steps.csv", st);
  return AGD_OK;
}

agd_code agd_run_epoch(agd_run *run, const agd_epoch_metrics *metrics, const agd_epoch_details *details,
                       agd_status *st) {
  static const char tag[] = "epoch_loss";
  const int64_t epoch = (int64_t)metrics->epoch - 1;
  put_metrics(run->metrics, metrics, details, run->validates);
  if (ferror(run->metrics) != 0 || fflush(run->metrics) != 0) return write_failed(run->folder, "metrics.csv", st);
  AGD_TRY(agd_run_flush_steps(run, st));
  if (run->train != NULL) AGD_TRY(agd_events_scalar(run->train, tag, epoch, metrics->loss, st));
  if (run->validation != NULL) AGD_TRY(agd_events_scalar(run->validation, tag, epoch, metrics->val_loss, st));
  return AGD_OK;
}

void agd_run_checkpoint_path(const agd_run *run, uint64_t step, char *path, size_t size) {
  snprintf(path, size, "%s/checkpoints/step-%08" PRIu64 ".weights.h5", run->folder, step);
}

void agd_run_best_path(const agd_run *run, char *path, size_t size) {
  snprintf(path, size, "%s/best.weights.h5", run->folder);
}

void agd_run_final_path(const agd_run *run, char *path, size_t size) {
  snprintf(path, size, "%s/final.weights.h5", run->folder);
}

/* The last part of a path. */
static void base_name(const char *path, char name[AGD_NAME_MAX]) {
  size_t end = strlen(path);
  while (end > 1 && path[end - 1] == '/') end--;
  size_t start = end;
  while (start > 0 && path[start - 1] != '/') start--;
  snprintf(name, AGD_NAME_MAX, "%.*s", (int)(end - start), path + start);
}

static agd_code draw(const agd_run *run, agd_run_state state, agd_status *st) {
  char png[AGD_PATH_MAX], name[AGD_NAME_MAX];
  agd_epoch_metrics *metrics;
  size_t count;
  AGD_TRY(agd_run_metrics(run->folder, &metrics, &count, st));
  join(png, run->folder, "curves.png");
  base_name(run->folder, name);
  const agd_curve curve = {.label = name, .metrics = metrics, .count = count, .diverged = state == AGD_RUN_DIVERGED};
  const agd_code code = agd_plot_curves(png, "loss after each epoch", &curve, 1, st);
  free(metrics);
  return code;
}

agd_code agd_run_close(agd_run **run, agd_run_state state, const char *explanation, agd_status *st) {
  if (*run == NULL) return AGD_OK;
  agd_status local = {0}, picture = {0};
  agd_code code = close_logs(*run, &local);
  if (code != AGD_OK) write_status(*run, AGD_RUN_FAILED, local.message, NULL);
  if (code == AGD_OK) code = write_status(*run, state, explanation, &local);
  if (code == AGD_OK && draw(*run, state, &picture) != AGD_OK)
    fprintf(stderr, "allegrad: warning: %s/curves.png was not drawn: %s\n", (*run)->folder, picture.message);
  agd_run_release(run);
  if (code != AGD_OK) agd_fail(st, code, "%s", local.message);
  return code;
}

agd_code agd_run_weights_path(const char *run_or_weights, char *path, size_t size, void (*note)(const char *),
                              agd_status *st) {
  struct stat info;
  char checkpoints[AGD_PATH_MAX], final[AGD_PATH_MAX];
  if (stat(run_or_weights, &info) != 0)
    return agd_fail(st, AGD_EDATA, "cannot open %s: %s", run_or_weights, strerror(errno));
  AGD_TRY(check_length(run_or_weights, st));
  join(final, run_or_weights, "final.weights.h5");
  const char *found = !S_ISDIR(info.st_mode) ? run_or_weights : access(final, F_OK) == 0 ? final : NULL;
  if (found != NULL) {
    const int length = snprintf(path, size, "%s", found);
    AGD_REQUIRE(length >= 0 && (size_t)length < size);
    return AGD_OK;
  }
  join(checkpoints, run_or_weights, "checkpoints");
  if (access(checkpoints, F_OK) != 0)
    return agd_fail(st, AGD_EDATA, "%s is no run folder: it holds neither final.weights.h5 nor checkpoints",
                    run_or_weights);
  return agd_checkpoints_newest(checkpoints, path, size, note, st);
}

/* The lines of a metrics file; *text is consumed. */
static agd_code parse_file(const char *path, char *text, agd_epoch_metrics *metrics, size_t *count, agd_status *st) {
  const size_t read = sizeof READ_COLUMNS - 1;
  size_t further = 0;
  if (strncmp(text, READ_COLUMNS, read) != 0 || (text[read] != ',' && text[read] != '\n') || strchr(text, '\n') == NULL)
    return agd_fail(st, AGD_EDATA, "%s:1: not a metrics file: its first line must begin with " READ_COLUMNS, path);
  for (text += read; *text != '\n'; text++) further += *text == ',';
  text++;
  for (char *end; (end = strchr(text, '\n')) != NULL; text = end + 1, (*count)++) {
    *end = '\0';
    if (!parse_metrics(text, further, &metrics[*count]))
      return agd_fail(st, AGD_EDATA, "%s:%zu: not a line of metrics", path, *count + 2);
  }
  return AGD_OK;
}

agd_code agd_run_metrics(const char *folder, agd_epoch_metrics **metrics, size_t *count, agd_status *st) {
  char path[AGD_PATH_MAX], *text;
  *metrics = NULL, *count = 0;
  AGD_TRY(check_length(folder, st));
  join(path, folder, "metrics.csv");
  AGD_TRY(read_text(path, &text, st));
  size_t lines = 1;
  for (const char *c = text; *c != '\0'; c++) lines += *c == '\n';
  *metrics = calloc(lines, sizeof **metrics);
  agd_code code = *metrics != NULL ? parse_file(path, text, *metrics, count, st)
                                   : agd_fail(st, AGD_EDATA, "out of memory: %s", path);
  free(text);
  if (code != AGD_OK) {
    free(*metrics);
    *metrics = NULL, *count = 0;
  }
  return code;
}

agd_code agd_run_status(const char *folder, agd_run_state *state, char *explanation, size_t size, agd_status *st) {
  char path[AGD_PATH_MAX], *text;
  AGD_TRY(check_length(folder, st));
  join(path, folder, "status");
  AGD_TRY(read_text(path, &text, st));
  char *second = text + strcspn(text, "\n");
  if (*second != '\0') *second++ = '\0';
  second[strcspn(second, "\n")] = '\0';
  agd_code code = AGD_EDATA;
  for (int s = AGD_RUN_RUNNING; s <= AGD_RUN_FAILED; s++)
    if (strncmp(text, "state: ", 7) == 0 && strcmp(text + 7, agd_run_state_word((agd_run_state)s)) == 0)
      *state = (agd_run_state)s, code = AGD_OK;
  if (code == AGD_OK)
    snprintf(explanation, size, "%s", second);
  else
    agd_fail(st, code, "%s:1: not the status of a run: %.80s", path, text);
  free(text);
  return code;
}
