/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Ops whose success the daemon does not report (ASOCK_ERRORS_ONLY), when it has to be known after
 * all.
 */
#include "client-lib/core/ask.h"

#include "client-lib/core/close.h"
#include "client-lib/core/context.h"
#include "client-lib/core/op.h"
#include "client-lib/core/socket.h"

/*
 * An empty send behind the quiet ones: its end implies that they have ended (asock_quiet_finish).
 * SYNC does not suffice: it implies that they were read, not that the kernel has all their bytes.
 */
static int ask_by_send(asock_socket *socket, const asock_op *quiet)
{
    asock_op *first = list_first(&socket->sends, asock_op, queue_node), *op = socket->barrier;
    int r;

    /* One that is on its way answers for what left before it. */
    if (socket->is_closing || (op && (op->state == OP_WAITING || quiet->seq < op->seq)))
        return 0;
    r = asock_op_start_own(socket->context, socket, ASOCK_OPERATION_SEND, &op);
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

    r = asock_op_start_own(context, NULL, ASOCK_OPERATION_SYNC, &op);
    if (r == 0)
        list_append(&context->syncs, &op->queue_node);
    return r;
}

int asock_ask(asock_op *op)
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
    asock_wake(op->context);
    return r;
}

/*
 * The program can submit nothing more to the socket whose end would imply that of its quiet ops,
 * and they keep it open.
 */
int asock_ask_all(asock_socket *socket)
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
        asock_wake(socket->context);
    return r;
}

/*
 * A shutdown that was to imply the end of quiet sends was cancelled, or timed out. While it was
 * pending the daemon refused the empty send that asks.
 */
void asock_ask_again(asock_socket *socket)
{
    const asock_op *last = list_last(&socket->quiet_sends, asock_op, queue_node);
    bool is_wanted = socket->refs == 0;

    list_for_each (&socket->quiet_sends, it)
        is_wanted |= container_of(it, asock_op, queue_node)->is_told;
    if (!last || !is_wanted || ask_by_send(socket, last) == 0)
        return;
    /* No memory to ask: the close will answer. */
    if (!socket->is_closing && !socket->is_closed)
        asock_close_start(socket, NULL, 0);
}
