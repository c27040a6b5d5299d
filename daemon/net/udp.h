/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_NET_UDP_H
#define ASOCKD_NET_UDP_H

/* The kernel side of a datagram socket, beside what it has in common with TCP's (tcp.h). */
#include "daemon/net/tcp.h"

/*
 * A non-blocking UDP socket, charged to the worker, that tells with each datagram where it was sent to, by which
 * interface it came and how many were dropped before it. 0, -EMFILE, other -errno.
 */
int udp_open(struct netsock *ns, struct worker *w, int family);

/* Errors that routers and the peer report become errors of its calls. For a connected socket: there is one peer. */
void udp_report_errors(struct netsock *ns);
/* What the kernel keeps about errors that its calls have told. */
void udp_drop_errors(struct netsock *ns);

/* Options of TCP alone make no sense. */
bool udp_has_option(uint32_t option);

/* addr NULL: the connected peer. Bytes sent: all of them; or -errno. */
ssize_t udp_send(struct netsock *ns, const struct iovec *iov, int count,
                 const struct sockaddr *addr, socklen_t len);

/* One datagram: the bytes that had room, or -errno. Of *ret the segment, .refused and the local port stay as they are. */
ssize_t udp_receive(struct netsock *ns, const struct iovec *iov, int count, int flags,
                    struct datagram *ret);
/* Bytes of the next datagram, which stays where it is; or -errno. */
ssize_t udp_next_length(struct netsock *ns);

#endif
