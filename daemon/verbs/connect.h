/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_VERBS_CONNECT_H
#define ASOCKD_VERBS_CONNECT_H

/* Shared by the files of CONNECT. */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/audit/connect_report.h"
#include "daemon/names/host.h"
#include "daemon/names/resolver.h"
#include "daemon/net/happy_eyeballs.h"
#include "daemon/policy/policy.h"
#include "daemon/session/op.h"
#include "daemon/session/sock_audit.h"

struct call;
struct session;
struct lending;
struct fd_pass;

struct connect {
    struct op *op;
    bool is_granted; /* its memory is part of the session's grant; else it is charged */
    struct resolver_query queries[2]; /* A, AAAA */
    bool is_by_name;
    bool is_unknown_port;    /* the service was not looked up: everything is denied */
    bool is_up;              /* connected; its data may not all be sent yet */
    bool waits;              /* it has not begun: its lending waits for room */
    uint8_t lend;            /* LEND_...; 0: the request does not ask for lending */
    struct lending *lending; /* if it asks, until the reply is sent */
    uint16_t port;           /* host byte order */
    uint32_t error;          /* of a failure */
    struct report_lookup lookups[REPORT_LOOKUPS];
    struct endpoint local, remote;
    uint64_t began; /* ns */
    struct sock_audit audit;
    /* From here on connect_new() clears no more than the beginnings: most of it is never used. */
    struct host host;
    char reason[POLICY_REASON_MAX + 1]; /* of the last denial; a copy, as the policy may be freed */
    char text[REPORT_REASON_MAX];       /* of a failure that is not a denial, for the client */
    struct happy_eyeballs he;
};

struct policy_question connect_question(const struct connect *c, const struct sockaddr *addr);

/*
 * Each socket that the session may have has room for one in the grant. Where the close of one goes
 * on, or the client has not read how one failed, there are more of them, which are charged. NULL:
 * no memory.
 */
struct connect *connect_new(struct session *s);
void connect_free(struct session *s, struct connect *c);
void connect_init(struct connect *c, struct op *op); /* it is the op's */
/* 0, or an error. */
int connect_take_address(struct connect *c, const struct sock *sock, const void *addr, size_t len);
int connect_to_endpoint(struct connect *c, const struct sock *sock,
                        const struct endpoint *endpoint);
int connect_to_list(struct connect *c, const struct sock *sock, const struct endpoint *first,
                    const struct endpoints *others);
/* What is prepared begins; the op may have ended when it returns. */
void connect_start(struct op *op);

/* ---- connect_report.c ---- */

/* i: of queries. */
void connect_note_answer(struct connect *c, unsigned int i, const struct resolver_result *result);
/*
 * Lookups that have not been answered are not needed any more. Call it before they are cancelled.
 */
void connect_note_unanswered(struct connect *c);
/* As it is now: SHOW asks for it while it is in progress. */
void connect_report_make(const struct connect *c, struct connect_report *ret);
/* Makes the report, for the socket to keep. error: ERR_SUCCESS if it is connected. */
void connect_report_end(struct connect *c, uint32_t error, struct connect_report *ret);
/* The text of the completion. */
void connect_explain(struct op *op, const struct connect_report *report);

/* ---- connect_lend.c ---- */

/* Reads what the request asks for, and allocates the lending. 0, or an error. */
int connect_prepare_lending(struct op *op, const struct call *call);
/* Call it when an address has won. True: the rules allow lending, and it was asked for. */
bool connect_does_lend(struct connect *c);
/* Lends the socket: completes the op, and ends the ops that are queued behind it. */
void connect_lend(struct connect *c);
struct lending *connect_lending(const struct op *op);
struct fd_pass *connect_take_fd_pass(struct op *op);

#endif
