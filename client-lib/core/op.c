/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An op: made, in flight, gone. A token's place in the table is reserved when it is made, so that
 * submitting allocates nothing. */
#include "client-lib/core/op.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/time.h"
#include "client-lib/core/accept.h"
#include "client-lib/core/cancel.h"
#include "client-lib/core/context.h"
#include "client-lib/core/socket.h"

bool asock_op_is_in_flight(const asock_op *op)
{
    return op->state != OP_IDLE && op->state != OP_DONE;
}

bool asock_op_is_busy(const asock_op *op)
{
    if (asock_op_is_in_flight(op) || op->is_due)
        return true;
    return op->in_callback &&
           !(asock_is_in_callback(op->context) && op->context->callback_op == op);
}

int asock_op_make(asock_context *context, asock_op **ret)
{
    asock_op *op;

    op = calloc(1, sizeof(*op));
    if (!op)
        return -ENOMEM;
    if (asock_slot_take(&context->slots, op, false, &op->slot) < 0) {
        free(op);
        return -ENOMEM;
    }
    op->context = context;
    op->fd = -1;
    list_init(&op->queue_node);
    list_init(&op->flight_node);
    list_init(&op->cancel_node);
    list_init(&op->due.node);
    list_init(&op->memory.filled);
    list_init(&op->arrived);
    list_init(&op->memory.credit_node);
    op->due.op = op;
    list_init(&op->timer.timer.node);
    *ret = op;
    return 0;
}

void asock_op_drop_segments(asock_op *op)
{
    if (op->class && op->class->dropped)
        op->class->dropped(op);
    op->class = NULL;
    if (op->segments != &op->segment)
        free(op->segments);
    op->segments = NULL;
    op->segment_count = op->total = 0;
}

static void drop_fd(asock_op *op)
{
    if (op->fd >= 0)
        close(op->fd);
    op->fd = -1;
}

void asock_op_unhold(asock_op *op)
{
    if (--op->holds > 0)
        return;
    if (op->socket)
        asock_socket_unhold(op->socket);
    asock_accept_drop(op);
    asock_accept_forget(op);
    asock_slot_release(&op->context->slots, op->slot);
    asock_op_drop_segments(op);
    drop_fd(op);
    free(op->memory.made);
    free(op->others);
    free(op->host);
    free(op->service);
    free(op->text);
    free(op->asked);
    free(op->addresses);
    free(op);
}

void asock_op_reset(asock_op *op, asock_socket *socket, int operation)
{
    asock_socket *before = op->socket;

    asock_accept_drop(op);
    asock_accept_forget(op);
    op->is_multishot_accept = false;
    op->socket = socket;
    if (socket)
        asock_socket_hold(socket);
    if (before)
        asock_socket_unhold(before);
    op->operation = operation;
    op->token = asock_slot_token(&op->context->slots, op->slot);
    op->seq = op->submitted = ++op->context->seq;
    op->deadline = 0;
    op->cursor = (struct cursor){0, 0};
    op->moved = 0;
    op->is_cancelled = op->is_answered = op->is_told = op->is_quiet = op->is_asked =
        op->is_expired = false;
    op->has_value = false;
    op->lates = 0;
    op->error = op->connect_error = 0;
    op->bytes = 0;
    op->result_flags = 0;
    op->memory.is_reference = op->memory.is_inside = op->memory.is_multishot = false;
    op->memory.is_in_place = op->memory.is_unseen = op->memory.is_lost = false;
    op->memory.last = NULL;
    op->local = op->remote = (struct endpoint){0};
    op->datagram = (struct datagram){.length = 0};
    drop_fd(op);
    free(op->text);
    op->text = NULL;
    free(op->addresses);
    op->addresses = NULL;
    op->address_count = 0;
}

void asock_op_start(asock_op *op, asock_socket *socket, int operation)
{
    asock_context *context = op->context;

    asock_op_reset(op, socket, operation);
    op->state = OP_WAITING;
    op->holds++;
    if (socket) {
        asock_socket_use(socket);
        list_append(&socket->ops, &op->flight_node);
    } else {
        list_append(&context->socketless, &op->flight_node);
    }
    if (operation != OPERATION_RESTRICT)
        context->is_used = true;
    /* A close takes effect whatever happens; its linger time bounds it. */
    if (op->timeout_ms > 0 && operation != ASOCK_OPERATION_CLOSE) {
        op->deadline = time_now_ms() + op->timeout_ms;
        op->timer.expired = asock_op_expired;
        asock_wheel_set(&context->wheel, &op->timer.timer, op->deadline);
    }
}

int asock_op_start_own(asock_context *context, asock_socket *socket, int operation, asock_op **ret)
{
    int r;

    r = asock_op_make(context, ret);
    if (r < 0)
        return r;
    asock_op_start(*ret, socket, operation);
    return 0;
}
