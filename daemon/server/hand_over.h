/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_HAND_OVER_H
#define ASOCKD_HAND_OVER_H

/* The old daemon's side of a take-over; take_over.h is the new one's. */
#include "daemon/core/loop.h"
#include "daemon/server/listener.h"
#include "daemon/session/take_over.h"
#include "daemon/state/image.h"

struct hand_over {
    struct take_over take_over; /* what the verb asks */
    struct listeners *listeners;
    struct op *op;   /* TAKE_OVER; NULL: none is pending */
    uint32_t format; /* the last one that the other one reads */
    struct task task;
    int link; /* it has happened: open until nothing is left here, as the new one waits for that; -1 */
    void (*done)(struct hand_over *h); /* what is left here has to stop */
};

/*
 * Writes down what can go over: a sealed memfd, and out's descriptors; -errno. Nothing changes but
 * a mark in the sessions that go. Listeners are those that ls still has.
 */
int hand_over_save(struct listeners *ls, struct state_writer *out, uint32_t *ret_sessions);
/*
 * The marked sessions are another process's: here they end without a word, and those of
 * administrators with one. has_drains: so are the connections that have no session any more.
 */
void hand_over_leave(struct worker *w, bool has_drains);
/* Nothing has gone over: the marks go. */
void hand_over_forget(struct worker *w);

void hand_over_init(struct hand_over *h, struct listeners *ls, void (*done)(struct hand_over *h));
void hand_over_deinit(struct hand_over *h); /* also of one that was never begun */

#endif
