/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Walking over an op's segments. */
#include "client-lib/core/segments.h"

#include "client-lib/core/file.h"

static unsigned int take(const struct iovec *segments, size_t count, struct cursor *cursor,
                         size_t *len, struct iovec *iov, unsigned int cap)
{
    size_t left = *len;
    unsigned int used = 0;

    while (left > 0 && cursor->segment < count) {
        const struct iovec *segment = &segments[cursor->segment];
        size_t part = segment->iov_len - cursor->offset;

        if (part > left)
            part = left;
        if (part > 0) {
            if (used == cap)
                break;
            iov[used++] = (struct iovec){.iov_base = (uint8_t *)segment->iov_base + cursor->offset,
                                         .iov_len = part};
        }
        left -= part;
        cursor->offset += part;
        if (cursor->offset == segment->iov_len) {
            cursor->segment++;
            cursor->offset = 0;
        }
    }
    *len -= left;
    return used;
}

unsigned int asock_segments_of_buffers(const asock_op *op, struct cursor *cursor, size_t *len,
                                       struct iovec *iov, unsigned int cap)
{
    return take(op->segments, op->segment_count, cursor, len, iov, cap);
}

unsigned int asock_segments_take(const asock_op *op, struct cursor *cursor, size_t *len,
                                 struct iovec *iov, unsigned int cap)
{
    if (op->file)
        return take(&op->file->slice, 1, cursor, len, iov, cap);
    return asock_segments_of_buffers(op, cursor, len, iov, cap);
}
