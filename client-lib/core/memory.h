/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_MEMORY_H
#define ASOCK_LIB_MEMORY_H

/*
 * Memory that the daemon shares: buffers, and pools of slices of one buffer for multishot receives.
 *
 * A buffer lives until the program has let go of it and no op in flight has a segment in it; then
 * UNREGISTER leaves. Of a session that has ended it is ordinary memory.
 *
 * A slice:  FREE --RECEIVE, CREDIT--> CREDIT --completion--> FILLED --callback returned--> FREE
 *             ^                          |                      |
 *             +-----the op has ended-----+                      +--> TAKEN --given back--> FREE
 */
#include <asock/asock.h>

#include "base/list.h"
#include "base/wheel.h"
#include "proto/codec.h"

/* Timers of ops, of lingering sockets and of the bounce buffer share the wheel. */
struct deadline {
    struct wheel_timer timer;
    void (*expired)(struct deadline *deadline);
};

struct asock_buffer {
    asock_context *context;
    unsigned int refs;
    unsigned int uses; /* segments of ops in flight, and pools */
    uint8_t *at;       /* NULL: not mapped */
    size_t size;
    uint32_t id;      /* 0: the daemon has none, or its session has ended */
    uint64_t token;   /* of its UNREGISTER */
    struct list node; /* memory->leaving, or ->left */
};

/* A completion that its callback is still to be told of: an op's end, or one of a multishot's. */
struct due {
    struct list node; /* context->done; of a multishot without callback op->filled */
    asock_op *op;
    struct slice *slice; /* NULL: it has no octets */
};

enum slice_state { SLICE_FREE, SLICE_CREDIT, SLICE_FILLED, SLICE_TAKEN };

struct slice {
    struct due due;
    asock_pool *pool;
    uint32_t next; /* free one behind this one, + 1 */
    enum slice_state state;
    size_t len;    /* octets received */
    uint64_t life; /* counts how often it has become free */
};

/* A slice as a callback was given it: once it has been given back it is somebody else's. */
struct shot {
    struct slice *slice; /* NULL: none */
    uint64_t life;
    size_t len;
};

struct asock_pool {
    asock_context *context;
    unsigned int refs, holds; /* holds: for refs > 0, each op it is set in, each FILLED slice */
    asock_buffer *buffer;
    size_t slice_len;
    uint32_t count, free, free_count; /* free: the first of them, + 1 */
    uint32_t credit;                  /* slices that the daemon has, or will have */
    asock_op *op;                     /* the multishot in flight; NULL: none */
    struct slice slices[];
};

/* Blocks for ops of ordinary memory that go by reference all the same. */
#define BOUNCE_BLOCKS 512u

struct bounce {
    asock_buffer *buffer; /* NULL: none, or none yet */
    asock_op *asking;     /* its REGISTER; NULL: it was not asked for, or has been answered */
    bool is_off;          /* refused, or the program wants the memory: not asked for any more */
    uint32_t used;        /* blocks */
    uint64_t map[BOUNCE_BLOCKS / 64];
    uint64_t passed;      /* octets that would have gone through it */
    uint64_t taken, told; /* ops that have; up to when its timer was set */
    struct deadline timer;
};

/* Of an op. */
struct op_memory {
    bool is_reference; /* its octets are where both sides see them: none are in its frames */
    bool is_multishot; /* a receive of the pool's slices */
    bool is_more;      /* the callback that runs is not of its end */
    bool is_in_place;  /* its octets lie where the daemon can take them back, and nobody was told */
    bool is_lost;      /* it did so: CONNECTION_ABORTED, whatever the daemon said */
    asock_pool *pool;  /* set by the program; NULL: none */
    struct slice *last;               /* that it ended with; NULL: with none */
    struct shot shot;                 /* of the callback that runs */
    struct list filled;               /* completions that asock_receive_next() will tell of */
    struct list credit_node;          /* memory->credits */
    uint32_t bounce_at, bounce_count; /* its blocks; count 0: none */
    asock_buffer *made; /* REGISTER: what it is for; refs 0: nobody waits for it any more */
};

/* What the daemon says of the session's buffers, in a page that it alone writes. */
struct status {
    const uint32_t *mark; /* not 0: it has taken the buffers back; NULL: not mapped */
    bool is_asked;        /* the REGISTER on the way brings it */
    bool is_lost;         /* the session has ended, and the buffers had been taken back before */
};

/* Of a context. */
struct memory {
    asock_buffer **buffers; /* in the order of their addresses */
    size_t count, cap;
    struct list registers; /* ops whose REGISTER is to leave */
    asock_op *registering; /* its REGISTER is on the way: one at a time */
    struct list leaving;   /* buffers whose UNREGISTER is to leave */
    struct list left;      /* it is on the way */
    uint64_t unregisters;  /* so many have left, ever */
    struct list credits;   /* ops whose CREDIT is to leave */
    struct bounce bounce;
    int descriptors[2]; /* came with a reply that is still to be read */
    unsigned int descriptor_count;
    struct status status;
};

/* buffer.c ------------------------------------------------------------------------------------ */

void asock_memory_init(struct memory *memory);
void asock_memory_deinit(struct memory *memory);
/* The session has ended: buffers are ordinary memory from here on. */
void asock_memory_end(asock_context *context);
/* Keeps the first that nobody has taken; closes the others. */
void asock_memory_add_descriptor(asock_context *context, int fd);

/* Its segments are in flight: buffers in which they lie stay, until its callback has returned. Sets op->is_reference. */
void asock_memory_use(asock_op *op);
/* Of an op that goes by reference. room: for CODEC_SEGMENTS_MAX. */
void asock_memory_segments(const asock_op *op, struct segment *room, struct segments *ret);

/* The next UNREGISTER, CREDIT or REGISTER; false: none is due. room: for CODEC_SEGMENTS_MAX. */
bool asock_memory_next(asock_context *context, struct request *ret, struct segment *room);
bool asock_memory_is_wanted(const asock_context *context);
/* REGISTER's reply: 0 or -EPROTO. */
int asock_buffer_answered(asock_op *op, const struct reply *reply);
/* UNREGISTER's reply: false: none is on the way with this token. */
bool asock_buffer_left(asock_context *context, uint64_t token);
void asock_buffer_unuse(asock_buffer *buffer);
void asock_buffer_leave(asock_buffer *buffer); /* nobody refers to it any more */

/* status.c ------------------------------------------------------------------------------------ */

/* Octets that were copied, or looked at, before this call are what was received, unless it is true. */
bool asock_memory_is_lost(const struct memory *memory);
int asock_status_map(struct status *status, int fd);
void asock_status_unmap(struct status *status);
/* The session has ended: buffers become private memory with the contents that they have. */
void asock_status_end(struct memory *memory);

/* bounce.c ------------------------------------------------------------------------------------ */

/* A send or receive that waits, and can go by way of the bounce buffer now. */
bool asock_bounce_fits(const asock_op *op);
/* Of one that fits; it goes by reference then. */
void asock_bounce_take(asock_op *op);
void asock_bounce_refer(const asock_op *op, struct segment *ret);
void asock_bounce_received(asock_op *op, uint64_t bytes); /* into the program's segments */
/* So much of the op goes, or came, through the socket. */
void asock_bounce_passed(asock_op *op, size_t bytes);
void asock_bounce_answered(asock_op *op); /* some REGISTER has its reply */
void asock_bounce_init(struct bounce *bounce);
/* The program needs the memory; true: some was given back. */
bool asock_bounce_retire(asock_context *context);
void asock_bounce_end(asock_context *context); /* the session has ended, and with it all ops */

/* pool.c -------------------------------------------------------------------------------------- */

asock_pool *asock_pool_make(asock_buffer *buffer, size_t slice_len);
void asock_pool_hold(asock_pool *pool);
void asock_pool_unhold(asock_pool *pool);
/* Free slices become the daemon's, at most `most`. */
void asock_pool_spend(asock_pool *pool, uint32_t most, struct segment *room, struct segments *ret);
/* The request; false: there is nothing to add. */
bool asock_pool_fill_credit(asock_op *op, struct request *ret, struct segment *room);
/* A completion of the op: 0 and its slice, now filled; -EPROTO. */
int asock_pool_fill(asock_op *op, const struct reply *reply, struct slice **ret);
void asock_pool_free(struct slice *slice);
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
