/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The only way out of an op.
 *
 * Happy path: finish -> (a frame still refers to its buffers: held until that is written) -> done ->
 * its callback, if it has one, from process or the dispatcher. In flight an op holds itself and uses
 * its socket, until the callback has returned.
 *
 * A multishot comes this way once for each slice that has got octets, and once more when it ends.
 */
#include "client-lib/core/parts.h"

static void drop_flight(asock_op *op, asock_socket *socket)
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
    asock_thread_wake_waiter(context);
}

static void conclude(asock_op *op)
{
    asock_context *context = op->context;

    op->state = OP_DONE;
    op->endings++;
    list_remove(&op->flight_node);
    asock_bounce_give(op);
    op->due.slice = op->memory.last;
    tell_waiters(context);
    if (op->callback && !context->is_ended) {
        op->is_due = true;
        list_append(&context->done, &op->due.node);
        asock_thread_wake(context);
        return;
    }
    asock_memory_unuse(op);
    if (op->due.slice)
        list_append(&op->memory.filled, &op->due.slice->due.node);
    if (op->socket)
        asock_socket_hold(op->socket);
    drop_flight(op, op->socket);
}

/* Nothing that it received is there any more. */
static void fail_lost(asock_op *op)
{
    op->error = ERR_CONNECTION_ABORTED;
    op->bytes = 0;
    op->result_flags &= ~(unsigned int)ASOCK_END_OF_STREAM;
}

void asock_op_check(asock_op *op)
{
    if (op->state != OP_DONE || !op->memory.is_in_place)
        return;
    op->memory.is_in_place = false;
    if (asock_memory_is_lost(&op->context->memory))
        fail_lost(op);
}

void asock_op_lose_shots(asock_op *op)
{
    op->memory.is_lost = true;
    asock_pool_forget(op);
    if (op->state == OP_DONE)
        fail_lost(op);
}

void asock_op_finish(asock_op *op, uint32_t error, uint64_t bytes)
{
    asock_socket *socket = op->socket;

    if (op->state != OP_WAITING && socket) {
        socket->connects -= op->operation == ASOCK_OPERATION_CONNECT;
        socket->receives -= op->operation == ASOCK_OPERATION_RECEIVE;
        asock_socket_kick(socket);
    }
    if (socket && socket->barrier == op)
        socket->barrier = NULL;
    if (op->memory.is_multishot)
        asock_pool_leave(op);
    op->error = error;
    op->bytes = bytes;
    if (op->memory.is_lost)
        fail_lost(op);
    list_remove(&op->queue_node);
    list_remove(&op->cancel_node);
    wheel_timer_unset(&op->timer.timer);
    if (op->wire_refs > 0)
        op->state = OP_HELD;
    else
        conclude(op);
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
    asock_thread_wake(context);
}

void asock_op_frame_written(asock_op *op)
{
    if (--op->wire_refs == 0 && op->state == OP_HELD)
        conclude(op);
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

static void forget(struct due *due)
{
    asock_op *op = due->op;

    list_remove(&due->node);
    if (due->slice)
        asock_pool_free(due->slice);
    if (due != &op->due) {
        asock_op_unhold(op);
        return;
    }
    op->is_due = false;
    asock_memory_unuse(op);
    if (op->socket)
        asock_socket_hold(op->socket);
    drop_flight(op, op->socket);
}

void asock_complete_forget(asock_context *context)
{
    struct due *due;

    while ((due = list_first(&context->done, struct due, node)))
        forget(due);
}

static void leave_callback(asock_op *op, asock_socket *socket, bool is_more)
{
    if (!is_more) {
        drop_flight(op, socket);
        return;
    }
    if (socket)
        asock_socket_unhold(socket);
    asock_op_unhold(op);
}

/* Of a slice whose octets the daemon has taken back nobody hears: the op's end says what has happened. */
static bool drop_lost(struct due *due)
{
    asock_op *op = due->op;

    if (!asock_memory_is_lost(&op->context->memory))
        return false;
    if (due->slice)
        asock_op_lose_shots(op);
    if (due == &op->due) {
        if (due->slice)
            asock_pool_free(due->slice);
        due->slice = NULL;
        asock_op_check(op);
        return false;
    }
    forget(due);
    return true;
}

/* The op may be submitted again in its callback, to another socket: what this flight held is kept. */
static void run_callback(asock_context *context, struct due *due)
{
    asock_op *op = due->op, *outer = context->callback_op;
    asock_socket *socket = op->socket;
    asock_callback callback = op->callback;
    void *userdata = op->userdata;
    struct shot shot = asock_shot_begin(due->slice);
    bool is_more = due != &op->due;
    uint64_t token = op->token;

    list_remove(&due->node);
    if (!is_more)
        op->is_due = op->memory.is_in_place = false;
    op->memory.shot = shot;
    op->memory.is_more = is_more;
    op->in_callback = true;
    if (socket)
        asock_socket_hold(socket);
    context->callback_op = op;
    asock_leave(context);
    callback(op, userdata);
    pthread_mutex_lock(&context->lock);
    context->callback_op = outer;
    op->in_callback = false;
    op->memory.shot = (struct shot){0};
    op->memory.is_more = false;
    asock_shot_end(&shot);
    /* Submitted again, its buffers are those of the new flight. */
    if (!is_more && op->token == token)
        asock_memory_unuse(op);
    leave_callback(op, socket, is_more);
}

int asock_complete_run(asock_context *context)
{
    struct due *last = list_last(&context->done, struct due, node), *due;
    bool is_last = !last;
    int count = 0;

    context->in_callback = true;
    context->callback_thread = pthread_self();
    /* Up to the one that is the last now: what callbacks add waits for the next call. */
    while (!is_last && (due = list_first(&context->done, struct due, node))) {
        is_last = due == last;
        if (drop_lost(due))
            continue;
        run_callback(context, due);
        count++;
    }
    context->in_callback = false;
    return count;
}
