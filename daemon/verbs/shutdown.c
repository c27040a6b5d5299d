/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * SHUTDOWN.
 * Happy path: a connect in progress comes first; the receiving side ends at once; the sending side
 * behind its queued sends, and the op completes when the kernel has the FIN.
 * Failures: never connected, a broken sending side (the stream has no proper end any more), reset.
 */
#include <errno.h>
#include <sys/socket.h>

#include "daemon/session/complete.h"
#include "daemon/session/send.h"
#include "daemon/session/session.h"
#include "daemon/session/sock.h"
#include "daemon/verbs/verbs.h"
#include "proto/errors.h"

static int shutdown_step(struct op *op)
{
    struct sock *sock = op->sock;
    int r = netsock_shutdown(&sock->ns, SHUT_WR);

    /* On a socket that was connected: both ends are closed already, or it has been reset. */
    if (r == -ENOTCONN)
        r = sock->has_sent_end ? 0 : -ECONNRESET;
    if (r == 0)
        sock->has_sent_end = true;
    complete(op, r < 0 ? asock_error_from_errno(r) : ERR_SUCCESS);
    return 1;
}

static const struct op_class shutdown_class = {.name = "shutdown", .step = shutdown_step};

static void end_receiving(struct sock *sock)
{
    struct op *op;

    if (sock->receive_side == SIDE_OPEN)
        sock->receive_side = SIDE_SHUT;
    while ((op = ring_first(&sock->receives, struct op, node))) {
        op->reply_flags |= REPLY_END_OF_STREAM;
        complete(op, ERR_SUCCESS);
    }
}

static int receive_step(struct op *op)
{
    end_receiving(op->sock);
    complete(op, ERR_SUCCESS);
    return 1;
}

static const struct op_class receive_class = {.name = "shutdown receive", .step = receive_step};

struct list *shutdown_receives_end(struct sock *sock)
{
    ring_for_each (&sock->sends, it)
        if (container_of(it, struct op, node)->class != &receive_class)
            return it;
    return NULL;
}

/*
 * Behind a connect in progress: in front of the queued sends, which it has nothing to do with
 * (S23).
 */
static int wait_for_connect(struct op *op, uint32_t timeout_ms)
{
    struct sock *sock = op->sock;

    op->class = &receive_class;
    op->has_begun = true;
    sock->shutdown_count++;
    sock_hold_op(sock, op, timeout_ms);
    ring_insert_before(&sock->sends, shutdown_receives_end(sock),
                       &op->node); /* behind those that came before it */
    return 0;
}

static int check_shutdown(const struct sock *sock, uint32_t how)
{
    if (how < HOW_RECEIVE || how > HOW_BOTH)
        return ERR_INVALID_ARGUMENT;
    if (sock->more->dgram)
        return ERR_OPERATION_NOT_SUPPORTED;
    if (sock_is_apart(sock))
        return ERR_NOT_CONNECTED;
    if (sock->state == SOCK_FAILED || (how & HOW_SEND && sock->send_side == SIDE_BROKEN))
        return ERR_OPERATION_ABORTED;
    return sock->shutdown_count >= LIMIT_SHUTDOWNS ? ERR_NO_BUFFER_SPACE : 0;
}

int verb_shutdown(struct op *op, const struct call *call)
{
    const struct request *r = call->request;
    struct sock *sock = op->sock;
    int err = check_shutdown(sock, r->shutdown.how);

    if (err != 0)
        return err;
    if (r->shutdown.how == HOW_RECEIVE && sock->state == SOCK_CONNECTING)
        return wait_for_connect(op, r->timeout_ms);
    if (r->shutdown.how & HOW_RECEIVE && sock->state == SOCK_CONNECTING)
        sock->receive_side = SIDE_SHUT; /* its receives find it so once they run */
    else if (r->shutdown.how & HOW_RECEIVE)
        end_receiving(sock);
    if (!(r->shutdown.how & HOW_SEND)) {
        complete(op, ERR_SUCCESS);
        return 0;
    }
    op->class = &shutdown_class;
    op->has_begun = op->ends_sending = true;
    op->is_behind_missed = sock->send_side == SIDE_MISSED;
    if (sock->send_side == SIDE_OPEN)
        sock->send_side = SIDE_SHUT;
    sock->shutdown_count++;
    send_queue(sock, op, r->timeout_ms);
    return 0;
}

void shutdown_restore(struct op *op, bool ends_receiving)
{
    op->class = ends_receiving ? &receive_class : &shutdown_class;
    op->ends_sending = !ends_receiving;
    op->has_begun = true;
    op->sock->shutdown_count++;
}
