/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What leaves next.
 *
 * In front of all data: Hello, then CANCEL, CLOSE, what concerns memory and the library's own
 * questions; they are never counted and wait for no limit. Then the sockets in turn, one frame
 * each: OPEN with the first, then what controls the socket, receives, sends. Each of the three is a
 * queue, so that a stalled send holds up no receive; order between them is kept only where it
 * matters, around a connect and behind options. A socket with nothing to send, or over a limit,
 * leaves the round until something changes. SYNC goes when what was submitted before it and can
 * leave has left.
 */
#include "client-lib/wire/request.h"

#include "base/time.h"
#include "client-lib/core/grant.h"
#include "client-lib/core/socket.h"
#include "client-lib/shm/buffer.h"
#include "client-lib/wire/output.h"
#include "client-lib/wire/overdue.h"
#include "client-lib/wire/turn.h"

static void add_hello(asock_context *context)
{
    struct request request = {.verb = VERB_HELLO};

    request.hello.version = PROTOCOL_VERSION;
    request.hello.name = context->name[0] ? context->name : NULL;
    asock_grant_ask(context, &request);
    asock_output_add(&context->out, &request, NULL, 0);
    context->is_hello_wanted = false;
    context->is_hello_said = true;
    context->welcomes_due++;
}

static void add_cancel(asock_op *op)
{
    struct request request = {.verb = VERB_CANCEL, .op = op->token | TOKEN_CANCEL};

    /* A close that drains has no id any more. */
    if (op->socket && op->operation != ASOCK_OPERATION_CLOSE)
        request.socket = op->socket->id;
    request.cancel.target = op->token;
    request.cancel.unshare = op->operation == ASOCK_OPERATION_SHARE;
    list_remove(&op->cancel_node);
    asock_output_add(&op->context->out, &request, NULL, 0);
}

static void add_close(asock_socket *socket)
{
    asock_context *context = socket->context;
    struct request request = {.verb = VERB_CLOSE, .socket = socket->id};
    uint64_t deadline = socket->linger.timer.deadline, now = time_now_ms();

    request.op = socket->close_op ? socket->close_op->token : socket->token | TOKEN_CLOSE;
    request.close.abort = socket->close_abort;
    if (deadline && !socket->close_abort)
        request.close.linger_ms = deadline > now ? (uint32_t)(deadline - now) : 1;
    list_remove(&socket->close_node);
    asock_socket_put(socket, PLACE_NONE);
    wheel_timer_unset(&socket->linger.timer);
    socket->is_close_sent = true;
    socket->close_deadline = request.close.linger_ms ? deadline : 0;
    if (socket->close_op) {
        socket->close_op->state = OP_SENT;
        asock_overdue_close(socket->close_op);
    }
    asock_output_add(&context->out, &request, NULL, 0);
    context->ids.close_since = true;
    if (!list_is_empty(&context->idless) && !context->ids.sync_sent)
        context->ids.sync_wanted = true;
}

static void add_ids_sync(asock_context *context)
{
    struct request request = {.verb = VERB_SYNC, .op = TOKEN_IDS};

    context->ids.sync_wanted = context->ids.close_since = false;
    context->ids.sync_sent = true;
    list_for_each (&context->sockets, it) {
        asock_socket *socket = container_of(it, asock_socket, context_node);

        socket->is_id_asked = socket->is_close_sent && socket->id;
    }
    asock_output_add(&context->out, &request, NULL, 0);
}

static void fill_resolve(const asock_op *op, struct request *request)
{
    request->resolve.host = op->asked;
    request->resolve.family = op->argument == AF_INET    ? FAMILY_INET
                              : op->argument == AF_INET6 ? FAMILY_INET6
                                                         : FAMILY_ANY;
}

static void add_socketless(asock_op *op)
{
    struct request request = {.op = op->token, .timeout_ms = asock_turn_detach(op)};
    size_t payload = 0;

    request.verb = op->operation == ASOCK_OPERATION_SYNC ? (uint32_t)VERB_SYNC : op->verb;
    if (request.verb == VERB_RESOLVE)
        fill_resolve(op, &request);
    else if (request.verb == VERB_SHOW || request.verb == VERB_KILL)
        request.show.id = (uint64_t)op->argument;
    else if (request.verb == VERB_RELOAD)
        request.reload.close = op->argument != 0;
    else if (request.verb == VERB_LISTENER)
        request.listener.name = op->asked, request.listener.remove = op->argument != 0;
    else if (request.verb == VERB_SHARE)
        request.share.lend = op->flags & ASOCK_LEND;
    else if (request.verb == VERB_STATS)
        request.stats.metrics = op->argument != 0;
    list_remove(&op->queue_node);
    op->state = OP_SENT;
    op->seq = ++op->context->seq;
    /* The program's own op may have buffers that are for another use. */
    if (op->operation >= OPERATION_INSPECT && op->total > 0)
        payload = op->total;
    asock_output_add(&op->context->out, &request, op, payload);
    if (op->fd < 0)
        return;
    asock_output_pass_fd(op->context, op->fd);
    op->fd = -1;
}

/* The next one that can go. Its descriptor waits until the one before it has left. */
static asock_op *next_inspection(const asock_context *context)
{
    asock_op *op = list_first(&context->inspections, asock_op, queue_node);

    return op && op->fd >= 0 && context->out.has_fd ? NULL : op;
}

static bool add_memory(asock_context *context)
{
    struct segment room[CODEC_SEGMENTS_MAX];
    struct request request;

    if (!asock_memory_next(context, &request, room))
        return false;
    asock_output_add(&context->out, &request, NULL, 0);
    return true;
}

/* Nothing older than the SYNC waits for its turn. */
static bool sync_may_go(const asock_context *context, uint64_t seq)
{
    list_for_each (&context->ready, it) {
        const asock_socket *socket = container_of(it, asock_socket, place_node);
        const struct list *queues[] = {&socket->controls, &socket->receives_waiting,
                                       &socket->sends};

        for (int i = 0; i < 3; i++) {
            const asock_op *op = list_first(queues[i], asock_op, queue_node);

            if (op && op->state == OP_WAITING && op->seq < seq)
                return false;
        }
    }
    return true;
}

/* One frame of those in front of the data; false: there is none. */
static bool add_urgent(asock_context *context)
{
    asock_socket *socket;
    asock_op *op;

    if (context->is_hello_wanted)
        add_hello(context);
    else if ((op = list_first(&context->cancels, asock_op, cancel_node)))
        add_cancel(op);
    else if ((socket = list_first(&context->closes, asock_socket, close_node)))
        add_close(socket);
    else if (asock_memory_is_wanted(context) && add_memory(context))
        return true;
    else if (context->ids.sync_wanted)
        add_ids_sync(context);
    else if ((op = next_inspection(context)))
        add_socketless(op);
    else if ((op = list_first(&context->syncs, asock_op, queue_node)) &&
             sync_may_go(context, op->seq))
        add_socketless(op);
    else
        return false;
    return true;
}

void asock_request_fill(asock_context *context)
{
    while (asock_output_has_room(&context->out)) {
        asock_socket *socket;

        if (add_urgent(context))
            continue;
        socket = list_first(&context->ready, asock_socket, place_node);
        if (!socket)
            break;
        asock_turn_take(socket);
    }
}
