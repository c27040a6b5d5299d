/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Waiting for one op.
 *
 * Without a dispatcher the waiting thread does the writing and reading itself; with one it sleeps
 * until the dispatcher has done it. Either way other ops end too, and no callback runs here.
 */
#include "client-lib/core/parts.h"

#include <errno.h>
#include <limits.h>
#include <time.h>

static int shorter(int timer, uint64_t now, uint64_t until)
{
    uint64_t left = until - now;

    if (until == UINT64_MAX)
        return timer;
    if (left > INT_MAX)
        left = INT_MAX;
    return timer >= 0 && (uint64_t)timer < left ? timer : (int)left;
}

static void sleep_until(asock_context *context, uint64_t until)
{
    struct timespec ts = {.tv_sec = (time_t)(until / 1000),
                          .tv_nsec = (long)(until % 1000) * 1000000};

    context->waiters++;
    if (until == UINT64_MAX)
        pthread_cond_wait(&context->changed, &context->lock);
    else
        pthread_cond_timedwait(&context->changed, &context->lock, &ts);
    context->waiters--;
}

/*
 * Several that waited when the dispatcher was stopped: one of them is in poll(2) for all. It would not come
 * back for what another one has read.
 */
void asock_wait_fd(asock_context *context, uint64_t now, uint64_t until)
{
    int timeout = shorter(asock_run_timeout(context), now, until);

    if (context->is_polling) {
        if (asock_output_is_wanted(context))
            asock_thread_wake_waiter(context);
        sleep_until(context, timeout < 0 ? UINT64_MAX : now + (uint64_t)timeout);
        return;
    }
    asock_thread_poll(context, timeout);
    if (context->has_dispatcher)
        pthread_cond_broadcast(&context->changed);
}

static bool has_ended(const asock_op *op, uint64_t endings)
{
    return op->state == OP_DONE || op->endings != endings;
}

static bool has_slice_or_ended(const asock_op *op, uint64_t endings)
{
    return has_ended(op, endings) || !list_is_empty(&op->memory.filled);
}

static int wait_for(asock_op *op, int timeout_ms, bool (*is_over)(const asock_op *, uint64_t))
{
    asock_context *context = op->context;
    uint64_t now = time_now_ms();
    uint64_t until = timeout_ms < 0 ? UINT64_MAX : now + (uint64_t)timeout_ms;
    uint64_t endings = op->endings;
    /* What is asked now is not answered yet: to look for the answer before poll(2) would be in vain. */
    bool has_asked = timeout_ms != 0 && !context->has_dispatcher && asock_output_is_wanted(context);

    for (;; has_asked = false) {
        if (has_asked)
            asock_output_flush(context);
        else if (!context->has_dispatcher)
            asock_run_io(context);
        if (is_over(op, endings))
            return 0;
        now = time_now_ms();
        if (now >= until)
            return -ETIMEDOUT;
        if (context->has_dispatcher)
            sleep_until(context, until);
        else
            asock_wait_fd(context, now, until);
        if (is_over(op, endings))
            return 0;
    }
}

/* Whoever has been in poll(2) for others too leaves that to one of them. */
static int run_until(asock_op *op, int timeout_ms, bool (*is_over)(const asock_op *, uint64_t))
{
    int r = wait_for(op, timeout_ms, is_over);

    if (op->context->waiters > 0)
        pthread_cond_broadcast(&op->context->changed);
    return r;
}

int asock_run_until(asock_op *op, int timeout_ms)
{
    return run_until(op, timeout_ms, has_ended);
}

int asock_run_until_slice(asock_op *op, int timeout_ms)
{
    return run_until(op, timeout_ms, has_slice_or_ended);
}

/*
 * An empty send behind the quiet ones: its end tells that they have ended (asock_quiet_finish). SYNC
 * would not do: it tells that they were taken, not that the kernel has all their octets.
 */
static int ask_by_send(asock_socket *socket, const asock_op *quiet)
{
    asock_op *first = list_first(&socket->sends, asock_op, queue_node), *op = socket->barrier;
    int r;

    /* One that is on its way tells of what left before it. */
    if (socket->is_closing || (op && (op->state == OP_WAITING || quiet->seq < op->seq)))
        return 0;
    r = asock_submit_internal(socket->context, socket, ASOCK_OPERATION_SEND, &op);
    if (r < 0)
        return r;
    op->seq = 0;
    socket->barrier = op;
    if (first && first->state == OP_PARTLY)
        list_prepend(&first->queue_node, &op->queue_node);
    else
        list_prepend(&socket->sends, &op->queue_node);
    asock_socket_kick(socket);
    return 0;
}

static int ask_by_sync(asock_context *context)
{
    asock_op *op;
    int r;

    r = asock_submit_internal(context, NULL, ASOCK_OPERATION_SYNC, &op);
    if (r == 0)
        list_append(&context->syncs, &op->queue_node);
    return r;
}

int asock_wait_ask(asock_op *op)
{
    bool is_waiting = op->state == OP_WAITING;
    int r = 0;

    if (op->is_told || (!is_waiting && !op->is_quiet))
        return 0;
    /* One that waits leaves without the flag. */
    if (!is_waiting && op->operation == ASOCK_OPERATION_SEND)
        r = ask_by_send(op->socket, op);
    else if (!is_waiting)
        r = ask_by_sync(op->context);
    op->is_told = r == 0;
    asock_submit_wake(op->context);
    return r;
}

/*
 * Nobody can submit anything to the socket any more whose end would tell of its quiet ops, and they keep
 * it open.
 */
int asock_wait_ask_all(asock_socket *socket)
{
    const asock_op *send = NULL, *option = NULL;
    int r = 0;

    list_for_each (&socket->ops, it) {
        const asock_op *op = container_of(it, asock_op, flight_node);

        if (!op->is_quiet || (op->state != OP_SENT && op->state != OP_PARTLY))
            continue;
        if (op->operation == ASOCK_OPERATION_SEND)
            send = op;
        else
            option = op;
    }
    if (send)
        r = ask_by_send(socket, send);
    if (r == 0 && option)
        r = ask_by_sync(socket->context);
    if (send || option)
        asock_submit_wake(socket->context);
    return r;
}

/*
 * A shutdown that was to tell of quiet sends has ended without: cancelled, or out of time. While it pended the
 * daemon refused the empty send that asks.
 */
void asock_wait_ask_again(asock_socket *socket)
{
    const asock_op *last = list_last(&socket->quiet_sends, asock_op, queue_node);
    bool is_wanted = socket->refs == 0;

    list_for_each (&socket->quiet_sends, it)
        is_wanted |= container_of(it, asock_op, queue_node)->is_told;
    if (!last || !is_wanted || ask_by_send(socket, last) == 0)
        return;
    /* Without memory to ask: the close tells. */
    if (!socket->is_closing && !socket->is_closed)
        asock_close_start(socket, NULL, 0);
}

int asock_op_wait(asock_op *op, int timeout_ms)
{
    asock_context *context = op ? op->context : NULL;
    int r = asock_enter(context);

    if (r < 0)
        return r;
    if (op->state == OP_IDLE)
        r = -EINVAL;
    else if (op->state != OP_DONE && asock_thread_is_self(context))
        r = -EDEADLK;
    else if (op->state != OP_DONE)
        r = asock_wait_ask(op);
    if (r < 0 || op->state == OP_DONE) {
        asock_leave(context);
        return r;
    }
    context->holds++;
    op->holds++;
    r = asock_run_until(op, timeout_ms);
    asock_op_unhold(op);
    asock_context_unhold(context);
    return r;
}
