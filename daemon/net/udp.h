/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_NET_UDP_H
#define ASOCKD_NET_UDP_H

/* The kernel side of a datagram socket. tcp.h has what it shares with a TCP socket. */
#include "daemon/net/tcp.h"

/*
 * Opens a non-blocking UDP socket, charged to the worker. With each datagram the kernel reports
 * where it was sent to, by which interface it arrived, and how many were dropped before it. 0,
 * -EMFILE, other -errno.
 */
int udp_open(struct netsock *ns, struct worker *w, int family);

/*
 * From now on calls fail with the errors that routers and the peer report. Only for a connected
 * socket, which has one peer.
 */
void udp_report_errors(struct netsock *ns);
/* Empties the kernel's queue of reported errors, after a call has returned one. */
void udp_drop_errors(struct netsock *ns);

/* False: only TCP has the option. */
bool udp_has_option(uint32_t option);
/* False: only UDP has it. */
bool tcp_has_option(uint32_t option);

/*
 * Joins or leaves a multicast group; scope_id: the interface, 0: the kernel's choice. 0 or -errno.
 */
int udp_join(struct netsock *ns, const struct endpoint *group, bool join);

/* How a datagram goes out. */
struct udp_way {
    const struct endpoint *to; /* NULL: to the connected peer */
    const struct endpoint
        *source;       /* NULL: the address that the socket has, or that the kernel chooses */
    int traffic_class; /* 0 to 255; -1: the socket's */
    bool is_ipv6;      /* the socket */
    uint16_t segment; /* several datagrams of so many bytes, the last one of what is left; 0: one */
};

#define UDP_SEGMENTS_MAX 64u /* the kernel's UDP_MAX_SEGMENTS, which was raised later */

/*
 * Returns the bytes sent, always all of them, or -errno. -EADDRNOTAVAIL, or of IPv4 -ENETUNREACH:
 * the host does not have the source. Of segments: -EMSGSIZE also where one is too long for the way;
 * -EIO: the kernel cannot make them for it.
 */
ssize_t udp_send(struct netsock *ns, const struct iovec *iov, int count, const struct udp_way *way);

/* Sends one segment of way->segment bytes, or what is left: the bytes from `done` on. */
ssize_t udp_send_one_of(struct netsock *ns, const struct iovec *iov, int count,
                        const struct udp_way *way, size_t done);

#define UDP_TOGETHER_MAX 32u /* of one call */

struct udp_packet {
    const struct iovec *iov;
    int count;
    struct udp_way way; /* without segments */
};

/*
 * Sends several datagrams, UDP_TOGETHER_MAX at most, with one call. Returns how many have gone, in
 * their order, or the -errno of the first one, as udp_send(). The kernel tells nobody why another
 * one has not gone: udp_take_error() does, if it was a report.
 */
int udp_send_several(struct netsock *ns, const struct udp_packet *packets, unsigned int count);
/*
 * What a router or the peer has reported, of a socket that reports errors; the others are dropped.
 * -errno; 0: nothing.
 */
int udp_take_error(struct netsock *ns);

/*
 * Receives one datagram, or several of one length where the socket has OPTION_COALESCE. Returns how
 * many bytes were stored, or -errno. Does not change ret->segment, ret->refused and the local port.
 */
ssize_t udp_receive(struct netsock *ns, const struct iovec *iov, int count, int flags,
                    struct datagram *ret);
/*
 * Receives up to count datagrams, UDP_TOGETHER_MAX at most, with one call: each into one of iov, as
 * udp_receive(). Returns how many have come, or the -errno of the first one. Fewer than count:
 * there are no more, or the next call fails.
 */
int udp_receive_several(struct netsock *ns, struct iovec *iov, unsigned int count,
                        struct datagram *ret);
/* The length of the next datagram, which stays in the kernel's queue; or -errno. */
ssize_t udp_next_length(struct netsock *ns);

#endif
