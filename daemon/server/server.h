/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SERVER_H
#define ASOCKD_SERVER_H

/* The daemon as a whole: a worker, listeners, signals, the service manager. */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/audit/audit.h"
#include "daemon/core/loop.h"
#include "daemon/policy/policy.h"
#include "daemon/server/reload.h"

struct listener_spec;

struct server_config {
    const char
        *runtime_dir; /* where the sockets are made, unless the service manager hands them in */
    struct policy_source policy;
    struct audit_config audit;
    struct limits limits;           /* of a session */
    uint32_t clients;               /* sessions on all client listeners */
    uint32_t hellos, hello_seconds; /* of them before Hello, and for how long */
    uint64_t total_sockets; /* promised to all sessions; 0: as many as there are descriptors */
    uint64_t total_ops;
    uint64_t total_kernel;       /* bytes */
    uint64_t total_memory;       /* bytes; 0: a part of the machine's memory */
    uint64_t total_shared;       /* the same */
    uint64_t total_buffers;      /* 0: a part of the descriptors */
    const char *servers;         /* name servers instead of /etc/resolv.conf's; NULL: those */
    uint32_t resolver_timeout;   /* seconds; 0: resolv.conf's */
    uint32_t resolver_tries;     /* 0: likewise */
    uint32_t resolver_total;     /* seconds; 0: the resolver's own */
    struct reload_source source; /* of a reload */
    const struct listener_spec *listeners; /* clients' listeners; none: "default" */
    unsigned int listener_count;
    bool takes_over;              /* from the one whose sockets are in runtime_dir */
    bool without_filter;          /* --seccomp=off */
    uint32_t without;             /* heuristics: --without (daemon/session/latency.h) */
    void (*on_user_signal)(void); /* SIGUSR2, for tests; NULL: the signal's default */
};

/*
 * Runs until a signal stops it; 0 then, or -errno after a message to the log. One per process: it
 * handles signals, takes the service manager's descriptors and raises RLIMIT_NOFILE.
 */
int server_run(const struct server_config *config);

#endif
