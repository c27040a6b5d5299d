/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * An op ends: it leaves its queue, gives back what it held, and its reply goes into the output.
 * What is queued behind a send that failed ends with it. Whatever else follows for the socket is
 * left to settle.c.
 */
#include "daemon/session/complete.h"

#include <assert.h>

#include "daemon/core/probes.h"
#include "daemon/session/latency.h"
#include "daemon/session/session.h"
#include "daemon/session/session_monitor.h"
#include "daemon/session/sock.h"
#include "daemon/session/window.h"
#include "proto/errors.h"

static bool is_send(const struct op *op)
{
    return op->verb == VERB_SEND || op->verb == VERB_CONNECT;
}

/* Bytes that arrived and that the kernel has not taken: they are free again. */
static void give_back_bytes(struct op *op)
{
    uint64_t rest = op->send.received - op->bytes;

    if (op->is_reference)
        return; /* they were the client's all the time */
    if (op->sock)
        window_uncharge(op->sock, rest);
    else
        op->send_freed += (uint32_t)rest;
    op->send.received = op->bytes;
    op_drop_chunks(op->session->worker, op);
}

static void give_back_count(struct op *op)
{
    struct sock *sock = op->sock;

    if (op->session)
        op->session->ops_done++;
    if (!op->is_counted)
        return;
    op->session->op_count--;
    if (sock) {
        sock->op_count--;
        window_free(sock, 0, 1);
    } else {
        op->ops_freed++;
    }
}

/* The pieces of a chain that are still on their way belong to nothing any more. */
static void leave_chain(struct op *op)
{
    struct sock *sock = op->sock;

    if (!sock || !op->has_pieces)
        return;
    op->has_pieces = false;
    if (sock->id && op->session)
        session_slot(op->session, sock->id)->dropping = op->token;
}

static void detach(struct op *op, uint32_t error)
{
    struct sock *sock = op->sock;
    struct worker *w = op->session->worker;

    if (op->state == OP_QUEUED)
        session_unhash_op(op->session, op);
    op_move(op, OP_DONE);
    op->send_freed = op->ops_freed = 0;
    sock_leave_queue(op);
    op_unset_deadline(w, op);
    op->error = (uint8_t)error;
    if (op->class && op->class->stop)
        op->class->stop(op);
    leave_chain(op);
    if (is_send(op))
        give_back_bytes(op);
    if (!op->is_small)
        slices_drop(w, &op->slices);
    give_back_count(op);
    if (sock && sock->state == SOCK_KILLED && error)
        op->killer = (uint8_t)sock->killer;
    if (sock && sock->connect == op)
        sock->connect = NULL;
    if (sock && sock->ending && sock_close_op(sock) == op)
        sock_set_close_op(sock, NULL);
    if (sock && sock->more->hangup == op)
        sock_own_more(sock)->hangup = NULL;
    PROBE3(complete, op->session->id, op->verb, error);
    w->stats.ops_done++;
    w->stats.results[error < ERR_COUNT ? error : ERR_SOCKET_ERROR]++;
    if (error)
        w->stats.ops_failed++;
    if (error == ERR_NO_BUFFER_SPACE || error == ERR_TOO_MANY_OPEN_SOCKETS)
        session_monitor_tell_limit(op->session, sock ? sock->serial : 0, error, op_text(op));
}

static void reply(struct op *op)
{
    struct session *s = op->session;

    if (op->errors_only && !op->error) {
        op_free(s->worker, op);
        return;
    }
    window_take(op);
    if (latency_holds(op))
        transport_hold(&s->transport);
    op->sock = NULL;
    session_reply_op(s, op);
    transport_hold_no_more(&s->transport);
}

/*
 * What it stands behind in its socket's sends: a SEND that was refused behind all, a CONNECT before
 * all.
 */
static struct list *front_of(const struct op *op)
{
    const struct ring *sends = &op->sock->sends;

    if (is_send(op) && sends->first == &op->node)
        return NULL;
    if (is_send(op) && list_is_linked(&op->node))
        return op->node.prev;
    return op->verb == VERB_SEND ? ring_last_node(sends) : NULL;
}

static void end(struct op *op, uint32_t error)
{
    detach(op, error);
    reply(op);
}

/* ---- what it means for its socket ---- */

static void settle_later(struct sock *sock)
{
    struct session *s = sock->session;

    list_remove(&sock->ready);
    list_append(&s->settling, &sock->ready);
    worker_settle_later(s->worker, &s->settle);
}

/* In front of a send that was refused, if one was. */
static bool has_queued_shutdown(const struct sock *sock)
{
    ring_for_each (&sock->sends, it) {
        const struct op *op = container_of(it, struct op, node);

        if (op->ends_sending && !op->is_behind_missed)
            return true;
    }
    return false;
}

/* The last one in front of a send that was refused; NULL: none. */
static struct list *front_of_missed(struct sock *sock)
{
    struct list *front = ring_last_node(&sock->sends);

    while (front && container_of(front, struct op, node)->is_behind_missed)
        front = ring_previous(&sock->sends, front);
    return front;
}

/*
 * Or a disconnect. One that did not come to its turn leaves the sending side as it was: open,
 * unless an earlier one did. False: a send was refused meanwhile, and what follows would go without
 * it.
 */
static bool shutdown_ended(struct sock *sock, uint32_t verb, uint32_t error)
{
    bool has_missed = sock->send_side == SIDE_MISSED;

    if (verb == VERB_DISCONNECT) {
        sock->is_disconnecting = false;
        /* With `abort` it had given up a stream that was still to come, and has done nothing. */
        if (error && error != ERR_CONNECTION_RESET)
            sock->is_incomplete = sock->send_side == SIDE_BROKEN;
    } else {
        sock->shutdown_count--;
    }
    if (!error || sock->has_sent_end || has_queued_shutdown(sock))
        return true;
    if (has_missed || sock->send_side == SIDE_SHUT)
        sock->send_side = SIDE_OPEN;
    return !has_missed;
}

static bool is_shutdown(uint32_t verb, bool has_begun)
{
    return has_begun && (verb == VERB_SHUTDOWN || verb == VERB_DISCONNECT);
}

static void end_behind(struct sock *sock, struct op *op)
{
    uint32_t verb = op->verb;
    bool has_begun = op->has_begun;

    end(op, ERR_OPERATION_ABORTED);
    if (is_shutdown(verb, has_begun))
        (void)shutdown_ended(sock, verb, ERR_OPERATION_ABORTED); /* it is broken already */
}

/*
 * Nothing behind `front` is sent: it ends with OPERATION_ABORTED (S28). What is in front was there
 * before the hole, and still goes out.
 */
static void break_sends(struct sock *sock, struct list *front)
{
    struct list *next;

    sock->send_side = SIDE_BROKEN;
    sock->is_incomplete = true;
    while ((next = front ? ring_next(&sock->sends, front) : sock->sends.first))
        end_behind(sock, container_of(next, struct op, node));
    /* What is still in front ends later than what was behind it: nothing will imply its success. */
    ring_for_each (&sock->sends, it)
        container_of(it, struct op, node)->errors_only = false;
    if (ring_is_empty(&sock->sends))
        sock->wants_write = false;
}

/* Cancelled before it began: the stream does not miss it (S30). */
static bool was_harmless(uint32_t error, bool has_begun)
{
    return error == ERR_SUCCESS || (error == ERR_OPERATION_ABORTED && !has_begun);
}

static bool has_stream(const struct sock *sock)
{
    return sock_may_send(sock) || sock->state == SOCK_CONNECTING;
}

/*
 * Is a send that ended a hole in the stream? Behind a shutdown no send is accepted, and none harms;
 * but those in front of it are still the stream, and has_begun is said of accepted ones alone.
 */
static bool is_hole(const struct sock *sock, bool has_begun)
{
    bool is_accepted = sock->send_side == SIDE_OPEN || has_begun;

    return !sock->more->dgram && is_accepted && has_stream(sock);
}

/* `front`: what the op stood behind in sock->sends; NULL: nothing. */
static void note_end(struct sock *sock, uint32_t verb, uint32_t error, bool has_begun,
                     struct list *front)
{
    bool must_settle = sock->lingers;

    if (is_shutdown(verb, has_begun)) {
        if (!shutdown_ended(sock, verb, error) && has_stream(sock)) {
            break_sends(sock, front_of_missed(sock));
            must_settle = true;
        }
    } else if (verb == VERB_CONNECT && has_begun && error && sock->state == SOCK_CONNECTING) {
        sock->has_lost_connect = must_settle = true;
    } else if ((verb == VERB_SEND || (verb == VERB_CONNECT && has_begun)) &&
               !was_harmless(error, has_begun) && is_hole(sock, has_begun)) {
        break_sends(sock, front);
        must_settle = true;
    }
    if (must_settle)
        settle_later(sock);
}

void complete(struct op *op, uint32_t error)
{
    struct worker *w = op->session->worker;
    struct sock *sock = op->sock;
    uint32_t verb = op->verb;
    bool has_begun = op->has_begun;
    struct list *front = sock ? front_of(op) : NULL;

    assert(!w->is_completing);
    w->is_completing = true;
    end(op, error);
    if (sock)
        note_end(sock, verb, error, has_begun, front);
    w->is_completing = false;
}

void complete_receive(struct op *op, const struct reply *guess, uint8_t *place, size_t gap,
                      size_t len)
{
    struct session *s = op->session;
    struct reply head;

    detach(op, ERR_SUCCESS);
    window_take(op);
    session_fill_reply(op, &head);
    if (op->class->fill)
        op->class->fill(op, &head, NULL, NULL);
    session_commit(s, &head, guess, place, gap, len);
    op_free(s->worker, op);
}

void complete_timed_out(struct deadline *deadline)
{
    struct op *op = op_of_deadline(deadline);

    op->has_begun = true;
    complete(op, ERR_TIMED_OUT);
}
