/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_STATE_PARTS_H
#define ASOCK_TESTS_STATE_PARTS_H

/* A state by hand: one session, one connection, some ops; and a daemon that takes it. */
#include <stdbool.h>

#include "daemon/net/tcp.h"
#include "daemon/state/counters.h"
#include "daemon/state/state.h"
#include "tests/unit/daemon_session.h"

/* BOUND and those behind it are of format 2; UDP, of format 3; LENT, of format 4. */
enum {
    LOCK = 1,
    CLIENT,
    CONNECTION,
    BOUND,
    BUFFER,
    STATUS,
    UDP,
    LINGERING,
    ATTEMPT,
    SHAREE,
    LENT,
    TRAVELS,
    DRAINING,
    DESCRIPTORS = CONNECTION
};

/* What format 3 has beside. */
struct parts_3 {
    Asockd__State__Socket udp, connecting, lingering;
    Asockd__State__Datagrams datagrams;
    Asockd__State__Endpoint to[2], *others[1], *destinations[1];
    uint8_t addresses[2][4];
    Asockd__State__Attempt attempt, *attempts[1];
    Asockd__State__Op connect, close;
    Asockd__State__Linger linger;
    Asockd__State__Session sharee;
};

/* And format 4. */
struct parts_4 {
    Asockd__State__Socket lent, travels, drained;
    Asockd__State__Lent held, given;
    Asockd__State__Travel travel, buffer_travel;
    Asockd__State__Drain drain, *drains[1];
    Asockd__State__Learned learned, *learned_at[1];
    Asockd__State__Denial denial, *denials[1];
    uint8_t output[256];
};

/* And format 5. */
struct parts_5 {
    Asockd__State__RuleCount rule, *rules[1];
};

struct parts {
    Asockd__State__Daemon daemon;
    struct state_counters counters;
    struct stats stats;
    Asockd__State__Session session, *ended[1];
    Asockd__State__Identity identity;
    Asockd__State__Slot slot, *slots[1];
    ProtobufCBinaryData restrictions[1], replies[1];
    uint8_t reply[256], input[5];
    Asockd__State__Socket socket;
    Asockd__State__Endpoint remote;
    uint8_t address[4];
    int32_t options[NETSOCK_OPTIONS + 1];
    Asockd__State__Op send, chain, receive;
    bool has_more; /* a record that is not counted */
    Asockd__State__Buffer buffer, *buffers[1];
    Asockd__State__Slice slice, *slices[1];
    Asockd__State__Socket listener;
    Asockd__State__Bound bound;
    Asockd__State__Endpoint local;
    uint8_t local_address[4];
    Asockd__State__Op accept;
    unsigned int format; /* 0: the first */
    struct parts_3 three;
    struct parts_4 four;
    struct parts_5 five;
};

void parts_fill(struct parts *p);
/* Behind that: what format 2 has beside. It listens at PARTS_ADDRESS, port PARTS_PORT. */
void parts_fill_format_2(struct parts *p);
void parts_fill_format_3(struct parts *p); /* behind that */
void parts_fill_format_4(struct parts *p); /* behind that */
void parts_fill_format_5(struct parts *p); /* behind that */
#define PARTS_ADDRESS "\177\123\103\2"
#define PARTS_PORT 20083
void parts_write(struct parts *p, struct state_writer *w);
/* Instead: its session has ended. */
void parts_write_ended(struct parts *p, struct state_writer *w);
void parts_add(struct state_writer *w, Asockd__State__Record__KindCase kind, void *what);

struct taker {
    struct core *core;
    int descriptors[64];
    bool taken[64];
    struct state_restorer r;
    int client; /* the client's end */
};

void taker_init(struct taker *t);
void taker_make_descriptors(struct taker *t);                 /* for what is written by hand */
void taker_make_format(struct taker *t, unsigned int format); /* behind those */
void taker_make_history(struct taker *t); /* it learns, remembers denials, and counts by rule */
int taker_take(struct taker *t, const uint8_t *data, size_t len);
void taker_prepare(struct taker *t); /* both of them */
int taker_take_prepared(struct taker *t, struct parts *p);
int taker_take_parts(struct taker *t, struct parts *p); /* prepares t, too */
struct session *taker_session(struct taker *t);         /* that it has taken */
void taker_free(struct taker *t);

#endif
