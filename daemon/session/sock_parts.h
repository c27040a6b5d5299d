/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_SOCK_PARTS_H
#define ASOCKD_SOCK_PARTS_H

/* The states of a socket and of its sides (sock.h), and what is apart from it. */

struct dgram;
struct lending;
struct netsock_options;
struct op;
struct sock;
struct sock_bound;
struct sock_idle;
struct sock_origin;

enum sock_state {
    SOCK_OPEN,
    SOCK_CONNECTING,
    SOCK_CONNECTED,
    SOCK_FAILED,
    SOCK_LINGERING,
    SOCK_DRAINING,
    SOCK_CLOSED,
    SOCK_KILLED,
    SOCK_BOUND,
    SOCK_LISTENING,
    SOCK_LENT, /* its client has the descriptor (sock_lend.h); ns.fd -1: alone */
};

enum side {
    SIDE_OPEN,
    SIDE_SHUT,   /* shut down by the client; the receiving side also: end of stream was seen */
    SIDE_BROKEN, /* ended by an error */
    SIDE_MISSED, /* shut, and a send was refused: broken, if that SHUTDOWN does not come to its turn */
};

/* Who has ended a socket, or an op whose socket was ended. */
enum killer { KILLER_NONE, KILLER_ADMINISTRATOR, KILLER_POLICY, KILLER_IDLENESS };

const char *killer_text(enum killer killer); /* for the owner */

/* What few sockets have. The others share an empty one. */
struct sock_more {
    struct op *hangup;               /* waits for the end of the connection */
    struct sock_idle *idle;          /* NULL: no time ends it while it is idle */
    struct sock_origin *origin;      /* of an accepted one; NULL: it connects */
    struct netsock_options *options; /* NULL: none set */
    struct dgram *dgram;             /* of datagrams (dgram.h); NULL: of a stream */
    struct sock_bound *bound;        /* NULL: it has no local address of its client's */
    struct lending *lending;         /* its descriptor is on the way to the client; else NULL */
};

/* Its own, within the session's grant. NULL: no memory; never of one that has its own. */
struct sock_more *sock_own_more(struct sock *sock);
/* Likewise. */
struct netsock_options *sock_own_options(struct sock *sock);

#endif
