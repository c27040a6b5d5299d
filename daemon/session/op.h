/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_OP_H
#define ASOCKD_OP_H

/*
 * One request in progress. It is in one queue of its socket (or of its session), has one owner, and
 * ends in one place: complete().
 *
 *      FREE --take--> TAKEN --queue--> QUEUED --complete--> DONE --reply sent--> FREE
 *                       |                                    ^
 *                       +-------------complete---------------+
 *
 * step() is called when the op is first in its queue and something may go on; it completes the op,
 * or returns 0 and leaves word what it waits for (sock_want_*).
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "daemon/session/inspect.h"
#include "daemon/core/loop.h"
#include "daemon/wire/shm_buffer.h"
#include "proto/codec.h"

struct op;
struct session;
struct sock;
struct accept;
struct lending;
struct connect;
struct resolve;
struct session_buffer;
struct shared_listener;
struct reply;

enum op_state { OP_FREE, OP_TAKEN, OP_QUEUED, OP_DONE };

struct op_class {
    const char *name;
    bool is_frame;               /* its reply is a whole frame already: op->frame.bytes */
    bool leaves_with_others;     /* a send: its bytes may go to the kernel with those around it */
    int (*step)(struct op *op);  /* 1: ended, or has more to do at once; 0: waits */
    void (*stop)(struct op *op); /* nothing of it goes on: called when it ends; may be NULL */
    void (*cleanup)(struct op *op); /* gives back what the op holds; may be NULL */
    /* By the policy of now: true, if that ends it, or a part of it. NULL: it is not judged. */
    bool (*judge)(struct op *op);
    /* What the reply holds beyond error, bytes and flags; may be NULL. */
    void (*fill)(struct op *op, struct reply *reply, const void **payload, uint32_t *payload_len);
    /*
     * Where fill() says that descriptors go with the reply: they are the transport's from here on.
     */
    struct fd_pass *(*take_fd_pass)(struct op *op);
    /*
     * The lending whose descriptor goes with the reply, which may have to wait for room. NULL, or
     * no such function: none's.
     */
    struct lending *(*lending)(const struct op *op);
};

/* Payload that the kernel has not taken yet. */
struct chunk {
    struct chunk *next;
    uint32_t start, end;
    uint32_t capacity;
    uint8_t data[];
};

/* Apart from the op: those that wait for long mostly have none. */
struct op_deadline {
    struct deadline deadline;
    struct op *op;
};

struct op {
    struct list node;             /* queue of the socket or session; done list */
    struct op_deadline *deadline; /* while QUEUED, if the client asked for one; else NULL */
    union {
        struct op *hash_next; /* while QUEUED: in the session's table of tokens */
        struct {
            uint32_t send_freed, ops_freed; /* while DONE: for the reply */
        };
    };
    const struct op_class *class;
    struct session *session; /* NULL: no reply is waited for any more */
    struct sock *sock;       /* NULL: none, or gone */
    uint64_t token;
    uint64_t bytes;     /* moved so far; the result */
    uint32_t socket_id; /* for the reply */
    uint8_t verb;
    uint8_t state; /* enum op_state */
    uint8_t error;
    uint8_t reply_flags;
    bool errors_only : 1;
    bool ends_sending : 1;     /* a SHUTDOWN of the sending side, or a DISCONNECT */
    bool is_behind_missed : 1; /* one that is queued behind a send that was refused (SIDE_MISSED) */
    bool is_counted : 1;       /* against the limits of ops */
    bool is_reference : 1;     /* its bytes are the slices' */
    bool has_begun : 1;  /* something of it may have reached the kernel, or its time is up (S30) */
    bool has_pieces : 1; /* a send, of which there are still some to come: a chain */
    bool is_small : 1;   /* its memory ends in front of `text` */
    uint8_t receive_flags; /* RECEIVE_... */
    uint8_t killer;        /* enum killer, of its socket */
    uint32_t small_length; /* of a RECEIVE that is small: receive.length */
    const char *text;      /* why it failed, for people; static or the cleanup's: see op_text() */
    union {
        struct {
            uint64_t total;    /* bytes of the whole op */
            uint64_t received; /* of them from the client so far */
            struct chunk *first, *last;
            union {
                struct connect *connect; /* of a CONNECT, whose data is a send too; else NULL */
                struct op_datagram *datagram; /* of a datagram socket */
            };
        } send;
        struct {
            uint64_t length;
            union {
                struct segment shot;          /* of a multishot: its last bytes; length 0: none */
                struct op_datagram *datagram; /* of a datagram socket */
            };
        } receive;
        struct {
            int64_t number;
            struct endpoint *endpoint; /* NULL: the number is the value */
            struct bytes *bytes;       /* NULL: no payload */
        } value;
        struct {
            struct bytes *bytes;
            struct lending *lending; /* whose descriptor goes with it; NULL: none's */
        } frame;
        struct resolve *resolve;
        struct endpoint bound;            /* BIND: what was given */
        struct accept *accept;            /* ACCEPT: its ids */
        struct shm_buffer *passes_buffer; /* REGISTER: its descriptor is still to be sent */
        struct {
            struct shared_listener *shared; /* SHARE: the one that is being made; NULL: none yet */
            bool shares_lending;            /* those who come by it may lend */
        };
        struct session_buffer *unregister; /* waits until this has gone */
        struct list waiting;               /* RELOAD: those that wait for the same one */
        struct {
            struct inspect_cursor cursor; /* where the next record is looked for */
        } inspect;
    };
    struct slices slices; /* by reference: what is still to be sent, or filled */
};

/* What an op of a datagram socket has beside; its class's cleanup frees it. */
struct op_datagram {
    struct endpoint to; /* where a send goes; address_len 0: the peer */
    struct endpoint
        source;  /* and from where; address_len 0: the socket's address, or the kernel's choice */
    uint8_t ecn; /* 0: the socket's */
    uint16_t segment; /* of a send of several datagrams: bytes of each; 0: it is one */
    bool is_behind;   /* the send came while the socket connected */
    const uint8_t
        *input;   /* the bytes are still in the session's input, for the socket is its batch_of */
    char *reason; /* why it must not go there; NULL: none */
    struct datagram received; /* without a remote address there is none */
};

/* A reply's payload that was made when the op ran. */
struct bytes {
    size_t len;
    uint8_t data[];
};

/* Why it failed, for people; NULL: it is not said. */
const char *op_text(const struct op *op);

/* Of a RECEIVE: the bytes that are asked for. */
static inline uint64_t op_receive_length(const struct op *op)
{
    return op->is_small ? op->small_length : op->receive.length;
}

static inline void op_set_receive_length(struct op *op, uint64_t length)
{
    if (op->is_small)
        op->small_length = (uint32_t)length;
    else
        op->receive.length = length;
}

/* Allowed moves of the state; asserts. */
void op_move(struct op *op, enum op_state to);
const char *op_state_name(enum op_state state);

/* From, and back to, the worker's spare ones. op_new: NULL without memory. */
struct op *op_new(struct worker *w);
/*
 * Most of those that wait for long are plain receives of less than 4 GiB: they need no more than a
 * small one has.
 */
struct op *op_new_small(struct worker *w);
void op_free(struct worker *w, struct op *op);
void op_free_spares(struct worker *w);

/* Before a request is taken: its op may have a deadline. False: no memory. */
bool op_reserve_deadline(struct worker *w);
/* Uses what was reserved. */
void op_set_deadline(struct worker *w, struct op *op, uint32_t timeout_ms,
                     void (*expired)(struct deadline *deadline));
void op_unset_deadline(struct worker *w, struct op *op); /* if it has one */
static inline struct op *op_of_deadline(struct deadline *deadline)
{
    return container_of(deadline, struct op_deadline, deadline)->op;
}

/*
 * The chunks of a send, or of a connect's data, from and back to the worker's spare ones. -ENOMEM:
 * part of it may be there; the op has to end.
 */
int op_append(struct worker *w, struct op *op, const uint8_t *data, uint32_t len);
void op_drop_chunks(struct worker *w, struct op *op);
void op_drop_chunk(struct worker *w, struct chunk *chunk);

#endif
