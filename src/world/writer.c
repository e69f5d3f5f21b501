#include "allegrad/writer.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "allegrad/checkpoint.h"
#include "allegrad/memory.h"

struct agd_writer {
  agd_write_job job;
  agd_status outcome; /* of the job, once done */
  atomic_bool done;
  bool pending; /* a job was started and its outcome not told */
  bool threaded;
  pthread_t thread;
};

static agd_code write_files(const agd_write_job *job, agd_status *st) {
  char folder[AGD_WRITER_PATH];
  if (job->before != NULL) AGD_TRY(job->before(job->context, st));
  if (job->best[0] != '\0') AGD_TRY(agd_file_replace(job->best, job->image, job->size, true, st));
  if (job->checkpoint[0] == '\0') return AGD_OK;
  AGD_TRY(agd_file_replace(job->checkpoint, job->image, job->size, true, st));
  memcpy(folder, job->checkpoint, sizeof folder);
  *strrchr(folder, '/') = '\0';
  return agd_checkpoints_prune(folder, job->keep, st);
}

static void *work(void *context) {
  agd_writer *writer = context;
  write_files(&writer->job, &writer->outcome);
  agd_release(&writer->job.image);
  atomic_store(&writer->done, true);
  return NULL;
}

agd_code agd_writer_create(agd_writer **out, agd_status *st) {
  return agd_allocate(1, sizeof **out, "the writer of checkpoints", (void **)out, st);
}

agd_code agd_writer_finish(agd_writer *writer, bool wait, agd_status *st) {
  if (writer == NULL || !writer->pending || (!wait && !atomic_load(&writer->done))) return AGD_OK;
  if (writer->threaded) pthread_join(writer->thread, NULL);
  writer->pending = false;
  return writer->outcome.code == AGD_OK ? AGD_OK : agd_fail(st, writer->outcome.code, "%s", writer->outcome.message);
}

void agd_writer_start(agd_writer *writer, const agd_write_job *job) {
  AGD_REQUIRE(!writer->pending);
  writer->job = *job;
  writer->outcome = (agd_status){0};
  atomic_store(&writer->done, false);
  writer->pending = true;
  writer->threaded = pthread_create(&writer->thread, NULL, work, writer) == 0;
  if (!writer->threaded) work(writer);
}

void agd_writer_destroy(agd_writer **writer) {
  agd_writer_finish(*writer, true, NULL);
  agd_release(writer);
}
