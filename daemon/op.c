/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/op.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/alloc.h"

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

struct op *op_new(struct worker *w)
{
    struct op *op = list_first(&w->spare_ops, struct op, node);

    if (op) {
        list_remove(&op->node);
        w->spare_op_count--;
        memset(op, 0, sizeof(*op));
    } else {
        op = mem_zalloc(1, sizeof(*op));
        if (!op)
            return NULL;
    }
    list_init(&op->node);
    wheel_timer_init(&op->deadline.timer);
    op_move(op, OP_TAKEN);
    return op;
}

void op_free(struct worker *w, struct op *op)
{
    if (!op)
        return;
    assert(!list_is_linked(&op->node));
    assert(!wheel_timer_is_set(&op->deadline.timer));
    assert(!op->slices.first);
    if (op->class && op->class->cleanup)
        op->class->cleanup(op);
    op_move(op, OP_FREE);
    if (w->spare_op_count < LIMIT_OPS_SPARE) {
        list_append(&w->spare_ops, &op->node);
        w->spare_op_count++;
    } else {
        mem_free(op);
    }
}

void op_free_spares(struct worker *w)
{
    struct op *op;

    while ((op = list_first(&w->spare_ops, struct op, node))) {
        list_remove(&op->node);
        mem_free(op);
    }
    w->spare_op_count = 0;
    slices_free_spares(w);
}

int op_append_chunk(struct op *op, const uint8_t *data, uint32_t len)
{
    struct chunk *chunk;

    if (len == 0)
        return 0;
    chunk = mem_alloc(sizeof(*chunk) + len);
    if (!chunk)
        return -ENOMEM;
    chunk->next = NULL;
    chunk->start = 0;
    chunk->end = len;
    memcpy(chunk->data, data, len);
    if (op->send.last)
        op->send.last->next = chunk;
    else
        op->send.first = chunk;
    op->send.last = chunk;
    return 0;
}

void op_drop_chunks(struct op *op)
{
    while (op->send.first) {
        struct chunk *chunk = op->send.first;

        op->send.first = chunk->next;
        op_drop_chunk(chunk);
    }
    op->send.last = NULL;
}

void op_drop_chunk(struct chunk *chunk)
{
    mem_free(chunk);
}
