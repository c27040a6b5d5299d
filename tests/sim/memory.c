/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Steps about shared memory: buffers, pools, multishot receives, their slices. */
#include <errno.h>
#include <string.h>

#include "tests/sim/steps.h"

struct model_buffer *buffer_of(struct client *client, uint32_t number)
{
    struct model_buffer *buffer = model.buffers[number % BUFFERS];

    if (!buffer || !buffer->buffer || buffer->client != client || buffer->is_pool ||
        buffer->is_frozen)
        return NULL;
    return buffer;
}

void step_buffer(const struct step *step)
{
    struct client *client = client_of(step->c);
    struct model_buffer *old = model.buffers[step->a % BUFFERS], *buffer;
    asock_buffer *raw;

    /* Ops in flight may still have parts of the one that was let go. */
    if (!client || (old && (old->buffer || old->uses > 0)))
        return;
    if (LIB(asock_buffer_new(client->context, (size_t)4096 * (1 + step->b % 20), 3000, &raw)) < 0)
        return;
    sim_free(old);
    buffer = sim_alloc(sizeof(*buffer));
    buffer->buffer = raw;
    buffer->client = client;
    buffer->generation = client->generation;
    buffer->size = asock_buffer_size(raw);
    buffer->at = asock_buffer_data(raw);
    model.buffers[step->a % BUFFERS] = buffer;
}

void step_buffer_unref(const struct step *step)
{
    struct model_buffer *buffer = model.buffers[step->a % BUFFERS];

    if (!buffer || !buffer->buffer)
        return;
    buffer->buffer = LIB(asock_buffer_unref(buffer->buffer));
}

void step_pool(const struct step *step)
{
    struct model_pool *pool = &model.pools[step->a % POOLS];
    struct model_buffer *buffer = model.buffers[step->b % BUFFERS];

    if (pool->pool || !buffer || !buffer->buffer || buffer->is_pool || buffer->uses > 0 ||
        buffer->is_frozen || !buffer->client->context)
        return;
    if (LIB(asock_pool_new(buffer->buffer, 1 + buffer->size / (2 + step->c % 5), &pool->pool)) <
        0) {
        pool->pool = NULL;
        return;
    }
    buffer->is_pool = true;
    pool->client = buffer->client;
}

void step_pool_unref(const struct step *step)
{
    struct model_pool *pool = &model.pools[step->a % POOLS];

    if (!pool->pool)
        return;
    LIB(asock_pool_unref(pool->pool));
    memset(pool, 0, sizeof(*pool));
}

void step_multishot(const struct step *step)
{
    struct stream *stream = stream_at(step->a);
    struct model_pool *pool = &model.pools[step->c % POOLS];
    struct model_op *op;
    struct submission *s;

    if (!stream || !pool->pool || !stream->client->context || pool->client != stream->client)
        return;
    op = op_for(stream->client, step->b);
    if (!op || model_is_pending(op))
        return;
    s = submission_new(op, stream, ASOCK_OPERATION_RECEIVE);
    s->is_multishot = true;
    SIM_MUST(LIB(asock_op_set_pool(op->op, pool->pool)) == 0);
    SIM_MUST(asock_op_set_flags(op->op, 0) == 0);
    SIM_MUST(asock_op_set_timeout(op->op, 0) == 0);
    op->pool = pool->pool;
    op->pool_slot = step->c % POOLS;
    submission_made(s, LIB(asock_receive_multishot(stream->socket, op->op)));
}

void step_take(const struct step *step)
{
    struct model_op *op = model.ops[step->a % OPS];
    struct model_pool *pool;
    void *data;

    if (!op || !op->op || !op->in_callback || !op->pool)
        return;
    pool = &model.pools[op->pool_slot];
    if (pool->pool != op->pool || pool->taken_count == TAKEN_MAX)
        return;
    data = LIB(asock_op_take_slice(op->op));
    if (data)
        pool->taken[pool->taken_count++] = data;
}

bool step_take_next(struct model_op *op, int timeout_ms)
{
    struct model_pool *pool = &model.pools[op->pool_slot];
    uint64_t began = sim_now_ms();
    size_t len;
    void *data;
    int r;

    r = LIB(asock_receive_next(op->op, timeout_ms, &data, &len));
    oracle_check_call("asock_receive_next", began, (uint64_t)timeout_ms);
    model.blocked_until = sim_now_ms();
    if (r == 1) {
        oracle_shot(op->submission, data, len);
        if (pool->pool == op->pool)
            pool->taken[pool->taken_count++] = data;
    } else if (r == 0) {
        submission_done(op->submission);
    } else if (r != -ETIMEDOUT) {
        sim_fail("not-next: asock_receive_next() says %d", r);
    }
    return r == 1;
}

bool step_has_next(const struct model_op *op)
{
    const struct model_pool *pool = op && op->pool ? &model.pools[op->pool_slot] : NULL;

    return pool && op->op && !op->has_callback && model_is_pending(op) &&
           op->submission->is_multishot &&
           (pool->pool != op->pool || pool->taken_count < TAKEN_MAX);
}

void step_next(const struct step *step)
{
    static const int times[] = {0, 10, 1000, 20000};
    struct model_op *op = model.ops[step->a % OPS];

    if (step_has_next(op))
        step_take_next(op, times[step->b % 4]);
}

void step_give(const struct step *step)
{
    struct model_pool *pool = &model.pools[step->a % POOLS];
    uint32_t which;

    if (!pool->pool || pool->taken_count == 0)
        return;
    which = step->b % pool->taken_count;
    if (LIB(asock_pool_give(pool->pool, pool->taken[which])) < 0)
        sim_fail("not-given: a slice that was taken is not taken back");
    pool->taken[which] = pool->taken[--pool->taken_count];
}
