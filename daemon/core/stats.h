/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_STATS_H
#define ASOCKD_STATS_H

#include <stdint.h>

#include "daemon/core/histogram.h"
#include "proto/errors.h"

#define VERBS_MAX 64u /* their numbers are below that: a welcome has a bit of each */

/* Counters since start, of the worker; none ever goes back. */
struct stats {
    uint64_t turns;           /* of the loop */
    uint64_t sessions;        /* accepted */
    uint64_t sockets;         /* opened, or accepted */
    uint64_t requests;        /* dispatched */
    uint64_t ops_done;        /* completed, whatever the error */
    uint64_t ops_failed;      /* completed with an error */
    uint64_t connects_denied; /* by policy */
    uint64_t listens_denied;  /* the same of binds */
    uint64_t accepts_refused; /* connections to clients' listeners, by policy */
    uint64_t resolves;        /* names asked for with RESOLVE */
    uint64_t resolves_denied; /* of them, by policy */
    uint64_t protocol_errors; /* sessions ended for one */
    uint64_t policies;        /* that came into force, after the first one */
    uint64_t reloads;         /* that came into force, and by which all have been judged */
    uint64_t reloads_failed;
    uint64_t accept_stalls; /* accept found no descriptor */
    uint64_t bytes_in;      /* from the network */
    uint64_t bytes_out;     /* to the network */

    uint64_t verbs[VERBS_MAX];   /* of the requests; 0: those that nobody knows */
    uint64_t results[ERR_COUNT]; /* of the completions */
    struct histogram connects;   /* from request to connection, of those that came about */
    struct histogram lookups;    /* from a question for one family to its answer, whichever it is */
};

#endif
