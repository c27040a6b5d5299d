/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/session/op.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/alloc.h"
#include "daemon/session/sock_parts.h"

const char *op_state_name(enum op_state state)
{
    static const char *const names[] = {"free", "taken", "queued", "done"};

    return names[state];
}

void op_move(struct op *op, enum op_state to)
{
    static const uint8_t allowed[] = {
        [OP_FREE] = 1 << OP_TAKEN,
        [OP_TAKEN] = 1 << OP_QUEUED | 1 << OP_DONE | 1 << OP_FREE,
        [OP_QUEUED] = 1 << OP_DONE,
        [OP_DONE] = 1 << OP_FREE,
    };

    assert(allowed[op->state] & 1 << to);
    op->state = (uint8_t)to;
}

const char *op_text(const struct op *op)
{
    if (op->killer)
        return killer_text((enum killer)op->killer);
    return op->is_small ? NULL : op->text;
}

/* Of a small one this much is allocated. */
#define SMALL_SIZE offsetof(struct op, text)

static struct op *take(struct spare_ops *spare, size_t size)
{
    struct op *op = list_first(&spare->ops, struct op, node);

    if (op) {
        list_remove(&op->node);
        spare->count--;
        memset(op, 0, size);
    } else {
        op = mem_zalloc(1, size);
        if (!op)
            return NULL;
    }
    list_init(&op->node);
    op_move(op, OP_TAKEN);
    return op;
}

struct op *op_new(struct worker *w)
{
    return take(&w->spare_ops, sizeof(struct op));
}

struct op *op_new_small(struct worker *w)
{
    struct op *op = take(&w->spare_small_ops, SMALL_SIZE);

    if (op)
        op->is_small = true;
    return op;
}

void op_free(struct worker *w, struct op *op)
{
    struct spare_ops *spare;

    if (!op)
        return;
    assert(!list_is_linked(&op->node));
    assert(!op->deadline);
    assert(op->is_small || !op->slices.first);
    if (op->class && op->class->cleanup)
        op->class->cleanup(op);
    op_move(op, OP_FREE);
    spare = op->is_small ? &w->spare_small_ops : &w->spare_ops;
    if (spare->count < LIMIT_OPS_SPARE) {
        list_prepend(&spare->ops, &op->node); /* what is in the cache goes first */
        spare->count++;
    } else {
        mem_free(op);
    }
}

/* Spare ones are linked by the node of the timer that is not set. */
static struct op_deadline *spare_deadline(struct worker *w)
{
    return list_first(&w->spare_deadlines, struct op_deadline, deadline.timer.node);
}

static void keep_deadline(struct worker *w, struct op_deadline *d)
{
    list_append(&w->spare_deadlines, &d->deadline.timer.node);
    w->spare_deadline_count++;
}

static struct op_deadline *take_deadline(struct worker *w)
{
    struct op_deadline *d = spare_deadline(w);

    list_remove(&d->deadline.timer.node);
    w->spare_deadline_count--;
    return d;
}

bool op_reserve_deadline(struct worker *w)
{
    struct op_deadline *d;

    if (spare_deadline(w))
        return true;
    d = mem_zalloc(1, sizeof(*d));
    if (!d)
        return false;
    keep_deadline(w, d);
    return true;
}

void op_set_deadline(struct worker *w, struct op *op, uint32_t timeout_ms,
                     void (*expired)(struct deadline *deadline))
{
    op->deadline = take_deadline(w);
    op->deadline->op = op;
    deadline_init(&op->deadline->deadline, expired);
    worker_set_deadline(w, &op->deadline->deadline, timeout_ms);
}

void op_unset_deadline(struct worker *w, struct op *op)
{
    if (!op->deadline)
        return;
    deadline_deinit(&op->deadline->deadline);
    if (w->spare_deadline_count < LIMIT_OPS_SPARE)
        keep_deadline(w, op->deadline);
    else
        mem_free(op->deadline);
    op->deadline = NULL;
}

/* ---- chunks: of 64 bytes, 128, ... 32 KiB, so that pieces of all lengths use them again ---- */

#define CHUNK_MIN 64u
#define CHUNK_MAX (CHUNK_MIN << (CHUNK_ORDERS - 1))

static unsigned int order_of(uint32_t bytes)
{
    unsigned int order = 0;

    while (CHUNK_MIN << order < bytes)
        order++;
    return order;
}

static struct chunk *take_spare(struct worker *w, unsigned int order)
{
    struct chunk *chunk = w->spare_chunks[order];

    if (!chunk)
        return NULL;
    w->spare_chunks[order] = chunk->next;
    w->spare_chunk_bytes -= chunk->capacity;
    return chunk;
}

static void free_spare_chunks(struct worker *w)
{
    for (unsigned int order = 0; order < CHUNK_ORDERS; order++)
        while (w->spare_chunks[order])
            mem_free(take_spare(w, order));
}

static void free_spare_ops(struct spare_ops *spare)
{
    struct op *op;

    while ((op = list_first(&spare->ops, struct op, node))) {
        list_remove(&op->node);
        mem_free(op);
    }
    spare->count = 0;
}

void op_free_spares(struct worker *w)
{
    free_spare_ops(&w->spare_ops);
    free_spare_ops(&w->spare_small_ops);
    while (spare_deadline(w))
        mem_free(take_deadline(w));
    free_spare_chunks(w);
    slices_free_spares(w);
}

static struct chunk *chunk_new(struct worker *w, uint32_t bytes)
{
    unsigned int order = order_of(bytes);
    struct chunk *chunk = take_spare(w, order);
    uint32_t capacity = CHUNK_MIN << order;

    if (chunk)
        return chunk;
    chunk = mem_alloc(sizeof(*chunk) + capacity);
    if (chunk)
        chunk->capacity = capacity;
    return chunk;
}

/*
 * Pieces of a chain go into the last chunk as long as it has room; the next one has twice its size,
 * so that what is held stays below twice what has come, however small the pieces are.
 */
static struct chunk *chunk_for(struct worker *w, struct op *op, uint32_t len)
{
    struct chunk *last = op->send.last, *chunk;
    uint32_t want = len;

    if (last && last->end < last->capacity)
        return last;
    if (last && want < 2 * last->capacity)
        want = 2 * last->capacity;
    chunk = chunk_new(w, want < CHUNK_MAX ? want : CHUNK_MAX);
    if (!chunk)
        return NULL;
    chunk->next = NULL;
    chunk->start = chunk->end = 0;
    if (last)
        last->next = chunk;
    else
        op->send.first = chunk;
    op->send.last = chunk;
    return chunk;
}

int op_append(struct worker *w, struct op *op, const uint8_t *data, uint32_t len)
{
    while (len > 0) {
        struct chunk *chunk = chunk_for(w, op, len);
        uint32_t n;

        if (!chunk)
            return -ENOMEM;
        n = chunk->capacity - chunk->end < len ? chunk->capacity - chunk->end : len;
        memcpy(chunk->data + chunk->end, data, n);
        chunk->end += n;
        data += n;
        len -= n;
    }
    return 0;
}

void op_drop_chunks(struct worker *w, struct op *op)
{
    while (op->send.first) {
        struct chunk *chunk = op->send.first;

        op->send.first = chunk->next;
        op_drop_chunk(w, chunk);
    }
    op->send.last = NULL;
}

static bool has_room_for_spare(const struct worker *w, const struct chunk *chunk)
{
    return chunk->capacity <= LIMIT_CHUNKS_SPARE - w->spare_chunk_bytes;
}

/* Those of other sizes make room for what is sent now. */
void op_drop_chunk(struct worker *w, struct chunk *chunk)
{
    unsigned int order = order_of(chunk->capacity);

    for (unsigned int i = CHUNK_ORDERS; i-- > 0;)
        while (i != order && w->spare_chunks[i] && !has_room_for_spare(w, chunk))
            mem_free(take_spare(w, i));
    if (!has_room_for_spare(w, chunk)) {
        mem_free(chunk);
        return;
    }
    chunk->next = w->spare_chunks[order];
    w->spare_chunks[order] = chunk;
    w->spare_chunk_bytes += chunk->capacity;
}
