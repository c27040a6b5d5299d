/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a transport had in another process goes on in this one. */
#include <errno.h>
#include <string.h>

#include "daemon/wire/transport.h"

static int restore_input(struct transport *t, const struct transport_past *past)
{
    bool is_large = past->in_len > IO_SMALL;

    if (past->in_len == 0)
        return 0;
    t->in = is_large ? worker_block_get(t->worker, t->quota) : worker_small_block_get(t->worker);
    if (!t->in)
        return -ENOMEM;
    t->in_cap = is_large ? IO_BLOCK : IO_SMALL;
    memcpy(t->in, past->in, past->in_len);
    t->in_end = past->in_len;
    return 0;
}

int transport_restore(struct transport *t, const struct transport_past *past)
{
    uint8_t *place;
    int r;

    if (past->in_len > IO_BLOCK || past->out_len > IO_BLOCK)
        return -E2BIG;
    r = restore_input(t, past);
    if (r < 0)
        return r;
    t->bytes_in = past->bytes_in;
    t->bytes_out = past->bytes_out;
    if (past->out_len == 0)
        return 0;
    place = transport_reserve(t, past->out_len);
    if (!place)
        return -ENOMEM;
    memcpy(place, past->out, past->out_len);
    t->out_end = past->out_len;
    t->must_leave = true;
    worker_flush_later(t->worker, &t->flush);
    return 0;
}

int transport_restore_pass(struct transport *t, uint32_t at, struct fd_pass *pass)
{
    struct list *next = t->passes.next;

    if (at >= t->out_end - t->out_start)
        return -EINVAL;
    pass->at = t->bytes_out + at;
    while (next != &t->passes && container_of(next, struct fd_pass, node)->at < pass->at)
        next = next->next;
    if (next != &t->passes && container_of(next, struct fd_pass, node)->at == pass->at)
        return -EINVAL;
    list_insert_before(next, &pass->node);
    return 0;
}
