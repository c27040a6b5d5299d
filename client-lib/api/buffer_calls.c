/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Shared memory for the program: asked for, looked at, let go. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "client-lib/api/lifetime.h"
#include "client-lib/core/cancel.h"
#include "client-lib/core/context.h"
#include "client-lib/core/op.h"
#include "client-lib/shm/bounce.h"
#include "client-lib/shm/buffer.h"
#include "client-lib/wire/wait.h"

/* The buffer is the op's until it has been made: whoever stops waiting leaves it there. */
static int ask(asock_context *context, asock_buffer *buffer, int timeout_ms)
{
    asock_op *op;
    int r;

    r = asock_op_start_own(context, NULL, OPERATION_REGISTER, &op);
    if (r < 0) {
        free(buffer);
        return r;
    }
    op->holds++;
    op->memory.made = buffer;
    op->argument = 0;
    list_append(&context->memory.registers, &op->queue_node);
    asock_wake(context);
    r = asock_run_until(op, timeout_ms);
    if (r < 0 && op->state == OP_WAITING)
        asock_op_end_waiting(op, ERR_TIMED_OUT);
    if (r == 0 && op->error)
        r = -asock_error_to_errno(op->error);
    else if (r == 0)
        r = (int)op->argument;
    if (r == 0)
        op->memory.made = NULL;
    else if (op->memory.made)
        op->memory.made->refs = 0;
    asock_op_unhold(op);
    return r;
}

static int ask_for(asock_context *context, size_t size, int timeout_ms, asock_buffer **ret)
{
    asock_buffer *buffer;
    int r;

    buffer = calloc(1, sizeof(*buffer));
    if (!buffer)
        return -ENOMEM;
    buffer->context = context;
    buffer->refs = 1;
    buffer->size = size;
    list_init(&buffer->node);
    r = ask(context, buffer, timeout_ms);
    if (r == 0)
        *ret = buffer;
    return r;
}

static int make(asock_context *context, size_t size, int timeout_ms, asock_buffer **ret)
{
    int r;

    if (asock_is_in_callback(context))
        return -EDEADLK;
    if (!context->is_alive)
        return -ECONNABORTED;
    r = ask_for(context, size, timeout_ms, ret);
    if (r == -ENOBUFS && asock_bounce_retire(context))
        r = ask_for(context, size, timeout_ms, ret);
    if (r == 0)
        asock_context_add_ref(context);
    return r;
}

int asock_buffer_new(asock_context *context, size_t size, int timeout_ms, asock_buffer **ret)
{
    int r;

    if (!ret || size == 0 || size > SSIZE_MAX)
        return -EINVAL;
    r = asock_enter(context);
    if (r < 0)
        return r;
    context->holds++;
    r = make(context, size, timeout_ms, ret);
    asock_context_unhold(context);
    return r;
}

void *asock_buffer_data(asock_buffer *buffer)
{
    return buffer ? buffer->at : NULL;
}

size_t asock_buffer_size(asock_buffer *buffer)
{
    return buffer ? buffer->size : 0;
}

int asock_buffer_is_intact(asock_buffer *buffer)
{
    int r;

    if (!buffer)
        return -EINVAL;
    r = asock_enter(buffer->context);
    if (r < 0)
        return r;
    r = !asock_buffer_is_lost(buffer);
    asock_leave(buffer->context);
    return r;
}

asock_buffer *asock_buffer_ref(asock_buffer *buffer)
{
    if (!buffer || asock_enter(buffer->context) < 0)
        return buffer;
    /* Of one that a pool or an op in flight keeps it may be the first one again. */
    if (buffer->refs++ == 0)
        asock_context_add_ref(buffer->context);
    asock_leave(buffer->context);
    return buffer;
}

asock_buffer *asock_buffer_unref(asock_buffer *buffer)
{
    asock_context *context = buffer ? buffer->context : NULL;
    int r;

    if (!buffer)
        return NULL;
    r = asock_enter(context);
    /* In the child of a fork it is not mapped. */
    if (r == -ECHILD && --buffer->refs == 0)
        asock_context_drop_in_child(context);
    if (r < 0)
        return NULL;
    if (--buffer->refs > 0) {
        asock_leave(context);
        return NULL;
    }
    if (buffer->uses == 0)
        asock_buffer_leave(buffer);
    asock_context_drop_ref(context);
    return NULL;
}
