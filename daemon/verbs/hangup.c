/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * HANGUP: tells when a connection is over for both sides, and touches nothing of it.
 * Happy path: it waits for a connect in progress, then for the kernel's word; both sides have sent
 * FIN.
 * Failures: not connected, or the connect fails; another one is pending; the connection is reset,
 * or times out: that is the result. The kernel tells an error once, so it is kept for receives and
 * sends.
 */
#include "daemon/net/hangup.h"
#include "daemon/session/complete.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

/* Connected: from here on the kernel tells. */
static int hangup_step(struct op *op)
{
    struct sock *sock = op->sock;

    op->has_begun = true;
    if (hangups_watch(sock->worker->hangups, &sock->ns) == 0)
        return 0;
    op->has_begun = false;
    op->text = "too many connections are being watched";
    complete(op, ERR_NO_BUFFER_SPACE);
    return 1;
}

static void hangup_stop(struct op *op)
{
    struct sock *sock = op->sock;

    if (op->has_begun && sock->ns.fd >= 0)
        hangups_forget(sock->worker->hangups, &sock->ns);
    sock->events &= (uint8_t)~SOCK_HUNG_UP;
}

static const struct op_class hangup_class = {
    .name = "hangup",
    .step = hangup_step,
    .stop = hangup_stop,
};

int verb_hangup(struct op *op, const struct call *call)
{
    struct sock *sock = op->sock;
    struct sock_more *more;

    if (!sock->worker->hangups || sock->more->dgram)
        return ERR_OPERATION_NOT_SUPPORTED;
    if (sock_is_apart(sock))
        return ERR_NOT_CONNECTED;
    if (sock->state == SOCK_FAILED)
        return ERR_OPERATION_ABORTED;
    if (sock->more->hangup)
        return ERR_ALREADY_IN_PROGRESS;
    more = sock_own_more(sock);
    if (!more) {
        op->text = "too little memory left";
        return ERR_NO_BUFFER_SPACE;
    }
    op->class = &hangup_class;
    more->hangup = op;
    sock_hold_op(sock, op, call->request->timeout_ms);
    if (sock->state == SOCK_CONNECTED)
        hangup_step(op);
    return 0;
}

void hangup_restore(struct op *op)
{
    op->class = &hangup_class;
    sock_own_more(op->sock)->hangup = op;
}

void hangup_resume(struct op *op)
{
    if (op->sock->state == SOCK_CONNECTED)
        hangup_step(op);
}
