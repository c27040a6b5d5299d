/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_BLOCKS_H
#define GATEWAY_BLOCKS_H

/*
 * Memory shared with the daemon, in blocks that connections take for bulk data. A connection that finds none
 * goes on with the little memory of its own.
 */
#include <asock/asock.h>

#include <stddef.h>

#define BLOCK_SIZE (128u * 1024u)
#define BLOCKS_MAX 128u /* 16 MiB: a window of 256 KiB each way for 32 busy connections */

struct blocks {
    asock_buffer *buffer; /* NULL: there is none */
    char *free[BLOCKS_MAX];
    unsigned int free_count;
};

/* As much of it as the session's quota has; none is no error. */
void blocks_init(struct blocks *blocks, asock_context *context, int timeout_ms);
/* No op may be in flight with one of them. */
void blocks_deinit(struct blocks *blocks);
/* NULL: all are taken. */
char *blocks_get(struct blocks *blocks);
void blocks_put(struct blocks *blocks, char *block);

#endif
