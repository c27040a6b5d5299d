/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Submitting: puts an op into a queue of its socket. It never blocks. It allocates nothing but the
 * copy of a name, and, once for each pool, room for the datagrams that are received into it.
 *
 * Happy path: the op is checked, started, put into a queue; its frame is made when the output has
 * room and the session's limits allow (request.c). Failures that the library knows already (socket
 * closed, session ended, stream broken) are the op's result: at once where the call may return 0,
 * else through the queue of completions like any other.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client-lib/core/accept.h"
#include "client-lib/core/cancel.h"
#include "client-lib/core/close.h"
#include "client-lib/core/complete.h"
#include "client-lib/core/context.h"
#include "client-lib/core/file.h"
#include "client-lib/core/op.h"
#include "client-lib/core/socket.h"
#include "client-lib/shm/bounce.h"
#include "client-lib/shm/buffer.h"
#include "client-lib/shm/pool.h"
#include "client-lib/wire/output.h"
#include "client-lib/wire/session.h"
#include "client-lib/wire/overdue.h"

/* More bytes than any datagram has. */
#define DATAGRAM_MAX 65535u

/* When so much payload is queued, submitting writes it. */
#define SUBMIT_FLUSH (64u * 1024u)

/* Every call that submits starts with it, after taking the lock. */
static int leave_submit(asock_context *context, size_t queued, int r)
{
    context->queued += queued;
    if (context->queued >= SUBMIT_FLUSH && context->is_alive) {
        context->queued = 0;
        asock_output_flush(context);
    }
    asock_wake(context);
    asock_leave(context);
    return r;
}

static int enter_submit(asock_context *context, asock_op *op)
{
    int r;

    if (!context || !op || op->context != context)
        return -EINVAL;
    r = asock_enter(context);
    if (r < 0)
        return r;
    if (!asock_op_is_busy(op))
        return 0;
    asock_leave(context);
    return -EBUSY;
}

static int enter_socket(asock_socket *socket, asock_op *op)
{
    return enter_submit(socket ? socket->context : NULL, op);
}

/* Ends an op whose result is known. 0: it is reported at once; 1: the callback reports it. */
static int settle(asock_op *op, asock_socket *socket, int operation, uint32_t error)
{
    asock_context *context = op->context;
    bool is_first = list_is_empty(&context->done) && (!socket || list_is_empty(&socket->ops));

    if (is_first && !op->is_begun && !context->is_always_pending &&
        operation != ASOCK_OPERATION_SEND) {
        asock_op_reset(op, socket, operation);
        asock_op_told(op); /* in its callback, of the flight before */
        op->state = OP_DONE;
        op->error = error;
        return 0;
    }
    asock_op_start(op, socket, operation);
    asock_op_finish(op, error, 0);
    return 1;
}

static bool is_stream_op(int operation)
{
    return operation == ASOCK_OPERATION_SEND || operation == ASOCK_OPERATION_RECEIVE ||
           operation == ASOCK_OPERATION_SHUTDOWN || operation == ASOCK_OPERATION_HANGUP ||
           operation == ASOCK_OPERATION_DISCONNECT;
}

static bool is_data_op(int operation)
{
    return operation == ASOCK_OPERATION_SEND || operation == ASOCK_OPERATION_RECEIVE ||
           operation == ASOCK_OPERATION_CONNECT;
}

/* An error that the library knows without asking the daemon; 0: none. */
static uint32_t known_error(const asock_socket *socket, int operation, int how)
{
    bool is_sending = operation == ASOCK_OPERATION_SEND ||
                      (operation == ASOCK_OPERATION_SHUTDOWN && how & ASOCK_SHUTDOWN_SEND);

    if (socket->is_closing)
        return ERR_NOT_SOCKET;
    if (socket->is_dead)
        return ERR_CONNECTION_ABORTED;
    if (socket->open_error && !socket->is_opened && operation != ASOCK_OPERATION_CLOSE)
        return socket->open_error;
    if (is_sending && socket->is_send_broken)
        return ERR_OPERATION_ABORTED;
    if (is_stream_op(operation) && socket->is_connect_failed)
        return ERR_OPERATION_ABORTED;
    return 0;
}

static int queue_or_settle(asock_op *op, asock_socket *socket, int operation, struct list *queue)
{
    uint32_t error = known_error(socket, operation, op->how);

    if (error)
        return settle(op, socket, operation, error);
    asock_op_start(op, socket, operation);
    if (is_data_op(operation))
        asock_memory_use(op);
    list_append(queue, &op->queue_node);
    asock_socket_kick(socket);
    return 1;
}

/*
 * An error of a connect that asks for lending; 0: none. Before the welcome it is unknown, and the
 * daemon decides.
 */
static uint32_t lend_error(const asock_op *op)
{
    const asock_context *context = op->context;

    if (!(op->flags & ASOCK_LEND_ANY))
        return 0;
    if (op->total > 0)
        return ERR_INVALID_ARGUMENT;
    if (op->flags & ASOCK_LEND_IF_ALLOWED || !context->is_welcome || context->limits.lends)
        return 0;
    return ERR_OPERATION_NOT_SUPPORTED;
}

int asock_connect(asock_socket *socket, asock_op *op)
{
    int r = enter_socket(socket, op);
    uint32_t error;

    if (r < 0)
        return r;
    if (!op->host && !op->endpoint.address_len) {
        asock_leave(socket->context);
        return -EINVAL;
    }
    op->how = 0;
    error = lend_error(op);
    if (!error && op->total > socket->context->limits.payload_max)
        error = ERR_MESSAGE_SIZE;
    if (error && !known_error(socket, 0, 0)) {
        r = settle(op, socket, ASOCK_OPERATION_CONNECT, error);
        asock_connect_failed(socket, op->seq);
    } else {
        r = queue_or_settle(op, socket, ASOCK_OPERATION_CONNECT, &socket->controls);
    }
    if (op->state == OP_WAITING)
        socket->is_connect_failed = false;
    if (!socket->is_closing)
        socket->is_connect_asked = true;
    return leave_submit(socket->context, op->total, r);
}

/* The expected payload of its frame. */
static size_t payload_of(const asock_op *op)
{
    return op->memory.is_reference || asock_bounce_fits(op) ? 0 : op->total;
}

/*
 * An error of a send that is a datagram; 0: none. What the daemon can do is unknown before the
 * welcome.
 */
static uint32_t datagram_error(const asock_op *op)
{
    uint32_t asked = (op->ecn ? 1u << SEND_ECN : 0) |
                     (op->source.address_len ? 1u << SEND_SOURCE : 0) |
                     (op->segment_size ? 1u << SEND_SEGMENT_SIZE : 0);

    if (op->total > DATAGRAM_MAX)
        return ERR_MESSAGE_SIZE;
    if (op->context->is_welcome && asked & ~op->context->limits.send_fields)
        return ERR_OPERATION_NOT_SUPPORTED;
    return 0;
}

/* An error if a socket of this kind cannot do the operation; 0: it can. */
static uint32_t data_error(const asock_socket *socket, const asock_op *op, int operation, int how)
{
    uint32_t error = known_error(socket, operation, 0);

    if (error)
        return error;
    if (how == HOW_TO && !socket->is_datagram)
        return ERR_OPERATION_NOT_SUPPORTED;
    if (operation == ASOCK_OPERATION_SEND && socket->is_datagram)
        return datagram_error(op);
    return 0;
}

/* how: HOW_TO for a call that is only for datagrams. */
static int submit_data(asock_socket *socket, asock_op *op, int operation, int how)
{
    bool is_send = operation == ASOCK_OPERATION_SEND;
    int r = enter_socket(socket, op);
    uint32_t error;

    if (r < 0)
        return r;
    if (!op->segments || (is_send && how == HOW_TO && !op->endpoint.address_len)) {
        asock_leave(socket->context);
        return -EINVAL;
    }
    op->how = is_send ? how : 0;
    error = data_error(socket, op, operation, how);
    r = error ? settle(op, socket, operation, error)
              : queue_or_settle(op, socket, operation,
                                is_send ? &socket->sends : &socket->receives_waiting);
    return leave_submit(socket->context, is_send ? payload_of(op) : 0, r);
}

int asock_send(asock_socket *socket, asock_op *op)
{
    return submit_data(socket, op, ASOCK_OPERATION_SEND, 0);
}

int asock_send_file(asock_socket *socket, asock_op *op, int fd, uint64_t offset, uint64_t length,
                    const void *trailer, size_t trailer_len)
{
    struct iovec last = {(void *)(uintptr_t)trailer, trailer_len};
    uint32_t error = 0;
    int r = (trailer_len > 0 && !trailer) || fd < 0 ? -EINVAL : enter_socket(socket, op);

    if (r < 0)
        return r;
    r = asock_file_set(op, fd, offset, length, &last);
    if (r < 0) {
        asock_leave(socket->context);
        return r;
    }
    op->how = 0;
    if (socket->is_datagram && !known_error(socket, ASOCK_OPERATION_SEND, 0))
        error = ERR_OPERATION_NOT_SUPPORTED;
    r = error ? settle(op, socket, ASOCK_OPERATION_SEND, error)
              : queue_or_settle(op, socket, ASOCK_OPERATION_SEND, &socket->sends);
    return leave_submit(socket->context, op->total, r);
}

int asock_send_to(asock_socket *socket, asock_op *op)
{
    return submit_data(socket, op, ASOCK_OPERATION_SEND, HOW_TO);
}

int asock_receive(asock_socket *socket, asock_op *op)
{
    return submit_data(socket, op, ASOCK_OPERATION_RECEIVE, 0);
}

int asock_receive_from(asock_socket *socket, asock_op *op)
{
    return submit_data(socket, op, ASOCK_OPERATION_RECEIVE, HOW_TO);
}

/* An error if no slice of the pool can ever be filled; 0: some can. */
static uint32_t pool_error(const asock_pool *pool)
{
    if (pool->buffer->id == 0)
        return ERR_CONNECTION_ABORTED;
    return asock_pool_is_stranded(pool) ? ERR_NO_BUFFER_SPACE : 0;
}

static int receive_slices(asock_socket *socket, asock_op *op)
{
    asock_pool *pool = op->memory.pool;
    uint32_t error;
    int r;

    asock_pool_forget(op);
    error = pool_error(pool);
    if (error && !known_error(socket, ASOCK_OPERATION_RECEIVE, 0))
        r = settle(op, socket, ASOCK_OPERATION_RECEIVE, error);
    else
        r = queue_or_settle(op, socket, ASOCK_OPERATION_RECEIVE, &socket->receives_waiting);
    /* One that has ended already says so to asock_receive_next(), too. */
    op->memory.is_multishot = true;
    if (op->state != OP_WAITING)
        return r;
    op->memory.is_reference = true;
    pool->op = op;
    return r;
}

int asock_receive_multishot(asock_socket *socket, asock_op *op)
{
    int r = enter_socket(socket, op);

    if (r < 0)
        return r;
    op->how = 0;
    if (!op->memory.pool)
        r = -EINVAL;
    else if (op->memory.pool->op)
        r = -EBUSY;
    else if (socket->is_datagram && asock_pool_take_datagrams(op->memory.pool) < 0)
        r = -ENOMEM;
    else
        r = receive_slices(socket, op);
    if (r < 0) {
        asock_leave(socket->context);
        return r;
    }
    return leave_submit(socket->context, 0, r);
}

/*
 * Shutting down the receiving side waits for no data and for no limit, only for a connect and for
 * shutdowns that were submitted before it.
 */
static void queue_behind_connects(asock_socket *socket, asock_op *op)
{
    struct list *at = &socket->controls;

    list_remove(&op->queue_node);
    list_for_each (&socket->controls, it) {
        int operation = container_of(it, asock_op, queue_node)->operation;

        if (operation == ASOCK_OPERATION_CONNECT || operation == ASOCK_OPERATION_SHUTDOWN)
            at = it;
    }
    list_prepend(at, &op->queue_node);
}

int asock_shutdown(asock_socket *socket, asock_op *op, enum asock_how how)
{
    int r;

    if (how != ASOCK_SHUTDOWN_RECEIVE && how != ASOCK_SHUTDOWN_SEND && how != ASOCK_SHUTDOWN_BOTH)
        return -EINVAL;
    r = enter_socket(socket, op);
    if (r < 0)
        return r;
    op->how = (int)how;
    r = queue_or_settle(op, socket, ASOCK_OPERATION_SHUTDOWN,
                        how & ASOCK_SHUTDOWN_SEND ? &socket->sends : &socket->controls);
    if (op->state == OP_WAITING && how == ASOCK_SHUTDOWN_RECEIVE)
        queue_behind_connects(socket, op);
    return leave_submit(socket->context, 0, r);
}

/* What cuts the stream aborts a disconnect behind it: one that waits is in front of the cut. */
static uint32_t disconnect_error(const asock_socket *socket)
{
    uint32_t error = known_error(socket, ASOCK_OPERATION_DISCONNECT, 0);

    if (error)
        return error;
    if (!asock_session_may_use(socket->context, VERB_DISCONNECT))
        return ERR_OPERATION_NOT_SUPPORTED;
    list_for_each (&socket->sends, it)
        if (socket->is_send_broken &&
            container_of(it, asock_op, queue_node)->operation == ASOCK_OPERATION_DISCONNECT)
            return ERR_ALREADY_IN_PROGRESS;
    return 0;
}

/* Its place is behind the sends, which do not matter any more if the stream is known to be cut. */
int asock_disconnect(asock_socket *socket, asock_op *op)
{
    int r = enter_socket(socket, op);
    uint32_t error;

    if (r < 0)
        return r;
    op->how = socket->is_send_broken;
    error = disconnect_error(socket);
    if (error)
        r = settle(op, socket, ASOCK_OPERATION_DISCONNECT, error);
    else
        r = queue_or_settle(op, socket, ASOCK_OPERATION_DISCONNECT,
                            op->how ? &socket->controls : &socket->sends);
    return leave_submit(socket->context, 0, r);
}

int asock_await_hangup(asock_socket *socket, asock_op *op)
{
    int r = enter_socket(socket, op);

    if (r < 0)
        return r;
    op->how = 0;
    if (!known_error(socket, ASOCK_OPERATION_HANGUP, 0) &&
        !asock_session_may_use(socket->context, VERB_HANGUP))
        r = settle(op, socket, ASOCK_OPERATION_HANGUP, ERR_OPERATION_NOT_SUPPORTED);
    else
        r = queue_or_settle(op, socket, ASOCK_OPERATION_HANGUP, &socket->controls);
    return leave_submit(socket->context, 0, r);
}

/* For later verbs: a daemon that is known not to have one is not asked. */
static int queue_later(asock_op *op, asock_socket *socket, int operation, uint32_t verb)
{
    op->how = 0;
    if (!known_error(socket, operation, 0) && !asock_session_may_use(socket->context, verb))
        return settle(op, socket, operation, ERR_OPERATION_NOT_SUPPORTED);
    return queue_or_settle(op, socket, operation, &socket->controls);
}

int asock_bind(asock_socket *socket, asock_op *op)
{
    int r = enter_socket(socket, op);

    if (r < 0)
        return r;
    if (!op->endpoint.address_len) {
        asock_leave(socket->context);
        return -EINVAL;
    }
    return leave_submit(socket->context, 0,
                        queue_later(op, socket, ASOCK_OPERATION_BIND, VERB_BIND));
}

int asock_listen(asock_socket *socket, asock_op *op, int backlog)
{
    int r = backlog < 0 ? -EINVAL : enter_socket(socket, op);

    if (r < 0)
        return r;
    op->argument = backlog;
    return leave_submit(socket->context, 0,
                        queue_later(op, socket, ASOCK_OPERATION_LISTEN, VERB_LISTEN));
}

static int submit_accept(asock_socket *socket, asock_op *op, bool is_multishot)
{
    int r = enter_socket(socket, op);

    if (r < 0)
        return r;
    /* Accepted sockets are not lent. */
    if (op->flags & ASOCK_LEND_ANY && !known_error(socket, ASOCK_OPERATION_ACCEPT, 0))
        r = settle(op, socket, ASOCK_OPERATION_ACCEPT, ERR_OPERATION_NOT_SUPPORTED);
    else
        r = queue_later(op, socket, ASOCK_OPERATION_ACCEPT, VERB_ACCEPT);
    if (op->state == OP_WAITING) {
        op->is_multishot_accept = is_multishot;
        list_remove(&op->queue_node);
        asock_accept_queue(op);
    }
    return leave_submit(socket->context, 0, r);
}

int asock_accept(asock_socket *socket, asock_op *op)
{
    return submit_accept(socket, op, false);
}

int asock_accept_multishot(asock_socket *socket, asock_op *op)
{
    return submit_accept(socket, op, true);
}

/*
 * CLOSE is sent as soon as the callback has returned, or by the dispatcher, and can only succeed:
 * there is no need to wait for its answer.
 */
static bool may_close_at_once(const asock_socket *socket, int linger_ms)
{
    const asock_context *context = socket->context;

    return linger_ms == 0 && (context->in_callback || context->has_dispatcher) &&
           asock_close_is_certain(socket);
}

/* Closes without a report. */
static int close_and_forget(asock_socket *socket, int linger_ms)
{
    int r = asock_enter(socket ? socket->context : NULL);

    if (r < 0)
        return r;
    if (!socket->is_closing && !socket->is_closed)
        asock_close_start(socket, NULL, linger_ms);
    socket->is_closing = true;
    return leave_submit(socket->context, 0, 0);
}

int asock_close(asock_socket *socket, asock_op *op, int linger_ms)
{
    uint32_t error;
    int r;

    if (linger_ms < ASOCK_CLOSE_ABORT)
        return -EINVAL;
    if (!op)
        return close_and_forget(socket, linger_ms);
    r = enter_socket(socket, op);
    if (r < 0)
        return r;
    op->how = 0;
    error = known_error(socket, ASOCK_OPERATION_CLOSE, 0);
    if (error) {
        r = settle(op, socket, ASOCK_OPERATION_CLOSE, error);
        socket->is_closing = true;
    } else if (may_close_at_once(socket, linger_ms)) {
        asock_close_start(socket, NULL, linger_ms);
        r = settle(op, socket, ASOCK_OPERATION_CLOSE, ERR_SUCCESS);
    } else {
        asock_op_start(op, socket, ASOCK_OPERATION_CLOSE);
        asock_close_start(socket, op, linger_ms);
        asock_overdue_close(op);
        r = 1;
    }
    return leave_submit(socket->context, 0, r);
}

static int submit_option(asock_socket *socket, asock_op *op, int operation, int option,
                         int64_t value)
{
    int r = enter_socket(socket, op);

    if (r < 0)
        return r;
    op->how = 0;
    op->option = option;
    op->argument = value;
    r = queue_or_settle(op, socket, operation, &socket->controls);
    return leave_submit(socket->context, 0, r);
}

int asock_set_option(asock_socket *socket, asock_op *op, enum asock_option option, int64_t value)
{
    return submit_option(socket, op, ASOCK_OPERATION_SET_OPTION, (int)option, value);
}

int asock_get_option(asock_socket *socket, asock_op *op, enum asock_option option)
{
    return submit_option(socket, op, ASOCK_OPERATION_GET_OPTION, (int)option, 0);
}

/* For ops without a socket: only the session can have ended. */
static int queue_socketless(asock_context *context, asock_op *op, int operation, uint32_t verb,
                            struct list *queue)
{
    if (!context->is_alive)
        return settle(op, NULL, operation, ERR_CONNECTION_ABORTED);
    if (!asock_session_may_use(context, verb))
        return settle(op, NULL, operation, ERR_OPERATION_NOT_SUPPORTED);
    asock_op_start(op, NULL, operation);
    op->verb = verb;
    list_append(queue, &op->queue_node);
    return 1;
}

int asock_sync(asock_context *context, asock_op *op)
{
    int r = enter_submit(context, op);

    if (r < 0)
        return r;
    r = queue_socketless(context, op, ASOCK_OPERATION_SYNC, VERB_SYNC, &context->syncs);
    return leave_submit(context, 0, r);
}

int asock_share(asock_context *context, asock_op *op)
{
    int r = enter_submit(context, op);

    if (r < 0)
        return r;
    r = queue_socketless(context, op, ASOCK_OPERATION_SHARE, VERB_SHARE, &context->inspections);
    return leave_submit(context, 0, r);
}

int asock_resolve(asock_context *context, asock_op *op, const char *host, int family)
{
    size_t len = host ? strnlen(host, CODEC_HOST_MAX + 1) : 0;
    char *copy;
    int r;

    if (len == 0 || len > CODEC_HOST_MAX || !asock_codec_text_is_valid(host, len))
        return -EINVAL;
    if (family != AF_UNSPEC && family != AF_INET && family != AF_INET6)
        return -EAFNOSUPPORT;
    copy = strdup(host);
    r = copy ? enter_submit(context, op) : -ENOMEM;
    if (r < 0) {
        free(copy);
        return r;
    }
    free(op->asked);
    op->asked = copy;
    op->argument = family;
    r = queue_socketless(context, op, ASOCK_OPERATION_RESOLVE, VERB_RESOLVE, &context->inspections);
    return leave_submit(context, 0, r);
}
