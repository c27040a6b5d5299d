/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SOCK_IDLE_H
#define ASOCKD_SOCK_IDLE_H

/*
 * IdleTimeout= and KeepAlive= of the policy. A connection is idle while no byte moves over it in either direction, whatever
 * is pending: a receive that waits, a send that the peer does not take. One that is idle for too long is ended as by the
 * administrator (S55), and its owner is told SOCK_IDLE_TEXT. What has been closed by its client has times of its own.
 */
#include <stdint.h>

#include "daemon/core/loop.h"

struct sock;

#define SOCK_IDLE_TEXT "idle"

/* Of a connection that has such a time only: most have none. */
struct sock_idle {
    struct sock *sock;
    struct deadline deadline;
    uint64_t active; /* when a byte moved last, by the worker's clock */
};

/* It is connected: what the policy says now holds until it ends. Without memory for it nothing ends an idle one. */
void sock_idle_begin(struct sock *sock);
/* It is connected no more. */
void sock_idle_end(struct sock *sock);

#endif
