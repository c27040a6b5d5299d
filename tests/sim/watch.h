/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_WATCH_H
#define ASOCK_TESTS_SIM_WATCH_H

/*
 * LIST, SESSIONS, DENIALS, LEARNED, STATS and MONITOR, by raw clients: on the control socket of
 * everybody, else of their own session. They are asked many at a time, cancelled, read late, while
 * sessions come and go.
 */
#include <stdbool.h>
#include <stdint.h>

struct frame;
struct raw;
struct raw_op;
struct reply;
struct step;

/* What was there when it was asked; what was reported to a watcher. */
struct walk_seen;
struct watcher;

void step_raw_ask(const struct step *step);
bool watch_is_ask(uint32_t verb);
/* A reply to one of them. */
void watch_told(struct raw *raw, struct raw_op *op, const struct reply *reply,
                const struct frame *frame);
/* A daemon begins, not one that takes over: later answers are about those that have gone. */
void watch_begin(void);
/* At the end of everything: all was reported. */
void watch_judge(struct raw *raw);
void watch_forget(struct raw *raw);

#endif
