/** @file h5_text.h
 * Texts of variable length, for h5.c alone. HDF5 1.10.8 trusts every number of the heap that such texts are kept in: a
 * damaged one makes it crash, loop for ever or write beyond its buffers. So HDF5 only hands over the references, and
 * their texts are looked up here. Not collective.
 */
#ifndef ALLEGRAD_H5_TEXT_H
#define ALLEGRAD_H5_TEXT_H

#include <hdf5.h>
#include <stddef.h>

/** Reads an attribute of `count` texts of variable length, in a file opened by h5_bytes.h.
 * @param texts  receives count strings of its own (free), NULL beyond the first that fails
 * @return NULL, or what is wrong */
const char *agd_h5_text_read(hid_t attribute, size_t count, char **texts);

#endif
