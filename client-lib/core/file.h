/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_CORE_FILE_H
#define ASOCK_LIB_CORE_FILE_H

/*
 * A send whose bytes are the op's buffers, a region of a file, and a trailer (asock_send_file()).
 * One slice of it at a time is in memory: it is filled when the one before has been written to the
 * daemon, and is what the frames refer to.
 */
#include "client-lib/core/objects.h"

#define FILE_SLICE (128u * 1024u)

struct file_source {
    int fd;                /* a duplicate of the program's */
    uint64_t offset, left; /* of the region, of what has not been read */
    struct iovec trailer;  /* what of it is not in the slice yet */
    struct cursor header;  /* in the op's buffers */
    size_t header_len;     /* of all of them: op->total is more, meanwhile */
    struct iovec slice;
    bool has_failed; /* no more bytes will come */
    uint8_t bytes[FILE_SLICE];
};

/* 0, or -errno: not a regular file, no such region. The op is not in flight. */
int asock_file_set(asock_op *op, int fd, uint64_t offset, uint64_t length,
                   const struct iovec *trailer);
/*
 * The op has ended, and no frame refers to the slice. Its buffers are all that it has, as before.
 */
void asock_file_drop(asock_op *op);

/* Bytes of the slice that have not left. */
size_t asock_file_ready(const asock_op *op);
/*
 * Fills the slice, if all of it has left. has_failed: the file did not have the bytes, and the
 * slice is empty.
 */
void asock_file_fill(asock_op *op);
/* Does it wait until the slice has been written? */
bool asock_file_waits(const asock_op *op);

#endif
