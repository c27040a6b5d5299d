/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SOCK_BOUND_H
#define ASOCKD_SOCK_BOUND_H

/*
 * What a socket with a local address of the client's has: few do, so it is allocated apart, and charged. Of one that listens
 * also what waits to be accepted, in the kernel and here; and what an accepted socket keeps of its listener.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "daemon/policy/listen.h"
#include "proto/codec.h"

struct op;
struct sock;

#define MEMORY_BOUND 256u /* of one; as malloc() rounds it up, and more */
/* As the kernel's somaxconn was for long; and as it is now, which bounds what is charged for a backlog. */
#define BACKLOG_DEFAULT 128u
#define BACKLOG_MAX 256u     /* close(2) resets what waits: some microseconds each */
#define ACCEPT_IDS_MAX 1024u /* of one ACCEPT: each is looked at, and kept */

struct sock_bound {
    struct endpoint asked; /* by the client; its port may be 0 */
    struct endpoint local; /* given */
    bool is_dual;          /* IPv6, and takes IPv4 as well */
    uint32_t backlog;      /* 0: it does not listen */
    uint64_t charged;      /* for what the backlog may hold */
    struct list accepts;   /* ops, in order */
    uint64_t accepted, refused;
};

/* Of an accepted socket: by which of its listener's rights it is there. */
struct sock_origin {
    struct endpoint asked;
    bool is_dual;
};

/* Charged to the socket's quota. -EDQUOT, -ENOMEM. */
int sock_bound_new(struct sock *sock);
void sock_bound_drop(struct sock *sock); /* if it has one */

/* What the backlog may hold in the kernel is charged. -ENOBUFS: as before. */
int sock_bound_charge(struct sock *sock, uint32_t backlog);
/* It has no backlog any more, if it had one. */
void sock_bound_uncharge(struct sock *sock);
/* A socket that is to be accepted gets the listener's options, and its origin. -ENOMEM. */
int sock_inherit(struct sock *sock, const struct sock *listener);
/* Appends an ACCEPT, arms its deadline, and lets the queue run. */
void sock_queue_accept(struct sock *sock, struct op *op, uint32_t timeout_ms);
void sock_run_accepts(struct sock *sock);
/* Those that wait end. */
void sock_end_accepts(struct sock *sock, uint32_t error, const char *text);

/* What policy says of it now; of an accepted one, of its peer. */
struct policy_answer sock_bound_judge(const struct sock *sock);
struct policy_answer sock_origin_judge(const struct sock *sock);
/* The same after a change of policy: what may not be any more ends, with ERR_ACCESS_DENIED. True: it did. */
bool sock_bound_judge_again(struct sock *sock);

#endif
