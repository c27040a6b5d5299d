/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * DISCONNECT: ends a connection, and its socket can connect again (S73).
 *
 * Happy path: a connect in progress and the queued sends come first -> the connection ends as a
 * CLOSE ends it (sock_disconnect.c) -> a new socket has the id and the options.
 * Failures, which leave the connection as it was: never connected, or the connect fails; another
 * one is pending; cancelled, or its time is over, before its turn; no memory. A stream that cannot
 * be ended whole does not keep the connection: the peer gets RST, and the op says so.
 */
#include "daemon/session/complete.h"
#include "daemon/session/send.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

static int end_connection(struct op *op, bool abort)
{
    if (sock_disconnect(op, abort) < 0) {
        op->text = "too little memory left";
        complete(op, ERR_NO_BUFFER_SPACE);
    }
    return 1;
}

static int disconnect_step(struct op *op)
{
    return end_connection(op, sock_linger(op->sock) == 0);
}

static const struct op_class disconnect_class = {.name = "disconnect", .step = disconnect_step};

static int check_disconnect(const struct sock *sock)
{
    if (sock_is_apart(sock))
        return ERR_NOT_CONNECTED;
    if (sock->state == SOCK_FAILED)
        return ERR_OPERATION_ABORTED;
    return sock->is_disconnecting ? ERR_ALREADY_IN_PROGRESS : 0;
}

static void take_its_place(struct op *op)
{
    struct sock *sock = op->sock;

    op->class = &disconnect_class;
    op->has_begun = op->ends_sending = true;
    sock->is_disconnecting = true;
}

int verb_disconnect(struct op *op, const struct call *call)
{
    const struct request *r = call->request;
    struct sock *sock = op->sock;
    bool abort = r->disconnect.abort || sock_linger(sock) == 0;
    int err = check_disconnect(sock);

    if (err != 0)
        return err;
    /* What is queued does not matter any more. */
    if (sock->state == SOCK_CONNECTED && (abort || sock->send_side == SIDE_BROKEN)) {
        end_connection(op, abort);
        return 0;
    }
    /* The client gives up the stream of a connection that is still to come. */
    sock->is_incomplete |= r->disconnect.abort;
    take_its_place(op);
    op->is_behind_missed = sock->send_side == SIDE_MISSED;
    if (!sock->more->dgram && sock->send_side == SIDE_OPEN)
        sock->send_side = SIDE_SHUT;
    send_queue(sock, op, r->timeout_ms);
    return 0;
}

void disconnect_restore(struct op *op)
{
    take_its_place(op);
}
