/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pools and slices of the program. */
#include <errno.h>

#include "client-lib/api/callbacks.h"
#include "client-lib/api/lifetime.h"
#include "client-lib/core/complete.h"
#include "client-lib/core/context.h"
#include "client-lib/core/op.h"
#include "client-lib/shm/buffer.h"
#include "client-lib/shm/pool.h"
#include "client-lib/wire/wait.h"

int asock_pool_new(asock_buffer *buffer, size_t slice_len, asock_pool **ret)
{
    int r;

    if (!buffer || !ret || slice_len == 0)
        return -EINVAL;
    r = asock_enter(buffer->context);
    if (r < 0)
        return r;
    if (slice_len > buffer->size) {
        r = -EINVAL;
    } else {
        *ret = asock_pool_make(buffer, slice_len);
        r = *ret ? 0 : -ENOMEM;
    }
    if (r == 0) {
        buffer->uses++;
        asock_context_add_ref(buffer->context);
    }
    asock_leave(buffer->context);
    return r;
}

asock_pool *asock_pool_ref(asock_pool *pool)
{
    if (!pool || asock_enter(pool->context) < 0)
        return pool;
    /* In a callback, of an op that has it, it may be the first one again. */
    if (pool->refs++ == 0) {
        asock_pool_hold(pool);
        asock_context_add_ref(pool->context);
    }
    asock_leave(pool->context);
    return pool;
}

asock_pool *asock_pool_unref(asock_pool *pool)
{
    asock_context *context = pool ? pool->context : NULL;
    int r;

    if (!pool)
        return NULL;
    r = asock_enter(context);
    if (r == -ECHILD && --pool->refs == 0)
        asock_context_drop_in_child(context);
    if (r < 0)
        return NULL;
    if (--pool->refs > 0) {
        asock_leave(context);
        return NULL;
    }
    asock_pool_check_stranded(pool);
    asock_pool_unhold(pool);
    asock_context_drop_ref(context);
    return NULL;
}

int asock_pool_give(asock_pool *pool, void *data)
{
    uintptr_t at = (uintptr_t)data, base;
    struct slice *slice = NULL;
    int r = asock_enter(pool ? pool->context : NULL);

    if (r < 0)
        return r;
    base = (uintptr_t)pool->buffer->at;
    if (at >= base && (at - base) / pool->slice_len < pool->count &&
        (at - base) % pool->slice_len == 0)
        slice = &pool->slices[(at - base) / pool->slice_len];
    if (slice && slice->state == SLICE_TAKEN)
        asock_pool_free(slice);
    else
        r = -EINVAL;
    asock_leave(pool->context);
    return r;
}

void *asock_op_get_slice(asock_op *op, size_t *ret_len)
{
    const struct slice *slice;
    void *at = NULL;
    size_t len = 0;

    if (op && asock_enter(op->context) == 0) {
        slice = asock_shot_slice(&op->memory.shot);
        if (slice) {
            at = asock_slice_address(slice);
            len = op->memory.shot.len;
        }
        asock_leave(op->context);
    }
    if (ret_len)
        *ret_len = len;
    return at;
}

void *asock_op_take_slice(asock_op *op)
{
    struct slice *slice;
    void *at = NULL;

    if (!op || asock_enter(op->context) < 0)
        return NULL;
    slice = asock_shot_slice(&op->memory.shot);
    if (slice && slice->state == SLICE_FILLED)
        at = asock_slice_take(slice);
    asock_leave(op->context);
    return at;
}

static bool has_slice(const asock_op *op)
{
    return !list_is_empty(&op->memory.filled);
}

/* A slice, or that there will be none: 1, 0; -ETIMEDOUT, -EDEADLK. */
static int wait_slice(asock_op *op, int timeout_ms)
{
    int r = 0;

    if (!has_slice(op) && op->state != OP_DONE)
        r = asock_is_dispatcher(op->context) ? -EDEADLK : asock_run_until_slice(op, timeout_ms);
    if (r < 0)
        return r;
    return has_slice(op);
}

/* The same, of those whose bytes are still there. */
static int wait_sound_slice(asock_op *op, int timeout_ms)
{
    int r;

    /* More may come behind the first one that is lost. */
    while ((r = wait_slice(op, timeout_ms)) == 1 &&
           (asock_memory_is_lost(op) || asock_op_is_behind_loss(op)))
        asock_op_lose_shots(op);
    return r;
}

int asock_receive_next(asock_op *op, int timeout_ms, void **ret, size_t *ret_len)
{
    asock_context *context = op ? op->context : NULL;
    struct due *due;
    int r;

    if (!ret || !ret_len)
        return -EINVAL;
    r = asock_enter(context);
    if (r < 0)
        return r;
    if (!op->memory.is_multishot || op->callback) {
        asock_leave(context);
        return -EINVAL;
    }
    context->holds++;
    op->holds++;
    r = wait_sound_slice(op, timeout_ms);
    if (r > 0) {
        due = list_first(&op->memory.filled, struct due, node);
        list_remove(&due->node);
        *ret_len = due->slice->len;
        asock_pool_tell(op, due->slice);
        *ret = asock_slice_take(due->slice);
    }
    asock_op_unhold(op);
    asock_context_unhold(context);
    return r;
}
