/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_LATENCY_H
#define ASOCKD_LATENCY_H

/*
 * Heuristics: what is done only because it is mostly faster. The questions are decided here and
 * nowhere else; who asks acts. Each can be switched off (worker->without; asockd --without=NAME in
 * builds with --enable-instruments), to be measured beside the others: nothing but time and the
 * number of system calls depends on them.
 */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/backoff.h"

struct op;
struct session;
struct sock;

enum latency {
    LATENCY_HOLD,  /* a small send's completion waits for the receive's, HOLD_MS at most */
    LATENCY_EAGER, /* meanwhile the socket is read once without a poll */
    LATENCY_GUESS, /* after a filled receive the watcher says whether there is more, not another call */
    LATENCY_GATHER, /* sends, or receives, of a socket that arrived together have one call */
    LATENCY_DRAIN,  /* after FIN a socket that was never watched is looked at later, not watched */
    LATENCY_COUNT,
};

/* Of a session. */
struct latency_past {
    uint32_t last_sent;     /* socket of the last SEND of this input; 0: none */
    uint32_t last_received; /* and of the last RECEIVE */
    uint32_t held_id;       /* socket whose completion waits */
    uint32_t eager_misses;  /* looks in vain, in a row */
    struct backoff eager;
};

/* Switches one off. false: no such name. */
bool latency_switch_off(uint32_t *without, const char *name);

/* May the completion of op, which has ended, wait for another one to travel with? */
bool latency_holds(const struct op *op);
/* What is held would travel with this socket's next receive; NULL: it need not wait any more. */
struct sock *latency_awaited(struct session *s);
/* Is the socket to be read at once? Then latency_has_read() says whether that was right. */
bool latency_reads_at_once(struct session *s);
void latency_has_read(struct session *s, bool has_come);

/* All receives of sock have ended. Is its watcher to tell whether there is more? */
bool latency_watches_on(const struct sock *sock);
/* There was more, or not, when somebody came to know it. */
void latency_had_more(struct sock *sock, bool had_more);

/* Is this SEND, whose frame ends at `end` in the input, to leave with those that are behind it? */
bool latency_gathers(const struct op *op, const uint8_t *end);
/* Is this RECEIVE to be filled together with those that are behind it? */
bool latency_gathers_receives(const struct op *op, const uint8_t *end);

/* sock begins to drain. Is it to be looked at, and watched only where that finds no end? */
bool latency_watches_later(const struct sock *sock);

#endif
