/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_APART_H
#define ASOCKD_APART_H

/*
 * Watches sockets that a client has too, or may get. An epoll forgets a descriptor by itself only when nobody holds the
 * socket any more; libev counts on that, and rebuilds its whole epoll for each event that comes later. So these have an
 * epoll of their own, which is told to forget them.
 */
#include "daemon/net/tcp.h"

struct apart;

/* -errno */
int apart_new(struct worker *w, struct apart **ret);
struct apart *apart_free(struct apart *a); /* accepts NULL; returns it */

/*
 * ns->io's callback is called for these events, EV_READ, EV_WRITE, both or 0, as libev would. Where the kernel has no
 * memory for it the socket is watched as others are.
 */
void apart_watch(struct apart *a, struct netsock *ns, int events);

#endif
