/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The only way out of an op.
 *
 * Happy path: finish -> (a frame still refers to its buffers: held until that is written) -> done,
 * and in context->done where it has a callback (api/callbacks.c). In flight an op holds itself and
 * uses its socket, until the callback has returned.
 *
 * A stream's receive may leave behind a DISCONNECT that was submitted later: the peer may read only
 * when it is read, so it cannot wait. If the daemon has ended the connection by then, the receive
 * finds a socket without one. It was of the connection, and the disconnect is reported behind it.
 *
 * A multishot comes this way once for each slice that has got bytes, and once more when it ends.
 */
#include "client-lib/core/complete.h"

#include "client-lib/core/accept.h"
#include "client-lib/core/context.h"
#include "client-lib/core/file.h"
#include "client-lib/core/op.h"
#include "client-lib/core/socket.h"

void asock_op_drop_flight(asock_op *op, asock_socket *socket)
{
    if (socket) {
        asock_socket_unuse(socket);
        asock_socket_unhold(socket);
    }
    asock_op_unhold(op);
}

static void tell_waiters(asock_context *context)
{
    if (context->waiters > 0)
        pthread_cond_broadcast(&context->changed);
    asock_wake_waiter(context);
}

void asock_op_told(asock_op *op)
{
    if (op->class && op->class->told)
        op->class->told(op);
}

static void conclude(asock_op *op)
{
    asock_context *context = op->context;

    op->state = OP_DONE;
    op->endings++;
    list_remove(&op->flight_node);
    if (op->class && op->class->left)
        op->class->left(op);
    if (op->file)
        asock_file_drop(op);
    op->due.slice = op->memory.last;
    tell_waiters(context);
    if (op->callback && !context->is_ended) {
        op->is_due = true;
        list_append(&context->done, &op->due.node);
        asock_wake(context);
        return;
    }
    asock_op_told(op);
    if (op->due.slice)
        list_append(&op->memory.filled, &op->due.slice->due.node);
    if (op->socket)
        asock_socket_hold(op->socket);
    asock_op_drop_flight(op, op->socket);
}

static void leave(asock_op *op)
{
    asock_op *disconnect = op->late_for;

    op->late_for = NULL;
    conclude(op);
    if (disconnect)
        asock_op_frame_written(disconnect); /* it was one of its wire_refs */
}

void asock_op_wait_for_late(asock_op *disconnect)
{
    list_for_each (&disconnect->socket->ops, it) {
        asock_op *op = container_of(it, asock_op, flight_node);

        if (op == disconnect)
            return;
        /* A broken daemon may have ended the connection twice. */
        if (op->operation != ASOCK_OPERATION_RECEIVE || op->state != OP_SENT ||
            op->seq < disconnect->seq || op->late_for)
            continue;
        op->late_for = disconnect;
        disconnect->wire_refs++;
    }
}

/* Datagrams make no stream. */
static bool reads_stream(const asock_op *op)
{
    return op->operation == ASOCK_OPERATION_RECEIVE && op->socket && !op->socket->is_datagram;
}

/* Who peeks takes nothing of the stream, so that nothing of it is lost with him. */
void asock_op_note_loss(const asock_op *op)
{
    asock_socket *socket = op->socket;
    uint64_t *lost;

    if (!reads_stream(op) || op->flags & ASOCK_PEEK)
        return;
    lost = op->seq > socket->since ? &socket->lost_seq : &socket->lost_before;
    if (*lost == 0 || op->seq < *lost)
        *lost = op->seq;
}

bool asock_op_is_behind_loss(const asock_op *op)
{
    const asock_socket *socket = op->socket;
    uint64_t lost;

    if (!reads_stream(op))
        return false;
    lost = op->seq > socket->since ? socket->lost_seq : socket->lost_before;
    return lost > 0 && op->seq > lost;
}

/* Nothing that it received is there any more, or what is in front of it is not. */
void asock_op_fail_lost(asock_op *op)
{
    asock_op_note_loss(op);
    op->error = ERR_CONNECTION_ABORTED;
    op->bytes = 0;
    op->result_flags &= ~(unsigned int)ASOCK_END_OF_STREAM;
}

/* Also of one whose success is not reported: a close that names no linger time goes by it. */
static void note_linger(const asock_op *op)
{
    if (op->operation == ASOCK_OPERATION_SET_OPTION && op->option == ASOCK_OPTION_LINGER)
        op->socket->linger_default = (int)op->argument;
}

/*
 * Does the op's end say that the connection is over? A stream of which one side has ended is none
 * that is over.
 */
static bool is_end_of_connection(const asock_op *op, uint32_t error)
{
    switch (op->operation) {
    case ASOCK_OPERATION_SEND:
    case ASOCK_OPERATION_RECEIVE:
        break;
    case ASOCK_OPERATION_HANGUP:
        if (!error)
            return true;
        break;
    case ASOCK_OPERATION_SHUTDOWN:
        if (!error && op->how == ASOCK_SHUTDOWN_BOTH)
            return true;
        break;
    default:
        return false;
    }
    return error == ERR_CONNECTION_RESET || error == ERR_CONNECTION_ABORTED;
}

/* Others may have left before it; on a stream nothing waits for one that cuts nothing. */
static void forget_disconnect(asock_socket *socket, const asock_op *disconnect)
{
    if (socket->disconnect_seq != disconnect->submitted)
        return;
    socket->disconnect_seq = 0;
    list_for_each (&socket->ops, it) {
        const asock_op *op = container_of(it, asock_op, flight_node);

        if (op != disconnect && op->operation == ASOCK_OPERATION_DISCONNECT &&
            op->state == OP_SENT && (socket->is_datagram || op->how) &&
            op->submitted > socket->disconnect_seq)
            socket->disconnect_seq = op->submitted;
    }
}

void asock_op_finish(asock_op *op, uint32_t error, uint64_t bytes)
{
    asock_socket *socket = op->socket;

    if (!error)
        note_linger(op);
    if (socket && is_end_of_connection(op, error))
        socket->is_over = true;
    if (op->state != OP_WAITING && socket) {
        socket->connects -= op->operation == ASOCK_OPERATION_CONNECT;
        socket->receives -= op->operation == ASOCK_OPERATION_RECEIVE;
        if (op->operation == ASOCK_OPERATION_DISCONNECT)
            forget_disconnect(socket, op);
        asock_socket_kick(socket);
    }
    if (socket && socket->barrier == op)
        socket->barrier = NULL;
    if (op->class && op->class->ended)
        op->class->ended(op);
    if (op->file && op->file->has_failed && error == ERR_OPERATION_ABORTED)
        error = ERR_FAULT;
    if (op->late_for && error == ERR_NOT_CONNECTED)
        error = ERR_OPERATION_ABORTED;
    op->error = error;
    op->bytes = bytes;
    if (error)
        asock_accept_drop(op);
    /* Also what came inline: the daemon empties the whole buffer. */
    if (op->operation == ASOCK_OPERATION_RECEIVE && op->memory.is_inside && bytes > 0)
        op->memory.is_in_place = true;
    op->memory.is_unseen = reads_stream(op);
    if (op->memory.is_lost)
        asock_op_fail_lost(op);
    list_remove(&op->queue_node);
    list_remove(&op->cancel_node);
    wheel_timer_unset(&op->timer.timer);
    if (op->wire_refs > 0)
        op->state = OP_HELD;
    else
        leave(op);
}

void asock_op_shot(asock_op *op, struct slice *slice)
{
    asock_context *context = op->context;

    tell_waiters(context);
    if (!op->callback || context->is_ended) {
        list_append(&op->memory.filled, &slice->due.node);
        return;
    }
    op->holds++;
    list_append(&context->done, &slice->due.node);
    asock_wake(context);
}

void asock_op_arrival(asock_op *op, asock_socket *socket)
{
    asock_context *context = op->context;

    tell_waiters(context);
    socket->arrival.op = op;
    if (!op->callback || context->is_ended) {
        list_append(&op->arrived, &socket->arrival.node);
        return;
    }
    op->holds++;
    list_append(&context->done, &socket->arrival.node);
    asock_wake(context);
}

void asock_op_frame_written(asock_op *op)
{
    if (--op->wire_refs > 0)
        return;
    if (op->state == OP_HELD)
        leave(op);
    else if (op->file)
        asock_socket_kick(op->socket);
}

void asock_quiet_finish(struct list *quiet, const asock_op *before)
{
    asock_op *op;

    while ((op = list_first(quiet, asock_op, queue_node))) {
        if (before && op->seq >= before->seq)
            return;
        asock_op_finish(op, ERR_SUCCESS, op->operation == ASOCK_OPERATION_SEND ? op->total : 0);
    }
}

void asock_quiet_finish_some(struct list *quiet, uint32_t count)
{
    asock_op *op;

    while (count-- > 0 && (op = list_first(quiet, asock_op, queue_node)))
        asock_op_finish(op, ERR_SUCCESS, op->total);
}
