/* SPDX-License-Identifier: LGPL-2.1-or-later */

#include "tests/lib/wait.h"

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <time.h>

#define PUMPED_MAX 8

static asock_context *pumped[PUMPED_MAX];

long long now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

void pump_add(asock_context *context)
{
    for (size_t i = 0; i < PUMPED_MAX; i++) {
        if (!pumped[i]) {
            pumped[i] = context;
            return;
        }
    }
    ck_abort_msg("too many contexts to pump");
}

void pump_remove(asock_context *context)
{
    for (size_t i = 0; i < PUMPED_MAX; i++) {
        if (pumped[i] == context)
            pumped[i] = NULL;
    }
}

/* What an event loop does before it sleeps: asks for the events and the time. */
static int fill(struct pollfd *fds, nfds_t *count, int max_ms)
{
    for (size_t i = 0; i < PUMPED_MAX; i++) {
        int timeout;

        if (!pumped[i])
            continue;
        fds[*count].fd = asock_context_get_fd(pumped[i]);
        fds[*count].events = (short)asock_context_get_events(pumped[i]);
        fds[*count].revents = 0;
        (*count)++;
        timeout = asock_context_get_timeout(pumped[i]);
        if (timeout >= 0 && timeout < max_ms)
            max_ms = timeout;
    }
    return max_ms;
}

bool pump_turn(int fd, short events, int max_ms)
{
    struct pollfd fds[PUMPED_MAX + 1] = {{.fd = fd, .events = events}};
    nfds_t count = 1;
    int timeout, r;

    timeout = fill(fds, &count, max_ms);
    do {
        r = poll(fds, count, timeout);
    } while (r < 0 && errno == EINTR);
    ck_assert_msg(r >= 0, "poll: errno %d", errno);
    for (size_t i = 0; i < PUMPED_MAX; i++) {
        if (pumped[i]) {
            r = asock_context_process(pumped[i]);
            ck_assert_msg(r >= 0, "asock_context_process: %d", r);
        }
    }
    return fd >= 0 && fds[0].revents != 0;
}

void wait_fd(int fd, short events)
{
    long long deadline = now_ms() + LIVENESS_MS;

    while (!pump_turn(fd, events, LIVENESS_MS))
        ck_assert_msg(now_ms() < deadline, "nothing happened on descriptor %d", fd);
}

void wait_count(const int *counter, int value)
{
    long long deadline = now_ms() + LIVENESS_MS;

    while (*counter < value) {
        ck_assert_msg(now_ms() < deadline, "%d callbacks came instead of %d", *counter, value);
        pump_turn(-1, 0, 1000);
    }
}

bool wait_condition(condition_fn condition, void *userdata)
{
    long long deadline = now_ms() + LIVENESS_MS;

    while (!condition(userdata)) {
        if (now_ms() >= deadline)
            return false;
        pump_turn(-1, 0, 5);
    }
    return true;
}
