/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_NET_HAPPY_EYEBALLS_H
#define ASOCKD_NET_HAPPY_EYEBALLS_H

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
struct happy_eyeballs;

struct happy_eyeballs_hooks {
    /* 0: the address may be tried; else the error that counts if no attempt is made at all. */
    uint32_t (*judge)(struct happy_eyeballs *he, const struct sockaddr *addr);
    /* The same of an attempt that runs, and before it wins: the judge may have changed its mind. */
    uint32_t (*judge_again)(struct happy_eyeballs *he, const struct sockaddr *addr);
    /* Options and way out of a new socket; -errno: this attempt has failed. */
    int (*prepare)(struct happy_eyeballs *he, struct netsock *ns, const struct sockaddr *addr);
    /* From the loop, once, one of both; the race is idle again. fd is charged to the worker. */
    void (*won)(struct happy_eyeballs *he, int fd);
    void (*lost)(struct happy_eyeballs *he, uint32_t error);
};

struct happy_eyeballs_attempt {
    struct netsock ns;
    struct happy_eyeballs *he;
    union resolver_address address;
    bool was_started;
    bool is_charged; /* one beside the first of those that run */
};

struct happy_eyeballs {
    struct worker *worker;
    struct quota *quota; /* charged for attempts beside the first; NULL: nobody */
    const struct happy_eyeballs_hooks *hooks;
    struct deadline attempt_delay;    /* until the next attempt */
    struct deadline resolution_delay; /* A is here, AAAA may still come */
    struct deadline settle; /* a result that was known inside a call of ours is told later */
    struct happy_eyeballs_attempt *winner; /* connected at once, to be told by settle */
    union resolver_address won;            /* by which it was connected */
    bool is_won_polled;                    /* the kernel knows that its descriptor is watched */
    uint32_t count;                        /* of addresses */
    uint32_t running;                      /* attempts */
    uint32_t error;                        /* of the last real attempt, or the judge's */
    bool had_attempt;
    bool is_datagram;  /* sockets are of UDP, which connect at once: the owner sets it */
    bool waits_for[2]; /* more of AF_INET, AF_INET6 may come */
    bool is_open;      /* attempts may start */
    bool is_apart;     /* what wins may be lent: its attempts are watched apart (apart.h) */
    int last_family;
    struct happy_eyeballs_attempt
        attempts[CONNECT_ADDRESSES]; /* last: what is behind count is never touched */
};

/* Nothing starts before happy_eyeballs_add() or happy_eyeballs_family_done(). */
void happy_eyeballs_init(struct happy_eyeballs *he, struct worker *w, struct quota *quota,
                         const struct happy_eyeballs_hooks *hooks);
void happy_eyeballs_expect(struct happy_eyeballs *he,
                           int family); /* its addresses are being resolved */
/* What is above CONNECT_ADDRESSES is dropped, or drops one of the other family that has more than half. */
void happy_eyeballs_add(struct happy_eyeballs *he, const union resolver_address *addresses,
                        unsigned int count);
/* error: why there are no addresses of this family; ERR_SUCCESS when there are. */
void happy_eyeballs_family_done(struct happy_eyeballs *he, int family, uint32_t error);
/*
 * There is nothing to resolve: attempts may start. A descriptor when one was connected at once (the race
 * is idle again, won() is not called), else -1.
 */
int happy_eyeballs_go(struct happy_eyeballs *he);
/*
 * The judge has changed its mind: attempts that it denies now are closed at once, be they connected already but
 * not told. The next address takes their place; won() and lost() are not called from here. True: there
 * were some.
 */
bool happy_eyeballs_judge_again(struct happy_eyeballs *he);
/* Of each attempt that runs, be it connected already but not told. The first error, -errno. */
int happy_eyeballs_set_option(struct happy_eyeballs *he, uint32_t option, int32_t value);
/* What was judged last was denied, and nothing was tried. */
bool happy_eyeballs_is_denied(const struct happy_eyeballs *he);
/* Every attempt is closed, nothing is told any more. At any time, also twice. */
void happy_eyeballs_stop(struct happy_eyeballs *he);
/* Before its memory goes: the same, for good. */
void happy_eyeballs_deinit(struct happy_eyeballs *he);

#endif
