#include "h5_bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

uint64_t agd_h5_bytes_number(const unsigned char *from, int bytes) {
  uint64_t value = 0;
  for (int i = 0; i < bytes; i++) value |= (uint64_t)from[i] << (8 * i);
  return value;
}

bool agd_h5_bytes_read(const agd_h5_bytes *bytes, uint64_t at, void *to, uint64_t size) {
  if (at > bytes->size || size > bytes->size - at) return false;
  if (bytes->memory != NULL) {
    memcpy(to, bytes->memory + at, (size_t)size);
    return true;
  }
  for (uint64_t done = 0; done < size;) {
    const ssize_t got = pread(bytes->fd, (char *)to + done, (size_t)(size - done), (off_t)(at + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    done += (uint64_t)got;
  }
  return true;
}

/* A local heap: "HEAP", 4 bytes, then the size of its data, where its free space begins, the address of the data. A
 * free block begins with the next one's place in the data and its own size; 1 ends the list. Numbers have 8 bytes:
 * files of other sizes are not opened. */
enum { AT_SIZE = 8, AT_FREE = 16, AT_ADDRESS = 24, HEAP = 32, FREE_BLOCK = 16, FREE_END = 1 };

static bool is_list_sound(const agd_h5_bytes *bytes, uint64_t data, uint64_t size, uint64_t free) {
  uint64_t left = size; /* blocks do not overlap: a list that goes round in circles is longer than the data */
  while (free != FREE_END) {
    unsigned char block[FREE_BLOCK];
    if (free >= size || size - free < FREE_BLOCK || left < FREE_BLOCK ||
        !agd_h5_bytes_read(bytes, data + free, block, FREE_BLOCK))
      return false;
    if (agd_h5_bytes_number(block + 8, 8) > size - free) return false;
    left -= FREE_BLOCK;
    free = agd_h5_bytes_number(block, 8);
  }
  return true;
}

/* ---- the driver ---- */

typedef struct driver_file {
  H5FD_t base; /* HDF5's part; must stand first */
  agd_h5_bytes bytes;
  haddr_t end; /* of what HDF5 may ask for; its to say */
} driver_file;

static agd_h5_bytes open_disk(const char *path) {
  struct stat info;
  agd_h5_bytes bytes = {.fd = open(path, O_RDONLY | O_CLOEXEC)};
  if (bytes.fd >= 0 && fstat(bytes.fd, &info) == 0 && S_ISREG(info.st_mode)) bytes.size = (uint64_t)info.st_size;
  return bytes;
}

static H5FD_t *driver_open(const char *name, unsigned flags, hid_t access, haddr_t longest) {
  (void)longest;
  const agd_h5_bytes *asked = H5Pget_driver_info(access);
  if (asked == NULL || (flags & H5F_ACC_RDWR) != 0) return NULL;
  const agd_h5_bytes bytes = asked->memory != NULL ? *asked : open_disk(name);
  driver_file *f = bytes.memory != NULL || bytes.fd >= 0 ? calloc(1, sizeof *f) : NULL;
  if (f != NULL) {
    f->bytes = bytes;
    return &f->base;
  }
  if (bytes.memory != NULL || bytes.fd >= 0) /* what agd_h5_fail tells */
    H5Epush2(H5E_DEFAULT, __FILE__, __func__, __LINE__, H5E_ERR_CLS, H5E_RESOURCE, H5E_NOSPACE, "out of memory");
  if (bytes.fd >= 0) close(bytes.fd);
  return NULL;
}

static herr_t driver_close(H5FD_t *file) {
  driver_file *f = (driver_file *)file;
  if (f->bytes.fd >= 0) close(f->bytes.fd);
  free(f);
  return 0;
}

static herr_t driver_query(const H5FD_t *file, unsigned long *flags) {
  (void)file;
  *flags = 0; /* no gathering of small reads */
  return 0;
}

static haddr_t driver_get_end(const H5FD_t *file, H5FD_mem_t type) {
  (void)type;
  return ((const driver_file *)file)->end;
}

static herr_t driver_set_end(H5FD_t *file, H5FD_mem_t type, haddr_t end) {
  (void)type;
  ((driver_file *)file)->end = end;
  return 0;
}

static haddr_t driver_size(const H5FD_t *file, H5FD_mem_t type) {
  (void)type;
  return ((const driver_file *)file)->bytes.size;
}

static herr_t driver_handle(H5FD_t *file, hid_t access, void **handle) {
  (void)access;
  *handle = &((driver_file *)file)->bytes;
  return 0;
}

static herr_t refuse(const char *reason) {
  H5Epush2(H5E_DEFAULT, __FILE__, __func__, __LINE__, H5E_ERR_CLS, H5E_VFL, H5E_READERROR, "%s", reason);
  return -1;
}

/* HDF5 adds the start of its addresses before it asks. */
static bool is_heap_sound(const H5FD_t *file, haddr_t at) {
  const agd_h5_bytes *bytes = &((const driver_file *)file)->bytes;
  unsigned char head[HEAP];
  if (!agd_h5_bytes_read(bytes, at, head, HEAP) || memcmp(head, "HEAP", 4) != 0) return true; /* HDF5 will say so */
  const uint64_t size = agd_h5_bytes_number(head + AT_SIZE, 8), address = agd_h5_bytes_number(head + AT_ADDRESS, 8);
  const uint64_t room = bytes->size - file->base_addr;
  if (address > room || size > room - address) return false;
  return is_list_sound(bytes, file->base_addr + address, size, agd_h5_bytes_number(head + AT_FREE, 8));
}

static herr_t driver_read(H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t at, size_t size, void *to) {
  (void)transfer;
  if (type == H5FD_MEM_LHEAP && !is_heap_sound(file, at)) return refuse("a list of names leads out of itself");
  const agd_h5_bytes *bytes = &((driver_file *)file)->bytes;
  if (agd_h5_bytes_read(bytes, at, to, size)) return 0;
  if (type != H5FD_MEM_SUPER || at < bytes->size) return refuse("the file ends before");
  memset(to, 0, size); /* where HDF5 still looks for its signature: zeros, as its own drivers say */
  return 0;
}

static herr_t driver_write(H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t at, size_t size, const void *from) {
  (void)file, (void)type, (void)transfer, (void)at, (void)size, (void)from;
  return refuse("the file is only read");
}

/* Registered when it is first needed, and again when HDF5 was closed in between. */
static hid_t driver(void) {
  static const H5FD_class_t class = {.name = "allegrad",
                                     .maxaddr = INT64_MAX,
                                     .fc_degree = H5F_CLOSE_STRONG,
                                     .fapl_size = sizeof(agd_h5_bytes),
                                     .open = driver_open,
                                     .close = driver_close,
                                     .query = driver_query,
                                     .get_eoa = driver_get_end,
                                     .set_eoa = driver_set_end,
                                     .get_eof = driver_size,
                                     .get_handle = driver_handle,
                                     .read = driver_read,
                                     .write = driver_write,
                                     .fl_map = H5FD_FLMAP_DICHOTOMY};
  static hid_t id = -1;
  if (id < 0 || H5Iget_type(id) != H5I_VFL) id = H5FDregister(&class);
  return id;
}

bool agd_h5_bytes_set(hid_t access, const void *memory, uint64_t size) {
  const agd_h5_bytes bytes = {.memory = memory, .fd = -1, .size = size};
  const hid_t id = driver();
  return id >= 0 && H5Pset_driver(access, id, &bytes) >= 0;
}

const agd_h5_bytes *agd_h5_bytes_of(hid_t file) {
  void *handle = NULL;
  const hid_t access = H5Fget_access_plist(file);
  if (access < 0) return NULL;
  if (H5Pget_driver(access) != driver() || H5Fget_vfd_handle(file, H5P_DEFAULT, &handle) < 0) handle = NULL;
  H5Pclose(access);
  return handle;
}
