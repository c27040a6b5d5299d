/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "proto/codec_arena.h"

#include <string.h>

/* As much as any member of a message needs; malloc gives no less. */
#define ALIGNMENT alignof(max_align_t)

static void *arena_alloc(void *data, size_t size)
{
    struct arena *arena = data;
    size_t left = arena->size - arena->used;
    uint8_t *chunk;

    if (left < ALIGNMENT || size > left - ALIGNMENT) {
        arena->exhausted = true;
        return NULL;
    }
    chunk = arena->base + arena->used;
    memcpy(chunk, &size, sizeof(size));
    size = (size + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
    arena->used += ALIGNMENT + size;
    if (arena->used > arena->size)
        arena->used = arena->size;
    return chunk + ALIGNMENT;
}

static void arena_free(void *data, void *chunk)
{
    (void)data;
    (void)chunk;
}

void asock_arena_init(struct arena *arena, uint8_t *base, size_t size)
{
    arena->allocator = (ProtobufCAllocator){
        .alloc = arena_alloc,
        .free = arena_free,
        .allocator_data = arena,
    };
    arena->base = base;
    arena->used = 0;
    arena->size = size;
    arena->exhausted = false;
}

size_t asock_arena_string_len(const struct arena *arena, const char *string)
{
    uintptr_t at = (uintptr_t)string, base = (uintptr_t)arena->base;
    size_t size;

    if (at < base + ALIGNMENT || at >= base + arena->size)
        return 0;
    memcpy(&size, string - ALIGNMENT, sizeof(size));
    return size - 1;
}
