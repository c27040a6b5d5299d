/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gateway/blocks.h"

#include <errno.h>

void blocks_init(struct blocks *blocks, asock_context *context, unsigned int count, int timeout_ms)
{
    int r = -ENOBUFS;

    *blocks = (struct blocks){0};
    while (r == -ENOBUFS && count > 1) {
        r = asock_buffer_new(context, (size_t)count * BLOCK_SIZE, timeout_ms, &blocks->buffer);
        if (r < 0)
            count /= 2;
    }
    if (r < 0)
        return;
    for (unsigned int i = 0; i < count; i++)
        blocks->free[i] = (char *)asock_buffer_data(blocks->buffer) + (size_t)i * BLOCK_SIZE;
    blocks->free_count = count;
}

void blocks_deinit(struct blocks *blocks)
{
    asock_buffer_unref(blocks->buffer);
    *blocks = (struct blocks){0};
}

char *blocks_get(struct blocks *blocks)
{
    return blocks->free_count > 0 ? blocks->free[--blocks->free_count] : NULL;
}

void blocks_put(struct blocks *blocks, char *block)
{
    blocks->free[blocks->free_count++] = block;
}

bool blocks_are_intact(const struct blocks *blocks)
{
    return asock_buffer_is_intact(blocks->buffer) == 1;
}
