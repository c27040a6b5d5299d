/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_BASE_ALLOC_H
#define ASOCK_BASE_ALLOC_H

/* Every allocation of daemon and library goes through these, so that one place can make it fail. */
#include <stddef.h>
#include <stdlib.h>

static inline void *mem_alloc(size_t size)
{
    return malloc(size);
}

static inline void *mem_zalloc(size_t count, size_t size)
{
    return calloc(count, size);
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
