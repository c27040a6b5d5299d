/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_WAIT_H
#define ASOCK_TESTS_WAIT_H

/*
 * Waiting without sleeping: for a descriptor or a condition, with one generous deadline that only a
 * hang reaches. While a test waits, the contexts it has named are processed as an event loop would.
 */

#include <stdbool.h>

#include <asock/asock.h>

#define LIVENESS_MS 30000

/* Contexts that wait_* keep running; at most 8. Not for one with a dispatcher. */
void pump_add(asock_context *context);
void pump_remove(asock_context *context);

/* One turn of the loop: sleeps for at most max_ms, returns whether fd (or -1) has one of events. */
bool pump_turn(int fd, short events, int max_ms);

/* Fails the test after LIVENESS_MS. */
void wait_fd(int fd, short events);
/* Turns the loop until *counter is at least value; it changes in callbacks. */
void wait_count(const int *counter, int value);

/* A condition of another process, looked at again every few milliseconds. */
typedef bool (*condition_fn)(void *userdata);
bool wait_condition(condition_fn condition, void *userdata);

/* Milliseconds of the monotonic clock: for deadlines, never for an assertion. */
long long now_ms(void);

#endif
