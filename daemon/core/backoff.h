/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_BACKOFF_H
#define ASOCKD_BACKOFF_H

/*
 * Something that mostly pays, or mostly does not: after it did not pay it is left out a number of
 * times, twice as many after each further failure.
 */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/limits.h"

struct backoff {
    uint16_t skip; /* so many more times it is left out */
    uint16_t last; /* how many that was the last time; 0: it paid */
};

/* Is it to be left out this time? */
static inline bool backoff_skips(struct backoff *backoff)
{
    if (backoff->skip == 0)
        return false;
    backoff->skip--;
    return true;
}

static inline void backoff_failed(struct backoff *backoff)
{
    unsigned int next = backoff->last < BACKOFF_MIN ? BACKOFF_MIN : 2u * backoff->last;

    backoff->last = (uint16_t)(next < BACKOFF_MAX ? next : BACKOFF_MAX);
    backoff->skip = backoff->last;
}

static inline void backoff_paid(struct backoff *backoff)
{
    backoff->last = 0;
}

#endif
