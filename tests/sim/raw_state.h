/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_SIM_RAW_STATE_H
#define ASOCK_TESTS_SIM_RAW_STATE_H

/* What a raw client knows: raw.c reads the replies, raw_steps.c makes the requests. */
#include "proto/codec.h"
#include "tests/sim/raw.h"
#include "tests/sim/sim.h"

#define RAW_CLIENTS 3 /* the last one on the control socket */
#define RAW_IDS 33
#define RAW_OPS 128

enum id_state { ID_FREE, ID_OPEN, ID_LISTENING, ID_KEPT, ID_ACCEPTED, ID_LENT };

struct raw_op {
    uint64_t token; /* 0: none */
    uint32_t verb, id, next, end;
    uint64_t target, due;
    size_t len;
    bool is_cancelled;
    struct walk_seen *seen; /* of SESSIONS */
};

struct raw_id {
    enum id_state state;
    uint16_t port;
    struct tcp *tcp; /* of what was accepted */
    uint64_t received;
    uint32_t counted, freed; /* ops of this life */
    unsigned int place;      /* of the last connection that came by it */
    bool has_closed;         /* CLOSE was sent */
};

struct raw {
    int fd; /* of one that is there */
    bool is_control;
    struct watcher *watcher; /* NULL: its first MONITOR has no answer yet */
    bool is_there, is_mute, is_welcome, has_broken, must_end, has_ended, may_end;
    struct byte_queue out, in;
    uint64_t token;
    uint32_t sockets, live;
    struct raw_op ops[RAW_OPS];
    struct raw_id ids[RAW_IDS];
    /* Of ids that were used again before their CLOSE was answered: the life before. */
    struct raw_id before[RAW_IDS];
};

extern struct raw raws[RAW_CLIENTS];

struct raw_op *raw_request(struct raw *raw, struct request *r, const void *payload, size_t len);
bool raw_listens(const struct raw *raw, uint16_t port); /* there */
/* It speaks no more. */
void raw_forget(struct raw *raw);
bool raw_is_counted(uint32_t verb); /* against the limit of ops */

#endif
