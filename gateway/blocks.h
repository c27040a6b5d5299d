/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_BLOCKS_H
#define GATEWAY_BLOCKS_H

/*
 * Memory shared with the daemon, in blocks that connections take for bulk data. A connection that
 * finds none goes on with the little memory of its own.
 */
#include <asock/asock.h>

#include <stdbool.h>
#include <stddef.h>

/*
 * A round through program, proxy, daemon and peer costs some 50 us of wake-ups on one core,
 * whatever it carries: of 1 GB, 128 KiB at a time took 610 ms of processor time, 256 KiB 500, 512
 * KiB 430, 1 MiB 410.
 */
#define BLOCK_SIZE (512u * 1024u)
#define BLOCKS_MAX 64u /* 32 MiB: two for each way of 16 busy connections */

struct blocks {
    asock_buffer *buffer; /* NULL: there is none */
    char *free[BLOCKS_MAX];
    unsigned int free_count;
};

/* As much of it as the session's quota has, and at most `count`; none is no error. */
void blocks_init(struct blocks *blocks, asock_context *context, unsigned int count, int timeout_ms);
/* No op may be in flight with one of them. */
void blocks_deinit(struct blocks *blocks);
/* NULL: all are taken. */
char *blocks_get(struct blocks *blocks);
void blocks_put(struct blocks *blocks, char *block);
/*
 * What was read from them before this call is what was received: the daemon has not taken them
 * back.
 */
bool blocks_are_intact(const struct blocks *blocks);

#endif
