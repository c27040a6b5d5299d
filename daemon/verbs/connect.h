/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_VERBS_CONNECT_H
#define ASOCKD_VERBS_CONNECT_H

/* What the files of CONNECT share. */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/names/host.h"
#include "daemon/names/resolver.h"
#include "daemon/net/happy_eyeballs.h"
#include "daemon/policy/policy.h"
#include "daemon/session/op.h"
#include "daemon/session/sock_audit.h"

struct call;
struct lending;
struct fd_pass;

struct connect {
    struct op *op;
    struct quota *quota;              /* its memory is charged to it */
    struct resolver_query queries[2]; /* A, AAAA */
    struct host host;
    bool is_by_name;
    bool is_unknown_port;               /* of a service that is not looked up: all is denied */
    bool is_up;                         /* connected; its data may still be going */
    uint8_t lend;                       /* LEND_..., 0: it does not ask for that */
    struct lending *lending;            /* of one that asks, until its reply is sent */
    uint16_t port;                      /* host byte order */
    uint32_t error;                     /* of a failure */
    char reason[POLICY_REASON_MAX + 1]; /* of the last denial; a policy may go before it is told */
    struct endpoint local, remote;
    uint64_t began; /* ns */
    struct sock_audit audit;
    struct happy_eyeballs he; /* last: most of it is never touched */
};

struct policy_question connect_question(const struct connect *c, const struct sockaddr *addr);

/* ---- connect_lend.c ---- */

/* 0, or an error: what the request asks for. */
int connect_prepare_lending(struct op *op, const struct call *call);
/* It has won an address. */
bool connect_does_lend(struct connect *c);
/* The op completes, and what is queued behind it ends. */
void connect_lend(struct connect *c);
struct fd_pass *connect_take_fd_pass(struct op *op);

#endif
