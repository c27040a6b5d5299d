/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_RESOLVER_H
#define ASOCKD_RESOLVER_H

/*
 * Names to addresses: /etc/hosts first, then the servers of /etc/resolv.conf. Both files are read
 * again when they have changed. A name that the hosts file has for one family is answered by it for
 * both. No search domains, no aliases: a client gets the name that it asked for, and policy has
 * judged that name. Literal addresses and localhost are answered without asking anybody. Whoever
 * asks what others are asking for already joins their question.
 */
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/errors.h"

struct ev_loop;
struct quota;
struct resolver;
struct resolver_lookup;
struct resolver_query;

#define RESOLVER_ADDRESSES_MAX 32 /* of one answer; what is behind them is dropped */
/*
 * Lookups at a time, given-up questions that c-ares still has included: each costs two kilobytes.
 */
#define RESOLVER_LOOKUPS_MAX 4096
/*
 * A question as memory: ours, and c-ares' own of it (some 600 bytes). What c-ares has for answers
 * over TCP is one buffer for each server of each channel, whoever asks: 8 MiB at most, and a few
 * kilobytes mostly.
 */
#define MEMORY_LOOKUP 3072u
/*
 * Completed in a turn of the loop: each may bring dozens of addresses, which are judged one after
 * the other.
 */
#define RESOLVER_TURN 16

union resolver_address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
};

/* Who gave an answer. */
enum resolver_source {
    RESOLVER_NOBODY,  /* there was none in time */
    RESOLVER_LITERAL, /* an address, or localhost: no query was needed */
    RESOLVER_HOSTS,
    RESOLVER_CACHE,
    RESOLVER_SERVER,
};

struct resolver_result {
    /* SUCCESS, HOST_NOT_FOUND, NO_DATA, TRY_AGAIN, NO_RECOVERY, NO_BUFFER_SPACE */
    enum asock_wire_error error;
    unsigned int count; /* more than 0 on success */
    enum resolver_source source;
    union resolver_address server; /* of RESOLVER_SERVER, with its port */
    uint32_t ttl;                  /* seconds for which the answer may be kept; 0: it may not */
    union resolver_address addresses[RESOLVER_ADDRESSES_MAX]; /* as they came; ports are 0 */
};

/* The query may be started again, and its memory freed. `result` lives as long as the call. */
typedef void (*resolver_fn)(struct resolver_query *query, const struct resolver_result *result);

/* Embedded by whoever asks; all zero before its first use. */
struct resolver_query {
    struct resolver_lookup *lookup; /* NULL: not in progress */
    bool keeps; /* the answer is kept for the next questions of the same user (cache.h) */
    resolver_fn done;
};

/*
 * If resolv.conf does not say it. Its manual has 5 s; on today's networks a server that has not
 * answered in 2 s never does.
 */
#define RESOLVER_TIMEOUT_MS 2000
#define RESOLVER_TRIES 2
/* Of a resolution as a whole. */
#define RESOLVER_TOTAL_MS 10000
/* The most that a configuration may say, of each and of the whole. */
#define RESOLVER_SECONDS_MAX 300u
#define RESOLVER_TRIES_MAX 10u

struct resolver_options {
    const char *servers;     /* "address[:port],…" instead of resolv.conf's; NULL: those */
    const char *resolv_conf; /* NULL: /etc/resolv.conf */
    const char *hosts;       /* NULL: /etc/hosts */
    uint16_t port;           /* of resolv.conf's servers, for tests; 0: 53 */
    int timeout_ms;          /* of the first try; 0: resolv.conf's */
    int tries;               /* of each server; 0: likewise */
    int total_ms;            /* then a resolution ends TRY_AGAIN; 0: RESOLVER_TOTAL_MS */
};

/*
 * Removes what c-ares would obey from the environment. For main(), before there are threads.
 */
void resolver_clean_environment(void);

/* options may be NULL; texts are copied. -EINVAL: servers cannot be read. */
int resolver_new(struct ev_loop *loop, const struct resolver_options *options,
                 struct resolver **ret);

/*
 * Servers and times, from the next lookup on; those in progress end with the servers that they were
 * asked of. Paths and port stay. -EINVAL, -ENOMEM, -EIO: nothing has changed.
 */
int resolver_configure(struct resolver *resolver, const struct resolver_options *options);

/* Asserts that no query is in progress; returns NULL. */
struct resolver *resolver_free(struct resolver *resolver);

/*
 * family: AF_UNSPEC, AF_INET, AF_INET6. `done` is called from the loop, never from inside this
 * call. -EINVAL: host is neither a name nor an address. -EAFNOSUPPORT: an address of another
 * family. -ENOBUFS: too many lookups, in all or of the quota they are charged to (NULL: none).
 * After an error nothing is in progress.
 */
int resolver_start(struct resolver *resolver, struct quota *quota, struct resolver_query *query,
                   const char *host, int family, resolver_fn done);

/*
 * Of the errors of two questions for one name, the one that says most: an answer may still come,
 * the name exists.
 */
static inline uint32_t resolver_worse(uint32_t a, uint32_t b)
{
    static const uint32_t order[] = {ERR_TRY_AGAIN, ERR_NO_RECOVERY, ERR_NO_BUFFER_SPACE,
                                     ERR_NO_DATA, ERR_HOST_NOT_FOUND};

    for (unsigned int i = 0; i < sizeof(order) / sizeof(order[0]); i++)
        if (a == order[i] || b == order[i])
            return order[i];
    return a != ERR_SUCCESS ? a : b;
}

/* At any time, also when not in progress; `done` is not called any more. */
void resolver_cancel(struct resolver_query *query);

#endif
