/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * SEND: the request is checked here; session/send.c runs it.
 * Happy path: the bytes of the frame, or the slices that it refers to, are handed to the engine. A
 * chain is one op whose bytes arrive in several frames.
 * Failures: not connected, shut down or broken (at once); lengths or pieces that contradict each
 * other; what the engine finds.
 */
#include <errno.h>

#include "daemon/session/send.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/session/window.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

static int send_reference(struct op *op, const struct call *call)
{
    const struct request *r = call->request;
    int err;

    if (call->payload_len > 0 || r->send.more || r->send.total_len > 0)
        return ERR_INVALID_ARGUMENT;
    err = session_take_slices(op->session, &r->send.segments, false, &op->slices);
    if (err != 0)
        return err;
    send_begin_reference(op, call->payload, r->timeout_ms);
    return 0;
}

static int check_state(const struct sock *sock)
{
    if (sock_is_apart(sock))
        return ERR_NOT_CONNECTED;
    if (sock->state == SOCK_FAILED || sock->send_side == SIDE_BROKEN)
        return ERR_OPERATION_ABORTED;
    return sock->send_side == SIDE_OPEN ? 0 : ERR_SHUTDOWN;
}

static int check_lengths(struct session *s, const struct call *call)
{
    const struct request *r = call->request;

    if (r->send.abandon) {
        s->why = "an abandon piece without a chain";
        return -EPROTO;
    }
    if (r->send.more && (r->send.total_len == 0 || r->send.total_len < call->payload_len)) {
        s->why = "the total of a chain is less than its first piece";
        return -EPROTO;
    }
    if (!r->send.more && r->send.total_len != 0 && r->send.total_len != call->payload_len)
        return ERR_INVALID_ARGUMENT;
    return r->send.total_len > INT64_MAX ? ERR_INVALID_ARGUMENT : 0;
}

int verb_send(struct op *op, const struct call *call)
{
    const struct request *r = call->request;
    int err;

    if (op->sock->more->dgram)
        return dgram_send(op, call);
    err = check_lengths(op->session, call);
    if (err == 0)
        err = check_state(op->sock);
    if (err != 0)
        return err;
    if (r->send.segments.count > 0)
        return send_reference(op, call);
    return send_begin(op, call->payload, call->payload_len,
                      r->send.more ? r->send.total_len : call->payload_len, r->send.more,
                      r->timeout_ms);
}

/* A piece of a chain that has ended early: its bytes are free at once. */
static void drop_piece(struct session *s, struct session_slot *slot, const struct call *call)
{
    struct reply reply = {.kind = KIND_EVENT, .body = BODY_EVENT};

    if (!call->request->send.more)
        slot->dropping = 0;
    if (call->payload_len == 0)
        return;
    if (slot->sock) {
        window_free(slot->sock, call->payload_len, 0);
        return;
    }
    reply.event = EVENT_SEND_ROOM;
    reply.socket = call->request->socket;
    reply.send_freed = call->payload_len;
    session_send_reply(s, &reply, NULL, 0);
}

static int chain_broken(struct session *s, const char *why)
{
    s->why = why;
    return -EPROTO;
}

static int check_piece(struct session *s, const struct op *op, const struct call *call)
{
    const struct request *r = call->request;
    uint64_t rest = op->send.total - op->send.received;

    if (r->send.segments.count > 0)
        return chain_broken(s, "a piece of a chain refers to shared memory");
    if (r->send.abandon)
        return call->payload_len > 0 || r->send.more
                   ? chain_broken(s, "an abandon piece must be empty and come last")
                   : 0;
    if (call->payload_len > rest)
        return chain_broken(s, "a chain is longer than its total");
    if (!r->send.more && call->payload_len < rest)
        return chain_broken(s, "a chain is shorter than its total");
    return 0;
}

int send_piece(struct session *s, const struct call *call)
{
    const struct request *r = call->request;
    struct session_slot *slot = session_slot(s, r->socket);
    struct op *op;
    int err;

    if (!slot)
        return 0;
    if (slot->dropping == r->op) {
        drop_piece(s, slot, call);
        return 1;
    }
    op = slot->sock ? sock_chain(slot->sock) : NULL;
    if (!op)
        return 0;
    if (op->token != r->op)
        return chain_broken(s, "another SEND was sent before the last piece of a chain");
    err = check_piece(s, op, call);
    if (err < 0)
        return err;
    send_continue(op, call->payload, call->payload_len, !r->send.more,
                  r->send.abandon ? ERR_OPERATION_ABORTED : ERR_SUCCESS);
    return 1;
}
