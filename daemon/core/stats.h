/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_STATS_H
#define ASOCKD_STATS_H

#include <stdint.h>

#include "daemon/core/histogram.h"
#include "proto/errors.h"

#define VERBS_MAX 64u /* all verbs have lower numbers: the welcome has a bit for each */

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
    uint64_t policies;        /* put into force, without the first one */
    uint64_t reloads;         /* complete: every connection has been judged again */
    uint64_t reloads_failed;
    uint64_t accept_stalls; /* accept found no descriptor */
    uint64_t bytes_in;      /* from the network */
    uint64_t bytes_out;     /* to the network */

    uint64_t verbs[VERBS_MAX];   /* requests by verb; 0: unknown verbs */
    uint64_t results[ERR_COUNT]; /* completions by error */
    struct histogram connects;   /* from request to connection, if it succeeded */
    struct histogram lookups;    /* from the query for one family to its answer, or failure */
};

#endif
