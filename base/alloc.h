/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_BASE_ALLOC_H
#define ASOCK_BASE_ALLOC_H

/* Every allocation of daemon and library goes through these, so that one place can make it fail. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/*
 * Pieces of up to this size free() keeps for the next malloc() (glibc's tcache). calloc() does not
 * take them from there, which costs it and free() some hundred instructions.
 */
#define MEM_KEPT_MAX 1024u

static inline void *mem_alloc(size_t size)
{
    return malloc(size);
}

static inline void *mem_zalloc(size_t count, size_t size)
{
    void *p;

    if (count != 1 || size > MEM_KEPT_MAX)
        return calloc(count, size);
    p = malloc(size);
    __asm__("" : "+r"(p)); /* else the compiler makes a calloc() of the two */
    return p ? memset(p, 0, size) : NULL;
}

static inline void *mem_realloc(void *p, size_t size)
{
    return realloc(p, size);
}

static inline void *mem_free(void *p)
{
    free(p);
    return NULL;
}

#endif
