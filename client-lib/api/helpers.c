/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One call for a whole exchange, for programs that have nothing else to do meanwhile. They are made
 * of public calls. The time that a call has is its op's deadline; where the caller has lent a
 * buffer it waits for the op's end, so that the buffer is never in use once it has returned.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client-lib/core/context.h"

static int check_caller(asock_context *context)
{
    int r = asock_enter(context);

    if (r < 0)
        return r;
    r = asock_is_in_callback(context) ? -EDEADLK : 0;
    if (r == 0) {
        context->last_error = 0;
        context->last_text[0] = '\0';
    }
    asock_leave(context);
    return r;
}

static int new_op(asock_context *context, asock_op **ret)
{
    int r = check_caller(context);

    return r < 0 ? r : asock_op_new(context, ret);
}

/* What the caller waits for is the op's deadline too: a daemon that hangs does not hold it up. */
static int set_deadline(asock_op *op, int timeout_ms)
{
    if (timeout_ms < 0)
        return 0;
    return asock_op_set_timeout(op, timeout_ms > 0 ? (unsigned int)timeout_ms : 1);
}

static void remember(asock_op *op, uint32_t error)
{
    asock_context *context = op->context;

    if (asock_enter(context) < 0)
        return;
    context->last_error = error;
    if (op->state == OP_DONE && op->text)
        snprintf(context->last_text, sizeof(context->last_text), "%s", op->text);
    else if (context->error && error == ERR_CONNECTION_ABORTED)
        memcpy(context->last_text, context->text, sizeof(context->last_text));
    asock_leave(context);
}

/* No socket can be made: the session has ended. */
static void remember_end(asock_context *context)
{
    if (asock_enter(context) < 0)
        return;
    context->last_error = ERR_NOT_CONNECTED;
    memcpy(context->last_text, context->text, sizeof(context->last_text));
    asock_leave(context);
}

/* The op is in flight (r is 1), or has ended: its end, as 0 or a negative errno. */
static int finish(asock_op *op, int r, int timeout_ms)
{
    if (r > 0)
        r = asock_op_wait(op, timeout_ms);
    if (r == -ETIMEDOUT) {
        asock_cancel(op);
        remember(op, ERR_TIMED_OUT);
    }
    if (r < 0)
        return r;
    r = asock_op_get_error(op);
    if (r > 0)
        remember(op, (uint32_t)r);
    return r < 0 ? r : -asock_error_errno(r);
}

static int dial(asock_context *context, asock_op *op, const char *host, const char *service,
                int timeout_ms, asock_socket **ret)
{
    asock_socket *socket;
    int r;

    r = asock_op_set_host(op, host, service);
    if (r == 0)
        r = set_deadline(op, timeout_ms);
    if (r == 0)
        r = asock_socket_new(context, AF_UNSPEC, &socket);
    if (r == -ENOTCONN)
        remember_end(context);
    if (r < 0)
        return r;
    r = finish(op, asock_connect(socket, op), timeout_ms);
    if (r < 0)
        asock_socket_unref(socket);
    else
        *ret = socket;
    return r;
}

int asock_dial(asock_context *context, const char *host, const char *service, int timeout_ms,
               asock_socket **ret)
{
    asock_op *op;
    int r;

    if (!ret)
        return -EINVAL;
    r = new_op(context, &op);
    if (r < 0)
        return r;
    r = dial(context, op, host, service, timeout_ms, ret);
    asock_op_unref(op);
    return r;
}

static int set_blocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    return flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ? -errno : 0;
}

int asock_dial_fd(asock_context *context, const char *host, const char *service, int timeout_ms,
                  unsigned int flags, int *ret)
{
    asock_socket *socket;
    asock_op *op;
    int r, fd;

    if (!ret || flags & ~(unsigned int)ASOCK_DIAL_BLOCKING)
        return -EINVAL;
    r = new_op(context, &op);
    if (r < 0)
        return r;
    r = asock_op_set_flags(op, ASOCK_LEND_GIVEN);
    if (r == 0)
        r = dial(context, op, host, service, timeout_ms, &socket);
    if (r == 0) {
        asock_socket_unref(socket); /* its id is left of it, nothing else */
        fd = asock_op_take_fd(op);
        r = fd < 0 ? fd : flags & ASOCK_DIAL_BLOCKING ? set_blocking(fd) : 0;
        if (r == 0)
            *ret = fd;
        else if (fd >= 0)
            close(fd);
    }
    asock_op_unref(op);
    return r;
}

static int make_op(asock_socket *socket, const void *data, size_t len, int timeout_ms,
                   asock_op **ret)
{
    int r = socket ? new_op(socket->context, ret) : -EINVAL;

    if (r < 0)
        return r;
    r = asock_op_set_buffer(*ret, (void *)(uintptr_t)data, len);
    if (r == 0)
        r = set_deadline(*ret, timeout_ms);
    if (r < 0)
        asock_op_unref(*ret);
    return r;
}

int asock_send_all(asock_socket *socket, const void *data, size_t len, int timeout_ms)
{
    asock_op *op;
    int r;

    r = make_op(socket, data, len, timeout_ms, &op);
    if (r < 0)
        return r;
    r = finish(op, asock_send(socket, op), -1);
    asock_op_unref(op);
    return r;
}

ssize_t asock_receive_some(asock_socket *socket, void *data, size_t len, int timeout_ms)
{
    ssize_t n;
    asock_op *op;
    int r;

    r = make_op(socket, data, len, timeout_ms, &op);
    if (r < 0)
        return r;
    r = finish(op, asock_receive(socket, op), -1);
    n = r < 0 ? r : (ssize_t)asock_op_get_bytes(op);
    asock_op_unref(op);
    return n;
}

static int lookup(asock_context *context, asock_op *op, const char *host, int family,
                  int timeout_ms, struct sockaddr_storage *addresses, unsigned int most)
{
    int r = set_deadline(op, timeout_ms);

    if (r == 0)
        r = finish(op, asock_resolve(context, op, host, family), timeout_ms);
    if (r < 0)
        return r;
    for (unsigned int i = 0; i < most && asock_op_get_address(op, i, &addresses[i]) > 0; i++)
        ;
    return (int)asock_op_get_address_count(op);
}

int asock_lookup(asock_context *context, const char *host, int family, int timeout_ms,
                 struct sockaddr_storage *addresses, unsigned int most)
{
    asock_op *op;
    int r;

    if (!addresses && most > 0)
        return -EINVAL;
    r = new_op(context, &op);
    if (r < 0)
        return r;
    r = lookup(context, op, host, family, timeout_ms, addresses, most);
    asock_op_unref(op);
    return r;
}

int asock_context_get_last_error(asock_context *context, char *text, size_t text_size)
{
    int r;

    if (!text && text_size > 0)
        return -EINVAL;
    r = asock_enter(context);
    if (r < 0)
        return r;
    if (text_size > 0)
        snprintf(text, text_size, "%s", context->last_text);
    r = (int)context->last_error;
    asock_leave(context);
    return r;
}
