/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_FUZZ_CLIENT_PLAY_H
#define ASOCK_FUZZ_CLIENT_PLAY_H

/* The library's fuzzer: the program and the daemon, and what each has of the other. */
#include <asock/asock.h>
#include <stdbool.h>

#include "fuzz/fuzz.h"
#include "proto/codec.h"

#define OPS 12
#define SOCKETS 4
#define SEEN 512
#define PAYLOAD 5000
#define LARGE 600000 /* more than the way to the daemon holds */
#define SLICES 16
#define SLICE 256

struct script {
    const uint8_t *at, *end;
};

struct carrier {
    asock_op *op;
    uint8_t *buffer; /* of its very length; NULL: it lies in the play's */
    size_t len;
    bool is_pending;
    bool again; /* the callback submits it once more */
    bool takes; /* the callback keeps slices, for a while */
};

/* A request that the library has made. */
struct seen {
    uint64_t token, length;
    uint32_t verb, socket, flags;
    uint32_t segment_count, told; /* of a multishot: its credit, and how much of it was used */
    struct segment segments[4 * CODEC_SEGMENTS_MAX];
};

struct play {
    asock_context *context;
    int daemon;      /* its end; -1: closed */
    bool is_stalled; /* it does not read */
    asock_socket *sockets[SOCKETS];
    struct carrier slots[OPS];
    struct seen seen[SEEN];
    unsigned int seen_count;
    uint8_t *in;
    size_t in_len;
    asock_buffer *buffer; /* NULL: none yet */
    asock_pool *pool;
    uint32_t buffer_id;
    void *taken[SLICES];
    unsigned int taken_count;
};

extern struct play play;

static inline uint8_t next(struct script *s)
{
    return s->at < s->end ? *s->at++ : 0;
}

static inline uint32_t next_len(struct script *s)
{
    uint8_t n = next(s);

    if (n == 255)
        return LARGE;
    return n < 200 ? n : (n - 199u) * (PAYLOAD / 56);
}

/* The daemon reads what there is; it sends something. */
void play_read_requests(void);
void play_say_reply(const struct reply *reply, uint32_t payload_len);

/* ---- client_shm.c ---- */

/* What a callback reports lies in the pool, and is no longer than a slice. */
void memory_see_slice(struct carrier *slot);
/* The slot's own part of the memory that the daemon shares; false: there is none. */
bool memory_set_shared(struct carrier *slot, size_t len);
void memory_submit_multishot(struct script *s, struct carrier *slot, asock_socket *socket);
void memory_see_request(struct seen *seen, struct request *request);
bool memory_is_multishot(const struct seen *seen);
void memory_answer_multishot(struct script *s, struct seen *seen);
void memory_step_give(struct script *s);
/* A buffer, from a daemon that keeps to the rules, or from one of the others. */
void memory_step_buffer(struct script *s);

#endif
