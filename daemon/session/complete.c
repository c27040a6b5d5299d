/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/core/probes.h"
#include "daemon/session/complete.h"

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

    if (!sock || sock->chain != op)
        return;
    sock->chain = NULL;
    if (sock->id && op->session)
        session_slot(op->session, sock->id)->dropping = op->token;
}

static void detach(struct op *op, uint32_t error)
{
    struct sock *sock = op->sock;
    struct worker *w = op->session->worker;

    op_move(op, OP_DONE);
    list_remove(&op->node);
    op_unset_deadline(w, op);
    session_unhash_op(op->session, op);
    op->error = (uint8_t)error;
    if (op->class && op->class->stop)
        op->class->stop(op);
    leave_chain(op);
    if (is_send(op))
        give_back_bytes(op);
    slices_drop(w, &op->slices);
    give_back_count(op);
    if (sock && sock->state == SOCK_KILLED && error)
        op->text = sock_killed_text(sock);
    if (sock && sock->connect == op)
        sock->connect = NULL;
    if (sock && sock->close == op)
        sock->close = NULL;
    if (sock && sock->hangup == op)
        sock->hangup = NULL;
    PROBE3(complete, op->session->id, op->verb, error);
    w->stats.ops_done++;
    w->stats.results[error < ERR_COUNT ? error : ERR_SOCKET_ERROR]++;
    if (error)
        w->stats.ops_failed++;
    if (error == ERR_NO_BUFFER_SPACE || error == ERR_TOO_MANY_OPEN_SOCKETS)
        session_monitor_tell_limit(op->session, sock ? sock->serial : 0, error, op->text);
}

/* A request whose answer may be awaited: the two completions may travel together. */
static bool may_wait(const struct op *op)
{
    return is_send(op) && !op->error && op->bytes > 0 && op->bytes <= HOLD_BYTES;
}

/*
 * A close that came in front of such a request has no more haste than that. Alone in its turn, or with
 * another's answer held already, it leaves at once.
 */
static bool may_follow(const struct op *op)
{
    const struct transport *t = &op->session->transport;

    return op->verb == VERB_CLOSE && !op->error && transport_is_idle(t) &&
           !deadline_is_set(&t->hold);
}

static void reply(struct op *op)
{
    struct session *s = op->session;

    if (op->errors_only && !op->error) {
        op_free(s->worker, op);
        return;
    }
    window_take(op);
    if (may_wait(op) || may_follow(op)) {
        s->held_id = op->verb == VERB_CLOSE ? 0 : op->socket_id;
        transport_hold(&s->transport);
    }
    op->sock = NULL;
    session_reply_op(s, op);
    transport_hold_no_more(&s->transport);
}

/* What it stands behind in its socket's sends: a SEND that was refused behind all, a CONNECT before all. */
static struct list *front_of(const struct op *op)
{
    struct list *sends = &op->sock->sends;

    if (is_send(op) && list_is_linked(&op->node))
        return op->node.prev;
    return op->verb == VERB_SEND ? sends->prev : sends;
}

void complete(struct op *op, uint32_t error)
{
    struct sock *sock = op->sock;
    uint32_t verb = op->verb;
    bool has_begun = op->has_begun;
    struct list *front = sock ? front_of(op) : NULL;

    detach(op, error);
    reply(op);
    if (sock)
        sock_op_ended(sock, verb, error, has_begun, front);
}

void complete_receive(struct op *op, uint8_t *place, size_t gap, size_t len)
{
    struct session *s = op->session;
    struct reply head;

    detach(op, ERR_SUCCESS);
    window_take(op);
    session_fill_reply(op, &head);
    if (op->class->fill)
        op->class->fill(op, &head, NULL, NULL);
    session_commit(s, &head, place, gap, len);
    op_free(s->worker, op);
}

void complete_timed_out(struct deadline *deadline)
{
    struct op *op = op_of_deadline(deadline);

    op->has_begun = true;
    complete(op, ERR_TIMED_OUT);
}
