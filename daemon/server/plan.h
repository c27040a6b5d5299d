/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SERVER_PLAN_H
#define ASOCKD_SERVER_PLAN_H

/* How the daemon's descriptors and memory are divided when it starts. */
#include "daemon/server/server.h"

/* Of a session: its socket and its pidfd. */
#define FDS_PER_SESSION 2u

struct descriptor_shares {
    uint32_t clients; /* sessions on client listeners */
    uint32_t waiting; /* connections that are no sessions yet (gate.h) */
    uint32_t sockets; /* network sockets, and buffers */
};

/* To the most that it may be; what it is then. */
uint64_t plan_raise_descriptor_limit(void);
/*
 * For a process that has one thread so far. The kernel doubles a table of descriptors when it is
 * full, and waits for all processors then if there are more threads (synchronize_rcu()): 10 to 35
 * ms each time, for which all clients wait. A next process gets all descriptors at once, and would
 * wait four times for 1,000 of them.
 */
void plan_widen_descriptor_table(uint64_t limit);
/* -EMFILE: too few for anything. */
int plan_share_descriptors(uint64_t limit, uint32_t clients, struct descriptor_shares *ret);
/* Of `limit`, when the listeners have `used`. -EMFILE after a message to the log. */
int plan_descriptors(const struct server_config *config, uint64_t used, uint64_t limit,
                     struct descriptor_shares *ret);
/* Of all users together. */
void plan_quotas(struct worker *w, const struct server_config *config,
                 const struct descriptor_shares *shares);

#endif
