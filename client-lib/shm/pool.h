/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_SHM_POOL_H
#define ASOCK_LIB_SHM_POOL_H

/* Pools of slices of one buffer, for multishot receives. */
#include "client-lib/core/objects.h"

struct asock_pool {
    asock_context *context;
    unsigned int refs, holds; /* holds: for refs > 0, each op it is set in, each FILLED slice */
    asock_buffer *buffer;
    size_t slice_len;
    uint32_t count, free, free_count; /* free: the first of them, + 1 */
    uint32_t credit;                  /* slices that the daemon has, or will have */
    uint32_t filled;                  /* that a callback, or receive_next, is still to be told of */
    asock_op *op;                     /* the multishot in flight; NULL: none */
    struct datagram
        *datagrams; /* of each slice what came with it; NULL: it never was one of datagrams */
    struct slice slices[];
};

asock_pool *asock_pool_make(asock_buffer *buffer, size_t slice_len);
void asock_pool_hold(asock_pool *pool);
void asock_pool_unhold(asock_pool *pool);
/* Free slices become the daemon's, at most `most`. */
void asock_pool_spend(asock_pool *pool, uint32_t most, struct segment *room, struct segments *ret);
/* The request; false: there is nothing to add. */
bool asock_pool_fill_credit(asock_op *op, struct request *ret, struct segment *room);
/* A completion of the op: 0 and its slice, now filled; -EPROTO. Of a stream it has bytes. */
int asock_pool_fill(asock_op *op, const struct reply *reply, struct slice **ret);
/* Room for what comes with datagrams. -ENOMEM. */
int asock_pool_take_datagrams(asock_pool *pool);
/* What came with this one are the op's results. slice may be NULL. */
void asock_pool_tell(asock_op *op, const struct slice *slice);
void asock_pool_free(struct slice *slice);
/* All slices are the program's, which can give none back any more. */
bool asock_pool_is_stranded(const asock_pool *pool);
/* A slice was taken, or the program has let go: the op that waits for one that cannot come ends. */
void asock_pool_check_stranded(asock_pool *pool);
/* For a callback; until asock_shot_end(), which frees what the callback has not taken, the pool stays. */
struct shot asock_shot_begin(struct slice *slice);
void asock_shot_end(const struct shot *shot);
/* The slice in the life that the callback knows; NULL: there is none, or it has been given back. */
struct slice *asock_shot_slice(const struct shot *shot);
void *asock_slice_address(const struct slice *slice);
void *asock_slice_take(struct slice *slice);         /* it is the program's */
void asock_pool_set(asock_op *op, asock_pool *pool); /* the op has the caller's hold */
/* Of its earlier flight: slices that nobody has asked for. */
void asock_pool_forget(asock_op *op);

#endif
