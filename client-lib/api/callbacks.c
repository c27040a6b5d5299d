/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reports ended operations: callbacks run here, and each result is checked before the program sees
 * it.
 */
#include "client-lib/api/callbacks.h"

#include "client-lib/core/accept.h"
#include "client-lib/core/complete.h"
#include "client-lib/core/context.h"
#include "client-lib/core/op.h"
#include "client-lib/core/socket.h"
#include "client-lib/shm/pool.h"
#include "client-lib/shm/buffer.h"

void asock_op_check(asock_op *op)
{
    bool is_lost;

    if (op->state != OP_DONE || !(op->memory.is_in_place || op->memory.is_unseen))
        return;
    is_lost = op->memory.is_in_place && asock_memory_is_lost(op);
    is_lost |= op->memory.is_unseen && asock_op_is_behind_loss(op);
    op->memory.is_in_place = op->memory.is_unseen = false;
    if (is_lost)
        asock_op_fail_lost(op);
}

void asock_op_lose_shots(asock_op *op)
{
    op->memory.is_lost = true;
    asock_op_note_loss(op);
    asock_pool_forget(op);
    if (op->state == OP_DONE)
        asock_op_fail_lost(op);
}

static void forget(struct due *due)
{
    asock_op *op = due->op;

    asock_socket *arrival = asock_accept_arrival(due);

    list_remove(&due->node);
    if (due->slice)
        asock_pool_free(due->slice);
    if (arrival)
        asock_accept_refuse(arrival);
    if (due != &op->due) {
        asock_op_unhold(op);
        return;
    }
    op->is_due = false;
    asock_op_told(op);
    if (op->socket)
        asock_socket_hold(op->socket);
    asock_op_drop_flight(op, op->socket);
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
        asock_op_drop_flight(op, socket);
        return;
    }
    if (socket)
        asock_socket_unhold(socket);
    asock_op_unhold(op);
}

/*
 * A slice whose bytes the daemon has taken back, or those in front of it, is not reported: the op's
 * end says what has happened.
 */
static bool drop_lost(struct due *due)
{
    asock_op *op = due->op;

    if (asock_accept_arrival(due))
        return false;
    if (!(due->slice ? asock_buffer_is_lost(due->slice->pool->buffer) : asock_memory_is_lost(op)) &&
        !asock_op_is_behind_loss(op))
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

/*
 * The op may be submitted again in its callback, to another socket: what this flight held is kept.
 */
static void run_callback(asock_context *context, struct due *due)
{
    asock_op *op = due->op, *outer = context->callback_op;
    asock_socket *socket = op->socket;
    asock_callback callback = op->callback;
    void *userdata = op->userdata;
    struct shot shot = asock_shot_begin(due->slice);
    asock_socket *arrival = asock_accept_arrival(due);
    bool is_more = due != &op->due;
    uint64_t token = op->token;

    list_remove(&due->node);
    if (!is_more)
        op->is_due = op->memory.is_in_place = op->memory.is_unseen = false;
    op->memory.shot = shot;
    asock_pool_tell(op, due->slice);
    op->memory.is_more = is_more;
    asock_accept_tell(op, arrival);
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
    asock_accept_told(op);
    /* Submitted again, its buffers are those of the new flight. */
    if (!is_more && op->token == token)
        asock_op_told(op);
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
