/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: set -> a slice is filled from header, file and trailer, in this order -> it leaves in
 * frames of the chain -> the next one -> the op has ended, and no frame refers to the slice: all of
 * it goes.
 * Failures: the file is shorter than it was, or cannot be read: an empty piece of the chain leaves,
 * then its early end, whose answer is reported as FAULT. The daemon closes the sending side.
 */
#include "client-lib/core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client-lib/core/segments.h"

static int check_region(int fd, uint64_t offset, uint64_t *length)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || offset > (uint64_t)st.st_size)
        return -EINVAL;
    if (*length == 0)
        *length = (uint64_t)st.st_size - offset;
    return *length > (uint64_t)st.st_size - offset ? -EINVAL : 0;
}

int asock_file_set(asock_op *op, int fd, uint64_t offset, uint64_t length,
                   const struct iovec *trailer)
{
    struct file_source *file;
    size_t total = op->total;
    int r = check_region(fd, offset, &length);

    if (r < 0)
        return r;
    if (__builtin_add_overflow(total, length, &total) ||
        __builtin_add_overflow(total, trailer->iov_len, &total) || total > INT64_MAX)
        return -EINVAL;
    file = malloc(sizeof(*file));
    if (!file)
        return -ENOMEM;
    memset(file, 0, offsetof(struct file_source, bytes));
    file->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (file->fd < 0) {
        r = -errno;
        free(file);
        return r;
    }
    file->offset = offset;
    file->left = length;
    file->trailer = *trailer;
    file->header_len = op->total;
    op->file = file;
    op->total = total;
    return 0;
}

void asock_file_drop(asock_op *op)
{
    struct file_source *file = op->file;

    op->file = NULL;
    op->total = file->header_len;
    close(file->fd);
    free(file);
}

size_t asock_file_ready(const asock_op *op)
{
    return op->cursor.segment > 0 ? 0 : op->file->slice.iov_len - op->cursor.offset;
}

bool asock_file_waits(const asock_op *op)
{
    return op->file && op->wire_refs > 0 && asock_file_ready(op) == 0;
}

static size_t add_header(asock_op *op, uint8_t *to, size_t room)
{
    size_t added = 0;
    struct iovec piece;

    while (added < room) {
        size_t len = room - added;

        if (asock_segments_of_buffers(op, &op->file->header, &len, &piece, 1) == 0)
            break;
        memcpy(to + added, piece.iov_base, piece.iov_len);
        added += piece.iov_len;
    }
    return added;
}

/* -1: less than there should be. */
static ssize_t add_file(struct file_source *file, uint8_t *to, size_t room)
{
    size_t want = room < file->left ? room : (size_t)file->left, added = 0;

    while (added < want) {
        ssize_t n = pread(file->fd, to + added, want - added, (off_t)file->offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        added += (size_t)n;
        file->offset += (uint64_t)n;
        file->left -= (uint64_t)n;
    }
    return (ssize_t)added;
}

static size_t add_trailer(struct file_source *file, uint8_t *to, size_t room)
{
    size_t len = room < file->trailer.iov_len ? room : file->trailer.iov_len;

    if (len == 0)
        return 0;
    memcpy(to, file->trailer.iov_base, len);
    file->trailer.iov_base = (uint8_t *)file->trailer.iov_base + len;
    file->trailer.iov_len -= len;
    return len;
}

void asock_file_fill(asock_op *op)
{
    struct file_source *file = op->file;
    ssize_t n;
    size_t len;

    if (asock_file_ready(op) > 0)
        return;
    op->cursor = (struct cursor){0, 0};
    file->slice = (struct iovec){file->bytes, 0};
    len = add_header(op, file->bytes, FILE_SLICE);
    n = add_file(file, file->bytes + len, FILE_SLICE - len);
    file->has_failed = n < 0;
    if (n < 0)
        return;
    len += (size_t)n;
    len += add_trailer(file, file->bytes + len, FILE_SLICE - len);
    file->slice.iov_len = len;
}
