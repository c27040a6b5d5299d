/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_HANGUP_H
#define ASOCKD_HANGUP_H

/*
 * Tells of connections that are over for both sides: reset, timed out, or with both FINs. The
 * worker's loop cannot: it is level-triggered, so a watcher for no event but that would fire for
 * data that is not read, or for room that is not filled. An epoll of its own asks for no event,
 * gets EPOLLHUP and EPOLLERR all the same, and each once.
 */
#include "daemon/net/tcp.h"

struct hangups;

/* hung_up: from the loop, once for each hangups_watch(). -errno. */
int hangups_new(struct worker *w, void (*hung_up)(struct netsock *ns), struct hangups **ret);
struct hangups *hangups_free(struct hangups *h); /* accepts NULL; returns it */

/* Of a connection that is up, and not watched. It may be over already. -ENOMEM, -ENOSPC. */
int hangups_watch(struct hangups *h, struct netsock *ns);
/* At any time while its descriptor is open. */
void hangups_forget(struct hangups *h, struct netsock *ns);

#endif
