/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_BASE_WHEEL_H
#define ASOCK_BASE_WHEEL_H

/*
 * A hierarchical timing wheel: deadlines in milliseconds, adding and removing O(1), no allocation.
 * Four levels of 64 slots with 1, 64, 4096 and 262144 ms per slot reach 4.6 hours; what is further
 * away waits in the last level and is sorted in again. The caller owns the clock: time is what it
 * passes in.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

#define WHEEL_LEVELS 4
#define WHEEL_SLOTS 64

struct wheel {
    struct list slots[WHEEL_LEVELS][WHEEL_SLOTS];
    uint64_t occupied[WHEEL_LEVELS]; /* a bit per slot that holds a timer, or held one */
    struct list due;                 /* expired, not yet taken by wheel_pop */
    uint64_t now;
};

struct wheel_timer {
    struct list node;
    uint64_t deadline;
};

void asock_wheel_init(struct wheel *wheel, uint64_t now);

static inline void wheel_timer_init(struct wheel_timer *timer)
{
    list_init(&timer->node);
    timer->deadline = 0;
}

static inline bool wheel_timer_is_set(const struct wheel_timer *timer)
{
    return list_is_linked(&timer->node);
}

/* A timer that is set already is moved. A deadline that has passed is due at the next pop. */
void asock_wheel_set(struct wheel *wheel, struct wheel_timer *timer, uint64_t deadline);

static inline void wheel_timer_unset(struct wheel_timer *timer)
{
    list_remove(&timer->node);
}

/* No timer is set: the time is not needed. */
static inline bool wheel_is_empty(const struct wheel *wheel)
{
    for (int level = 0; level < WHEEL_LEVELS; level++)
        if (wheel->occupied[level])
            return false;
    return list_is_empty(&wheel->due);
}

/* No timer is set: exact, and slower. For assertions that none was left behind. */
bool asock_wheel_is_clear(const struct wheel *wheel);

/*
 * Advances to now, then gives the expired timers one by one, each unset; NULL when there is none.
 * Timers may be set and unset between calls.
 */
struct wheel_timer *asock_wheel_pop(struct wheel *wheel, uint64_t now);

/* Has the first of the expired timers been due for more than so many milliseconds? */
bool asock_wheel_is_overdue(struct wheel *wheel, uint64_t now, uint64_t ms);

/*
 * Milliseconds from now until wheel_pop may have work: -1 no timer is set, 0 at once. May be early
 * (a slot of a higher level has to be sorted in), never late.
 */
int64_t asock_wheel_next(struct wheel *wheel, uint64_t now);

#endif
