/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SOCK_AUDIT_H
#define ASOCKD_SOCK_AUDIT_H

/*
 * What the audit is told of a socket: once how its connect ended, and, if it was connected, once its end.
 * A client whose setting is Audit=no costs nothing here but where it is denied: that is kept for the administrator.
 */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/audit/audit.h"
#include "daemon/policy/policy.h"
#include "proto/codec.h"

struct sock;

/* A connect in progress. */
struct sock_audit {
    bool is_on;      /* it is recorded, and not told yet */
    bool is_open;    /* it has begun, and how it ended is not told yet */
    bool is_watched; /* somebody wants to see it as it happens */
    bool is_denied;  /* so the last judgement was */
    bool is_learned;
    const char *lent; /* as of an entry */
    uint64_t started;
    struct audit_record *record; /* NULL: it need not be recorded */
    struct endpoint remote;      /* the address judged last; address_len 0: none yet */
    char rule[AUDIT_RULE_MAX];   /* that decided last */
};

/* Before any packet. False: it has to be recorded, and cannot be. */
bool sock_audit_begin(struct sock *sock, struct sock_audit *a);
/* addr NULL: a name was judged. */
void sock_audit_judged(struct sock_audit *a, const struct policy_answer *answer,
                       const struct sockaddr *addr);
/* One of these three ends it. */
void sock_audit_connected(struct sock *sock, struct sock_audit *a, const struct endpoint *remote);
void sock_audit_failed(struct sock *sock, struct sock_audit *a, uint32_t error);
void sock_audit_denied(struct sock *sock, struct sock_audit *a, const char *reason);

/* A client may not listen at the socket's address, or `peer` not connect to it there; NULL: no peer. */
void sock_audit_listen_denied(struct sock *sock, const struct endpoint *peer,
                              const struct policy_answer *answer);

/* It listens; begun as a connect, or, where it listened before, not at all. */
void sock_audit_listen(struct sock *sock, struct sock_audit *a);
/* The socket of an accepted connection, whose listener's op has begun `a`. */
void sock_audit_accepted(struct sock *sock, struct sock_audit *a,
                         const struct policy_answer *answer, const struct endpoint *local);
/* Nothing came of it. */
void sock_audit_drop(struct sock_audit *a);

/* The connection ends, while sock still has its session. Only the first call counts. */
void sock_audit_close(struct sock *sock, uint32_t error, const char *reason);

#endif
