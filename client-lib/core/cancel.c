/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The early end of an op: asked for by the program, or its time is over while it waits in the
 * library.
 *
 * An op of which nothing has left ends here. One that the daemon has seen gets CANCEL, and ends by
 * the daemon's answer; of a chain no further piece leaves but the empty last one. Either end can
 * leave something broken behind: a connect what waits for it, a send that timed out the stream.
 */
#include "client-lib/core/cancel.h"

#include <errno.h>

#include "client-lib/core/accept.h"
#include "client-lib/core/close.h"
#include "client-lib/core/complete.h"
#include "client-lib/core/context.h"
#include "client-lib/core/op.h"
#include "client-lib/core/socket.h"

/* Aborts what was submitted between two points in time (of the context's seq). */
static void abort_range(struct list *queue, uint64_t after, uint64_t before)
{
    list_for_each_safe (queue, it) {
        asock_op *op = container_of(it, asock_op, queue_node);

        if (op->state == OP_WAITING && op->seq > after && op->seq < before)
            asock_op_finish(op, ERR_OPERATION_ABORTED, 0);
    }
}

static uint64_t next_connect(const asock_socket *socket)
{
    list_for_each (&socket->controls, it) {
        const asock_op *op = container_of(it, asock_op, queue_node);

        if (op->operation == ASOCK_OPERATION_CONNECT)
            return op->seq;
    }
    return UINT64_MAX;
}

static void abort_shutdowns(asock_socket *socket, uint64_t after, uint64_t before)
{
    list_for_each_safe (&socket->controls, it) {
        asock_op *op = container_of(it, asock_op, queue_node);

        if ((op->operation == ASOCK_OPERATION_SHUTDOWN || op->operation == ASOCK_OPERATION_HANGUP ||
             op->operation == ASOCK_OPERATION_DISCONNECT) &&
            op->seq > after && op->seq < before)
            asock_op_finish(op, ERR_OPERATION_ABORTED, 0);
    }
}

void asock_connect_failed(asock_socket *socket, uint64_t seq)
{
    uint64_t next = next_connect(socket);

    if (socket->is_connected || socket->connects > 0 || next < seq)
        return;
    abort_range(&socket->sends, seq, next);
    /* A failed connect leaves a datagram socket as it was: its receives wait for the first send. */
    if (socket->is_datagram)
        return;
    socket->is_connect_failed = next == UINT64_MAX;
    abort_range(&socket->receives_waiting, seq, next);
    abort_shutdowns(socket, seq, next);
}

/* The first one behind it, which may have left already. */
static uint64_t connect_behind(const asock_socket *socket, uint64_t seq)
{
    list_for_each (&socket->ops, it) {
        const asock_op *op = container_of(it, asock_op, flight_node);

        if (op->operation == ASOCK_OPERATION_CONNECT && op->submitted > seq)
            return op->submitted;
    }
    return UINT64_MAX;
}

void asock_socket_disconnected(asock_socket *socket, uint64_t seq)
{
    uint64_t next = connect_behind(socket, seq);

    abort_range(&socket->sends, 0, next);
    abort_range(&socket->receives_waiting, 0, next);
    abort_shutdowns(socket, 0, next);
    asock_accept_end_waiting(socket, seq);
    socket->since = socket->context->seq;
    socket->lost_before = socket->lost_seq;
    socket->lost_seq = 0;
    socket->is_connected = socket->is_over = false;
    socket->is_send_broken = socket->is_connect_failed = false;
    socket->is_connect_asked = socket->connects > 0 || next < UINT64_MAX;
    socket->local = socket->remote = (struct endpoint){0};
    if (list_is_empty(&socket->sends))
        asock_close_sends_gone(socket);
}

void asock_op_end_waiting(asock_op *op, uint32_t error)
{
    asock_socket *socket = op->socket;
    int operation = op->operation;
    uint64_t seq = op->seq;

    if (!socket) {
        asock_op_finish(op, error, 0);
        return;
    }
    asock_socket_hold(socket);
    asock_op_finish(op, error, 0);
    if (operation == ASOCK_OPERATION_CONNECT)
        asock_connect_failed(socket, seq);
    if (operation == ASOCK_OPERATION_SEND && error == ERR_TIMED_OUT && !socket->is_datagram) {
        socket->is_send_broken = true;
        abort_range(&socket->sends, seq, UINT64_MAX);
    }
    if (list_is_empty(&socket->sends))
        asock_close_sends_gone(socket);
    asock_socket_kick(socket);
    asock_socket_unhold(socket);
}

void asock_op_expired(struct deadline *deadline)
{
    asock_op_end_waiting(container_of(deadline, asock_op, timer), ERR_TIMED_OUT);
}

void asock_op_abandon(asock_op *op)
{
    asock_socket *socket = op->socket;

    list_remove(&op->queue_node);
    op->state = OP_SENT;
    socket->abandon_token = op->token;
    if (list_is_empty(&socket->sends))
        asock_close_sends_gone(socket);
    asock_socket_kick(socket);
}

void asock_cancel_sent(asock_op *op)
{
    if (op->is_cancelled || op->operation == ASOCK_OPERATION_SYNC)
        return; /* SYNC is on its way back */
    /* Behind CLOSE the socket has no id: it is the close that can be cancelled. */
    if (op->socket && op->socket->is_close_sent && op != op->socket->close_op)
        return;
    op->is_cancelled = true;
    list_append(&op->context->cancels, &op->cancel_node);
}

int asock_cancel_locked(asock_op *op)
{
    if (!asock_op_is_in_flight(op))
        return -ENOENT;
    if (op->state == OP_WAITING && op->operation == ASOCK_OPERATION_CLOSE) {
        asock_close_abort(op->socket, ERR_OPERATION_ABORTED);
    } else if (op->state == OP_WAITING) {
        asock_op_end_waiting(op, ERR_OPERATION_ABORTED);
    } else if (op->state == OP_PARTLY) {
        asock_cancel_sent(op);
        asock_op_abandon(op);
    } else if (op->state == OP_SENT) {
        asock_cancel_sent(op);
    }
    asock_wake(op->context);
    return 0;
}
