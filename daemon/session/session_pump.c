/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The output has room: what waits for it goes on, in this order: replies, records of lists, reports
 * of free bytes, events for who watches, receives.
 */
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/window.h"

static bool run_streams(struct session *s)
{
    struct op *op;

    while ((op = list_first(&s->streams, struct op, node)))
        if (op->class->step(op) == 0)
            return false;
    return true;
}

/* They wait for events more than for room, and nothing waits behind them. */
static void run_monitors(struct session *s)
{
    struct op *op;

    while ((op = list_first(&s->monitors, struct op, node)))
        if (op->class->step(op) == 0)
            return;
}

void session_run_rows(struct task *task)
{
    struct session *s = container_of(task, struct session, rows_task);

    s->rows = 0;
    s->must_pump = true;
    share_wake(&s->share);
}

/*
 * Each waiter has one try whenever there is room: one that still finds none waits for the next
 * time. Those that a step has no time for have theirs in the next step.
 */
static void run_room_waiters(struct session *s)
{
    struct sock *sock;

    if (s->has_room)
        list_splice(&s->room_tries, &s->room_waiters);
    s->has_room = false;
    while ((sock = list_first(&s->room_tries, struct sock, node))) {
        list_remove(&sock->node);
        sock_run_receives(sock);
        if (share_step_is_over(&s->worker->shares))
            break;
    }
    s->must_pump |= !list_is_empty(&s->room_tries);
}

void session_has_room(struct session *s)
{
    s->must_pump = s->has_room = true;
    share_wake(&s->share);
}

void session_pump(struct session *s)
{
    if (s->has_ended)
        return;
    if (session_flush_done(s) && run_streams(s) && window_flush(s)) {
        run_monitors(s);
        run_room_waiters(s);
    }
    /* Requests again: in a step of its own, on an empty stack. */
    session_resume_later(s);
}
