/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_CORE_SEGMENTS_H
#define ASOCK_LIB_CORE_SEGMENTS_H

/* Walking over the segments of an op. */
#include "client-lib/core/objects.h"

/* Those of the buffers that the program has set: as the next one. */
unsigned int asock_segments_of_buffers(const asock_op *op, struct cursor *cursor, size_t *len,
                                       struct iovec *iov, unsigned int cap);
/* Moves the cursor over at most len bytes, telling where they are; returns entries of iov used. */
unsigned int asock_segments_take(const asock_op *op, struct cursor *cursor, size_t *len,
                                 struct iovec *iov, unsigned int cap);

#endif
