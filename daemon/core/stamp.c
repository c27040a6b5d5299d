/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/core/stamp.h"

#include <stdint.h>
#include <string.h>
#include <time.h>

/*
 * The kernel's file times advance with its ticks, every 10 ms at most: a second change within one
 * tick leaves no trace. A file that had just changed when its stamp was taken is therefore read
 * again.
 */
#define SETTLED_MS 50

static int64_t to_ms(const struct timespec *at)
{
    return (int64_t)at->tv_sec * 1000 + at->tv_nsec / 1000000;
}

/* Times ahead of the clock, which was set back meanwhile, say nothing about now. */
static bool is_settled(const struct timespec *changed)
{
    struct timespec now;
    int64_t age;

    clock_gettime(CLOCK_REALTIME, &now);
    age = to_ms(&now) - to_ms(changed);
    return age >= SETTLED_MS || age < -SETTLED_MS;
}

void stamp_take(struct stamp *stamp, const char *path)
{
    struct stat st;

    memset(stamp, 0, sizeof(*stamp));
    stamp->is_taken = true;
    stamp->is_settled = true;
    if (stat(path, &st) < 0)
        return;
    stamp->is_there = true;
    stamp->is_settled = is_settled(&st.st_ctim);
    stamp->dev = st.st_dev;
    stamp->ino = st.st_ino;
    stamp->size = st.st_size;
    stamp->modified = st.st_mtim;
    stamp->changed = st.st_ctim;
}

static bool is_same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool stamp_is_current(const struct stamp *stamp, const char *path)
{
    struct stat st;

    if (!stamp->is_taken || !stamp->is_settled)
        return false;
    if (stat(path, &st) < 0)
        return !stamp->is_there;
    return stamp->is_there && stamp->dev == st.st_dev && stamp->ino == st.st_ino &&
           stamp->size == st.st_size && is_same_time(&stamp->modified, &st.st_mtim) &&
           is_same_time(&stamp->changed, &st.st_ctim);
}
