/** @file folder.h
 * Folders. Not collective: one process creates a folder, the others learn of it.
 */
#ifndef ALLEGRAD_FOLDER_H
#define ALLEGRAD_FOLDER_H

#include "allegrad/status.h"

/** Creates a folder and its parents where they are missing; one that is there already is fine.
 * @return AGD_OK, or AGD_EDATA naming the part that is no folder or cannot be made, and the system's reason */
agd_code agd_folder_create(const char *path, agd_status *st);

#endif
