#include "allegrad/folder.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_folder(const char *path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static agd_code create_one(const char *path, agd_status *st) {
  if (mkdir(path, 0777) == 0) return AGD_OK;
  const int error = errno;
  if (is_folder(path)) return AGD_OK;
  if (error == EEXIST) return agd_fail(st, AGD_EDATA, "cannot make the folder %s: a file of that name is there", path);
  return agd_fail(st, AGD_EDATA, "cannot make the folder %s: %s", path, strerror(error));
}

agd_code agd_folder_create(const char *path, agd_status *st) {
  if (*path == '\0') return agd_fail(st, AGD_EDATA, "the name of the folder is empty");
  char *part = strdup(path);
  if (part == NULL) return agd_fail(st, AGD_EDATA, "out of memory: the path %s", path);
  agd_code code = AGD_OK;
  for (char *slash = strchr(part + 1, '/'); slash != NULL && code == AGD_OK; slash = strchr(slash + 1, '/')) {
    *slash = '\0';
    code = create_one(part, st);
    *slash = '/';
  }
  if (code == AGD_OK) code = create_one(part, st);
  free(part);
  return code;
}
