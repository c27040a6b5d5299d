/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_DNS_H
#define ASOCK_TESTS_DNS_H

/*
 * A network of the test's own, where root may make one: loopback alone, no way out, and a name
 * server at 127.0.0.1 that knows a few names below .test and counts what it is asked.
 */

#include <stdbool.h>

/* Before the daemon is started and before any thread. false: this machine does not let us. */
bool dns_enter_network(void);

/*
 * Names: one (A 127.0.0.1), six (AAAA ::1), both, second (A 127.0.0.2 and 127.0.0.1), empty (no
 * address), broken (SERVFAIL), silent (never answered). Any other does not exist.
 */
struct dns_server;
struct dns_server *dns_start(void);
struct dns_counts {
    unsigned int a, aaaa, other;
};
struct dns_counts dns_counts(struct dns_server *server);
/*
 * Once it was asked for both kinds of address: the daemon connects as soon as the first answer is
 * there.
 */
struct dns_counts dns_wait_for_both(struct dns_server *server);
struct dns_server *dns_stop(struct dns_server *server);

#endif
