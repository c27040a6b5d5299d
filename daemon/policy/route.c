/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: RTM_GETROUTE with all that the routing of a TCP connection looks at; the kernel
 * answers before send(2) returns, with the type of the route.
 * Failures: no socket, an answer that is none: the address counts as the host's own.
 */
#include "daemon/policy/route.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/policy/policy.h"

#define LOOPBACK_INDEX 1 /* in each network namespace */

struct question {
    struct nlmsghdr head;
    struct rtmsg route;
    uint8_t attributes[128];
};

struct answer {
    struct nlmsghdr head;
    union {
        struct nlmsgerr error;
        struct rtmsg route;
        uint8_t bytes[1024];
    };
};

/* All of them together are shorter than the room. */
static void add(struct question *q, unsigned short type, const void *data, size_t len)
{
    struct rtattr *attribute = (struct rtattr *)(void *)((uint8_t *)q + q->head.nlmsg_len);

    attribute->rta_type = type;
    attribute->rta_len = (unsigned short)RTA_LENGTH(len);
    memcpy(RTA_DATA(attribute), data, len);
    q->head.nlmsg_len += (uint32_t)RTA_ALIGN(RTA_LENGTH(len));
}

static void add_source(struct question *q, int family, const struct policy_egress *egress)
{
    bool is_v4 = family == AF_INET;

    if (is_v4 ? egress->source4.s_addr == INADDR_ANY : IN6_IS_ADDR_UNSPECIFIED(&egress->source6))
        return;
    add(q, RTA_SRC, is_v4 ? (const void *)&egress->source4 : &egress->source6, is_v4 ? 4 : 16);
    q->route.rtm_src_len = is_v4 ? 32 : 128;
}

/* False: there is no such device, and so no way. */
static bool add_device(struct question *q, const struct policy_address *addr,
                       const struct policy_way *way)
{
    uint32_t index = addr->scope_id;

    if (way->egress && way->egress->device[0]) {
        index = if_nametoindex(way->egress->device);
        if (index == 0)
            return false;
    }
    if (index > 0)
        add(q, RTA_OIF, &index, sizeof(index));
    return true;
}

static bool make_question(struct question *q, const struct policy_address *addr,
                          const struct policy_way *way)
{
    const uint8_t protocol = way->is_udp ? IPPROTO_UDP : IPPROTO_TCP;
    const uint16_t port = htons(way->port);
    bool is_v4 = addr->family == AF_INET;

    memset(q, 0, sizeof(*q));
    q->head.nlmsg_len = NLMSG_LENGTH(sizeof(q->route));
    q->head.nlmsg_type = RTM_GETROUTE;
    q->head.nlmsg_flags = NLM_F_REQUEST;
    q->head.nlmsg_seq = 1;
    q->route.rtm_family = (unsigned char)addr->family;
    q->route.rtm_dst_len = is_v4 ? 32 : 128;
    q->route.rtm_tos = way->traffic_class & 0xfc; /* the rest is ECN's */
    add(q, RTA_DST, addr->bytes, is_v4 ? 4 : 16);
    add(q, RTA_IP_PROTO, &protocol, sizeof(protocol));
    add(q, RTA_DPORT, &port, sizeof(port));
    if (way->egress && way->egress->has_source)
        add_source(q, addr->family, way->egress);
    return add_device(q, addr, way);
}

/* Routes that are not there or lead nowhere, a scope that is missing: TCP will hear the same. */
static bool is_unreachable(int err)
{
    static const int errors[] = {ENETUNREACH, EHOSTUNREACH, EADDRNOTAVAIL, EAFNOSUPPORT,
                                 ENETDOWN,    ENODEV,       EINVAL,        EACCES};

    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        if (err == errors[i])
            return true;
    }
    return false;
}

static uint32_t device_of(const struct answer *a, size_t len)
{
    int rest = (int)(len - NLMSG_LENGTH(sizeof(a->route)));
    const struct rtattr *attribute = (const struct rtattr *)(const void *)((const uint8_t *)a +
                                                                           NLMSG_ALIGN(NLMSG_LENGTH(
                                                                               sizeof(a->route))));
    uint32_t index = 0;

    while (RTA_OK(attribute, rest)) {
        if (attribute->rta_type == RTA_OIF && RTA_PAYLOAD(attribute) == sizeof(index))
            memcpy(&index, RTA_DATA(attribute), sizeof(index));
        /* RTA_NEXT, but for its cast. */
        rest -= (int)RTA_ALIGN(attribute->rta_len);
        attribute = (const struct rtattr *)(const void *)((const uint8_t *)attribute +
                                                          RTA_ALIGN(attribute->rta_len));
    }
    return index;
}

static bool is_local_answer(const struct answer *a, size_t len)
{
    if (len >= NLMSG_LENGTH(sizeof(a->error)) && a->head.nlmsg_type == NLMSG_ERROR)
        return !is_unreachable(-a->error.error);
    if (len < NLMSG_LENGTH(sizeof(a->route)) || a->head.nlmsg_type != RTM_NEWROUTE)
        return true;
    switch (a->route.rtm_type) {
    case RTN_UNICAST:
        return device_of(a, len) == LOOPBACK_INDEX;
    case RTN_BROADCAST: /* no TCP there */
    case RTN_MULTICAST:
    case RTN_BLACKHOLE:
    case RTN_UNREACHABLE:
    case RTN_PROHIBIT:
        return false;
    default:
        return true;
    }
}

static bool ask(int fd, const struct question *q)
{
    struct answer answer;
    ssize_t n;

    /* Without an address it goes to the kernel. */
    if (send(fd, q, q->head.nlmsg_len, 0) < 0)
        return true;
    n = recv(fd, &answer, sizeof(answer), MSG_DONTWAIT);
    return n < (ssize_t)sizeof(answer.head) || is_local_answer(&answer, (size_t)n);
}

bool policy_route_is_local(const struct policy_address *addr, const struct policy_way *way)
{
    struct question question;
    bool is_local;
    int fd;

    if (!make_question(&question, addr, way))
        return false;
    fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0)
        return true;
    is_local = ask(fd, &question);
    close(fd);
    return is_local;
}
