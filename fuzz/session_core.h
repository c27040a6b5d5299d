/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_FUZZ_SESSION_CORE_H
#define ASOCK_FUZZ_SESSION_CORE_H

/*
 * The daemon's core in this process: a worker whose clock stands still until it is turned, a
 * session over a socketpair, peers on loopback; and what is known of every request, so that its
 * answers can be judged.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/core/loop.h"
#include "daemon/names/resolver.h"
#include "daemon/session/session.h"
#include "proto/codec.h"

#define CORE_OPS 512
#define CORE_CONNECTIONS 64
#define CORE_BUFFERS 4
#define CORE_SLICES 3
#define CORE_STREAM 1000000 /* bytes remembered of one direction of a connection */

/* One use of a socket id, from OPEN to CLOSE. */
struct connection {
    uint16_t local_port; /* from the completion of its connect */
    int peer;            /* the other end; -1: not accepted yet, or closed */
    bool is_accepted;
    bool is_broken;    /* the peer has sent an error, or reset it */
    bool peer_saw_end; /* FIN, and nothing but FIN */
    uint32_t connects;
    uint8_t *got; /* by the peer */
    size_t got_len;
    uint64_t written;   /* by the peer */
    uint64_t delivered; /* of it, to the client */
};

struct told {
    uint32_t verb;
    uint32_t connection;
    uint64_t len; /* of a send, a connect's data, a receive */
    bool is_peek, is_errors_only, is_multishot;
    struct segment slices[CORE_SLICES]; /* of a receive by reference, but for a multishot */
    uint32_t slice_count;
    bool is_cancelled; /* asked for */
    uint64_t target;   /* of a cancel that found it; else 0 */
    bool is_done;
    uint32_t error;
    uint64_t bytes;
};

struct core_buffer {
    uint32_t id;
    uint8_t *at;
    uint64_t length, used;
    bool is_released; /* asked for */
};

struct core {
    struct worker worker;
    struct session *session; /* NULL: gone */
    int client;              /* the client's end; -1: closed */
    bool is_hostile;         /* bytes of no meaning were sent: answers are not judged */
    bool is_ended;           /* the daemon said so, or closed */
    bool is_not_reading;
    uint8_t *out; /* what the client has to write */
    size_t out_len, out_done;
    uint8_t *in;
    size_t in_len;
    struct told ops[CORE_OPS]; /* by token */
    uint64_t tokens;           /* so many were used, from 1 on */
    struct connection connections[CORE_CONNECTIONS];
    uint32_t connection_count;
    struct core_buffer buffers[CORE_BUFFERS];
    uint32_t buffer_count;
    int fds[CORE_OPS]; /* received, and of no buffer yet */
    uint32_t fd_count;
};

extern int core_listener;
extern uint16_t core_port, core_dead_port;

/* Of the first byte of an input. */
enum {
    CORE_HOSTILE = 1,   /* bytes of no meaning come too; nothing may be connected */
    CORE_DIES = 2,      /* the client goes without a word */
    CORE_CONTROL = 4,   /* it came by the control listener */
    CORE_SILENT = 8,    /* it does not say Hello */
    CORE_AUDITED = 16,  /* connections are recorded, by a journal that is not there */
    CORE_REQUIRED = 32, /* and must be */
};

void core_start(struct core *core, uint8_t manner);
/* Closes what is left, lets time pass, and judges. */
void core_finish(struct core *core);

/* Turns of the loop until nothing moves any more. */
void core_settle(struct core *core);
void core_pass(struct core *core, uint64_t ms);

/* NULL: no more tokens. Token 0 in the request: the next one. */
struct told *core_request(struct core *core, struct request *request, const void *payload,
                          uint32_t len);
void core_raw(struct core *core, const void *data, size_t len);
void core_accept(struct core *core);
void core_hang_up(struct core *core); /* the client goes */

/* Memory (session_shm.c). What comes with bytes is kept; what a REGISTER got becomes a buffer. */
ssize_t core_memory_recv(struct core *core, void *data, size_t len);
void core_memory_made(struct core *core, const struct segment *segment);
void core_memory_released(struct core *core, uint32_t id);
void core_memory_forget(struct core *core);
/*
 * A part of a buffer that was never used, full of that byte; shorter, or nothing, at the buffer's
 * end.
 */
void core_memory_take(struct core *core, uint32_t index, uint64_t length, uint8_t byte,
                      struct segment *ret);
/* So many bytes of what the peer wrote lie there, from that position on. */
void core_memory_judge(struct core *core, const struct segment *segments, uint32_t count,
                       uint64_t bytes, uint64_t from);
void core_memory_free(struct core *core);

/* Peers. */
void core_peer_read(struct connection *c, size_t len);
void core_peer_write(struct connection *c, size_t len);
void core_peer_reset(struct connection *c);

#endif
