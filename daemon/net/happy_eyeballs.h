/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_RACE_H
#define ASOCKD_RACE_H

/*
 * Connecting to one of several addresses (RFC 8305, Happy Eyeballs). Addresses come in as they are
 * resolved; attempts start one after the other, the families taking turns, each 250 ms behind the last
 * or at once when that one failed. The first that is connected wins, the others are closed before
 * anybody hears of it.
 */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/loop.h"
#include "daemon/net/tcp.h"
#include "daemon/names/resolver.h"

struct quota;
struct race;

struct race_hooks {
    /* 0: the address may be tried; else the error that counts if no attempt is made at all. */
    uint32_t (*judge)(struct race *race, const struct sockaddr *addr);
    /* Options and way out of a new socket; -errno: this attempt has failed. */
    int (*prepare)(struct race *race, struct netsock *ns, const struct sockaddr *addr);
    /* From the loop, once, one of both; the race is idle again. fd is charged to the worker. */
    void (*won)(struct race *race, int fd);
    void (*lost)(struct race *race, uint32_t error);
};

struct race_attempt {
    struct netsock ns;
    struct race *race;
    union resolver_address address;
    bool was_started;
    bool is_charged; /* one beside the first of those that run */
};

struct race {
    struct worker *worker;
    struct quota *quota; /* charged for attempts beside the first; NULL: nobody */
    const struct race_hooks *hooks;
    struct deadline attempt_delay;    /* until the next attempt */
    struct deadline resolution_delay; /* A is here, AAAA may still come */
    struct deadline settle;      /* a result that was known inside a call of ours is told later */
    struct race_attempt *winner; /* connected at once, to be told by settle */
    union resolver_address won;  /* by which it was connected */
    bool is_won_polled;          /* the kernel knows that its descriptor is watched */
    uint32_t count;              /* of addresses */
    uint32_t running;            /* attempts */
    uint32_t error;              /* of the last real attempt, or the judge's */
    bool had_attempt;
    bool waits_for[2]; /* more of AF_INET, AF_INET6 may come */
    bool is_open;      /* attempts may start */
    int last_family;
    struct race_attempt
        attempts[CONNECT_ADDRESSES]; /* last: what is behind count is never touched */
};

/* Nothing starts before race_add() or race_family_done(). */
void race_init(struct race *race, struct worker *w, struct quota *quota,
               const struct race_hooks *hooks);
void race_expect(struct race *race, int family); /* its addresses are being resolved */
/* What is above CONNECT_ADDRESSES is dropped. */
void race_add(struct race *race, const union resolver_address *addresses, unsigned int count);
/* error: why there are no addresses of this family; ERR_SUCCESS when there are. */
void race_family_done(struct race *race, int family, uint32_t error);
/*
 * There is nothing to resolve: attempts may start. A descriptor when one was connected at once (the race
 * is idle again, won() is not called), else -1.
 */
int race_go(struct race *race);
/*
 * The judge has changed its mind: attempts that it denies now are closed, be they connected already but
 * not told. The next address takes their place; won() and lost() are not called from here. True: there
 * were some.
 */
bool race_judge_again(struct race *race);
/* What was judged last was denied, and nothing was tried. */
bool race_is_denied(const struct race *race);
/* Every attempt is closed, nothing is told any more. At any time, also twice. */
void race_stop(struct race *race);
/* Before its memory goes: the same, for good. */
void race_deinit(struct race *race);

#endif
