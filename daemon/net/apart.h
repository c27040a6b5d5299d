/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_APART_H
#define ASOCKD_APART_H

/*
 * Watches sockets that a client also holds, or may get ("apart" from the others).
 *
 * Why: the kernel removes a descriptor from an epoll by itself only when the last holder has closed
 * the socket. libev relies on that: it does not remove closed descriptors, and when an event for an
 * unknown one arrives it rebuilds its whole epoll. The daemon's close of a lent socket removes
 * nothing. These sockets therefore have an epoll of their own, from which apart_watch() removes
 * them explicitly.
 */
#include "daemon/net/tcp.h"

struct apart;

/* -errno */
int apart_new(struct worker *w, struct apart **ret);
struct apart *apart_free(struct apart *a); /* accepts NULL; returns it */

/*
 * Calls ns->io's callback for these events (EV_READ, EV_WRITE, both or 0), as libev would. If the
 * kernel has no memory for it, libev watches the socket like any other.
 */
void apart_watch(struct apart *a, struct netsock *ns, int events);

#endif
