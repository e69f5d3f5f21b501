#include "allegrad/writer.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "allegrad/checkpoint.h"
#include "allegrad/clock.h"
#include "allegrad/memory.h"
#include "allegrad/weights.h"

struct agd_writer {
  agd_write_job job;
  agd_model *model; /* copies */
  agd_optimizer *optimizer;
  agd_training training; /* history is a copy, the rest the trainer's, which does not change */
  agd_status outcome;    /* of the job, once done */
  atomic_bool done;
  bool pending; /* a job was started and its outcome not told */
  bool threaded;
  pthread_t thread;
  agd_write_costs costs;
};

/* Of the processor, in the calling thread. */
static double thread_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static agd_code write_image(const agd_write_job *job, const void *image, size_t size, agd_status *st) {
  const char *paths[2];
  size_t count = 0;
  if (job->best[0] != '\0') paths[count++] = job->best;
  if (job->checkpoint[0] != '\0') paths[count++] = job->checkpoint;
  AGD_TRY(agd_files_replace(paths, count, image, size, true, st));
  if (job->checkpoint[0] == '\0') return AGD_OK;
  char folder[AGD_WRITER_PATH];
  memcpy(folder, job->checkpoint, sizeof folder);
  *strrchr(folder, '/') = '\0';
  return agd_checkpoints_prune(folder, job->keep, st);
}

static agd_code write_files(const agd_writer *writer, agd_status *st) {
  const agd_write_job *job = &writer->job;
  void *image;
  size_t size;
  if (job->before != NULL) AGD_TRY(job->before(job->context, st));
  AGD_TRY(agd_weights_image(writer->model, writer->optimizer, &writer->training, &image, &size, st));
  const agd_code code = write_image(job, image, size, st);
  agd_release(&image);
  return code;
}

static void do_job(agd_writer *writer) {
  const double start = thread_seconds();
  write_files(writer, &writer->outcome);
  writer->costs.core += thread_seconds() - start;
  writer->costs.count++;
  atomic_store(&writer->done, true);
}

/* Launchers bind a rank, and with it this thread, to one core, on which the training goes on. */
static void leave_the_core(void) {
  cpu_set_t all;
  memset(&all, 0xff, sizeof all);
  sched_setaffinity(0, sizeof all, &all); /* the system takes away what is not ours; failed: it stays here */
}

static void *work(void *writer) {
  leave_the_core();
  do_job(writer);
  return NULL;
}

agd_code agd_writer_create(const agd_model *model, const agd_optimizer *optimizer, agd_writer **out, agd_status *st) {
  AGD_TRY(agd_allocate(1, sizeof **out, "the writer of checkpoints", (void **)out, st));
  agd_code code = agd_model_create(&model->spec, &(*out)->model, st);
  if (code == AGD_OK) code = agd_optimizer_create(&optimizer->spec, optimizer->count, &(*out)->optimizer, st);
  if (code != AGD_OK) agd_writer_destroy(out);
  return code;
}

agd_code agd_writer_finish(agd_writer *writer, bool wait, agd_status *st) {
  if (writer == NULL || !writer->pending || (!wait && !atomic_load(&writer->done))) return AGD_OK;
  if (writer->threaded) pthread_join(writer->thread, NULL);
  writer->pending = false;
  return writer->outcome.code == AGD_OK ? AGD_OK : agd_fail(st, writer->outcome.code, "%s", writer->outcome.message);
}

static agd_code copy_training(agd_training *to, const agd_training *from, agd_status *st) {
  const size_t size = from->epoch_count * sizeof *from->history;
  agd_epoch_metrics *history = realloc(to->history, size + 1);
  if (history == NULL) return agd_fail(st, AGD_EDATA, "out of memory: a copy of %zu epochs", from->epoch_count);
  if (size > 0) memcpy(history, from->history, size);
  *to = *from;
  to->history = history;
  return AGD_OK;
}

static void copy_state(const agd_write_job *job, agd_model *model, agd_optimizer *optimizer) {
  AGD_REQUIRE(optimizer->count == job->optimizer->count);
  agd_model_copy(model, job->model);
  for (size_t s = 0; s < optimizer->slot_count; s++)
    memcpy(optimizer->slots[s], job->optimizer->slots[s], optimizer->count * sizeof *optimizer->slots[s]);
  optimizer->iteration = job->optimizer->iteration;
  optimizer->learning_rate = job->optimizer->learning_rate;
}

agd_code agd_writer_start(agd_writer *writer, const agd_write_job *job, agd_status *st) {
  const double start = agd_clock();
  AGD_REQUIRE(!writer->pending);
  AGD_TRY(copy_training(&writer->training, job->training, st));
  copy_state(job, writer->model, writer->optimizer);
  writer->job = *job;
  writer->outcome = (agd_status){0};
  atomic_store(&writer->done, false);
  writer->pending = true;
  writer->threaded = pthread_create(&writer->thread, NULL, work, writer) == 0;
  writer->costs.copies += agd_clock() - start;
  if (!writer->threaded) do_job(writer);
  return AGD_OK;
}

agd_write_costs agd_writer_costs(const agd_writer *writer) {
  return writer != NULL ? writer->costs : (agd_write_costs){0};
}

void agd_writer_destroy(agd_writer **writer) {
  if (*writer == NULL) return;
  agd_writer_finish(*writer, true, NULL);
  free((*writer)->training.history);
  agd_optimizer_destroy(&(*writer)->optimizer);
  agd_model_destroy(&(*writer)->model);
  agd_release(writer);
}
