/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/net/udp.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/endpoint.h"

/* The most reports of routers that one call of udp_drop_errors() removes. */
#define ERRORS_MAX 64

/* Chunks, or segments of shared memory, that one datagram may be made of. */
#define UDP_IOV_MAX 64

union control {
    size_t align; /* what a cmsghdr begins with */
    char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(struct in_pktinfo)) +
               5 * CMSG_SPACE(sizeof(int)) +
               CMSG_SPACE(sizeof(struct sock_extended_err) + sizeof(struct sockaddr_in6))];
};

static void set_to(struct netsock *ns, int level, int name, int value)
{
    /* If the kernel does not know the option, what it would report stays unknown. */
    setsockopt(ns->fd, level, name, &value, sizeof(value));
}

static void set(struct netsock *ns, int level, int name)
{
    set_to(ns, level, name, 1);
}

int udp_open(struct netsock *ns, struct worker *w, int family)
{
    if (w->fds_used >= w->fds_max)
        return -EMFILE;
    ns->is_polled = false;
    ns->fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (ns->fd < 0)
        return -errno;
    w->fds_used++;
    set(ns, SOL_SOCKET, SO_RXQ_OVFL);
    /* An IPv6 socket may also carry IPv4, by mapped addresses. */
    set(ns, IPPROTO_IP, IP_RECVTOS);
    /*
     * Only groups that this socket has joined: by default what other processes have joined comes
     * too.
     */
    set_to(ns, IPPROTO_IP, IP_MULTICAST_ALL, 0);
    if (family == AF_INET) {
        set(ns, IPPROTO_IP, IP_PKTINFO);
        return 0;
    }
    set(ns, IPPROTO_IPV6, IPV6_RECVPKTINFO);
    set(ns, IPPROTO_IPV6, IPV6_RECVTCLASS);
    set_to(ns, IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0);
    return 0;
}

void udp_report_errors(struct netsock *ns)
{
    set(ns, IPPROTO_IP, IP_RECVERR);
    set(ns, IPPROTO_IPV6, IPV6_RECVERR); /* refused by an IPv4 socket */
}

static ssize_t receive(struct netsock *ns, struct msghdr *msg, int flags)
{
    ssize_t n;

    do {
        n = recvmsg(ns->fd, msg, flags | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : n;
}

void udp_drop_errors(struct netsock *ns)
{
    for (int i = 0; i < ERRORS_MAX; i++) {
        struct msghdr msg = {.msg_iov = NULL};

        if (receive(ns, &msg, MSG_ERRQUEUE) < 0)
            return;
    }
}

bool udp_has_option(uint32_t option)
{
    static const uint32_t known = 1u << OPTION_SEND_BUFFER | 1u << OPTION_RECEIVE_BUFFER |
                                  1u << OPTION_HOP_LIMIT | 1u << OPTION_TRAFFIC_CLASS |
                                  1u << OPTION_REUSE_ADDRESS | 1u << OPTION_DUAL_MODE |
                                  1u << OPTION_COALESCE | 1u << OPTION_BROADCAST |
                                  1u << OPTION_MULTICAST_HOPS | 1u << OPTION_MULTICAST_LOOP |
                                  1u << OPTION_MULTICAST_INTERFACE;

    return option <= NETSOCK_OPTIONS && known & 1u << option;
}

bool tcp_has_option(uint32_t option)
{
    return option < OPTION_COALESCE || option > OPTION_LEAVE_GROUP;
}

int udp_join(struct netsock *ns, const struct endpoint *group, bool join)
{
    int level = group->address_len == 4 ? IPPROTO_IP : IPPROTO_IPV6;
    struct group_req request = {.gr_interface = group->scope_id};
    struct endpoint alone = *group;

    alone.port = 0;
    alone.scope_id = 0;
    asock_endpoint_to(&alone, &request.gr_group);
    return setsockopt(ns->fd, level, join ? MCAST_JOIN_GROUP : MCAST_LEAVE_GROUP, &request,
                      sizeof(request)) < 0
               ? -errno
               : 0;
}

/* msg_control is a union control, and msg_controllen what is used of it. */
static void put_control(struct msghdr *msg, int level, int type, const void *data, size_t len)
{
    struct cmsghdr *cmsg = (void *)((char *)msg->msg_control + msg->msg_controllen);

    cmsg->cmsg_level = level;
    cmsg->cmsg_type = type;
    cmsg->cmsg_len = CMSG_LEN(len);
    memcpy(CMSG_DATA(cmsg), data, len);
    msg->msg_controllen += CMSG_SPACE(len);
}

static void put_source(struct msghdr *msg, const struct endpoint *source)
{
    struct in_pktinfo in = {.ipi_ifindex = 0};
    struct in6_pktinfo in6 = {.ipi6_ifindex = 0};

    if (source->address_len == 4) {
        memcpy(&in.ipi_spec_dst, source->address, 4);
        put_control(msg, IPPROTO_IP, IP_PKTINFO, &in, sizeof(in));
        return;
    }
    memcpy(&in6.ipi6_addr, source->address, 16);
    /* Of another address it would choose the way out, past the routes. */
    if (IN6_IS_ADDR_LINKLOCAL(&in6.ipi6_addr))
        in6.ipi6_ifindex = source->scope_id;
    put_control(msg, IPPROTO_IPV6, IPV6_PKTINFO, &in6, sizeof(in6));
}

/*
 * An IPv6 socket may have a mapped destination: then the kernel heeds IPv4's value, otherwise
 * IPv6's.
 */
static void put_traffic_class(struct msghdr *msg, int value, bool is_ipv6)
{
    put_control(msg, IPPROTO_IP, IP_TOS, &value, sizeof(value));
    if (is_ipv6)
        put_control(msg, IPPROTO_IPV6, IPV6_TCLASS, &value, sizeof(value));
}

/* Where what a message points to is, while it is sent. */
struct outgoing {
    union control control;
    struct sockaddr_storage addr;
};

static int prepare(struct msghdr *msg, struct outgoing *room, const struct iovec *iov, int count,
                   const struct udp_way *way)
{
    socklen_t len = 0;

    *msg = (struct msghdr){.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)count};
    if (way->to && netsock_sockaddr(way->to, &room->addr, &len) != 0)
        return -EINVAL;
    msg->msg_name = way->to ? &room->addr : NULL;
    msg->msg_namelen = len;
    if (!way->source && way->traffic_class < 0 && way->segment == 0)
        return 0;
    memset(&room->control, 0, sizeof(room->control));
    msg->msg_control = room->control.bytes;
    if (way->source)
        put_source(msg, way->source);
    if (way->traffic_class >= 0)
        put_traffic_class(msg, way->traffic_class, way->is_ipv6);
    if (way->segment > 0)
        put_control(msg, IPPROTO_UDP, UDP_SEGMENT, &way->segment, sizeof(way->segment));
    return 0;
}

static int send_error(int err, const struct udp_way *way)
{
    if (way->source && (err == EINVAL || err == ENODEV) && way->segment == 0)
        return -EADDRNOTAVAIL;
    return way->segment > 0 && err == EINVAL ? -EMSGSIZE : -err;
}

/* To the peer, in one piece, with nothing to tell the kernel: it has no message to copy first. */
static bool is_simple(int count, const struct udp_way *way)
{
    return count == 1 && !way->to && !way->source && way->traffic_class < 0 && way->segment == 0;
}

ssize_t udp_send(struct netsock *ns, const struct iovec *iov, int count, const struct udp_way *way)
{
    struct outgoing room;
    struct msghdr msg;
    bool simple = is_simple(count, way);
    ssize_t n;
    int r = simple ? 0 : prepare(&msg, &room, iov, count, way);

    if (r < 0)
        return r;
    do {
        n = simple ? send(ns->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT)
                   : sendmsg(ns->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? send_error(errno, way) : n;
}

int udp_send_several(struct netsock *ns, const struct udp_packet *packets, unsigned int count)
{
    struct mmsghdr messages[UDP_TOGETHER_MAX];
    struct outgoing rooms[UDP_TOGETHER_MAX];
    int n;

    for (unsigned int i = 0; i < count; i++) {
        int r = prepare(&messages[i].msg_hdr, &rooms[i], packets[i].iov, packets[i].count,
                        &packets[i].way);

        if (r < 0)
            return r;
    }
    do {
        n = sendmmsg(ns->fd, messages, count, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? send_error(errno, &packets[0].way) : n;
}

int udp_take_error(struct netsock *ns)
{
    union control control;
    struct msghdr msg = {.msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
    struct sock_extended_err report = {.ee_errno = 0};

    if (receive(ns, &msg, MSG_ERRQUEUE) < 0)
        return 0;
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg); cmsg; cmsg = CMSG_NXTHDR(&msg, cmsg))
        if ((cmsg->cmsg_level == IPPROTO_IP && cmsg->cmsg_type == IP_RECVERR) ||
            (cmsg->cmsg_level == IPPROTO_IPV6 && cmsg->cmsg_type == IPV6_RECVERR))
            memcpy(&report, CMSG_DATA(cmsg), sizeof(report));
    udp_drop_errors(ns);
    return -(int)report.ee_errno;
}

ssize_t udp_send_one_of(struct netsock *ns, const struct iovec *iov, int count,
                        const struct udp_way *way, size_t done)
{
    struct udp_way alone = *way;
    struct iovec part[UDP_IOV_MAX];
    size_t left = way->segment;
    int used = 0;

    for (int i = 0; i < count && left > 0 && used < UDP_IOV_MAX; i++) {
        size_t skip = done < iov[i].iov_len ? done : iov[i].iov_len;
        size_t len = iov[i].iov_len - skip < left ? iov[i].iov_len - skip : left;

        done -= skip;
        left -= len;
        if (len > 0)
            part[used++] = (struct iovec){(char *)iov[i].iov_base + skip, len};
    }
    alone.segment = 0;
    return udp_send(ns, part, used, &alone);
}

static void take_address(const void *address, uint8_t len, uint32_t index, struct datagram *ret)
{
    memcpy(ret->local.address, address, len);
    ret->local.address_len = len;
    ret->interface = index;
}

static void take_pktinfo(const struct cmsghdr *cmsg, struct datagram *ret)
{
    struct in_pktinfo in;
    struct in6_pktinfo in6;

    if (cmsg->cmsg_level == IPPROTO_IP && cmsg->cmsg_type == IP_PKTINFO) {
        memcpy(&in, CMSG_DATA(cmsg), sizeof(in));
        take_address(&in.ipi_addr, 4, (uint32_t)in.ipi_ifindex, ret);
    } else if (cmsg->cmsg_level == IPPROTO_IPV6 && cmsg->cmsg_type == IPV6_PKTINFO) {
        memcpy(&in6, CMSG_DATA(cmsg), sizeof(in6));
        take_address(&in6.ipi6_addr, 16, in6.ipi6_ifindex, ret);
        if (IN6_IS_ADDR_LINKLOCAL(&in6.ipi6_addr))
            ret->local.scope_id = in6.ipi6_ifindex;
    }
}

static void take_control(struct msghdr *msg, struct datagram *ret)
{
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
        int level = cmsg->cmsg_level, type = cmsg->cmsg_type;
        uint32_t number;

        if (level == SOL_SOCKET && type == SO_RXQ_OVFL)
            memcpy(&ret->dropped, CMSG_DATA(cmsg), sizeof(ret->dropped));
        else if (level == IPPROTO_UDP && type == UDP_GRO)
            ret->segment_size = memcpy(&number, CMSG_DATA(cmsg), 4) ? number : 0;
        else if (level == IPPROTO_IP && type == IP_TOS)
            ret->traffic_class = *CMSG_DATA(cmsg); /* a byte, whatever its length says */
        else if (level == IPPROTO_IPV6 && type == IPV6_TCLASS)
            ret->traffic_class = memcpy(&number, CMSG_DATA(cmsg), 4) ? number & 0xff : 0;
        else
            take_pktinfo(cmsg, ret);
    }
}

/* What a message that came points to. */
struct incoming {
    union control control;
    struct sockaddr_storage from;
};

static void expect(struct msghdr *msg, struct incoming *room, struct iovec *iov, int count)
{
    room->from.ss_family = AF_UNSPEC;
    *msg = (struct msghdr){
        .msg_name = &room->from,
        .msg_namelen = sizeof(room->from),
        .msg_iov = iov,
        .msg_iovlen = (size_t)count,
        .msg_control = room->control.bytes,
        .msg_controllen = sizeof(room->control.bytes),
    };
}

static void take_message(struct msghdr *msg, size_t len, struct datagram *ret)
{
    ret->length = (uint32_t)len;
    ret->traffic_class = 0;
    ret->segment_size = 0;
    netsock_endpoint(msg->msg_name, &ret->remote);
    take_control(msg, ret);
}

ssize_t udp_receive(struct netsock *ns, const struct iovec *iov, int count, int flags,
                    struct datagram *ret)
{
    struct incoming room;
    struct msghdr msg;
    size_t len = 0;
    ssize_t n;

    expect(&msg, &room, (struct iovec *)(uintptr_t)iov, count);
    n = receive(ns, &msg, flags | MSG_TRUNC);
    if (n < 0)
        return n;
    take_message(&msg, (size_t)n, ret);
    for (int i = 0; i < count; i++)
        len += iov[i].iov_len;
    return (size_t)n < len ? n : (ssize_t)len;
}

int udp_receive_several(struct netsock *ns, struct iovec *iov, unsigned int count,
                        struct datagram *ret)
{
    struct mmsghdr messages[UDP_TOGETHER_MAX];
    struct incoming rooms[UDP_TOGETHER_MAX];
    int n;

    for (unsigned int i = 0; i < count; i++)
        expect(&messages[i].msg_hdr, &rooms[i], &iov[i], 1);
    do {
        n = recvmmsg(ns->fd, messages, count, MSG_DONTWAIT | MSG_TRUNC, NULL);
    } while (n < 0 && errno == EINTR);
    for (int i = 0; i < n; i++)
        take_message(&messages[i].msg_hdr, messages[i].msg_len, &ret[i]);
    return n < 0 ? -errno : n;
}

ssize_t udp_next_length(struct netsock *ns)
{
    struct msghdr msg = {.msg_iov = NULL};

    return receive(ns, &msg, MSG_PEEK | MSG_TRUNC);
}
