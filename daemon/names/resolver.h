/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_RESOLVER_H
#define ASOCKD_RESOLVER_H

/*
 * Names to addresses, with c-ares on the worker's loop: /etc/hosts first, then the servers of
 * /etc/resolv.conf, which is read anew when it has changed. No search domains, no aliases: a client gets the name that it asked for, and
 * policy has judged that name. Literal addresses and localhost are answered without asking anybody.
 */
#include <netinet/in.h>

#include "proto/errors.h"

struct ev_loop;
struct quota;
struct resolver;
struct resolver_lookup;
struct resolver_query;

#define RESOLVER_ADDRESSES_MAX 32 /* of one answer; what is behind them is dropped */
/*
 * Lookups at a time, given-up ones that c-ares still has included: each costs two kilobytes and two
 * of the 65,536 query ids.
 */
#define RESOLVER_LOOKUPS_MAX 4096
/* Told in a turn of the loop: each may bring dozens of addresses, which are judged one after the other. */
#define RESOLVER_TURN 16

union resolver_address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
};

struct resolver_result {
    /* SUCCESS, HOST_NOT_FOUND, NO_DATA, TRY_AGAIN, NO_RECOVERY, NO_BUFFER_SPACE */
    enum asock_wire_error error;
    unsigned int count;                                       /* more than 0 on success */
    union resolver_address addresses[RESOLVER_ADDRESSES_MAX]; /* RFC 6724 order; ports are 0 */
};

/* The query may be started again, and its memory freed. `result` lives as long as the call. */
typedef void (*resolver_fn)(struct resolver_query *query, const struct resolver_result *result);

/* Embedded by whoever asks; all zero before its first use. */
struct resolver_query {
    struct resolver_lookup *lookup; /* NULL: not in progress */
    resolver_fn done;
};

struct resolver_options {
    const char *servers;     /* "address[:port],…" instead of resolv.conf's; NULL: those */
    const char *resolv_conf; /* NULL: /etc/resolv.conf */
    uint16_t port;           /* of its servers, for tests; 0: 53 */
    int timeout_ms;          /* of the first try; 0: resolv.conf's or c-ares' own */
    int tries;               /* 0: likewise */
};

/*
 * Removes what c-ares would obey from the environment. For main(), before there are threads.
 */
void resolver_clean_environment(void);

/* options may be NULL; texts are copied. -EINVAL: servers cannot be read. */
int resolver_new(struct ev_loop *loop, const struct resolver_options *options,
                 struct resolver **ret);

/*
 * As in resolver_options, from the next lookup on; those in progress end with the servers that they were
 * asked of. -EINVAL, -ENOMEM, -EIO: as before.
 */
int resolver_set_servers(struct resolver *resolver, const char *servers);

/* Asserts that no query is in progress; returns NULL. */
struct resolver *resolver_free(struct resolver *resolver);

/*
 * family: AF_UNSPEC, AF_INET, AF_INET6. `done` is called from the loop, never from inside this call.
 * -EINVAL: host is neither a name nor an address. -EAFNOSUPPORT: an address of another family.
 * -ENOBUFS: too many lookups, of all or of whom they are charged to (NULL: nobody). After an error nothing is in progress.
 */
int resolver_start(struct resolver *resolver, struct quota *quota, struct resolver_query *query,
                   const char *host, int family, resolver_fn done);

/* At any time, also when not in progress; `done` is not called any more. */
void resolver_cancel(struct resolver_query *query);

#endif
