/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <string.h>

#include "daemon/core/limits.h"
#include "daemon/session/op.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/sock_close.h"
#include "daemon/session/window.h"
#include "proto/errors.h"

static uint32_t beyond_of(const struct sock *sock)
{
    return sock->queued > SOCKET_QUEUED_MIN ? sock->queued - SOCKET_QUEUED_MIN : 0;
}

void window_charge(struct sock *sock, uint32_t bytes)
{
    struct session *s = sock->session;

    s->beyond -= beyond_of(sock);
    sock->queued += bytes;
    s->queued += bytes;
    s->beyond += beyond_of(sock);
}

bool window_is_over(const struct sock *sock)
{
    const struct session *s = sock->session;

    return sock->queued > s->limits.send_window ||
           (sock->queued > SOCKET_QUEUED_MIN && s->beyond > s->limits.queued_max);
}

void window_uncharge(struct sock *sock, uint64_t bytes)
{
    uint32_t before = beyond_of(sock);

    if (bytes == 0)
        return;
    sock->queued -= (uint32_t)bytes;
    if (!sock->session)
        return;
    sock->session->queued -= bytes;
    sock->session->beyond -= before - beyond_of(sock);
    window_free(sock, bytes, 0);
}

/* ---- the sockets that have something unreported ---- */

/* One without an id sends nothing more. Its last replies report the rest. */
static void mark(struct sock *sock)
{
    if (sock->id != 0)
        sock->session->unreported_ids[sock->id / 64] |= UINT64_C(1) << sock->id % 64;
}

static void unmark(struct sock *sock)
{
    sock->session->unreported_ids[sock->id / 64] &= ~(UINT64_C(1) << sock->id % 64);
}

/* All are looked at once, beginning where the last look has ended. */
static void look_at_all(struct session *s)
{
    s->report_left = (uint32_t)window_words(s->slot_cap) * 64;
}

static void look_behind(struct session *s, uint32_t ids)
{
    s->report_left -= ids;
    s->report_id += ids;
    if (s->report_id == window_words(s->slot_cap) * 64)
        s->report_id = 0;
}

/* The next one that is looked at; NULL: there is none any more. */
static struct sock *next_try(struct session *s)
{
    while (s->report_left > 0) {
        uint32_t rest = 64 - s->report_id % 64; /* of its word */
        uint64_t marks = s->unreported_ids[s->report_id / 64] >> s->report_id % 64;
        uint32_t skip = marks ? (uint32_t)__builtin_ctzll(marks) : rest;

        if (skip == 0)
            return s->slots[s->report_id].sock;
        look_behind(s, skip < s->report_left ? skip : s->report_left);
    }
    return NULL;
}

/* ---- reports ---- */

/* Its counts become the reporter's. */
static void set_reported(struct sock *sock)
{
    sock->session->unreported -= sock->send_freed;
    sock->session->unreported_ops -= sock->ops_freed;
    sock->send_freed = 0;
    sock->ops_freed = 0;
}

void window_take(struct op *op)
{
    struct sock *sock = op->sock;

    if (!sock)
        return;
    op->send_freed += sock->send_freed;
    op->ops_freed += sock->ops_freed;
    set_reported(sock);
    if (!sock->has_killed_event)
        unmark(sock);
}

void window_leave(struct sock *sock)
{
    set_reported(sock);
    unmark(sock);
}

void window_leave_id(struct sock *sock)
{
    unmark(sock);
}

/* false: there is no room. */
static bool report(struct session *s, struct sock *sock)
{
    struct reply reply = {.kind = KIND_EVENT, .socket = sock->id, .body = BODY_EVENT};
    const char *text = sock->has_killed_event ? killer_text(sock->killer) : "";

    reply.event = sock->has_killed_event ? EVENT_KILLED : EVENT_SEND_ROOM;
    reply.error = sock->has_killed_event ? ERR_CONNECTION_ABORTED : ERR_SUCCESS;
    reply.send_freed = sock->send_freed;
    reply.ops_freed = sock->ops_freed;
    if (!session_send_reply(s, &reply, text, (uint32_t)strlen(text)))
        return false;
    sock->has_killed_event = false;
    set_reported(sock);
    unmark(sock);
    return true;
}

/*
 * A client that shares its session's room among sockets gives each at most half of what is free, so
 * it stops when a third of the room is in use, or later. From a quarter on, what is free is
 * reported while the client may wait for it.
 */
static bool is_tight(const struct session *s)
{
    return s->queued + s->unreported >= s->limits.queued_max / 4 ||
           s->op_count + s->unreported_ops >= s->limits.ops / 4;
}

static bool is_due(const struct session *s, const struct sock *sock)
{
    if (sock->id == 0)
        return false;
    return sock->has_killed_event || sock->send_freed >= s->limits.send_window / 2 ||
           sock->ops_freed >= s->limits.socket_ops / 2 || (sock->queued == 0 && is_tight(s));
}

/* Many sockets, each below its half, must not use up what the session has. */
static bool all_are_due(const struct session *s)
{
    return s->unreported >= s->limits.queued_max / 4 || s->unreported_ops >= s->limits.ops / 4;
}

/* What is not due yet waits for the next time. false: there is no room. */
static bool try_report(struct session *s, struct sock *sock)
{
    if ((all_are_due(s) || is_due(s, sock)) && !report(s, sock))
        return false;
    look_behind(s, 1);
    return true;
}

bool window_flush(struct session *s)
{
    struct sock *sock;

    while (list_is_empty(&s->done) && (sock = next_try(s))) {
        if (!try_report(s, sock))
            return false;
        if (share_step_is_over(&s->worker->shares))
            break;
    }
    s->must_pump |= next_try(s) != NULL;
    return list_is_empty(&s->done);
}

void window_free(struct sock *sock, uint64_t bytes, uint32_t ops)
{
    struct session *s = sock->session;

    if (s->has_ended)
        return; /* there is no client to report to */
    sock->send_freed += (uint32_t)bytes;
    sock->ops_freed += ops;
    s->unreported += bytes;
    s->unreported_ops += ops;
    mark(sock);
    if (is_due(s, sock) || all_are_due(s))
        worker_flush_later(s->worker, &s->report_task);
}

void window_report(struct sock *sock)
{
    window_free(sock, 0, 0);
}

void window_run(struct task *task)
{
    struct session *s = container_of(task, struct session, report_task);

    look_at_all(s);
    for (unsigned int i = 0; i < TURN_REPORTS && next_try(s); i++) {
        if (list_is_empty(&s->done) && try_report(s, next_try(s)))
            continue;
        transport_wait_room(&s->transport);
        return;
    }
    if (!next_try(s))
        return;
    s->must_pump = true;
    share_wake(&s->share);
}
