/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_NET_HAPPY_EYEBALLS_H
#define ASOCKD_NET_HAPPY_EYEBALLS_H

/*
 * Connects to one of several addresses (RFC 8305, Happy Eyeballs). Addresses are added as they are
 * resolved. Attempts start one after the other and the families take turns. An attempt starts 250
 * ms after the previous one, or at once when that one failed. The first that connects wins. The
 * others are closed before the owner learns of it.
 */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/audit/connect_report.h"
#include "daemon/core/loop.h"
#include "daemon/net/tcp.h"
#include "daemon/names/resolver.h"

struct quota;
struct happy_eyeballs;

struct happy_eyeballs_hooks {
    /* 0: the address may be tried. Otherwise the error to report if no attempt is made at all. */
    uint32_t (*judge)(struct happy_eyeballs *he, const struct sockaddr *addr);
    /*
     * The same for a running attempt, and once more before it wins: policy may have changed since.
     */
    uint32_t (*judge_again)(struct happy_eyeballs *he, const struct sockaddr *addr);
    /* Sets options, source and device of a new socket. -errno: this attempt has failed. */
    int (*prepare)(struct happy_eyeballs *he, struct netsock *ns, const struct sockaddr *addr);
    /*
     * One of the two is called once, from the loop or happy_eyeballs_run(); the object is idle
     * again. fd is charged to the worker.
     */
    void (*won)(struct happy_eyeballs *he, int fd);
    void (*lost)(struct happy_eyeballs *he, uint32_t error);
    /*
     * Something has happened, or is left to be done: happy_eyeballs_run() is to be called soon.
     * NULL: the loop does all of it.
     */
    void (*wake)(struct happy_eyeballs *he);
};

struct happy_eyeballs_attempt {
    struct netsock ns;
    struct happy_eyeballs *he;
    union resolver_address address;
    bool is_charged; /* it runs beside another one and is charged to the quota */
    bool is_ready;   /* the kernel has a result that was not looked at */
    uint8_t outcome; /* enum report_outcome */
    uint8_t error;   /* of REPORT_FAILED */
    uint32_t order;  /* of its beginning */
    uint32_t
        ms; /* REPORT_RUNS: when it began, by the loop's clock; behind that, how long it took */
};

struct happy_eyeballs {
    struct worker *worker;
    struct quota *quota; /* charged for attempts that run beside the first; NULL: none is */
    const struct happy_eyeballs_hooks *hooks;
    struct deadline attempt_delay;    /* until the next attempt */
    struct deadline resolution_delay; /* A has been answered, AAAA not yet */
    struct deadline settle; /* reports a result that was known inside one of the calls below */
    struct happy_eyeballs_attempt *winner; /* connected at once; settle will report it */
    union resolver_address won;            /* the address that was connected */
    bool is_won_polled;                    /* the kernel's epoll has its descriptor */
    uint32_t count;                        /* of addresses */
    uint32_t running;                      /* attempts in progress */
    uint32_t begun;                        /* attempts, denied ones included */
    uint32_t error;                        /* of the last real attempt, or the judge's */
    bool had_attempt;
    bool has_adopted;  /* attempts of another process */
    bool is_datagram;  /* sockets are UDP and connect at once; set by the owner */
    bool keeps_order;  /* not RFC 6724's, but that of happy_eyeballs_add(); set by the owner */
    bool waits_for[2]; /* more addresses of AF_INET, AF_INET6 may come */
    bool is_open;      /* attempts may start */
    bool is_apart;     /* the winner may be lent: apart.h watches the attempts */
    bool is_unsorted;  /* those that wait are in no order yet */
    bool must_begin, must_advance, must_settle; /* what happy_eyeballs_run() has to do */
    int last_family;
    struct happy_eyeballs_attempt
        attempts[CONNECT_ADDRESSES]; /* last: what is behind count is never touched */
};

/* Nothing starts before happy_eyeballs_add() or happy_eyeballs_family_done(). */
void happy_eyeballs_init(struct happy_eyeballs *he, struct worker *w, struct quota *quota,
                         const struct happy_eyeballs_hooks *hooks);
void happy_eyeballs_expect(struct happy_eyeballs *he,
                           int family); /* its addresses are being resolved */
/*
 * Beyond CONNECT_ADDRESSES an address is dropped, or replaces one of the other family if that has
 * more than half.
 */
void happy_eyeballs_add(struct happy_eyeballs *he, const union resolver_address *addresses,
                        unsigned int count);
/* error: why there are no addresses of this family; ERR_SUCCESS when there are. */
void happy_eyeballs_family_done(struct happy_eyeballs *he, int family, uint32_t error);
/*
 * All addresses are known: attempts may start. Returns a descriptor if one connected at once (the
 * object is idle again, won() is not called), otherwise -1.
 */
int happy_eyeballs_go(struct happy_eyeballs *he);
/*
 * What the owner was woken for, in a step of its session's share: looks at the attempts that have a
 * result, begins others, and reports. When the step is over it wakes the owner again. The object
 * may be gone when it returns.
 */
void happy_eyeballs_run(struct happy_eyeballs *he);
/*
 * Policy has changed: closes each attempt that judge_again() denies, also one that has connected
 * but was not reported yet. The next address takes its place. Does not call won() or lost(). True:
 * it closed some.
 */
bool happy_eyeballs_judge_again(struct happy_eyeballs *he);
/*
 * Sets the option of each running attempt, also of one that has connected but was not reported yet.
 * The first -errno.
 */
int happy_eyeballs_set_option(struct happy_eyeballs *he, uint32_t option, int32_t value);
/* Adds what has been tried so far, and what was not. */
void happy_eyeballs_report(const struct happy_eyeballs *he, struct connect_report *report);
/* The last address that was judged was denied, and no attempt was made. */
bool happy_eyeballs_is_denied(const struct happy_eyeballs *he);
/*
 * An attempt that another process has begun, before anything starts here: it takes the place of its
 * address, or a new one. Takes fd, which the caller charges to the worker. False: no place is left.
 */
bool happy_eyeballs_adopt(struct happy_eyeballs *he, const union resolver_address *address, int fd);
/* They go on; the next attempt begins after the usual time. */
void happy_eyeballs_resume(struct happy_eyeballs *he);
/* Another process goes on with the attempts: closes the descriptors here, and stops. */
void happy_eyeballs_leave(struct happy_eyeballs *he);
/* Closes every attempt and reports nothing more. May be called at any time, also twice. */
void happy_eyeballs_stop(struct happy_eyeballs *he);
/* The same, before the object is freed. */
void happy_eyeballs_deinit(struct happy_eyeballs *he);

#endif
