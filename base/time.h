/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_BASE_TIME_H
#define ASOCK_BASE_TIME_H

#include <stdint.h>
#include <time.h>

/* Nanoseconds of CLOCK_MONOTONIC: since some point in the past, never backwards. */
static inline uint64_t time_now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static inline uint64_t time_now_ms(void)
{
    return time_now_ns() / 1000000;
}

#endif
