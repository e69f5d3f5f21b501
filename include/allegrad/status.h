/** @file status.h
 * How functions say that something went wrong.
 *
 * A function that can fail returns an #agd_code and takes an #agd_status as its last parameter. On failure the status
 * holds one message that a user can act on (it names the file, line or field); on success the status is untouched.
 * The codes are the program's exit codes. Nothing here communicates; see comm.h for how ranks agree on a failure.
 */
#ifndef ALLEGRAD_STATUS_H
#define ALLEGRAD_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

enum { AGD_MESSAGE_MAX = 2048 };

/** Outcome of an operation and exit code of the program. */
typedef enum agd_code {
  AGD_OK = 0,           /**< done */
  AGD_EUSAGE = 1,       /**< command line or job file */
  AGD_EDATA = 2,        /**< data, file, disk or memory */
  AGD_EDIVERGED = 3,    /**< the loss became NaN or infinite */
  AGD_EINTERRUPTED = 4, /**< stopped after a checkpoint; can be resumed */
  AGD_EINTERNAL = 5     /**< a defect of the program */
} agd_code;

/** A code and the message that belongs to it. Value type; start with `agd_status st = {0}`. */
typedef struct agd_status {
  agd_code code;
  char message[AGD_MESSAGE_MAX];
} agd_status;

/** Records a failure. Not collective.
 * @param st      receives code and message; may be NULL, then only the code is returned
 * @param code    any code but AGD_OK
 * @param format  as printf; one sentence without a newline, cut at AGD_MESSAGE_MAX
 * @return code, so that `return agd_fail(...)` reads well */
agd_code agd_fail(agd_status *st, agd_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/** Puts `prefix` and ": " before the message of a failed status (to add the file that a lower room cannot know). */
agd_code agd_fail_prefix(agd_status *st, const char *prefix);

/** Returns from the caller with the code when `call` fails. Only where no clean-up is owed and no collective follows.
 */
#define AGD_TRY(call)                                                                                                  \
  do {                                                                                                                 \
    const agd_code agd_try_code_ = (call);                                                                             \
    if (agd_try_code_ != AGD_OK) return agd_try_code_;                                                                 \
  } while (0)

/** A programmer's error: prints file, line and message on stderr and ends the process with AGD_EINTERNAL, which under
 * mpirun ends the whole job. Never for anything a user, a file or a disk can cause. */
void agd_bug(const char *file, int line, const char *message) __attribute__((noreturn));

/** Checks a precondition, in release builds too. */
#define AGD_REQUIRE(condition)                                                                                         \
  do {                                                                                                                 \
    if (!(condition)) agd_bug(__FILE__, __LINE__, "violated: " #condition);                                            \
  } while (0)

#ifdef __cplusplus
}
#endif

#endif
