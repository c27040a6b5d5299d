/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_BASE_HASH_H
#define ASOCK_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/*
 * FNV-1a. It is not keyed: whoever chooses the bytes can make them collide. Use it where the number
 * of keys is bounded, and compare the keys.
 */
static inline uint64_t hash_bytes(const void *data, size_t len)
{
    const unsigned char *bytes = data;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < len; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    return hash;
}

#endif
