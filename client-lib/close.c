/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The end of a socket.
 *
 * Happy path: what still waits in the library is aborted, CLOSE goes out in front of all data, its
 * answer is the socket's last completion. With a linger time queued sends leave first.
 * Failures: a send of which not everything has left is a hole in the stream, so CLOSE then says abort
 * and the peer gets RST (S42); the linger time runs out: the same.
 */
#include "client-lib/parts.h"

static void end_waiting(asock_socket *socket, struct list *queue)
{
    asock_op *op;

    while ((op = list_first(queue, asock_op, queue_node))) {
        bool is_send = op->operation == ASOCK_OPERATION_SEND;

        if (is_send && op->total > 0)
            socket->close_abort = true;
        if (op->state == OP_WAITING) {
            asock_op_finish(op, ERR_OPERATION_ABORTED, 0);
            continue;
        }
        /* A chain: CLOSE gives it up, the daemon answers it. */
        list_remove(&op->queue_node);
        op->state = OP_SENT;
    }
}

static void finish_unopened(asock_socket *socket)
{
    if (socket->close_op)
        asock_op_finish(socket->close_op, socket->close_error, 0);
    socket->close_op = NULL;
    asock_socket_closed(socket);
}

static void send_close(asock_socket *socket)
{
    asock_socket_hold(socket);
    end_waiting(socket, &socket->controls);
    end_waiting(socket, &socket->receives_waiting);
    end_waiting(socket, &socket->sends);
    socket->abandon_token = 0;
    if (socket->is_send_broken)
        socket->close_abort = true;
    if (!socket->is_opened) {
        finish_unopened(socket);
    } else if (!list_is_linked(&socket->close_node) && !socket->is_close_sent) {
        asock_socket_put(socket, PLACE_NONE);
        list_append(&socket->context->closes, &socket->close_node);
        asock_submit_wake(socket->context);
    }
    asock_socket_unhold(socket);
}

bool asock_close_is_certain(const asock_socket *socket)
{
    return socket->is_opened && !socket->is_send_broken && !socket->open_error &&
           socket->linger_default == 0 && list_is_empty(&socket->ops);
}

void asock_close_start(asock_socket *socket, asock_op *op, int linger_ms)
{
    uint32_t linger = linger_ms > 0 ? (uint32_t)linger_ms : socket->linger_default;

    socket->is_closing = true;
    socket->close_op = op;
    socket->close_abort = linger_ms == ASOCK_CLOSE_ABORT;
    asock_socket_uncount(socket);
    if (socket->close_abort || socket->is_send_broken || socket->open_error)
        linger = 0;
    if (linger > 0) {
        uint64_t deadline = time_now_ms() + linger;

        asock_wheel_set(&socket->context->wheel, &socket->linger.timer, deadline);
        if (!list_is_empty(&socket->sends)) {
            end_waiting(socket, &socket->receives_waiting);
            asock_submit_wake(socket->context);
            return;
        }
    }
    send_close(socket);
}

void asock_close_sends_gone(asock_socket *socket)
{
    if (!socket->is_closing || socket->is_close_sent || socket->is_closed)
        return;
    if (socket->is_send_broken && !socket->close_error)
        socket->close_error = ERR_CONNECTION_RESET;
    send_close(socket);
}

void asock_close_abort(asock_socket *socket, uint32_t error)
{
    if (socket->is_close_sent || socket->is_closed)
        return;
    socket->close_abort = true;
    socket->close_error = error;
    send_close(socket);
}

/*
 * One that stays in flight because a frame in the output refers to it has its result already. It is
 * there only where a daemon answered what it cannot have read.
 */
static asock_op *first_without_result(asock_socket *socket)
{
    list_for_each (&socket->ops, it) {
        asock_op *op = container_of(it, asock_op, flight_node);

        if (op->state != OP_HELD)
            return op;
    }
    return NULL;
}

void asock_close_answered(asock_socket *socket, uint32_t error)
{
    asock_op *op;

    asock_socket_hold(socket);
    if (socket->open_error)
        error = ERR_SUCCESS; /* there was nothing to close */
    else if (!error)
        error = socket->close_error;
    asock_quiet_finish(&socket->quiet_options, NULL);
    asock_quiet_finish(&socket->quiet_sends, NULL);
    while ((op = first_without_result(socket))) {
        if (op == socket->close_op) {
            list_remove(&op->flight_node);
            continue;
        }
        asock_op_finish(op, ERR_OPERATION_ABORTED, 0);
    }
    if (socket->close_op)
        asock_op_finish(socket->close_op, error, 0);
    socket->close_op = NULL;
    asock_socket_closed(socket);
    asock_socket_unhold(socket);
}
