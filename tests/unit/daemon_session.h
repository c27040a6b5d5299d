/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_DAEMON_SESSION_H
#define ASOCK_TESTS_DAEMON_SESSION_H

/*
 * The daemon's core in the test's own process: a worker whose clock the test turns, a session over
 * a socketpair, requests and replies by the codec. For what no process from outside can see: delays
 * without waiting, turns, memory.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/loop.h"
#include "daemon/session/session.h"
#include "proto/codec.h"

struct core {
    struct worker worker;
    struct session *session;
    int client;   /* the client's end */
    int listener; /* 127.0.0.1:port */
    int hole[8];  /* a listener with a full queue, and what fills it; 0: none */
    uint16_t port;
    uint64_t next_token;
    uint8_t in[2 * 1024 * 1024];
    size_t in_start, in_end;
};

extern uint64_t core_now; /* milliseconds */

struct core *core_new(void);
struct core *core_new_mute(void); /* it has not said Hello */
void core_free(struct core *core);

/* Turns of the loop until nothing happens any more. */
void core_settle(struct core *core);
/* Lets time pass: as many turns as it takes. */
void core_pass(struct core *core, uint64_t ms);

/*
 * From now on every look at the clock of the shares takes so long that each step is over, and that
 * a turn has time for CORE_HURRIED_STEPS at most. The replies of CORE_HURRIED_SLICE of them leave
 * together.
 */
#define CORE_HURRIED_STEPS 2u
#define CORE_HURRIED_SLICE (CORE_HURRIED_STEPS * (unsigned int)(SLICE_NS / TURN_NS))
void core_hurry(struct core *core);

/* One request, its token chosen; returns the token. */
uint64_t core_request(struct core *core, struct request *request, const void *payload, size_t len);
uint64_t core_open(struct core *core, uint32_t id);
uint64_t core_connect(struct core *core, uint32_t id, uint16_t port);
uint64_t core_send(struct core *core, uint32_t id, const void *data, size_t len,
                   uint32_t timeout_ms);
uint64_t core_receive(struct core *core, uint32_t id, uint64_t len, uint32_t flags,
                      uint32_t timeout_ms);
uint64_t core_close(struct core *core, uint32_t id, uint32_t linger_ms);

/* The next reply that is there; false: none. Its payload is at *ret_payload until the next call. */
bool core_reply(struct core *core, struct reply *ret, const uint8_t **ret_payload, size_t *ret_len);
/* Whether there is a reply of `token` by now; every other one before it is dropped. */
bool core_has_reply(struct core *core, uint64_t token, struct reply *ret);
/*
 * The completion of `token`; every other reply before it is dropped. Fails the test where it is not
 * there.
 */
struct reply core_completion(struct core *core, uint64_t token);
/* To localhost: a policy that denies the name ends it at once. */
void core_connect_by_name(struct core *core, uint32_t id, uint16_t port);
/* Sockets whose connect has failed. */
uint32_t core_failed(struct core *core);
/* A port of 127.0.0.1 that answers no SYN. */
uint16_t core_hole(struct core *core);
/* Id 1 connected; the peer's end is returned. */
int core_connected(struct core *core, uint32_t id);

/* Its session may lend sockets; and has lent one, whose descriptor its client has not fetched. */
void core_allow_lending(struct core *core);
void core_lend(struct core *core);

#endif
