/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The socket of an accept, and multishot accepts.
 *
 * Happy path: made when the op is submitted, so that it has an id to name; it waits in the op. With
 * the answer it is connected, and the program takes it out of the op.
 * Failures: the accept fails, and it goes unused; the program submits the op again or lets go of it
 * without having taken the socket, and it is closed.
 *
 * A multishot sends one ACCEPT after the other, each with one id: ids that it does not need yet are
 * free for others. Each connection goes to context->done, or to op->arrived. Where the session has
 * no socket left it is parked until one is closed, or more are granted; connections wait in the
 * kernel. It ends as an accept does that fails, and only so.
 */
#include "client-lib/core/accept.h"

#include <errno.h>

#include "client-lib/core/cancel.h"
#include "client-lib/core/complete.h"
#include "client-lib/core/grant.h"
#include "client-lib/core/op.h"
#include "client-lib/core/socket.h"

uint32_t asock_accept_prepare(asock_op *op)
{
    int r = asock_socket_enter(op->context, op->socket->family, false, &op->accepted);

    if (r < 0)
        return r == -EMFILE     ? ERR_TOO_MANY_OPEN_SOCKETS
               : r == -ENOTCONN ? ERR_CONNECTION_ABORTED
                                : ERR_NO_BUFFER_SPACE;
    op->accepted->acceptor = op;
    return ERR_SUCCESS;
}

/* Its time runs in the library again, until the next ACCEPT leaves. */
static void wait_again(asock_op *op)
{
    op->state = OP_WAITING;
    op->lates = 0;
    wheel_timer_unset(&op->timer.timer);
    if (!op->deadline)
        return;
    op->timer.expired = asock_op_expired;
    asock_wheel_set(&op->context->wheel, &op->timer.timer, op->deadline);
}

/* One that was cancelled meanwhile has ended: the daemon did not find it any more. */
static void go_on(asock_op *op)
{
    const asock_socket *listener = op->socket;

    if (op->is_cancelled) {
        asock_op_finish(op, op->is_expired ? ERR_TIMED_OUT : ERR_OPERATION_ABORTED, 0);
    } else if (listener->is_closing || listener->is_dead) {
        asock_op_finish(op, listener->is_dead ? ERR_CONNECTION_ABORTED : ERR_OPERATION_ABORTED, 0);
    } else {
        wait_again(op);
        asock_accept_queue(op);
    }
}

int asock_accept_done(asock_op *op, const struct reply *reply)
{
    asock_socket *socket = op->accepted;

    if (reply->body != BODY_CONNECTED || !socket || reply->connected.socket != socket->id)
        return -EPROTO;
    socket->acceptor = NULL;
    socket->is_opened = socket->is_connect_asked = socket->is_connected = true;
    socket->local = op->local = reply->connected.local;
    socket->remote = op->remote = reply->connected.remote;
    if (!op->is_multishot_accept)
        return 0;
    op->accepted = NULL;
    asock_op_arrival(op, socket);
    go_on(op);
    return 1;
}

void asock_accept_refuse(asock_socket *socket)
{
    socket->refs = 0;
    asock_socket_unuse(socket);
    asock_socket_unhold(socket);
}

void asock_accept_drop(asock_op *op)
{
    asock_socket *socket = op->accepted;

    if (!socket)
        return;
    op->accepted = NULL;
    socket->acceptor = NULL;
    asock_accept_refuse(socket);
}

/* ---- multishot ---- */

void asock_accept_queue(asock_op *op)
{
    uint32_t error = asock_accept_prepare(op);

    if (error == ERR_TOO_MANY_OPEN_SOCKETS && asock_accept_may_park(op)) {
        asock_accept_park(op);
    } else if (error) {
        asock_op_end_waiting(op, error);
    } else {
        list_append(&op->socket->controls, &op->queue_node);
        asock_socket_kick(op->socket);
    }
}

void asock_accept_park(asock_op *op)
{
    asock_context *context = op->context;

    context->is_parking = true;
    asock_accept_drop(op);
    context->is_parking = false;
    list_remove(&op->queue_node);
    list_append(&context->parked, &op->queue_node);
    asock_grant_wait(context);
}

bool asock_accept_may_park(const asock_op *op)
{
    /* The socket that was prepared for it counts too. */
    return op->is_multishot_accept && !op->socket->is_closing &&
           op->context->open_sockets > 1 + (op->accepted != NULL);
}

void asock_accept_unpark(asock_context *context)
{
    asock_op *op;

    while (!context->is_parking && context->open_sockets < context->limits.sockets &&
           (op = list_first(&context->parked, asock_op, queue_node))) {
        list_remove(&op->queue_node);
        asock_accept_queue(op);
    }
}

/* Ending one may take another one off the list. */
static asock_op *waiting_of(const asock_socket *socket, const struct list *list, uint64_t before)
{
    list_for_each (list, it) {
        asock_op *op = container_of(it, asock_op, queue_node);

        if (op->operation == ASOCK_OPERATION_ACCEPT && op->socket == socket &&
            op->submitted < before)
            return op;
    }
    return NULL;
}

void asock_accept_end_parked(const asock_socket *socket)
{
    asock_op *op;

    while ((op = waiting_of(socket, &socket->context->parked, UINT64_MAX)))
        asock_op_finish(op, ERR_OPERATION_ABORTED, 0);
}

void asock_accept_end_waiting(const asock_socket *socket, uint64_t before)
{
    asock_op *op;

    while ((op = waiting_of(socket, &socket->context->parked, before)) ||
           (op = waiting_of(socket, &socket->controls, before)))
        asock_op_finish(op, ERR_OPERATION_ABORTED, 0);
}

asock_socket *asock_accept_arrival(const struct due *due)
{
    return due != &due->op->due && !due->slice ? container_of(due, asock_socket, arrival) : NULL;
}

void asock_accept_tell(asock_op *op, asock_socket *arrival)
{
    if (!arrival)
        return;
    op->arrival = arrival;
    op->local = arrival->local;
    op->remote = arrival->remote;
}

void asock_accept_told(asock_op *op)
{
    asock_socket *arrival = op->arrival;

    op->arrival = NULL;
    if (arrival)
        asock_accept_refuse(arrival);
}

void asock_accept_forget(asock_op *op)
{
    struct due *due;

    while ((due = list_first(&op->arrived, struct due, node))) {
        list_remove(&due->node);
        asock_accept_refuse(container_of(due, asock_socket, arrival));
    }
}
