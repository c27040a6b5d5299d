/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_RESOLVER_FIXTURE_H
#define ASOCK_TESTS_RESOLVER_FIXTURE_H

/* A resolver on a loop of the test's own, and whom it asks. */
#include <ev.h>
#include <stdint.h>

#include "daemon/names/resolver.h"

/*
 * A DNS server on the test's own loop: what it answers depends on the first label of the name.
 *     a        one A record                        dual     an A and an AAAA record
 *     many     28 A and 10 AAAA records            nx       NXDOMAIN
 *     nodata   no records                          fail     SERVFAIL
 *     silent   no answer at all
 */
struct server {
    struct ev_io io;
    char address[32];
    unsigned int queries;
    unsigned int rcode;
    uint16_t ports[64]; /* that the first ones came from */
    uint16_t ids[64];
    char last[256]; /* name of the last query */
};

struct fixture {
    struct ev_loop *loop;
    struct ev_timer deadline;
    struct server server;
    struct resolver *resolver;
};

/* A query of the test's. */
struct asked {
    struct resolver_query query; /* first */
    unsigned int calls;
    struct resolver_result result;
    struct asked *cancels; /* in its callback */
    struct fixture *restart;
};

void setup(struct fixture *f);
void setup_timeout(struct fixture *f, int timeout_ms);
void teardown(struct fixture *f);
void on_done(struct resolver_query *query, const struct resolver_result *result);
int ask(struct fixture *f, struct asked *asked, const char *host, int family);
void run_until_called(struct fixture *f, struct asked *asked);
void run_until_asked(struct fixture *f, unsigned int queries);
void assert_address(const struct asked *asked, unsigned int i, const char *text);

#endif
