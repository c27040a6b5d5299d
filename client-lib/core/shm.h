/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_LIB_CORE_SHM_H
#define ASOCK_LIB_CORE_SHM_H

/*
 * Memory that the daemon shares: buffers, and pools of slices of one buffer for multishot receives.
 *
 * A buffer lives until the program has released it and no op in flight has a segment in it; then
 * UNREGISTER is sent. After the end of its session a buffer is ordinary memory.
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

/* A completion that was not reported yet: the end of an op, or one of a multishot's. */
struct due {
    struct list node; /* context->done; of a multishot without callback op->filled */
    asock_op *op;
    struct slice *slice; /* NULL: it has no bytes */
};

enum slice_state { SLICE_FREE, SLICE_CREDIT, SLICE_FILLED, SLICE_TAKEN };

struct slice {
    struct due due;
    asock_pool *pool;
    uint32_t next; /* free one behind this one, + 1 */
    enum slice_state state;
    size_t len;    /* bytes received */
    uint64_t life; /* counts how often it has become free */
};

/* A slice as it was given to a callback. Once it has been given back, it may be in use again. */
struct shot {
    struct slice *slice; /* NULL: none */
    uint64_t life;
    size_t len;
};

/* The bounce buffer: blocks for ops with ordinary memory that go by reference all the same. */
#define BOUNCE_BLOCKS 512u

struct bounce {
    asock_buffer *buffer; /* NULL: none, or none yet */
    asock_op *asking;     /* its REGISTER; NULL: it was not asked for, or has been answered */
    bool is_off;          /* refused, or the program wants the memory: not asked for any more */
    uint32_t used;        /* blocks */
    uint64_t map[BOUNCE_BLOCKS / 64];
    uint64_t passed;      /* bytes that would have gone through it */
    uint64_t taken, told; /* ops that have; up to when its timer was set */
    struct deadline timer;
};

/*
 * What happens to the shared memory of an op; set by the module that puts its bytes there. Each
 * call may be NULL. The class is NULL for an op all of whose bytes are in its frames.
 */
struct op_class {
    void (*ended)(asock_op *op);   /* it has a result */
    void (*left)(asock_op *op);    /* and no frame refers to its segments any more */
    void (*told)(asock_op *op);    /* its callback has returned, or there is none */
    void (*dropped)(asock_op *op); /* what it was set up with goes, or the op */
};

/* Of an op. */
struct op_shm {
    /* How many buffers there had been when it was submitted; it uses no later one. */
    uint64_t mapped;
    bool is_reference; /* its bytes are where both sides see them: none are in its frames */
    bool is_inside;    /* a segment, or more, lies in a buffer of the program's */
    bool is_multishot; /* a receive of the pool's slices */
    bool is_more;      /* the callback that runs is not of its end */
    bool is_in_place; /* its bytes were not reported yet, and the daemon can still take them back */
    bool is_unseen;   /* a receive of a stream: what it ended with was not reported yet */
    bool is_lost;     /* it did: the op ends CONNECTION_ABORTED, whatever the daemon said */
    asock_pool *pool; /* set by the program; NULL: none */
    struct slice *last;               /* that it ended with; NULL: with none */
    struct shot shot;                 /* of the callback that runs */
    struct list filled;               /* completions that asock_receive_next() will tell of */
    struct list credit_node;          /* memory->credits */
    uint32_t bounce_at, bounce_count; /* its blocks; count 0: none */
    asock_buffer *made; /* REGISTER: what it is for; refs 0: it is not waited for any more */
};

/* The status page of the session's buffers, which only the daemon writes. */
struct status {
    const uint32_t *mark; /* not 0: it has taken the buffers back; NULL: not mapped */
    bool is_asked;        /* the REGISTER on the way brings it */
};

/*
 * The most descriptors that wait for their replies. Descriptors come with the last bytes of one
 * read, so two reads bring no more.
 */
#define MEMORY_DESCRIPTORS_MAX 8u

/* Of a context. */
struct shm {
    asock_buffer **buffers; /* in the order of their addresses */
    size_t count, cap;
    struct list registers; /* ops whose REGISTER is to leave */
    asock_op *registering; /* its REGISTER is on the way: one at a time */
    struct list leaving;   /* buffers whose UNREGISTER is to leave */
    struct list left;      /* it is on the way */
    uint64_t unregisters;  /* so many have left, ever */
    uint64_t mapped;       /* buffers, ever */
    struct list credits;   /* ops whose CREDIT is to leave */
    struct bounce bounce;
    /* Received with replies that were not handled yet, in the order of these. */
    int descriptors[MEMORY_DESCRIPTORS_MAX];
    unsigned int descriptor_count;
    bool is_cut; /* the kernel has dropped one of these: the program has no number left for it */
    struct status status;
    bool has_lost; /* buffers that had been taken back when their session ended */
};

#endif
