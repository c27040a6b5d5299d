/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The end of a session.
 * Happy path: the client hears why -> what it sent and is not read is noted -> the connection is
 * left -> ops that wait and sockets end, some in each step of its share -> its client is not
 * counted any more -> when its lingering sockets and its buffers have left, its memory goes.
 * By the administrator: its sockets are killed first, likewise in steps.
 * Failures: none; the daemon's stop has no patience with steps in the end (session_close_rest()).
 */
#include "daemon/session/session_monitor.h"
#include "daemon/session/session_end.h"

#include <stdio.h>
#include <string.h>

#include "daemon/core/client_log.h"
#include "daemon/session/complete.h"
#include "daemon/session/op.h"
#include "daemon/session/session.h"
#include "daemon/session/session_farewell.h"
#include "daemon/session/session_frame.h"
#include "daemon/session/session_quota.h"
#include "daemon/session/sharing.h"
#include "daemon/session/sock.h"
#include "proto/errors.h"
#include "proto/frame.h"

/*
 * What a client has sent and is never read may be the rest of a send: the stream it belongs to was
 * cut, and must not look whole (S42). Where even its socket is unknown, that holds for all of them.
 */
static void note_cut(struct session *s)
{
    struct sock *sock;

    session_for_each_sock (s, sock)
        /* Behind a shutdown, and a close, there is no more stream that could be cut. */
        if (sock->id && sock->send_side == SIDE_OPEN)
            sock->is_incomplete = true;
}

/* Bytes of the frame, which may be more than there are; 0: it cannot be read. */
static size_t note_cut_frame(struct session *s, const uint8_t *input, size_t len)
{
    char scratch[CODEC_SCRATCH];
    struct request request = {0};
    struct sock *sock;
    uint32_t head, payload;
    const char *why;

    if (asock_frame_lengths(input, len, &head, &payload) <= 0 || len - FRAME_PREFIX < head ||
        asock_codec_decode_request(input + FRAME_PREFIX, head, scratch, &request, &why) < 0)
        return 0;
    sock = session_sock(s, request.socket);
    if (sock && sock->send_side == SIDE_OPEN &&
        (request.verb == VERB_SEND || request.verb == VERB_CONNECT))
        sock->is_incomplete = true;
    return FRAME_PREFIX + (size_t)head + payload;
}

static void note_cut_input(struct session *s)
{
    size_t len;
    const uint8_t *input = transport_input(&s->transport, &len);

    if (transport_has_unread(&s->transport))
        note_cut(s);
    while (len > 0) {
        size_t n = note_cut_frame(s, input, len);

        if (n == 0)
            note_cut(s);
        if (n == 0 || n >= len)
            return;
        input += n;
        len -= n;
    }
}

/*
 * It takes no more requests and tells nothing more; what still lingers for it causes no work of it.
 */
static void end_work(struct session *s)
{
    s->must_read = s->must_write = s->must_pump = false;
    s->sharing.must_accept = s->sharing.must_end = false;
    task_deinit(&s->report_task);
    task_deinit(&s->rows_task);
    session_monitor_leave(s);
    deadline_unset(&s->retry);
    deadline_deinit(&s->hello);
}

static void tell_end(struct session *s, uint32_t error, const char *text)
{
    struct reply reply = {.kind = KIND_EVENT, .error = error, .body = BODY_EVENT};

    reply.event = EVENT_SESSION_ENDED;
    if (!text)
        text = asock_error_to_text(error);
    session_send_last(s, &reply, text);
}

static struct sock *next_sock(struct session *s)
{
    while (s->next_slot < s->slot_count) {
        struct sock *sock = s->slots[s->next_slot++].sock;

        if (sock)
            return sock;
    }
    return NULL;
}

static bool drop_op(struct session *s, struct list *ops)
{
    struct op *op = list_first(ops, struct op, node);

    if (!op)
        return false;
    list_remove(&op->node);
    if (op->state == OP_QUEUED) {
        session_unhash_op(s, op);
        op_unset_deadline(s->worker, op);
        op_move(op, OP_DONE);
        op->class->stop(op);
    }
    op_free(s->worker, op);
    return true;
}

static bool end_resolve(struct list *resolves)
{
    struct op *op = list_first(resolves, struct op, node);

    if (op)
        complete(op, ERR_CONNECTION_ABORTED);
    return op != NULL;
}

/* Sockets whose close has been asked for go on lingering: that promise outlives the client. */
static bool close_one(struct session *s)
{
    struct sock *sock;

    if (drop_op(s, &s->done) || drop_op(s, &s->streams) || drop_op(s, &s->monitors) ||
        end_resolve(&s->resolves) || end_resolve(&s->resolved) || end_resolve(&s->restricts))
        return true;
    sock = next_sock(s);
    if (sock)
        sock_close(sock, NULL, 0, sock_linger(sock) == 0);
    return sock != NULL;
}

static void has_died(struct session *s)
{
    s->is_dying = false;
    /* All that it still has is its lingering sockets: its client is not counted any more. */
    identity_forget_process(&s->identity);
    session_quota_end(s);
    session_part_left(s);
}

void session_close_step(struct session *s)
{
    while (close_one(s))
        if (share_step_is_over(&s->worker->shares))
            return;
    has_died(s);
}

void session_close_rest(struct session *s)
{
    if (!s->is_dying)
        return;
    while (close_one(s))
        ;
    has_died(s);
}

static bool kill_one(struct session *s)
{
    struct sock *sock = next_sock(s);

    if (!sock)
        sock = list_first(&s->lingering, struct sock, node);
    if (sock)
        sock_kill(sock, KILLER_ADMINISTRATOR);
    return sock != NULL;
}

void session_kill_step(struct session *s)
{
    while (kill_one(s))
        if (share_step_is_over(&s->worker->shares))
            return;
    session_end(s, ERR_CONNECTION_ABORTED, SOCK_KILLED_TEXT);
}

void session_kill(struct session *s)
{
    if (s->is_condemned || s->has_ended)
        return;
    s->is_condemned = true;
    s->next_slot = 1;
    share_wake(&s->share);
}

static void log_end(const struct session *s, uint32_t error, const char *text)
{
    char cause[256];

    snprintf(cause, sizeof(cause), "%s: %s", asock_error_to_name(error),
             text ? text : asock_error_to_text(error));
    client_log_ended(s->worker->client_log, s->id, (int)s->identity.pid, s->identity.uid, cause);
}

void session_end(struct session *s, uint32_t error, const char *text)
{
    if (s->has_ended)
        return;
    if (error) {
        log_end(s, error, text);
        if (error == ERR_PROTOCOL_ERROR)
            s->worker->stats.protocol_errors++;
        tell_end(s, error, text);
    }
    session_monitor_tell_end(s, error, text);
    s->has_ended = s->is_dying = true;
    s->next_slot = 1;
    note_cut_input(s);
    list_for_each (&s->lingering, it) {
        sock_orphan_linger(container_of(it, struct sock, node));
    }
    session_end_sharees(s);
    transport_flush_now(&s->transport);
    end_work(s);
    session_leave_transport(s, error != ERR_SUCCESS);
    session_quota_end(s);
    share_wake(&s->share);
}

/* The memory of a session goes in a later task: the list stays as it is, here and below. */
void session_end_all(struct worker *w)
{
    list_for_each (&w->sessions, it) {
        session_end(container_of(it, struct session, node), ERR_CONNECTION_ABORTED,
                    "the daemon is stopping");
    }
}

void session_end_lingering(struct session *s)
{
    list_for_each_safe (&s->lingering, it) {
        sock_abort_linger(container_of(it, struct sock, node), ERR_CONNECTION_ABORTED);
    }
}

void session_end_what_is_left(struct worker *w)
{
    list_for_each (&w->sessions, it) {
        struct session *s = container_of(it, struct session, node);

        session_close_rest(s);
        session_end_lingering(s);
        session_farewell_end(s);
    }
    list_for_each_safe (&w->drains, sock) {
        sock_abort(container_of(sock, struct sock, node));
    }
}
