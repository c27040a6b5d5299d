/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BENCH_KEEPER_H
#define BENCH_KEEPER_H

/*
 * A prototype of what docs/RESTART.md describes: a worker that can be killed at any moment, and a
 * keeper that starts the next one. What both need is in memory that they share; nothing else is.
 *
 * A client is a Unix stream, over which frames go: SEND with its payload, RECEIVE, SHUTDOWN, and a
 * reply of the same kind to each. The worker has a TCP connection for each client. An operation's
 * life is in keeper_worker.c.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#define RING 16384u /* bytes; a power of two */
#define QUEUE 8u    /* operations of a direction */
#define PAYLOAD_MAX 4096u
#define SOCKET_BUFFER 65536 /* of TCP sockets */

/* What a worker does for a next one. Each costs something: the program measures them in turn. */
#define KEEP_SHARED 1u  /* requests and replies are in shared memory */
#define KEEP_JOURNAL 2u /* written so that another worker can go on at any point */
#define KEEP_PASSED 4u  /* the keeper gets duplicates of all descriptors, as messages */
#define KEEP_TABLE 8u   /* the keeper and the worker have one table of descriptors */

enum kind { KIND_SEND = 1, KIND_RECEIVE, KIND_SHUTDOWN };

struct frame {
    uint32_t kind;
    uint32_t length; /* of the payload; of a RECEIVE: at most; of a reply to SEND: bytes sent */
    uint64_t token;
};

/* A frame begins at a multiple of its size, so that it is in one piece in a ring. */
static inline uint64_t padded(uint64_t bytes)
{
    return (bytes + sizeof(struct frame) - 1) & ~(uint64_t)(sizeof(struct frame) - 1);
}

struct op {
    uint64_t token;
    uint64_t at;        /* of a SEND: where its payload is in the ring of requests */
    uint64_t from;      /* the first byte of the stream that is its own */
    uint64_t after;     /* where the next request begins */
    uint64_t reply_end; /* it has ended once the replies reach this; 0: its reply is not written */
    uint32_t kind, length;
    uint32_t bytes; /* that were received */
};

/* The operations from begin to end - 1, at these numbers modulo QUEUE. */
struct queue {
    uint64_t begin, end;
    struct op ops[QUEUE];
};

/* A client and its connection. Positions count all bytes that were ever there. */
struct slot {
    int32_t client, remote;      /* the worker's descriptors; 0: nobody is here */
    uint64_t in_head, parsed;    /* requests that were read; that became operations */
    uint64_t out_tail, out_head; /* replies that the client's socket has taken; that there are */
    uint64_t sent, received;     /* bytes of the TCP stream */
    struct queue sends, receives;
    unsigned char in[RING], out[RING];
};

/*
 * The system call that a worker makes. sendmmsg() and recvmmsg() store how many bytes they have
 * moved in message.msg_len themselves: whoever reads it here knows it, though the worker was killed
 * before it could.
 */
enum call_kind { CALL_NONE, CALL_IN, CALL_OUT, CALL_UP, CALL_DOWN };

struct call {
    uint64_t kind;
    uint64_t from; /* the position before it */
    uint64_t slot;
    struct mmsghdr message;
    struct iovec pieces[2];
};

/* Between all processes of the program, whatever a worker keeps. */
struct control {
    pid_t worker;
    uint64_t generation; /* of the worker */
    uint64_t served;     /* the last generation that has looked at all slots */
    uint64_t dies_at;    /* points until the worker kills itself; 0: never */
    uint64_t killed_ns, started_ns, ready_ns, replied_ns, served_ns;
    uint64_t journal_bytes;
    uint64_t checked;  /* streams whose counts of the kernel were compared at a recovery */
    uint64_t in_doubt; /* calls whose result only the kernel had written down */
    uint32_t stops;    /* the worker ends when the next client comes */
    uint32_t failed;
};

/* What a run of it has: made before the keeper starts, inherited by all. */
struct setup {
    unsigned int keeps, slots;
    int unix_listener, tcp_listener, tcp_port;
    char unix_name[32]; /* an abstract one */
    struct control *control;
    struct slot *memory;
    struct call *call;
    int epoll; /* with KEEP_TABLE: the one of all workers */
    pid_t keeper;
};

/* What the keeper has of a slot; with KEEP_PASSED. */
struct held {
    int client, remote;
};

uint64_t now_ns(void);
uint64_t processor_ns(pid_t pid);
uint64_t random_below(uint64_t limit);

/* ---- keeper_worker.c ---- */
/* link: to the keeper; held: descriptors of the worker before, NULL for the first. */
_Noreturn void worker_run(struct setup *setup, int link, const struct held *held);

/* What a SEND writes into the memory of a slot, without its system calls and its payload: ns. */
double worker_stores_ns(struct setup *setup, unsigned int times);

/* ---- keeper_offsets.c ---- */
/*
 * What the kernel says of a connection that this side has opened. Once it is closed in the kernel,
 * the caller must know whether FINs have done that, or a reset.
 */
void offsets_of(int fd, bool was_reset, uint64_t *ret_sent, uint64_t *ret_received);
/* What it says after a reset: compares this with what was done, and prints a line. */
void offsets_after_resets(unsigned int connections);

/* ---- keeper_load.c ---- */
/* Of a kill: ns until there is another worker, has repaired everything, replies, has served all. */
struct recovery {
    uint64_t started_ns, ready_ns, replied_ns, served_ns;
};

struct load {
    unsigned int connections;
    unsigned int size;  /* of each operation, in a ping-pong; 0: any, in both directions at once */
    unsigned int kills; /* it ends after these */
    uint64_t ops;       /* or after these */
    uint64_t done, bytes, worker_ns; /* operations; bytes that were compared; processor time */
    struct recovery *recoveries;
};

void load_run(struct setup *setup, struct load *load);
/* Connects, exchanges one byte, closes; so often. */
void load_connects(struct setup *setup, unsigned int times);

#endif
