/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SOCK_IDLE_H
#define ASOCKD_SOCK_IDLE_H

/*
 * IdleTimeout= and KeepAlive= of the policy.
 *
 * A connection is idle while no byte moves over it in either direction. Pending ops do not count:
 * neither a waiting receive nor a send that the peer does not take. A connection that is idle for
 * too long is killed as by the administrator (S55); its owner gets SOCK_IDLE_TEXT as the cause. A
 * socket that its client has closed has the limits of that close instead.
 */
#include <stdint.h>

#include "daemon/core/loop.h"

struct sock;

#define SOCK_IDLE_TEXT "idle"

/* Allocated only for connections with a time-out; most have none. */
struct sock_idle {
    struct sock *sock;
    struct deadline deadline;
    uint64_t active; /* when the last byte moved, by the worker's clock */
};

/*
 * The socket has connected: applies what the policy says now, until the socket ends. Without memory
 * there is no time-out.
 */
void sock_idle_begin(struct sock *sock);
/*
 * The same for a socket that another process had: `active` is when its last byte moved. No socket
 * option is set yet.
 */
void sock_idle_restore(struct sock *sock, uint64_t active);
/* The connection is over. */
void sock_idle_end(struct sock *sock);

#endif
