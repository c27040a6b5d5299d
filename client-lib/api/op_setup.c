/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ops of the program: new, set up, let go. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "client-lib/api/lifetime.h"
#include "client-lib/core/context.h"
#include "client-lib/core/op.h"
#include "client-lib/shm/pool.h"
#include "proto/endpoint.h"

#define SEGMENT_SIZE_MAX 65535u /* no datagram is longer */
#define ECN_MAX 3               /* two bits of the header */

int asock_op_new(asock_context *context, asock_op **ret)
{
    int r;

    if (!ret)
        return -EINVAL;
    r = asock_enter(context);
    if (r < 0)
        return r;
    r = asock_op_make(context, ret);
    if (r == 0) {
        (*ret)->refs = (*ret)->holds = 1;
        asock_context_add_ref(context);
    }
    asock_leave(context);
    return r;
}

asock_op *asock_op_ref(asock_op *op)
{
    if (!op || asock_enter(op->context) < 0)
        return op;
    /* In a callback it may be the first one again. */
    if (op->refs++ == 0) {
        op->holds++;
        asock_context_add_ref(op->context);
    }
    asock_leave(op->context);
    return op;
}

asock_op *asock_op_unref(asock_op *op)
{
    asock_context *context;
    int r;

    if (!op)
        return NULL;
    context = op->context;
    r = asock_enter(context);
    if (r == -ECHILD && --op->refs == 0)
        asock_context_drop_in_child(context);
    if (r < 0)
        return NULL;
    if (--op->refs > 0) {
        asock_leave(context);
        return NULL;
    }
    asock_op_unhold(op);
    asock_context_drop_ref(context);
    return NULL;
}

/* Locks for a setter: -EBUSY while the op may not be changed. */
static int enter_setter(asock_op *op)
{
    int r = asock_enter(op ? op->context : NULL);

    if (r < 0)
        return r;
    if (!asock_op_is_busy(op))
        return 0;
    asock_leave(op->context);
    return -EBUSY;
}

int asock_op_set_callback(asock_op *op, asock_callback callback, void *userdata)
{
    int r = enter_setter(op);

    if (r < 0)
        return r;
    op->callback = callback;
    op->userdata = userdata;
    asock_leave(op->context);
    return 0;
}

/* The sum of a list's lengths, or -EINVAL. */
static int sum_lengths(const struct iovec *list, size_t count, size_t *ret)
{
    size_t total = 0;

    for (size_t i = 0; i < count; i++) {
        if (!list[i].iov_base && list[i].iov_len > 0)
            return -EINVAL;
        if (list[i].iov_len > (size_t)SSIZE_MAX - total)
            return -EINVAL;
        total += list[i].iov_len;
    }
    *ret = total;
    return 0;
}

int asock_op_set_buffer(asock_op *op, void *data, size_t len)
{
    struct iovec one = {.iov_base = data, .iov_len = len};
    size_t total;
    int r;

    r = sum_lengths(&one, 1, &total);
    if (r == 0)
        r = enter_setter(op);
    if (r < 0)
        return r;
    asock_op_drop_segments(op);
    op->segment = one;
    op->segments = &op->segment;
    op->segment_count = 1;
    op->total = total;
    asock_leave(op->context);
    return 0;
}

int asock_op_set_buffers(asock_op *op, const struct iovec *list, size_t count)
{
    struct iovec *copy;
    size_t total;
    int r;

    if (count > 0 && !list)
        return -EINVAL;
    r = sum_lengths(list, count, &total);
    if (r < 0)
        return r;
    copy = reallocarray(NULL, count ? count : 1, sizeof(*copy));
    if (!copy)
        return -ENOMEM;
    if (count)
        memcpy(copy, list, count * sizeof(*copy));
    r = enter_setter(op);
    if (r < 0) {
        free(copy);
        return r;
    }
    asock_op_drop_segments(op);
    op->segments = copy;
    op->segment_count = count;
    op->total = total;
    asock_leave(op->context);
    return 0;
}

int asock_op_set_pool(asock_op *op, asock_pool *pool)
{
    int r;

    if (!op || !pool || pool->context != op->context)
        return -EINVAL;
    r = enter_setter(op);
    if (r < 0)
        return r;
    asock_pool_hold(pool); /* it may be the one that it has */
    asock_op_drop_segments(op);
    asock_pool_set(op, pool);
    asock_leave(op->context);
    return 0;
}

static void set_destination(asock_op *op, const struct endpoint *endpoint, char *host,
                            char *service)
{
    free(op->others);
    op->others = NULL;
    op->other_count = 0;
    free(op->host);
    free(op->service);
    op->host = host;
    op->service = service;
    op->endpoint = *endpoint;
}

/* As enter_setter(), with an address that is valid. */
static int enter_with(asock_op *op, const struct sockaddr *addr, socklen_t len,
                      struct endpoint *ret)
{
    int r = asock_endpoint_from(addr, len, ret);

    return r < 0 ? r : enter_setter(op);
}

int asock_op_set_endpoint(asock_op *op, const struct sockaddr *addr, socklen_t len)
{
    struct endpoint endpoint;
    int r = enter_with(op, addr, len, &endpoint);

    if (r < 0)
        return r;
    set_destination(op, &endpoint, NULL, NULL);
    asock_leave(op->context);
    return 0;
}

int asock_op_set_source(asock_op *op, const struct sockaddr *addr, socklen_t len)
{
    struct endpoint source = {.address_len = 0};
    int r = addr ? enter_with(op, addr, len, &source) : enter_setter(op);

    if (r < 0)
        return r;
    op->source = source;
    op->source.port = 0;
    asock_leave(op->context);
    return 0;
}

int asock_op_set_ecn(asock_op *op, unsigned int ecn)
{
    int r = ecn <= ECN_MAX ? enter_setter(op) : -EINVAL;

    if (r < 0)
        return r;
    op->ecn = ecn;
    asock_leave(op->context);
    return 0;
}

int asock_op_set_segment_size(asock_op *op, size_t bytes)
{
    int r = bytes <= SEGMENT_SIZE_MAX ? enter_setter(op) : -EINVAL;

    if (r < 0)
        return r;
    op->segment_size = (uint16_t)bytes;
    asock_leave(op->context);
    return 0;
}

/* The lock is held. */
static int add_endpoint(asock_op *op, const struct endpoint *endpoint)
{
    struct endpoint *others;

    if (!op->endpoint.address_len || endpoint->port != op->endpoint.port)
        return -EINVAL;
    if (op->other_count == CODEC_OTHERS_MAX)
        return -E2BIG;
    others = reallocarray(op->others, op->other_count + 1, sizeof(*others));
    if (!others)
        return -ENOMEM;
    others[op->other_count++] = *endpoint;
    op->others = others;
    return 0;
}

int asock_op_add_endpoint(asock_op *op, const struct sockaddr *addr, socklen_t len)
{
    struct endpoint endpoint;
    int r = enter_with(op, addr, len, &endpoint);

    if (r < 0)
        return r;
    r = add_endpoint(op, &endpoint);
    asock_leave(op->context);
    return r;
}

static int check_text(const char *text, size_t most)
{
    size_t len = text ? strlen(text) : 0;

    return len == 0 || len > most || !asock_codec_text_is_valid(text, len) ? -EINVAL : 0;
}

int asock_op_set_host(asock_op *op, const char *host, const char *service)
{
    static const struct endpoint none;
    char *host_copy, *service_copy;
    int r;

    if (check_text(host, CODEC_HOST_MAX) < 0 || check_text(service, CODEC_SERVICE_MAX) < 0)
        return -EINVAL;
    host_copy = strdup(host);
    service_copy = strdup(service);
    r = host_copy && service_copy ? enter_setter(op) : -ENOMEM;
    if (r < 0) {
        free(host_copy);
        free(service_copy);
        return r;
    }
    set_destination(op, &none, host_copy, service_copy);
    asock_leave(op->context);
    return 0;
}

int asock_op_set_timeout(asock_op *op, unsigned int timeout_ms)
{
    int r = enter_setter(op);

    if (r < 0)
        return r;
    op->timeout_ms = timeout_ms;
    asock_leave(op->context);
    return 0;
}

int asock_op_set_flags(asock_op *op, unsigned int flags)
{
    int r;

    unsigned int lend = flags & ASOCK_LEND_ANY;

    if (flags & ~(unsigned int)(ASOCK_PEEK | ASOCK_WAIT_ALL | ASOCK_ERRORS_ONLY | ASOCK_LEND_ANY))
        return -EINVAL;
    if (lend & (lend - 1))
        return -EINVAL;
    r = enter_setter(op);
    if (r < 0)
        return r;
    op->flags = flags;
    asock_leave(op->context);
    return 0;
}
