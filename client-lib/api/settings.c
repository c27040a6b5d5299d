/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A context's own settings: setters and getters. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client-lib/core/context.h"
#include "client-lib/core/grant.h"

/* Hello says it: it is sent again where it had left before the first op. */
static int enter_hello(asock_context *context)
{
    int r = asock_enter(context);

    if (r < 0)
        return r;
    if (!context->is_used) {
        context->is_hello_wanted = true;
        return 0;
    }
    asock_leave(context);
    return -EBUSY;
}

int asock_context_set_name(asock_context *context, const char *name)
{
    size_t len = name ? strlen(name) : 0;
    int r;

    if (!name || len > CODEC_NAME_MAX || !asock_codec_text_is_valid(name, len))
        return -EINVAL;
    r = enter_hello(context);
    if (r < 0)
        return r;
    memcpy(context->name, name, len + 1);
    asock_wake(context);
    asock_leave(context);
    return 0;
}

static bool is_askable(enum asock_limit limit, uint64_t value)
{
    switch (limit) {
    case ASOCK_LIMIT_SOCKETS:
    case ASOCK_LIMIT_OPS:
        return value <= UINT32_MAX;
    case ASOCK_LIMIT_SEND_WINDOW:
    case ASOCK_LIMIT_QUEUED:
        return true;
    default:
        return false;
    }
}

int asock_context_set_limit(asock_context *context, enum asock_limit limit, uint64_t value)
{
    int r;

    if (!is_askable(limit, value))
        return -EINVAL;
    r = enter_hello(context);
    if (r < 0)
        return r;
    context->asked[limit] = value;
    asock_grant_start(context);
    asock_wake(context);
    asock_leave(context);
    return 0;
}

static int limit_of(const asock_context *context, enum asock_limit limit, uint64_t *ret)
{
    const struct welcome *limits = &context->limits;

    switch (limit) {
    case ASOCK_LIMIT_SOCKETS:
    case ASOCK_LIMIT_OPS:
    case ASOCK_LIMIT_SEND_WINDOW:
    case ASOCK_LIMIT_QUEUED:
        *ret = asock_grant_most(context, limit);
        return 0;
    case ASOCK_LIMIT_SOCKET_OPS:
        *ret = limits->most_socket_ops > limits->socket_ops ? limits->most_socket_ops
                                                            : limits->socket_ops;
        return 0;
    case ASOCK_LIMIT_PAYLOAD:
        *ret = limits->payload_max;
        return 0;
    case ASOCK_LIMIT_SHARED_MEMORY:
        *ret = limits->shared_max;
        return 0;
    case ASOCK_LIMIT_KERNEL_BUFFERS:
        *ret = limits->kernel_buffers;
        return 0;
    case ASOCK_LIMIT_LINGERS:
        *ret = limits->linger_max;
        return 0;
    case ASOCK_LIMIT_RESOLUTIONS:
        *ret = limits->resolutions;
        return 0;
    case ASOCK_LIMIT_CONNECTS_PER_SECOND:
        *ret = limits->connects_per_second;
        return 0;
    case ASOCK_LIMIT_BUFFERS:
        *ret = limits->buffers;
        return 0;
    default:
        return -EINVAL;
    }
}

int asock_context_get_limit(asock_context *context, enum asock_limit limit, uint64_t *ret)
{
    uint64_t value;
    int r;

    if (!ret)
        return -EINVAL;
    r = asock_enter(context);
    if (r < 0)
        return r;
    r = limit_of(context, limit, &value);
    if (r == 0 && !context->is_welcome)
        r = -EAGAIN;
    if (r == 0)
        *ret = value;
    asock_leave(context);
    return r;
}

int asock_context_get_error(asock_context *context)
{
    int r = asock_enter(context);

    if (r < 0)
        return r;
    r = (int)context->error;
    asock_leave(context);
    return r;
}

int asock_context_get_error_text(asock_context *context, char *text, size_t text_size)
{
    int r;

    if (!text && text_size > 0)
        return -EINVAL;
    r = asock_enter(context);
    if (r < 0)
        return r;
    r = (int)context->error;
    if (text_size > 0)
        snprintf(text, text_size, "%s", r ? context->text : "");
    asock_leave(context);
    return r;
}

int asock_context_set_grace_ms(asock_context *context, unsigned int grace_ms)
{
    int r = asock_enter(context);

    if (r < 0)
        return r;
    context->grace_ms = grace_ms;
    asock_leave(context);
    return 0;
}

int asock_context_set_always_pending(asock_context *context, bool on)
{
    int r = asock_enter(context);

    if (r < 0)
        return r;
    context->is_always_pending = on;
    asock_leave(context);
    return 0;
}
