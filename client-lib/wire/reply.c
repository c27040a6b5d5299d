/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the daemon says.
 *
 * A reply is handled in two steps: its head names the op and says where the payload goes; the reply
 * takes effect when the payload has arrived. Every reply is verified: a token that is not live,
 * more bytes than were asked for, or an impossible success end the session with
 * ASOCK_PROTOCOL_ERROR.
 */
#include "client-lib/wire/reply.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client-lib/core/accept.h"
#include "client-lib/core/ask.h"
#include "client-lib/core/cancel.h"
#include "client-lib/core/close.h"
#include "client-lib/core/complete.h"
#include "client-lib/core/flow.h"
#include "client-lib/core/grant.h"
#include "client-lib/core/inspection.h"
#include "client-lib/core/op.h"
#include "client-lib/core/socket.h"
#include "client-lib/shm/bounce.h"
#include "client-lib/shm/buffer.h"
#include "client-lib/shm/pool.h"
#include "client-lib/wire/answer.h"
#include "client-lib/wire/overdue.h"
#include "client-lib/wire/session.h"

/* More ids than this are not tracked, whatever the welcome says. */
#define SOCKETS_MAX 65536u
/* Bytes of the record that has the directory of a listener: a path, and its name. */
#define SHARE_RECORD_MAX 4352u

static uint64_t clamp(uint64_t value, uint64_t most)
{
    return value < most ? value : most;
}

static int welcome(asock_context *context, const struct welcome *said)
{
    struct welcome limits = *said;

    if (limits.version != PROTOCOL_VERSION || limits.sockets < 1 || limits.ops < 1 ||
        limits.socket_ops < 1 || limits.send_window < 1 || limits.queued_max < 1 ||
        limits.payload_max < 1)
        return -EPROTO;
    limits.payload_max = (uint32_t)clamp(limits.payload_max, FRAME_PAYLOAD_MAX);
    limits.sockets = (uint32_t)clamp(limits.sockets, SOCKETS_MAX);
    limits.most_sockets = (uint32_t)clamp(limits.most_sockets, SOCKETS_MAX);
    if (context->welcomes_due > 0)
        context->welcomes_due--;
    asock_grant_limit(context, &limits);
    if (asock_ids_grow(&context->ids, limits.sockets) < 0)
        limits.sockets = context->ids.count;
    asock_flow_set_limits(context, &limits);
    asock_sockets_give_ids(context);
    asock_grant_answered(context);
    return 0;
}

static asock_op *op_of(const asock_context *context, uint64_t token)
{
    const struct slot *slot = asock_slot_find(&context->slots, token);
    asock_op *op = slot && !slot->is_socket ? slot->object : NULL;

    return op && op->token == token && asock_op_is_in_flight(op) ? op : NULL;
}

/* Of OPEN's token, or CLOSE's. */
static asock_socket *socket_of(const asock_context *context, uint64_t token)
{
    const struct slot *slot = asock_slot_find(&context->slots, token);
    asock_socket *socket = slot && slot->is_socket ? slot->object : NULL;

    return socket && socket->token == (token & ~TOKEN_CLOSE) && !socket->is_closed ? socket : NULL;
}

/* Whose limits the reply frees: its op's, or else its id's (which is not used again too early). */
static void give_back(asock_context *context, const struct reply *reply, const asock_op *op)
{
    asock_socket *socket = op ? op->socket : socket_of(context, reply->op);

    if (!socket)
        socket = asock_ids_owner(&context->ids, reply->socket);
    if (socket && !socket->is_closed)
        asock_flow_give(socket, reply->send_freed, reply->ops_freed);
}

/* What is behind it, `most` bytes at most, is wanted as a whole. */
static int text_head(asock_op *op, struct input *in, uint32_t most)
{
    if (in->payload_left > most)
        return -EPROTO;
    if (in->payload_left == 0)
        return 0;
    free(op->text);
    op->text = in->text = calloc(1, in->payload_left + 1);
    if (op->text)
        in->sink = SINK_TEXT;
    return 0;
}

/* What the daemon says about the session: why it ends, or has less than was asked for. */
static char *session_text(asock_context *context, const struct reply *reply)
{
    if (reply->kind == KIND_WELCOME)
        return context->raise.text;
    return reply->body == BODY_EVENT && reply->event == EVENT_SESSION_ENDED ? context->text : NULL;
}

static int session_text_head(asock_context *context)
{
    struct input *in = &context->in;

    in->text = session_text(context, &in->reply);
    if (!in->text)
        return 0;
    if (in->payload_left > CODEC_TEXT_MAX)
        return -EPROTO;
    memset(in->text, 0, CODEC_TEXT_MAX + 1);
    in->sink = SINK_TEXT;
    return 0;
}

/* Where the payload of an op's reply goes. */
static int op_head(asock_op *op, struct input *in)
{
    bool is_more = in->reply.flags & REPLY_MORE;

    if ((op->state != OP_SENT && op->state != OP_PARTLY) || op->is_answered)
        return -EPROTO;
    if (op->state == OP_PARTLY && (in->reply.error == 0 || is_more))
        return -EPROTO;
    in->op = op;
    if (in->reply.error)
        return is_more ? -EPROTO : text_head(op, in, CODEC_TEXT_MAX);
    if (op->operation == ASOCK_OPERATION_RECEIVE) {
        if (op->memory.is_reference ? in->payload_left > 0 || (is_more && !op->memory.is_multishot)
                                    : in->payload_left > op->total - op->moved)
            return -EPROTO;
        asock_bounce_passed(op, in->payload_left);
        in->sink = SINK_SEGMENTS;
    } else if (op->operation == OPERATION_INSPECT) {
        in->sink = SINK_RECORD;
        if (op->inspection && in->payload_left > 0)
            asock_inspection_begin(op->inspection, in->payload_left);
    } else if (is_more) {
        return -EPROTO;
    } else if (op->operation == ASOCK_OPERATION_RESOLVE) {
        return in->payload_left ? text_head(op, in, CODEC_ADDRESSES_BYTES) : -EPROTO;
    } else if (op->operation == ASOCK_OPERATION_SHARE) {
        return in->payload_left ? text_head(op, in, SHARE_RECORD_MAX) : -EPROTO;
    }
    return 0;
}

/* Tokens that are no op's: OPEN, CLOSE without an op, CANCEL, the SYNC for ids. */
static bool is_own_token(const asock_context *context, uint64_t token)
{
    return token & (TOKEN_IDS | TOKEN_CANCEL | TOKEN_CREDIT) || socket_of(context, token);
}

static bool may_bring_descriptors(const asock_context *context, const asock_op *op,
                                  const struct reply *reply)
{
    if (!op || reply->error)
        return false;
    if (op->operation == ASOCK_OPERATION_CONNECT)
        return op->flags & ASOCK_LEND_ANY && reply->descriptors == 1;
    return op == context->memory.registering;
}

int asock_reply_head(asock_context *context)
{
    struct input *in = &context->in;
    const struct reply *reply = &in->reply;
    asock_op *op = NULL;

    if (!context->is_hello_said)
        return -EPROTO;
    if (reply->kind == KIND_COMPLETION) {
        op = op_of(context, reply->op);
        if (!op && !is_own_token(context, reply->op))
            return -EPROTO;
    } else if (reply->kind == KIND_WELCOME ? reply->body != BODY_WELCOME
                                           : reply->kind != KIND_EVENT) {
        return -EPROTO;
    }
    if (reply->descriptors > 0 && !may_bring_descriptors(context, op, reply))
        return -EPROTO;
    give_back(context, reply, op);
    return op ? op_head(op, in) : session_text_head(context);
}

static void free_asked_ids(asock_context *context)
{
    context->ids.sync_sent = false;
    list_for_each (&context->sockets, it) {
        asock_socket *socket = container_of(it, asock_socket, context_node);

        if (!socket->is_id_asked)
            continue;
        socket->is_id_asked = false;
        asock_ids_release(&context->ids, socket->id);
        socket->id = 0;
    }
    asock_sockets_give_ids(context);
}

/*
 * CANCEL did not find the op: it has ended, with success, because a failure would have been
 * reported before. Silent ops that were sent before it have ended too, in the order of sending.
 */
static void cancel_answered(asock_context *context, const struct reply *reply)
{
    asock_op *op = op_of(context, reply->op & ~TOKEN_CANCEL);
    bool is_send = op && op->operation == ASOCK_OPERATION_SEND;

    if (op && op->is_answered) {
        asock_answer_unshared(op, reply->flags & REPLY_FOUND); /* it may be gone now */
        return;
    }
    if (!op || !op->is_quiet || op->state != OP_SENT || reply->error || reply->flags & REPLY_FOUND)
        return;
    asock_quiet_finish(is_send ? &op->socket->quiet_sends : &op->socket->quiet_options, op);
    asock_op_finish(op, ERR_SUCCESS, is_send ? op->total : 0);
}

static int own_answered(asock_context *context, const struct reply *reply)
{
    asock_socket *socket;

    if (reply->op & TOKEN_CANCEL) {
        cancel_answered(context, reply);
        return 0;
    }
    if (reply->op & TOKEN_CREDIT)
        return 0; /* refused: the slices are free when the multishot ends */
    if (reply->op & TOKEN_IDS && reply->op != TOKEN_IDS)
        return asock_buffer_left(context, reply->op) ? 0 : -EPROTO;
    if (reply->op == TOKEN_IDS) {
        free_asked_ids(context);
        return 0;
    }
    socket = socket_of(context, reply->op);
    if (!socket)
        return 0;
    if (reply->op & TOKEN_CLOSE ? !socket->is_close_sent || socket->close_op : !socket->is_opened)
        return -EPROTO; /* not asked for */
    if (reply->op & TOKEN_CLOSE)
        asock_close_answered(socket, reply->error);
    else if (reply->error)
        asock_socket_refuse(socket, reply->error);
    return 0;
}

static void event(asock_context *context, const struct reply *reply)
{
    asock_socket *socket;

    if (reply->body != BODY_EVENT)
        return;
    socket = asock_ids_owner(&context->ids, reply->socket);
    if (reply->event == EVENT_KILLED && socket)
        socket->is_over = true;
    if (reply->event == EVENT_SESSION_ENDED)
        asock_session_end(context, reply->error);
}

/*
 * An empty send after silent ones was refused, because the sending side is broken. The daemon
 * refused it as soon as it read it. Of the ops that the socket had outstanding then, those that the
 * library cannot account for are the silent ones still in progress; the daemon will report them.
 * All other silent ones have succeeded.
 */
static void barrier_refused(asock_socket *socket, const asock_op *barrier)
{
    uint32_t known = 0, silent = 0;

    list_for_each (&socket->ops, it) {
        const asock_op *op = container_of(it, asock_op, flight_node);
        bool is_earlier = op->is_quiet && op->seq < barrier->seq;

        if (op == barrier || (op->state != OP_SENT && op->state != OP_PARTLY))
            continue;
        if (op->operation == ASOCK_OPERATION_SHUTDOWN || op->operation == ASOCK_OPERATION_HANGUP ||
            op->operation == ASOCK_OPERATION_DISCONNECT || op->operation == ASOCK_OPERATION_CLOSE)
            continue; /* not counted */
        if (!is_earlier || op->state == OP_PARTLY)
            known++;
        else if (op->operation == ASOCK_OPERATION_SEND)
            silent++; /* an option has been set by now */
    }
    asock_quiet_finish_some(&socket->quiet_sends, silent + known > socket->held_ops
                                                      ? silent + known - socket->held_ops
                                                      : 0);
}

/*
 * Sends end in order: a success, or bytes that went, implies the success of all silent sends before
 * it (PROTOCOL.md).
 */
static void send_answered(asock_op *op, const struct reply *reply)
{
    asock_socket *socket = op->socket;

    if (!reply->error || reply->bytes > 0)
        asock_quiet_finish(&socket->quiet_sends, op);
    else if (socket->barrier == op)
        barrier_refused(socket, op);
}

/*
 * Where the connection has ended, the daemon has reported each send of it that failed, and each
 * other op.
 */
static void disconnect_answered(asock_op *op, const struct reply *reply)
{
    if (reply->error && reply->error != ERR_CONNECTION_RESET) {
        asock_ask_again(op->socket);
        return;
    }
    asock_quiet_finish(&op->socket->quiet_sends, op);
    asock_socket_disconnected(op->socket, op->submitted);
    asock_op_wait_for_late(op);
    if (op->deadline || op->is_cancelled)
        asock_overdue_late(op);
}

static void sync_answered(asock_context *context, const asock_op *sync)
{
    list_for_each (&context->sockets, it)
        asock_quiet_finish(&container_of(it, asock_socket, context_node)->quiet_options, sync);
}

static void note_datagram(asock_op *op, const struct datagram *datagram)
{
    op->datagram = *datagram;
    op->local = datagram->local;
    op->remote = datagram->remote;
}

/* What an op's end means for its socket, before the program hears of it. */
static void note(asock_op *op, const struct reply *reply)
{
    asock_socket *socket = op->socket;

    switch (op->operation) {
    case ASOCK_OPERATION_CONNECT:
        if (!reply->error)
            socket->is_connected = true;
        if (reply->body == BODY_CONNECTED) {
            op->local = reply->connected.local;
            op->remote = reply->connected.remote;
            op->connect_error = reply->connected.connect_error;
            if (!reply->error) {
                socket->local = op->local;
                socket->remote = op->remote;
            }
        }
        break;
    case ASOCK_OPERATION_BIND:
        if (reply->body == BODY_CONNECTED && !reply->error)
            socket->local = op->local = reply->connected.local;
        break;
    case ASOCK_OPERATION_SEND:
        send_answered(op, reply);
        break;
    case ASOCK_OPERATION_RECEIVE:
        if (reply->body == BODY_DATAGRAM)
            note_datagram(op, &reply->datagram);
        break;
    case ASOCK_OPERATION_SHUTDOWN:
        if (!(op->how & ASOCK_SHUTDOWN_SEND))
            break;
        if (!reply->error)
            asock_quiet_finish(&socket->quiet_sends, op);
        else
            asock_ask_again(socket);
        break;
    case ASOCK_OPERATION_DISCONNECT:
        disconnect_answered(op, reply);
        break;
    case ASOCK_OPERATION_SET_OPTION:
        asock_quiet_finish(&socket->quiet_options, op);
        break;
    case ASOCK_OPERATION_GET_OPTION:
        asock_quiet_finish(&socket->quiet_options, op);
        op->has_value = reply->body == BODY_VALUE && !reply->error;
        op->value = op->has_value ? reply->value.number : 0;
        break;
    case ASOCK_OPERATION_SYNC:
        sync_answered(op->context, op);
        break;
    default:
        break;
    }
}

/* The bytes that an op has moved; -EPROTO: an impossible number. */
static int moved_by(const asock_op *op, const struct reply *reply, uint64_t *ret)
{
    switch (op->operation) {
    case ASOCK_OPERATION_RECEIVE:
        *ret = op->memory.is_reference ? reply->bytes : op->moved;
        return op->memory.is_reference && !op->memory.is_multishot && reply->bytes > op->total
                   ? -EPROTO
                   : 0;
    case ASOCK_OPERATION_SEND:
    case ASOCK_OPERATION_CONNECT:
        *ret = reply->bytes;
        return reply->bytes > op->total || (!reply->error && reply->bytes != op->total) ? -EPROTO
                                                                                        : 0;
    default:
        *ret = 0;
        return 0;
    }
}

static void check_text(asock_op *op, size_t len)
{
    if (asock_codec_text_is_valid(op->text, len))
        return;
    free(op->text);
    op->text = NULL;
}

/* One of a multishot's completions: all but the last have bytes, and that may. */
static int take_shot(asock_op *op, const struct reply *reply)
{
    bool is_more = reply->flags & REPLY_MORE;
    struct slice *slice;

    if (reply->body != (op->socket->is_datagram ? BODY_DATAGRAM : BODY_SEGMENT))
        return is_more || reply->bytes > 0 ? -EPROTO : 0;
    if (reply->error || asock_pool_fill(op, reply, &slice) < 0)
        return -EPROTO;
    if (is_more)
        asock_op_shot(op, slice);
    else
        op->memory.last = slice;
    return 0;
}

/* By reference: copied out of the library's memory, or to be read in place. */
static void received(asock_op *op, uint64_t bytes)
{
    bool is_bounced = op->memory.bounce_count > 0;

    asock_bounce_received(op, bytes);
    op->memory.is_in_place = !is_bounced && (bytes > 0 || op->memory.last);
    if (is_bounced && bytes > 0 && asock_buffer_is_lost(op->context->memory.bounce.buffer))
        op->memory.is_lost = true;
}

/*
 * The library's own CANCEL of an overdue op is reported as a time-out, because the program has set
 * a time and cancelled nothing. A send of which nothing went stays cancelled: its stream continues
 * (S30), which it could not after a time-out (S28).
 */
static uint32_t error_of_expired(const asock_op *op, uint32_t error, uint64_t bytes)
{
    if (!op->is_expired || error != ERR_OPERATION_ABORTED)
        return error;
    return op->operation == ASOCK_OPERATION_SEND && bytes == 0 ? error : ERR_TIMED_OUT;
}

static void say(asock_op *op, const char *text)
{
    free(op->text);
    op->text = strdup(text); /* NULL without memory: the text is then missing */
}

/*
 * The success of a connect that lends must bring a descriptor. Returns the error with which the op
 * ends if there is none: the program then cannot use the socket, whatever its state in the daemon.
 */
static uint32_t take_lent(asock_op *op, const struct reply *reply)
{
    bool is_known = op->context->limits.lends != 0;

    if (reply->descriptors == 0 && op->flags & ASOCK_LEND_IF_ALLOWED)
        return ERR_SUCCESS;
    if (reply->descriptors > 0)
        op->fd = asock_memory_take_socket(op->context, &reply->connected.local,
                                          &reply->connected.remote);
    if (op->fd >= 0)
        return ERR_SUCCESS;
    op->socket->is_connect_failed = true;
    if (reply->descriptors > 0 && op->context->memory.is_cut) {
        op->context->memory.is_cut = false;
        say(op,
            "the descriptor did not arrive: this process may have too many open files (ulimit -n)");
        return ERR_TOO_MANY_OPEN_SOCKETS;
    }
    /* It was killed before its descriptor left, or on the way; or the daemon could not send it. */
    if (is_known || reply->descriptors > 0)
        return ERR_CONNECTION_ABORTED;
    say(op, "this version of asockd cannot lend sockets");
    return ERR_OPERATION_NOT_SUPPORTED;
}

static bool is_answer(const asock_op *op)
{
    return op->operation == ASOCK_OPERATION_RESOLVE || op->operation == ASOCK_OPERATION_SHARE;
}

static int op_answered(asock_op *op, const struct reply *reply, size_t text_len)
{
    uint32_t error = reply->error;
    uint64_t bytes;
    int r = 0;

    if (op->memory.is_multishot)
        r = take_shot(op, reply);
    else if (op->operation == OPERATION_REGISTER)
        r = asock_buffer_answered(op, reply);
    else if (op->operation == ASOCK_OPERATION_ACCEPT && !reply->error)
        r = asock_accept_done(op, reply);
    if (r != 0 || reply->flags & REPLY_MORE)
        return r;
    r = moved_by(op, reply, &bytes);
    if (r < 0)
        return r;
    error = error_of_expired(op, error, bytes);
    if (op->operation == ASOCK_OPERATION_RECEIVE && op->memory.is_reference)
        received(op, bytes);
    if (is_answer(op) && !error) {
        r = asock_answer_take(op, text_len);
        if (r == -EPROTO || r > 0)
            return r < 0 ? r : 0;
        error = r < 0 ? (uint32_t)ERR_NO_BUFFER_SPACE : error;
    }
    if (op->text && error)
        check_text(op, text_len);
    if (op->operation == ASOCK_OPERATION_CONNECT && op->flags & ASOCK_LEND_ANY && !error)
        error = take_lent(op, reply);
    if (reply->flags & REPLY_END_OF_STREAM)
        op->result_flags |= ASOCK_END_OF_STREAM;
    if (reply->flags & REPLY_TRUNCATED)
        op->result_flags |= ASOCK_TRUNCATED;
    if (op->state == OP_PARTLY)
        asock_op_abandon(op);
    if (op->operation == ASOCK_OPERATION_CLOSE) {
        asock_close_answered(op->socket, error);
        return 0;
    }
    if (error == ERR_NOT_SOCKET && op->socket && op->socket->open_error)
        error = op->socket->open_error;
    note(op, reply);
    asock_op_finish(op, error, bytes);
    return 0;
}

int asock_reply_finish(asock_context *context)
{
    struct input *in = &context->in;
    asock_op *op = in->op;

    in->op = NULL;
    if (!op && in->sink == SINK_TEXT && !asock_codec_text_is_valid(in->text, in->text_len))
        in->text[0] = '\0';
    switch (in->reply.kind) {
    case KIND_WELCOME:
        return welcome(context, &in->reply.welcome) < 0 ? -EPROTO : 1;
    case KIND_EVENT:
        event(context, &in->reply);
        return 1;
    default:
        if (op)
            return op_answered(op, &in->reply, in->text_len) < 0 ? -EPROTO : 1;
        return own_answered(context, &in->reply) < 0 ? -EPROTO : 1;
    }
}
