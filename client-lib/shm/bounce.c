/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The bounce buffer: large sends and receives of ordinary memory travel by reference too, copied in
 * or out by this side. Through the Unix socket each byte is copied twice, and buffers are made and
 * freed for it.
 *
 * Happy path: when so much has gone through the socket that it pays, memory is asked for; from its
 * answer on an op that fits takes blocks in a row, first the lowest, which the processor's cache
 * has; when it has ended they are free. Unused for a while it is given back.
 * Failures: the daemon grants none, there is no room: through the socket, as before. The program's
 * own buffers come first: what they lack is given back, and not asked for again.
 */
#include "client-lib/shm/bounce.h"

#include <stdlib.h>
#include <string.h>

#include "base/time.h"
#include "client-lib/core/op.h"
#include "client-lib/shm/buffer.h"

#define BLOCK 4096u
#define SIZE ((size_t)BOUNCE_BLOCKS * BLOCK)
/* Shorter ones are cheaper through the socket (docs/PERFORMANCE.md). */
#define BOUNCE_MIN 4096u
/* Of what the session may have, at most this part. */
#define PART 8u
/* So much in large pieces has to have come first. */
#define PAYS (1024u * 1024u)
#define IDLE_MS 1000u

static bool is_set(const struct bounce *bounce, uint32_t at)
{
    return bounce->map[at / 64] >> at % 64 & 1;
}

static void flip(struct bounce *bounce, uint32_t at, uint32_t count)
{
    for (uint32_t i = at; i < at + count; i++)
        bounce->map[i / 64] ^= UINT64_C(1) << i % 64;
}

/* The first of so many free ones in a row; BOUNCE_BLOCKS: there are none. */
static uint32_t find(const struct bounce *bounce, uint32_t count)
{
    uint32_t run = 0;

    for (uint32_t at = 0; at < BOUNCE_BLOCKS; at++) {
        if (at % 64 == 0 && bounce->map[at / 64] == UINT64_MAX) {
            at += 63;
            run = 0;
            continue;
        }
        run = is_set(bounce, at) ? 0 : run + 1;
        if (run == count)
            return at + 1 - count;
    }
    return BOUNCE_BLOCKS;
}

static uint32_t blocks_of(const asock_op *op)
{
    return (uint32_t)((op->total + BLOCK - 1) / BLOCK);
}

/* All for one who is alone; otherwise half of what the others have left. */
static bool is_fair(const asock_socket *socket, const struct bounce *bounce, uint32_t count)
{
    uint32_t others = bounce->used - socket->bounced;
    uint32_t most = BOUNCE_BLOCKS - others;

    if (socket->context->open_sockets > 1)
        most /= 2;
    return socket->bounced + count <= most;
}

static bool is_large(const asock_op *op)
{
    bool is_data = op->operation == ASOCK_OPERATION_SEND ||
                   op->operation == ASOCK_OPERATION_RECEIVE;

    return is_data && op->total >= BOUNCE_MIN && op->total <= SIZE && !op->class && !op->file;
}

/* Where the op can go now; BOUNCE_BLOCKS: nowhere. */
static uint32_t room_for(const asock_op *op)
{
    const struct bounce *bounce = &op->context->memory.bounce;

    if (!bounce->buffer || op->state != OP_WAITING || !is_large(op) ||
        !is_fair(op->socket, bounce, blocks_of(op)))
        return BOUNCE_BLOCKS;
    return find(bounce, blocks_of(op));
}

bool asock_bounce_fits(const asock_op *op)
{
    return room_for(op) < BOUNCE_BLOCKS;
}

static uint8_t *place_of(const asock_op *op)
{
    return op->context->memory.bounce.buffer->at + (size_t)op->memory.bounce_at * BLOCK;
}

/* Nothing refers to it any more. */
static void leave(struct bounce *bounce)
{
    asock_buffer *buffer = bounce->buffer;

    bounce->buffer = NULL;
    wheel_timer_unset(&bounce->timer.timer);
    buffer->refs = 0;
    asock_buffer_unuse(buffer);
}

static void give(asock_op *op)
{
    struct bounce *bounce = &op->context->memory.bounce;
    uint32_t count = op->memory.bounce_count;

    op->class = NULL;
    op->memory.bounce_count = 0;
    flip(bounce, op->memory.bounce_at, count);
    bounce->used -= count;
    op->socket->bounced -= count;
    if (bounce->used == 0 && bounce->is_off)
        leave(bounce);
}

void asock_bounce_take(asock_op *op)
{
    static const struct op_class bounced = {.left = give};
    struct bounce *bounce = &op->context->memory.bounce;
    uint32_t at = room_for(op);
    uint8_t *to;

    if (at == BOUNCE_BLOCKS)
        return;
    op->class = &bounced;
    op->memory.bounce_count = blocks_of(op);
    op->memory.bounce_at = at;
    op->memory.is_reference = true;
    flip(bounce, op->memory.bounce_at, op->memory.bounce_count);
    bounce->used += op->memory.bounce_count;
    bounce->taken++;
    op->socket->bounced += op->memory.bounce_count;
    if (op->operation != ASOCK_OPERATION_SEND)
        return;
    to = place_of(op);
    for (size_t i = 0; i < op->segment_count; i++) {
        if (op->segments[i].iov_len > 0)
            memcpy(to, op->segments[i].iov_base, op->segments[i].iov_len);
        to += op->segments[i].iov_len;
    }
}

void asock_bounce_refer(const asock_op *op, struct segment *ret)
{
    *ret = (struct segment){
        .buffer = op->context->memory.bounce.buffer->id,
        .offset = (uint64_t)op->memory.bounce_at * BLOCK,
        .length = op->total,
    };
}

void asock_bounce_received(asock_op *op, uint64_t bytes)
{
    const uint8_t *from;

    if (op->memory.bounce_count == 0)
        return;
    from = place_of(op);
    for (size_t i = 0; i < op->segment_count && bytes > 0; i++) {
        size_t len = op->segments[i].iov_len;
        size_t part = bytes < len ? (size_t)bytes : len;

        if (part > 0)
            memcpy(op->segments[i].iov_base, from, part);
        from += part;
        bytes -= part;
    }
}

/* ---- made and given back ---- */

static void set_timer(asock_context *context)
{
    struct bounce *bounce = &context->memory.bounce;

    bounce->told = bounce->taken;
    asock_wheel_set(&context->wheel, &bounce->timer.timer, time_now_ms() + IDLE_MS);
}

static void expired(struct deadline *deadline)
{
    asock_context *context = container_of(deadline, asock_context, memory.bounce.timer);
    struct bounce *bounce = &context->memory.bounce;

    if (bounce->used > 0 || bounce->told != bounce->taken) {
        set_timer(context);
        return;
    }
    leave(bounce);
}

static void ask(asock_context *context)
{
    struct bounce *bounce = &context->memory.bounce;
    asock_buffer *buffer;
    asock_op *op;

    buffer = calloc(1, sizeof(*buffer));
    if (!buffer)
        return;
    if (asock_op_start_own(context, NULL, OPERATION_REGISTER, &op) < 0) {
        free(buffer);
        return;
    }
    buffer->context = context;
    buffer->refs = buffer->uses = 1;
    buffer->size = SIZE;
    list_init(&buffer->node);
    op->memory.made = buffer;
    bounce->asking = op;
    list_append(&context->memory.registers, &op->queue_node);
}

void asock_bounce_passed(asock_op *op, size_t bytes)
{
    asock_context *context = op->context;
    struct bounce *bounce = &context->memory.bounce;

    if (bounce->asking || bounce->is_off || bounce->buffer || !is_large(op))
        return;
    bounce->passed += bytes;
    if (bounce->passed < PAYS || context->limits.shared_max / PART < SIZE)
        return;
    bounce->passed = 0;
    ask(context);
}

void asock_bounce_answered(asock_op *op)
{
    struct bounce *bounce = &op->context->memory.bounce;
    asock_buffer *buffer = op->memory.made;

    if (bounce->asking != op)
        return;
    bounce->asking = NULL;
    if (!buffer || !buffer->at) {
        bounce->is_off = true;
        return;
    }
    op->memory.made = NULL;
    bounce->buffer = buffer;
    set_timer(op->context);
    if (bounce->is_off)
        leave(bounce);
}

void asock_bounce_init(struct bounce *bounce)
{
    list_init(&bounce->timer.timer.node);
    bounce->timer.expired = expired;
}

bool asock_bounce_retire(asock_context *context)
{
    struct bounce *bounce = &context->memory.bounce;
    bool is_unused = bounce->buffer && bounce->used == 0;

    bounce->is_off = true;
    if (is_unused)
        leave(bounce);
    return is_unused;
}

void asock_bounce_end(asock_context *context)
{
    struct bounce *bounce = &context->memory.bounce;

    bounce->asking = NULL;
    bounce->is_off = false;
    bounce->passed = 0;
    if (bounce->buffer)
        leave(bounce);
}
