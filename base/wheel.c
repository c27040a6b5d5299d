/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/wheel.h"

#define LEVEL_BITS 6
#define SLOT_MASK (WHEEL_SLOTS - 1)

static unsigned int shift_of(unsigned int level)
{
    return level * LEVEL_BITS;
}

void asock_wheel_init(struct wheel *wheel, uint64_t now)
{
    for (unsigned int level = 0; level < WHEEL_LEVELS; level++) {
        for (unsigned int slot = 0; slot < WHEEL_SLOTS; slot++)
            list_init(&wheel->slots[level][slot]);
        wheel->occupied[level] = 0;
    }
    list_init(&wheel->due);
    wheel->now = now;
}

/*
 * The level is the lowest one whose span still tells the deadline's slot from the present one:
 * compared are slot numbers, not distances, so that a slot never holds two rounds.
 */
static void place(struct wheel *wheel, struct wheel_timer *timer)
{
    uint64_t deadline = timer->deadline, slot;
    unsigned int level;

    if (deadline <= wheel->now) {
        list_append(&wheel->due, &timer->node);
        return;
    }
    for (level = 0; level < WHEEL_LEVELS - 1; level++)
        if ((deadline >> shift_of(level)) - (wheel->now >> shift_of(level)) < WHEEL_SLOTS)
            break;
    slot = deadline >> shift_of(level);
    if (slot - (wheel->now >> shift_of(level)) >= WHEEL_SLOTS)
        slot = (wheel->now >> shift_of(level)) + WHEEL_SLOTS - 1;
    slot &= SLOT_MASK;
    list_append(&wheel->slots[level][slot], &timer->node);
    wheel->occupied[level] |= UINT64_C(1) << slot;
}

void asock_wheel_set(struct wheel *wheel, struct wheel_timer *timer, uint64_t deadline)
{
    list_remove(&timer->node);
    timer->deadline = deadline;
    place(wheel, timer);
}

static uint64_t rotate_right(uint64_t value, unsigned int by)
{
    by &= 63;
    return by == 0 ? value : value >> by | value << (64 - by);
}

/*
 * Start of the level's first slot behind now that holds a timer; UINT64_MAX: none. A timer that was
 * unset has left its slot's bit behind: that goes here, or the caller would wake up for nothing.
 */
static uint64_t next_of_level(struct wheel *wheel, unsigned int level)
{
    uint64_t behind = (wheel->now >> shift_of(level)) + 1;

    while (wheel->occupied[level]) {
        uint64_t next = behind + (uint64_t)__builtin_ctzll(rotate_right(
                                     wheel->occupied[level], (unsigned int)behind & SLOT_MASK));

        if (!list_is_empty(&wheel->slots[level][next & SLOT_MASK]))
            return next << shift_of(level);
        wheel->occupied[level] &= ~(UINT64_C(1) << (next & SLOT_MASK));
    }
    return UINT64_MAX;
}

/* The same over all levels. */
static uint64_t next_slot(struct wheel *wheel)
{
    uint64_t best = UINT64_MAX;

    for (unsigned int level = 0; level < WHEEL_LEVELS; level++) {
        uint64_t start = next_of_level(wheel, level);

        if (start < best)
            best = start;
    }
    return best;
}

/* The slots that begin at wheel->now are emptied and their timers placed again, one level lower. */
static void enter_slots(struct wheel *wheel)
{
    for (unsigned int level = WHEEL_LEVELS; level-- > 0;) {
        uint64_t slot = (wheel->now >> shift_of(level)) & SLOT_MASK;
        struct list timers;

        if (wheel->now & ((UINT64_C(1) << shift_of(level)) - 1))
            continue;
        if (!(wheel->occupied[level] & UINT64_C(1) << slot))
            continue;
        wheel->occupied[level] &= ~(UINT64_C(1) << slot);
        list_init(&timers);
        list_splice(&timers, &wheel->slots[level][slot]);
        while (!list_is_empty(&timers)) {
            struct wheel_timer *timer = list_first(&timers, struct wheel_timer, node);

            list_remove(&timer->node);
            place(wheel, timer);
        }
    }
}

static void advance(struct wheel *wheel, uint64_t now)
{
    while (wheel->now < now) {
        uint64_t next = next_slot(wheel);

        wheel->now = next < now ? next : now;
        enter_slots(wheel);
    }
}

struct wheel_timer *asock_wheel_pop(struct wheel *wheel, uint64_t now)
{
    struct wheel_timer *timer;

    advance(wheel, now);
    timer = list_first(&wheel->due, struct wheel_timer, node);
    if (timer)
        list_remove(&timer->node);
    return timer;
}

bool asock_wheel_is_overdue(struct wheel *wheel, uint64_t now, uint64_t ms)
{
    const struct wheel_timer *first;

    advance(wheel, now);
    first = list_first(&wheel->due, struct wheel_timer, node);
    return first && first->deadline + ms < now;
}

int64_t asock_wheel_next(struct wheel *wheel, uint64_t now)
{
    uint64_t next;

    if (!list_is_empty(&wheel->due))
        return 0;
    next = next_slot(wheel);
    if (next == UINT64_MAX)
        return -1;
    return next <= now ? 0 : (int64_t)(next - now);
}

bool asock_wheel_is_clear(const struct wheel *wheel)
{
    for (unsigned int level = 0; level < WHEEL_LEVELS; level++)
        for (unsigned int slot = 0; slot < WHEEL_SLOTS; slot++)
            if (!list_is_empty(&wheel->slots[level][slot]))
                return false;
    return list_is_empty(&wheel->due);
}
