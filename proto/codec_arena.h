/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_PROTO_CODEC_ARENA_H
#define ASOCK_PROTO_CODEC_ARENA_H

/*
 * The allocator under protobuf-c while it decodes one head: it hands out the caller's stack from
 * the front, takes nothing back, and fails when that is used up. In front of each chunk stands its
 * size: protobuf-c gives a string as char * alone, and only the size of its chunk tells whether it
 * has a NUL inside.
 */
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

/* About a hundred unknown fields beside the largest legal head (counted in test_codec.c). */
#define ARENA_SIZE 16384u

struct arena {
    ProtobufCAllocator allocator;
    uint8_t *base;
    size_t used, size;
    bool exhausted; /* an allocation failed: it is not the message's form */
};

void asock_arena_init(struct arena *arena, uint8_t *base, size_t size);

/* The length of a string that protobuf-c made in the arena; 0 for its static default. */
size_t asock_arena_string_len(const struct arena *arena, const char *string);

#endif
