/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The end of a socket.
 *
 * Happy path: what still waits in the library is aborted, CLOSE goes out in front of all data, its
 * answer is the socket's last completion. With a linger time a connect and queued sends leave
 * first.
 * Failures: a send of which not everything has left is a hole in the stream, so CLOSE then says
 * abort and the peer gets RST (S42), and a close with a linger time fails; the linger time runs
 * out: the same.
 */
#include "client-lib/core/close.h"

#include <limits.h>

#include "base/time.h"
#include "client-lib/core/accept.h"
#include "client-lib/core/complete.h"
#include "client-lib/core/context.h"
#include "client-lib/core/socket.h"

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
    asock_accept_end_parked(socket);
    end_waiting(socket, &socket->controls);
    end_waiting(socket, &socket->receives_waiting);
    end_waiting(socket, &socket->sends);
    socket->abandon_token = 0;
    if (socket->is_send_broken)
        socket->close_abort = true;
    /* The daemon has seen no connect. */
    if (socket->is_connect_failed && socket->close_lingers && !socket->close_error)
        socket->close_error = ERR_OPERATION_ABORTED;
    if (!socket->is_opened) {
        finish_unopened(socket);
    } else if (!list_is_linked(&socket->close_node) && !socket->is_close_sent) {
        asock_socket_put(socket, PLACE_NONE);
        list_append(&socket->context->closes, &socket->close_node);
        asock_wake(socket->context);
    }
    asock_socket_unhold(socket);
}

bool asock_close_is_certain(const asock_socket *socket)
{
    return socket->is_opened && !socket->is_send_broken && !socket->open_error &&
           socket->linger_default <= 0 && list_is_empty(&socket->ops);
}

/*
 * What the daemon goes by when it reads CLOSE: an option that has left it has by then, answered or
 * not.
 */
static int64_t default_linger(const asock_socket *socket)
{
    int64_t linger = socket->linger_default;

    list_for_each (&socket->ops, it) {
        const asock_op *op = container_of(it, asock_op, flight_node);

        if (op->operation == ASOCK_OPERATION_SET_OPTION && op->option == ASOCK_OPTION_LINGER &&
            op->state == OP_SENT && op->argument <= INT_MAX)
            linger = op->argument;
    }
    return linger;
}

/* Milliseconds; 0: none. */
static uint32_t linger_of(const asock_socket *socket, const asock_op *op, int linger_ms)
{
    int64_t linger = linger_ms == 0 ? default_linger(socket) : linger_ms;

    if (linger <= 0)
        return 0;
    /* Both end it in the same way. */
    if (op && op->timeout_ms > 0 && op->timeout_ms < (unsigned int)linger)
        return op->timeout_ms;
    return (uint32_t)linger;
}

/* A connect, or a send, that has not left: a close with a linger time leaves behind it. */
static bool has_waiting(const asock_socket *socket)
{
    list_for_each (&socket->controls, it)
        if (container_of(it, asock_op, queue_node)->operation == ASOCK_OPERATION_CONNECT)
            return true;
    return !list_is_empty(&socket->sends);
}

void asock_close_start(asock_socket *socket, asock_op *op, int linger_ms)
{
    uint32_t linger = linger_of(socket, op, linger_ms);

    socket->is_closing = true;
    socket->close_op = op;
    socket->close_abort = linger_ms == ASOCK_CLOSE_ABORT;
    socket->close_lingers = linger > 0;
    asock_socket_uncount(socket);
    if (linger > 0 && socket->is_send_broken)
        socket->close_error = ERR_CONNECTION_RESET;
    else if (linger > 0 && !socket->open_error) {
        uint64_t deadline = time_now_ms() + linger;

        asock_wheel_set(&socket->context->wheel, &socket->linger.timer, deadline);
        if (has_waiting(socket)) {
            end_waiting(socket, &socket->receives_waiting);
            asock_wake(socket->context);
            return;
        }
    }
    send_close(socket);
}

void asock_close_sends_gone(asock_socket *socket)
{
    if (!socket->is_closing || socket->is_close_sent || socket->is_closed || has_waiting(socket))
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

void asock_close_linger_over(struct deadline *deadline)
{
    asock_close_abort(container_of(deadline, asock_socket, linger), ERR_TIMED_OUT);
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

/*
 * There was no socket to close; but what was to go out before a close with a linger time has not.
 */
static uint32_t error_of_refused(const asock_socket *socket)
{
    if (!socket->close_lingers || socket->close_error)
        return socket->close_error;
    return socket->is_connect_asked ? ERR_OPERATION_ABORTED : ERR_SUCCESS;
}

void asock_close_answered(asock_socket *socket, uint32_t error)
{
    asock_op *op;

    asock_socket_hold(socket);
    if (socket->open_error)
        error = error_of_refused(socket);
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
