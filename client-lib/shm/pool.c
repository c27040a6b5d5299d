/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pools of slices, and multishot receives out of them.
 *
 * Happy path: the RECEIVE leaves with all free slices as its credit, as many as fit; each
 * completion names one that is filled; when its callback has returned it is free, and with some
 * others goes out again as CREDIT, while the multishot lasts. It waits in the library for as long
 * as no slice is free.
 * Failures: the daemon names a slice that it was not given (the session ends).
 */
#include "client-lib/shm/pool.h"

#include <errno.h>
#include <stdlib.h>

#include "client-lib/core/context.h"
#include "client-lib/core/socket.h"
#include "client-lib/shm/buffer.h"
#include "client-lib/core/cancel.h"

void asock_pool_hold(asock_pool *pool)
{
    pool->holds++;
}

void asock_pool_unhold(asock_pool *pool)
{
    if (--pool->holds > 0)
        return;
    asock_buffer_unuse(pool->buffer);
    free(pool->datagrams);
    free(pool);
}

static uint32_t most_credit(const asock_pool *pool)
{
    return pool->count < CODEC_SEGMENTS_MAX ? pool->count : CODEC_SEGMENTS_MAX;
}

/* In batches: with a quarter of what it may have, or when the daemon has little left. */
static bool is_credit_due(const asock_pool *pool)
{
    uint32_t most = most_credit(pool), room = most - pool->credit;
    uint32_t n = pool->free_count < room ? pool->free_count : room;

    return n > 0 && (n >= most / 4 || pool->credit <= most / 4);
}

static void push(asock_pool *pool, struct slice *slice)
{
    slice->state = SLICE_FREE;
    slice->life++;
    slice->next = pool->free;
    pool->free = (uint32_t)(slice - pool->slices) + 1;
    pool->free_count++;
}

static struct slice *pop(asock_pool *pool)
{
    struct slice *slice = &pool->slices[pool->free - 1];

    pool->free = slice->next;
    pool->free_count--;
    return slice;
}

/* There is a free slice more. */
static void offer(asock_pool *pool)
{
    asock_op *op = pool->op;

    if (!op)
        return;
    if (op->state == OP_WAITING) {
        asock_socket_kick(op->socket);
        asock_wake(pool->context);
    } else if (op->state == OP_SENT && is_credit_due(pool) &&
               !list_is_linked(&op->memory.credit_node)) {
        list_append(&pool->context->memory.credits, &op->memory.credit_node);
        asock_wake(pool->context);
    }
}

void asock_pool_free(struct slice *slice)
{
    asock_pool *pool = slice->pool;
    bool is_held = slice->state == SLICE_FILLED;

    pool->filled -= is_held;
    push(pool, slice);
    offer(pool);
    if (is_held)
        asock_pool_unhold(pool);
}

bool asock_pool_is_stranded(const asock_pool *pool)
{
    return pool->refs == 0 && pool->free_count + pool->credit + pool->filled == 0;
}

void asock_pool_check_stranded(asock_pool *pool)
{
    if (pool->op && pool->op->state == OP_WAITING && asock_pool_is_stranded(pool))
        asock_op_end_waiting(pool->op, ERR_NO_BUFFER_SPACE);
}

struct shot asock_shot_begin(struct slice *slice)
{
    if (!slice)
        return (struct shot){0};
    asock_pool_hold(slice->pool);
    return (struct shot){slice, slice->life, slice->len};
}

struct slice *asock_shot_slice(const struct shot *shot)
{
    return shot->slice && shot->slice->life == shot->life ? shot->slice : NULL;
}

void asock_shot_end(const struct shot *shot)
{
    struct slice *slice = asock_shot_slice(shot);

    if (slice && slice->state == SLICE_FILLED)
        asock_pool_free(slice);
    if (shot->slice)
        asock_pool_unhold(shot->slice->pool);
}

void asock_pool_spend(asock_pool *pool, uint32_t most, struct segment *room, struct segments *ret)
{
    uint32_t n = 0;

    while (n < most && pool->free) {
        struct slice *slice = pop(pool);

        slice->state = SLICE_CREDIT;
        room[n++] = (struct segment){
            .buffer = pool->buffer->id,
            .offset = (uint64_t)(slice - pool->slices) * pool->slice_len,
            .length = pool->slice_len,
        };
    }
    pool->credit += n;
    *ret = (struct segments){room, n};
}

bool asock_pool_fill_credit(asock_op *op, struct request *ret, struct segment *room)
{
    asock_pool *pool = op->memory.pool;

    list_remove(&op->memory.credit_node);
    *ret = (struct request){.verb = VERB_CREDIT,
                            .op = op->token | TOKEN_CREDIT,
                            .socket = op->socket->id,
                            .flags = REQUEST_ERRORS_ONLY};
    ret->credit.target = op->token;
    asock_pool_spend(pool, most_credit(pool) - pool->credit, room, &ret->credit.segments);
    return ret->credit.segments.count > 0;
}

int asock_pool_take_datagrams(asock_pool *pool)
{
    if (!pool->datagrams)
        pool->datagrams = calloc(pool->count, sizeof(*pool->datagrams));
    return pool->datagrams ? 0 : -ENOMEM;
}

void asock_pool_tell(asock_op *op, const struct slice *slice)
{
    if (!op->memory.is_multishot || !op->socket || !op->socket->is_datagram)
        return;
    if (!slice) { /* it has ended without one */
        op->datagram = (struct datagram){.length = 0};
        op->local = op->remote = (struct endpoint){0};
        return;
    }
    op->datagram = slice->pool->datagrams[slice - slice->pool->slices];
    op->local = op->datagram.local;
    op->remote = op->datagram.remote;
}

int asock_pool_fill(asock_op *op, const struct reply *reply, struct slice **ret)
{
    asock_pool *pool = op->memory.pool;
    bool is_datagram = reply->body == BODY_DATAGRAM;
    const struct segment *segment = is_datagram ? &reply->datagram.segment : &reply->segment;
    uint64_t index = segment->offset / pool->slice_len;
    struct slice *slice;

    if (segment->buffer != pool->buffer->id || index >= pool->count ||
        segment->offset % pool->slice_len || (segment->length == 0 && !is_datagram) ||
        segment->length > pool->slice_len || segment->length != reply->bytes)
        return -EPROTO;
    slice = &pool->slices[index];
    if (slice->state != SLICE_CREDIT)
        return -EPROTO;
    slice->state = SLICE_FILLED;
    slice->len = (size_t)segment->length;
    if (is_datagram)
        pool->datagrams[index] = reply->datagram;
    slice->due.op = op;
    pool->credit--;
    pool->filled++;
    asock_pool_hold(pool);
    *ret = slice;
    return 0;
}

/* What it had left of its credit is free. */
static void leave(asock_op *op)
{
    asock_pool *pool = op->memory.pool;

    if (!op->memory.is_multishot)
        return;
    list_remove(&op->memory.credit_node);
    for (uint32_t i = 0; pool->credit > 0 && i < pool->count; i++) {
        if (pool->slices[i].state != SLICE_CREDIT)
            continue;
        push(pool, &pool->slices[i]);
        pool->credit--;
    }
    pool->op = NULL;
}

void asock_pool_forget(asock_op *op)
{
    struct due *due;

    while ((due = list_first(&op->memory.filled, struct due, node))) {
        list_remove(&due->node);
        asock_pool_free(due->slice);
    }
}

static void drop(asock_op *op)
{
    asock_pool *pool = op->memory.pool;

    asock_pool_forget(op);
    op->memory.pool = NULL;
    asock_pool_unhold(pool);
}

void asock_pool_set(asock_op *op, asock_pool *pool)
{
    static const struct op_class out_of_pool = {.ended = leave, .dropped = drop};

    op->memory.pool = pool;
    op->class = &out_of_pool;
}

asock_pool *asock_pool_make(asock_buffer *buffer, size_t slice_len)
{
    size_t count = buffer->size / slice_len;
    asock_pool *pool;

    if (count > UINT32_MAX - 1 || count > (SIZE_MAX - sizeof(*pool)) / sizeof(struct slice))
        return NULL;
    pool = calloc(1, sizeof(*pool) + count * sizeof(struct slice));
    if (!pool)
        return NULL;
    pool->context = buffer->context;
    pool->buffer = buffer;
    pool->slice_len = slice_len;
    pool->count = (uint32_t)count;
    pool->refs = pool->holds = 1;
    for (size_t i = count; i > 0; i--) {
        struct slice *slice = &pool->slices[i - 1];

        slice->pool = pool;
        slice->due.slice = slice;
        list_init(&slice->due.node);
        push(pool, slice);
    }
    return pool;
}

void *asock_slice_address(const struct slice *slice)
{
    const asock_pool *pool = slice->pool;

    return pool->buffer->at + (size_t)(slice - pool->slices) * pool->slice_len;
}

void *asock_slice_take(struct slice *slice)
{
    asock_pool *pool = slice->pool;
    void *at = asock_slice_address(slice);

    slice->state = SLICE_TAKEN;
    pool->filled--;
    asock_pool_check_stranded(pool);
    asock_pool_unhold(pool);
    return at;
}
