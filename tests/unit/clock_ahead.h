/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_CLOCK_AHEAD_H
#define ASOCK_TESTS_CLOCK_AHEAD_H

/* A clock for the whole program, ahead of the kernel's by as much as the test says. */
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int ahead_ms;

int clock_gettime(clockid_t id, struct timespec *ts)
{
    int r = (int)syscall(SYS_clock_gettime, id, ts);

    ts->tv_sec += ahead_ms / 1000;
    ts->tv_nsec += ahead_ms % 1000 * 1000000L;
    if (ts->tv_nsec >= 1000000000) {
        ts->tv_sec++;
        ts->tv_nsec -= 1000000000;
    }
    return r;
}

#endif
