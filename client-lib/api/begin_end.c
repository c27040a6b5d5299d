/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The begin and end style: ops that the library makes, over the same calls. Such an op never
 * completes at once (is_begun), and may be gone as soon as it is submitted: its callback may have
 * run, and ended it, in the dispatcher.
 */
#include <errno.h>

#include "client-lib/api/callbacks.h"
#include "client-lib/core/context.h"
#include "proto/endpoint.h"

static int make(asock_socket *socket, asock_callback callback, void *userdata, asock_op **ret)
{
    int r;

    if (ret)
        *ret = NULL;
    if (!socket || !ret)
        return -EINVAL;
    r = asock_op_new(socket->context, ret);
    if (r < 0)
        return r;
    asock_op_set_callback(*ret, callback, userdata);
    (*ret)->is_begun = true;
    return 0;
}

static int submit(asock_socket *socket, asock_op **op, int r,
                  int (*call)(asock_socket *socket, asock_op *op))
{
    if (r == 0)
        r = call(socket, *op);
    if (r < 0)
        *op = asock_op_unref(*op);
    return r;
}

int asock_begin_connect(asock_socket *socket, const struct sockaddr *addr, socklen_t len,
                        asock_callback callback, void *userdata, asock_op **ret)
{
    int r = make(socket, callback, userdata, ret);

    return r < 0 ? r : submit(socket, ret, asock_op_set_endpoint(*ret, addr, len), asock_connect);
}

int asock_begin_connect_host(asock_socket *socket, const char *host, const char *service,
                             asock_callback callback, void *userdata, asock_op **ret)
{
    int r = make(socket, callback, userdata, ret);

    return r < 0 ? r : submit(socket, ret, asock_op_set_host(*ret, host, service), asock_connect);
}

int asock_begin_send(asock_socket *socket, const void *data, size_t len, asock_callback callback,
                     void *userdata, asock_op **ret)
{
    int r = make(socket, callback, userdata, ret);
    void *segment = (void *)(uintptr_t)data; /* a receive would write to it, a send does not */

    return r < 0 ? r : submit(socket, ret, asock_op_set_buffer(*ret, segment, len), asock_send);
}

int asock_begin_receive(asock_socket *socket, void *data, size_t len, asock_callback callback,
                        void *userdata, asock_op **ret)
{
    int r = make(socket, callback, userdata, ret);

    return r < 0 ? r : submit(socket, ret, asock_op_set_buffer(*ret, data, len), asock_receive);
}

int asock_begin_accept(asock_socket *socket, asock_callback callback, void *userdata,
                       asock_op **ret)
{
    int r = make(socket, callback, userdata, ret);

    return r < 0 ? r : submit(socket, ret, 0, asock_accept);
}

int asock_end_accept(asock_op *op, asock_socket **ret)
{
    int r = ret ? asock_op_wait(op, -1) : -EINVAL;

    if (r < 0)
        return r;
    *ret = asock_op_take_socket(op);
    r = asock_end(op, NULL);
    if (r < 0)
        *ret = asock_socket_unref(*ret);
    return r;
}

int asock_begin_send_to(asock_socket *socket, const void *data, size_t len,
                        const struct sockaddr *addr, socklen_t addr_len, asock_callback callback,
                        void *userdata, asock_op **ret)
{
    void *segment = (void *)(uintptr_t)data; /* as above */
    int r = make(socket, callback, userdata, ret);

    if (r < 0)
        return r;
    r = asock_op_set_endpoint(*ret, addr, addr_len);
    if (r == 0)
        r = asock_op_set_buffer(*ret, segment, len);
    return submit(socket, ret, r, asock_send_to);
}

int asock_begin_receive_from(asock_socket *socket, void *data, size_t len, asock_callback callback,
                             void *userdata, asock_op **ret)
{
    int r = make(socket, callback, userdata, ret);

    return r < 0 ? r
                 : submit(socket, ret, asock_op_set_buffer(*ret, data, len), asock_receive_from);
}

/* from may be NULL. A length of 0 means that the op has no remote address. */
static int end(asock_op *op, uint64_t *bytes, struct sockaddr_storage *from)
{
    asock_context *context = op ? op->context : NULL;
    int r = asock_enter(context);

    if (r < 0)
        return r;
    if (!op->is_begun)
        r = -EINVAL;
    asock_leave(context);
    if (r == 0)
        r = asock_op_wait(op, -1);
    if (r < 0)
        return r;
    pthread_mutex_lock(&context->lock);
    asock_op_check(op);
    r = op->is_begun ? (int)op->error : -EINVAL;
    if (op->is_begun && bytes)
        *bytes = op->bytes;
    if (from && (!op->is_begun || asock_endpoint_to(&op->remote, from) == 0))
        from->ss_family = AF_UNSPEC;
    if (!op->is_begun)
        op = NULL;
    else
        op->is_begun = false;
    asock_leave(context);
    asock_op_unref(op);
    return r;
}

int asock_end(asock_op *op, uint64_t *bytes)
{
    return end(op, bytes, NULL);
}

int asock_end_receive_from(asock_op *op, uint64_t *bytes, struct sockaddr_storage *from)
{
    return from ? end(op, bytes, from) : -EINVAL;
}
