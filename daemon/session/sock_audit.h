/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SOCK_AUDIT_H
#define ASOCKD_SOCK_AUDIT_H

/*
 * What the audit records about a socket: once how its connect ended, and, if it was connected, once
 * its end. A client with Audit=no costs nothing here, except for its denials, which are kept for
 * the administrator.
 */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/audit/audit.h"
#include "daemon/policy/policy.h"
#include "proto/codec.h"

struct connect_report;
struct sock;

/* A connect in progress. */
struct sock_audit {
    bool is_on;      /* it will be recorded when it ends */
    bool is_open;    /* it has begun and its end was not reported yet */
    bool is_watched; /* a MONITOR shows it as it happens */
    bool is_denied;  /* the last judgement was a denial */
    bool is_learned;
    const char *lent; /* as in struct audit_entry */
    uint64_t started;
    struct audit_record *record; /* NULL: it need not be recorded */
    struct endpoint remote;      /* the address judged last; address_len 0: none yet */
    char rule[AUDIT_RULE_MAX];   /* that decided last */
};

/* Call it before any packet is sent. False: the connect must be recorded and cannot be. */
bool sock_audit_begin(struct sock *sock, struct sock_audit *a);
/* addr NULL: a name was judged. */
void sock_audit_judged(struct sock_audit *a, const struct policy_answer *answer,
                       const struct sockaddr *addr);
/* One of these three ends it. report NULL: there is nothing to say beyond the outcome. */
void sock_audit_connected(struct sock *sock, struct sock_audit *a, const struct endpoint *remote,
                          const struct connect_report *report);
void sock_audit_failed(struct sock *sock, struct sock_audit *a, uint32_t error,
                       const struct connect_report *report);
void sock_audit_denied(struct sock *sock, struct sock_audit *a, const char *reason,
                       const struct connect_report *report);

/*
 * Records a denial: the client may not listen at the socket's address, or (peer not NULL) the peer
 * may not connect to it.
 */
void sock_audit_listen_denied(struct sock *sock, const struct endpoint *peer,
                              const struct policy_answer *answer);

/* The socket listens. `a` was begun like a connect's, unless the socket listened before. */
void sock_audit_listen(struct sock *sock, struct sock_audit *a);
/* sock is the socket of an accepted connection; the listener's op has begun `a`. */
void sock_audit_accepted(struct sock *sock, struct sock_audit *a,
                         const struct policy_answer *answer, const struct endpoint *local);
/* It ended without a result: nothing is recorded. */
void sock_audit_drop(struct sock_audit *a);

/* The connection ends, while sock still has its session. Only the first call counts. */
void sock_audit_close(struct sock *sock, uint32_t error, const char *reason);

#endif
