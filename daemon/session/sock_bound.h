/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SOCK_BOUND_H
#define ASOCKD_SOCK_BOUND_H

/*
 * The state of a socket that its client has bound to a local address, of a listener and its pending
 * accepts, and what an accepted socket keeps of its listener. Few sockets have it, so it is
 * allocated separately; the grant of sockets has room for it.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "daemon/policy/listen.h"
#include "proto/codec.h"

struct op;
struct sock;

/* The kernel's old default of somaxconn; and the most, which bounds what a backlog is charged. */
#define BACKLOG_DEFAULT 128u
#define BACKLOG_MAX 256u     /* close(2) resets each waiting connection: some microseconds each */
#define ACCEPT_IDS_MAX 1024u /* ids of one ACCEPT: each is checked and stored */

struct sock_bound {
    struct endpoint asked; /* what the client asked for; the port may be 0 */
    struct endpoint local; /* what it got */
    bool is_dual;          /* IPv6 and accepts IPv4 too */
    uint32_t backlog;      /* 0: it does not listen */
    uint64_t charged;      /* kernel buffers of the connections that may wait */
    struct list accepts;   /* ops, in order */
    uint64_t accepted, refused;
};

/* What an accepted socket keeps of its listener, to be judged again later. */
struct sock_origin {
    struct endpoint asked;
    bool is_dual;
};

/* -ENOMEM. */
int sock_bound_new(struct sock *sock);
void sock_bound_drop(struct sock *sock); /* if it has one */

/* Charges the kernel buffers that the backlog may hold. -ENOBUFS: no room, nothing has changed. */
int sock_bound_charge(struct sock *sock, uint32_t backlog);
/* The socket no longer listens: uncharges its backlog, if it had one. */
void sock_bound_uncharge(struct sock *sock);
/* Of an accepted socket, to be filled. NULL: no memory. */
struct sock_origin *sock_own_origin(struct sock *sock);
/* Gives a socket that is about to be accepted the listener's options and its origin. -ENOMEM. */
int sock_inherit(struct sock *sock, const struct sock *listener);
/* Appends an ACCEPT, arms its deadline, and lets the queue run. */
void sock_queue_accept(struct sock *sock, struct op *op, uint32_t timeout_ms);
void sock_run_accepts(struct sock *sock);
/* Ends the pending ACCEPTs. */
void sock_end_accepts(struct sock *sock, uint32_t error, const char *text);

/* What policy says now about the local address; for an accepted socket, about its peer. */
struct policy_answer sock_bound_judge(const struct sock *sock);
/* May what `peer` sends come in? */
struct policy_answer sock_bound_judge_peer(const struct sock *sock, const struct sockaddr *peer);
/* Of a port that the kernel has given. */
bool sock_bound_is_reserved(const struct sock *sock);
struct policy_answer sock_origin_judge(const struct sock *sock);
/* After a change of policy: ends with ERR_ACCESS_DENIED what is no longer allowed. True: it did. */
bool sock_bound_judge_again(struct sock *sock);

#endif
