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
    uint32_t filled; /* slices to be reported by a callback or asock_receive_next() */
    asock_op *op;    /* the multishot in flight; NULL: none */
    struct datagram
        *datagrams; /* of each slice what came with it; NULL: it never was one of datagrams */
    struct slice slices[];
};

asock_pool *asock_pool_make(asock_buffer *buffer, size_t slice_len);
void asock_pool_hold(asock_pool *pool);
void asock_pool_unhold(asock_pool *pool);
/* Gives the daemon at most `most` free slices as credit. */
void asock_pool_spend(asock_pool *pool, uint32_t most, struct segment *room, struct segments *ret);
/* The request; false: there is nothing to add. */
bool asock_pool_fill_credit(asock_op *op, struct request *ret, struct segment *room);
/*
 * A completion of the op names a slice, which becomes filled. 0, or -EPROTO: also a stream's
 * completion without bytes.
 */
int asock_pool_fill(asock_op *op, const struct reply *reply, struct slice **ret);
/* Allocates room for a struct datagram per slice, once. -ENOMEM. */
int asock_pool_take_datagrams(asock_pool *pool);
/* Makes the datagram that came with the slice the op's result. slice may be NULL. */
void asock_pool_tell(asock_op *op, const struct slice *slice);
void asock_pool_free(struct slice *slice);
/* The program holds all slices and has released the pool: none can come back. */
bool asock_pool_is_stranded(const asock_pool *pool);
/*
 * A slice was taken, or the pool was released: ends the op if it waits for a slice that cannot come
 * back.
 */
void asock_pool_check_stranded(asock_pool *pool);
/*
 * For a callback; until asock_shot_end(), which frees what the callback has not taken, the pool
 * stays.
 */
struct shot asock_shot_begin(struct slice *slice);
void asock_shot_end(const struct shot *shot);
/*
 * The slice that the callback was given; NULL: it had none, or the slice has been given back
 * meanwhile.
 */
struct slice *asock_shot_slice(const struct shot *shot);
void *asock_slice_address(const struct slice *slice);
void *asock_slice_take(struct slice *slice);         /* it is the program's */
void asock_pool_set(asock_op *op, asock_pool *pool); /* the op has the caller's hold */
/* Frees the slices of the op's last submission that were never asked for. */
void asock_pool_forget(asock_op *op);

#endif
