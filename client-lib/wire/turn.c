/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A socket's turn: which of its ops goes next, and the frame of it. */
#include "client-lib/wire/turn.h"

#include "base/time.h"
#include "client-lib/core/cancel.h"
#include "client-lib/core/close.h"
#include "client-lib/core/complete.h"
#include "client-lib/core/file.h"
#include "client-lib/core/flow.h"
#include "client-lib/core/grant.h"
#include "client-lib/core/socket.h"
#include "client-lib/shm/bounce.h"
#include "client-lib/shm/buffer.h"
#include "client-lib/shm/pool.h"
#include "client-lib/wire/output.h"
#include "client-lib/wire/overdue.h"

static bool is_counted(const asock_op *op)
{
    return op->operation != ASOCK_OPERATION_SHUTDOWN && op->operation != ASOCK_OPERATION_HANGUP &&
           op->operation != ASOCK_OPERATION_DISCONNECT;
}

static enum flow check_op(const asock_op *op)
{
    uint64_t room;
    enum flow r = FLOW_OK;

    if (is_counted(op) && op->state == OP_WAITING)
        r = asock_flow_op(op->socket, op->operation);
    if (r != FLOW_OK)
        return r;
    if (op->operation == ASOCK_OPERATION_CONNECT && op->total > 0)
        return asock_flow_bytes(op->socket, op->total, true, &room);
    if (op->operation == ASOCK_OPERATION_SEND && op->total > op->moved &&
        !op->memory.is_reference && !asock_bounce_fits(op))
        return asock_flow_bytes(op->socket, op->total - op->moved, op->socket->is_datagram, &room);
    return FLOW_OK;
}

static bool is_before(const asock_op *a, const asock_op *b)
{
    return a && b && (a->state == OP_PARTLY || a->seq < b->seq);
}

/* May `op` go now? Otherwise *why keeps the farthest limit that was met. */
static bool may_go(const asock_op *op, enum flow *why)
{
    enum flow r;

    /* Without a free slice it waits for one: asock_pool_free() kicks its socket. */
    if (!op || (op->memory.is_multishot && !op->memory.pool->free_count))
        return false;
    if (asock_file_waits(op))
        return false;
    /* The same of an id for what is accepted. */
    if (op->accepted && !op->accepted->id)
        return false;
    r = check_op(op);
    if (r > *why)
        *why = r;
    return r == FLOW_OK;
}

/*
 * Would it come behind a DISCONNECT that was submitted later? It waits for its answer: the daemon
 * may have ended the connection by now, and the op would be of the next one.
 */
static bool is_late(const asock_op *op)
{
    return op && op->submitted < op->socket->disconnect_seq;
}

/* A datagram socket's sends have left before a DISCONNECT does. */
static asock_op *first_send(const asock_socket *socket)
{
    asock_op *send = list_first(&socket->sends, asock_op, queue_node);

    return !socket->is_datagram && is_late(send) ? NULL : send;
}

static asock_op *first_receive(const asock_socket *socket)
{
    asock_op *receive = list_first(&socket->receives_waiting, asock_op, queue_node);

    return is_late(receive) ? NULL : receive;
}

static asock_op *pick(asock_socket *socket, enum flow *why)
{
    asock_op *control = list_first(&socket->controls, asock_op, queue_node);
    asock_op *receive = first_receive(socket);
    asock_op *send = first_send(socket);
    bool is_connect = control && control->operation == ASOCK_OPERATION_CONNECT;

    *why = FLOW_OK;
    /*
     * Receives before a connect were of no connection. Those of datagrams are the next one's, too,
     * and would wait without end if more of them wait than may leave.
     */
    if (!(is_connect &&
          ((!socket->is_datagram && is_before(receive, control)) || is_before(send, control))) &&
        may_go(control, why))
        return control;
    if (receive && !(control && control->seq < receive->seq) && may_go(receive, why))
        return receive;
    if (send && !(send->state == OP_WAITING && control && control->seq < send->seq) &&
        may_go(send, why))
        return send;
    return NULL;
}

static void add_open(asock_socket *socket)
{
    struct request request = {.verb = VERB_OPEN, .op = socket->token, .socket = socket->id};

    request.flags = REQUEST_ERRORS_ONLY;
    request.open.type = socket->is_datagram ? SOCKET_TYPE_DATAGRAM : SOCKET_TYPE_ANY;
    request.open.family = socket->family == AF_INET    ? FAMILY_INET
                          : socket->family == AF_INET6 ? FAMILY_INET6
                                                       : FAMILY_ANY;
    socket->is_opened = socket->is_open_untold = true;
    asock_output_add(&socket->context->out, &request, NULL, 0);
}

static void add_abandon(asock_socket *socket)
{
    struct request request = {.verb = VERB_SEND, .socket = socket->id};

    request.op = socket->abandon_token;
    request.send.abandon = true;
    socket->abandon_token = 0;
    asock_output_add(&socket->context->out, &request, NULL, 0);
    if (list_is_empty(&socket->sends))
        asock_close_sends_gone(socket);
}

static void fill_connect(const asock_op *op, struct request *request)
{
    request->verb = VERB_CONNECT;
    request->connect.endpoint = op->endpoint;
    request->connect.others = (struct endpoints){op->others, op->other_count};
    request->connect.host = op->host;
    request->connect.service = op->service;
    if (op->flags & ASOCK_LEND)
        request->connect.lend = LEND_HELD;
    else if (op->flags & ASOCK_LEND_GIVEN)
        request->connect.lend = LEND_GIVEN;
    else if (op->flags & ASOCK_LEND_IF_ALLOWED)
        request->connect.lend = LEND_HELD_IF_ALLOWED;
}

static void fill_send(const asock_op *op, struct request *request)
{
    request->verb = VERB_SEND;
    if (!op->socket->is_datagram)
        return;
    if (op->how == HOW_TO)
        request->send.endpoint = op->endpoint;
    request->send.ecn = op->ecn;
    request->send.source = op->source;
    request->send.segment_size = (uint32_t)op->segment_size;
}

static void fill_receive(const asock_op *op, struct request *request)
{
    request->verb = VERB_RECEIVE;
    if (op->memory.is_multishot)
        request->receive.flags = RECEIVE_MULTISHOT;
    else if (!op->memory.is_reference)
        request->receive.length = op->total;
    if (op->flags & ASOCK_PEEK)
        request->receive.flags |= RECEIVE_PEEK;
    if (op->flags & ASOCK_WAIT_ALL)
        request->receive.flags |= RECEIVE_WAIT_ALL;
}

static void fill_option(const asock_op *op, struct request *request)
{
    bool is_set = op->operation == ASOCK_OPERATION_SET_OPTION;

    request->verb = is_set ? VERB_SET_OPTION : VERB_GET_OPTION;
    request->option.option = (uint32_t)op->option;
    request->option.value.is_set = is_set;
    request->option.value.number = is_set ? op->argument : 0;
    if (is_set && (op->option == OPTION_JOIN_GROUP || op->option == OPTION_LEAVE_GROUP)) {
        request->option.value.endpoint = op->endpoint;
        request->option.value.endpoint.port = 0;
    }
}

/* A send that ended in the library behind a disconnect cuts nothing of what that ends. */
static bool is_cut(const asock_op *op)
{
    return op->how && op->socket->is_send_broken;
}

static void fill(const asock_op *op, struct request *request)
{
    switch (op->operation) {
    case ASOCK_OPERATION_CONNECT:
        fill_connect(op, request);
        break;
    case ASOCK_OPERATION_SEND:
        fill_send(op, request);
        break;
    case ASOCK_OPERATION_RECEIVE:
        fill_receive(op, request);
        break;
    case ASOCK_OPERATION_HANGUP:
        request->verb = VERB_HANGUP;
        break;
    case ASOCK_OPERATION_BIND:
        request->verb = VERB_BIND;
        request->bind.endpoint = op->endpoint;
        break;
    case ASOCK_OPERATION_LISTEN:
        request->verb = VERB_LISTEN;
        request->listen.backlog = (uint32_t)op->argument;
        break;
    case ASOCK_OPERATION_ACCEPT:
        request->verb = VERB_ACCEPT;
        request->accept.first = op->accepted->id;
        break;
    case ASOCK_OPERATION_SHUTDOWN:
        request->verb = VERB_SHUTDOWN;
        request->shutdown.how = (uint32_t)op->how;
        break;
    case ASOCK_OPERATION_DISCONNECT:
        request->verb = VERB_DISCONNECT;
        request->disconnect.abort = is_cut(op);
        break;
    default:
        fill_option(op, request);
        break;
    }
}

/* Bytes of payload that the op's next frame has; of a send it may be a piece. */
static size_t fill_payload(asock_op *op, struct request *request)
{
    asock_context *context = op->context;
    uint64_t room = 0;
    size_t n = 0;

    if (op->operation == ASOCK_OPERATION_CONNECT)
        return op->total;
    if (op->operation != ASOCK_OPERATION_SEND || op->memory.is_reference)
        return 0;
    if (op->total > op->moved && asock_flow_bytes(op->socket, op->total - op->moved,
                                                  op->socket->is_datagram, &room) == FLOW_OK) {
        if (room > context->limits.payload_max)
            room = context->limits.payload_max;
        if (op->file && room > asock_file_ready(op))
            room = asock_file_ready(op);
        n = (size_t)room;
        if (!op->file)
            asock_bounce_passed(op, n);
    }
    request->send.more = op->moved + n < op->total;
    if (request->send.more && op->state == OP_WAITING)
        request->send.total_len = op->total;
    return n;
}

/* All of the op has left. */
static void left(asock_op *op)
{
    asock_socket *socket = op->socket;

    list_remove(&op->queue_node);
    op->state = OP_SENT;
    if (op->operation == ASOCK_OPERATION_CONNECT)
        socket->connects++;
    if (op->operation == ASOCK_OPERATION_RECEIVE)
        socket->receives++;
    if (op->operation == ASOCK_OPERATION_DISCONNECT && (socket->is_datagram || is_cut(op)))
        socket->disconnect_seq = op->submitted;
    if (op->is_quiet)
        list_append(op->operation == ASOCK_OPERATION_SEND ? &socket->quiet_sends
                                                          : &socket->quiet_options,
                    &op->queue_node);
    if (list_is_empty(&socket->sends))
        asock_close_sends_gone(socket);
}

/*
 * Can the op be sent with errors_only? A later op of the socket must be able to imply its success,
 * or an empty send must be able to ask for it. On a datagram socket an empty send would be a
 * datagram.
 */
static bool may_be_quiet(const asock_op *op)
{
    bool has_flag = (op->operation == ASOCK_OPERATION_SEND && !op->socket->is_datagram) ||
                    op->operation == ASOCK_OPERATION_SET_OPTION;

    return has_flag && op->flags & ASOCK_ERRORS_ONLY && !op->is_told && op->socket->refs > 0;
}

/* From here on the daemon measures its deadline. */
uint32_t asock_turn_detach(asock_op *op)
{
    uint64_t now;

    if (!op->deadline)
        return 0;
    asock_overdue_watch(op);
    now = time_now_ms();
    return op->deadline > now ? (uint32_t)(op->deadline - now) : 1;
}

static void refer(asock_op *op, struct request *request, struct segment *room)
{
    if (op->memory.is_multishot)
        asock_pool_spend(op->memory.pool, CODEC_SEGMENTS_MAX, room, &request->receive.segments);
    else
        asock_memory_segments(op, room, request_segments(request));
}

static void add_op(asock_op *op)
{
    struct segment room[CODEC_SEGMENTS_MAX];
    asock_context *context = op->context;
    struct request request = {.op = op->token, .socket = op->socket->id};
    bool is_first = op->state == OP_WAITING;
    size_t n;

    if (op->file && op->total > op->moved)
        asock_file_fill(op);
    if (is_first)
        asock_bounce_take(op);
    fill(op, &request);
    if (is_first) {
        op->is_quiet = may_be_quiet(op);
        request.timeout_ms = asock_turn_detach(op);
        op->seq = ++context->seq;
    }
    if (op->is_quiet)
        request.flags = REQUEST_ERRORS_ONLY;
    if (op->memory.is_reference)
        refer(op, &request, room);
    n = fill_payload(op, &request);
    if (asock_output_add(&context->out, &request, op, n) < 0) {
        asock_op_finish(op, ERR_INVALID_ARGUMENT, 0);
        return;
    }
    asock_flow_take(op->socket, n, is_first && is_counted(op));
    if (op->operation == ASOCK_OPERATION_SEND)
        op->moved = op->memory.is_reference ? op->total : op->moved + n;
    if (op->operation == ASOCK_OPERATION_SEND && op->moved < op->total)
        op->state = OP_PARTLY;
    else
        left(op);
    if (op->state == OP_PARTLY && op->file && op->file->has_failed)
        asock_op_abandon(op);
}

static void add_next(asock_socket *socket, asock_op *op)
{
    if (socket->abandon_token)
        add_abandon(socket);
    else if (!socket->is_opened)
        add_open(socket);
    else
        add_op(op);
}

/*
 * What goes whole (the data of a connect, a datagram) does not fit into the grant, which cannot be
 * raised: the op fails instead of waiting.
 */
static asock_op *hopeless(const asock_socket *socket)
{
    asock_op *control = list_first(&socket->controls, asock_op, queue_node);
    asock_op *send = list_first(&socket->sends, asock_op, queue_node);

    if (control && control->operation == ASOCK_OPERATION_CONNECT &&
        asock_grant_is_hopeless(socket->context, control->total))
        return control;
    if (send && send->operation == ASOCK_OPERATION_SEND && socket->is_datagram &&
        !send->memory.is_reference && !asock_bounce_fits(send) &&
        asock_grant_is_hopeless(socket->context, send->total))
        return send;
    return NULL;
}

static bool has_more(const asock_socket *socket)
{
    return socket->abandon_token || !list_is_empty(&socket->controls) ||
           !list_is_empty(&socket->receives_waiting) || !list_is_empty(&socket->sends);
}

void asock_turn_take(asock_socket *socket)
{
    enum flow why = FLOW_OK;
    asock_op *op = socket->abandon_token ? NULL : pick(socket, &why);
    asock_op *lost = op || socket->abandon_token ? NULL : hopeless(socket);

    if (lost) {
        asock_grant_explain(lost);
        asock_op_end_waiting(lost, ERR_NO_BUFFER_SPACE);
        return;
    }
    if (!op && !socket->abandon_token) {
        asock_socket_put(socket, why == FLOW_SESSION ? PLACE_STALLED : PLACE_NONE);
        return;
    }
    asock_socket_hold(socket);
    add_next(socket, op);
    if (!socket->is_closed && !socket->is_close_sent && !list_is_linked(&socket->close_node))
        asock_socket_put(socket, has_more(socket) ? PLACE_READY : PLACE_NONE);
    asock_socket_unhold(socket);
}
