/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A message is put together in a buffer that is larger than any of them, and answered by an error
 * code, 0 for success. Only a question about a device is answered by a message like those that
 * report its changes.
 */
#include "gateway/netlink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <linux/fib_rules.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_MAX 1024u
#define OPERSTATE_UP 6 /* IF_OPER_UP of linux/if.h, which collides with net/if.h */

struct message {
    _Alignas(struct nlmsghdr) char data[MESSAGE_MAX];
    uint32_t len;
};

/* ---- messages ---- */

static struct nlmsghdr *head_of(struct message *message)
{
    return (void *)message->data;
}

static void *put(struct message *message, const void *data, size_t len)
{
    void *place = message->data + message->len;

    /* Every message has a bound that is known here: names of devices are the only texts. */
    if (message->len + NLMSG_ALIGN(len) > MESSAGE_MAX)
        __builtin_trap();
    if (len > 0)
        memcpy(place, data, len);
    message->len += NLMSG_ALIGN((uint32_t)len);
    return place;
}

static void start(struct message *message, uint16_t type, uint16_t flags, const void *head,
                  size_t len)
{
    const struct nlmsghdr first = {.nlmsg_type = type,
                                   .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags)};

    *message = (struct message){0};
    put(message, &first, sizeof(first));
    put(message, head, len);
}

static struct rtattr *put_attribute(struct message *message, uint16_t type, const void *data,
                                    size_t len)
{
    const struct rtattr head = {.rta_type = type, .rta_len = (uint16_t)RTA_LENGTH(len)};
    struct rtattr *at = put(message, &head, sizeof(head));

    put(message, data, len);
    return at;
}

static void put_text(struct message *message, uint16_t type, const char *text)
{
    put_attribute(message, type, text, strlen(text) + 1);
}

static void put_u32(struct message *message, uint16_t type, uint32_t value)
{
    put_attribute(message, type, &value, sizeof(value));
}

static size_t address_size(int family)
{
    return family == AF_INET ? sizeof(struct in_addr) : sizeof(struct in6_addr);
}

static void put_address(struct message *message, uint16_t type, const struct prefix *address)
{
    put_attribute(message, type, &address->addr, address_size(address->family));
}

static struct rtattr *begin_nest(struct message *message, uint16_t type)
{
    return put_attribute(message, type, NULL, 0);
}

static void end_nest(struct message *message, struct rtattr *nest)
{
    nest->rta_len = (uint16_t)(message->data + message->len - (char *)nest);
}

static int talk(int fd, struct message *message)
{
    _Alignas(struct nlmsghdr) char answer[MESSAGE_MAX * 2];
    const struct nlmsghdr *head = (const struct nlmsghdr *)answer;
    const struct nlmsgerr *error = NLMSG_DATA(head);
    ssize_t n;

    head_of(message)->nlmsg_len = message->len;
    do
        n = send(fd, message->data, message->len, 0);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    do
        n = recv(fd, answer, sizeof(answer), 0);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    if ((size_t)n < NLMSG_LENGTH(sizeof(*error)) || head->nlmsg_type != NLMSG_ERROR)
        return -EPROTO;
    return error->error;
}

static int index_of(const char *dev, unsigned int *ret)
{
    *ret = if_nametoindex(dev);
    return *ret ? 0 : -errno;
}

/* ---- calls ---- */

bool prefix_parse(const char *text, uint8_t len, struct prefix *ret)
{
    *ret = (struct prefix){.family = strchr(text, ':') ? AF_INET6 : AF_INET, .len = len};
    return inet_pton(ret->family, text, &ret->addr) == 1;
}

int netlink_open(int *ret)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

    if (fd < 0)
        return -errno;
    *ret = fd;
    return 0;
}

int netlink_watch(int *ret)
{
    const struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
    int r = netlink_open(ret);

    if (r == 0 && bind(*ret, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        r = -errno;
        close(*ret);
    }
    return r;
}

static void put_link(struct message *message, const char *name, const uint8_t mac[6], uint32_t mtu)
{
    put_text(message, IFLA_IFNAME, name);
    put_attribute(message, IFLA_ADDRESS, mac, 6);
    put_u32(message, IFLA_MTU, mtu);
    /* The kernel divides what is sent with UDP_SEGMENT: a packet socket would see it whole. */
    put_u32(message, IFLA_GSO_MAX_SEGS, 1);
}

int netlink_add_veth(int fd, const char *name, const uint8_t mac[6], const char *peer,
                     const uint8_t peer_mac[6], pid_t peer_of, uint32_t mtu)
{
    const struct ifinfomsg link = {0};
    struct message message;
    struct rtattr *info, *data, *other;

    start(&message, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &link, sizeof(link));
    put_link(&message, name, mac, mtu);
    info = begin_nest(&message, IFLA_LINKINFO);
    put_text(&message, IFLA_INFO_KIND, "veth");
    data = begin_nest(&message, IFLA_INFO_DATA);
    other = begin_nest(&message, VETH_INFO_PEER);
    put(&message, &link, sizeof(link));
    put_link(&message, peer, peer_mac, mtu);
    put_u32(&message, IFLA_NET_NS_PID, (uint32_t)peer_of);
    end_nest(&message, other);
    end_nest(&message, data);
    end_nest(&message, info);
    return talk(fd, &message);
}

int netlink_set_up(int fd, const char *dev)
{
    struct ifinfomsg link = {.ifi_flags = IFF_UP, .ifi_change = IFF_UP};
    struct message message;
    unsigned int index;
    int r = index_of(dev, &index);

    if (r < 0)
        return r;
    link.ifi_index = (int)index;
    start(&message, RTM_NEWLINK, 0, &link, sizeof(link));
    return talk(fd, &message);
}

/*
 * Whether a message about a device has this name, and says that the device sends. IFF_RUNNING does
 * not: a new device has it before the kernel has looked whether its cable leads anywhere.
 */
static bool is_up(const char *message, size_t len, const char *dev)
{
    size_t at = NLMSG_SPACE(sizeof(struct ifinfomsg)), size = strlen(dev) + 1;
    bool has_name = false, sends = false;
    struct rtattr attribute;

    for (; at + sizeof(attribute) <= len; at += RTA_ALIGN(attribute.rta_len)) {
        const char *value = message + at + RTA_LENGTH(0);

        memcpy(&attribute, message + at, sizeof(attribute));
        if (attribute.rta_len < sizeof(attribute) || attribute.rta_len > len - at)
            return false;
        if (attribute.rta_type == IFLA_IFNAME)
            has_name = RTA_PAYLOAD(&attribute) >= size && memcmp(value, dev, size) == 0;
        else if (attribute.rta_type == IFLA_OPERSTATE)
            sends = RTA_PAYLOAD(&attribute) >= 1 && *value == OPERSTATE_UP;
    }
    return has_name && sends;
}

/* 1: the device sends; 0: that is not what the message says; or a negative errno. */
static int read_up(const char *message, size_t len, const char *dev)
{
    const struct nlmsghdr *head = (const void *)message;
    const struct nlmsgerr *error = NLMSG_DATA(head);

    if (len >= NLMSG_LENGTH(sizeof(*error)) && head->nlmsg_type == NLMSG_ERROR)
        return error->error;
    return len >= sizeof(*head) && head->nlmsg_type == RTM_NEWLINK && is_up(message, len, dev);
}

/* A kernel of 6.8 or later does the work that the device waits for before it answers. */
static int ask_for_link(int fd, const char *dev)
{
    const struct ifinfomsg link = {0};
    struct message message;
    ssize_t n;

    start(&message, RTM_GETLINK, 0, &link, sizeof(link));
    head_of(&message)->nlmsg_flags = NLM_F_REQUEST; /* the answer is enough, and has room */
    put_text(&message, IFLA_IFNAME, dev);
    head_of(&message)->nlmsg_len = message.len;
    do
        n = send(fd, message.data, message.len, 0);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int netlink_await_up(int fd, const char *dev, unsigned int ms)
{
    _Alignas(struct nlmsghdr) char message[MESSAGE_MAX * 8];
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};
    int64_t end = now_ms() + ms, left;
    bool has_asked = false;
    int r = 0;

    while (r == 0) {
        ssize_t n = recv(fd, message, sizeof(message), MSG_DONTWAIT);

        if (n > 0) {
            r = read_up(message, (size_t)n, dev);
        } else if (n < 0 && errno == ENOBUFS) {
            has_asked = false; /* messages are lost; more will be until all are read */
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            return n == 0 ? -ECONNRESET : -errno;
        } else if (!has_asked) {
            r = ask_for_link(fd, dev);
            has_asked = true;
        } else {
            left = end - now_ms();
            if (left <= 0)
                return -ETIMEDOUT;
            (void)poll(&pollfd, 1, left < INT_MAX ? (int)left : INT_MAX);
        }
    }
    return r < 0 ? r : 0;
}

int netlink_no_ipv6_address(int fd, const char *dev)
{
    const uint8_t mode = IN6_ADDR_GEN_MODE_NONE;
    struct ifinfomsg link = {0};
    struct message message;
    struct rtattr *families, *family;
    unsigned int index;
    int r = index_of(dev, &index);

    if (r < 0)
        return r;
    link.ifi_index = (int)index;
    start(&message, RTM_SETLINK, 0, &link, sizeof(link));
    families = begin_nest(&message, IFLA_AF_SPEC);
    family = begin_nest(&message, AF_INET6);
    put_attribute(&message, IFLA_INET6_ADDR_GEN_MODE, &mode, sizeof(mode));
    end_nest(&message, family);
    end_nest(&message, families);
    return talk(fd, &message);
}

int netlink_add_address(int fd, const char *dev, const struct prefix *address)
{
    struct ifaddrmsg head = {.ifa_family = (uint8_t)address->family,
                             .ifa_prefixlen = address->len,
                             .ifa_flags = address->family == AF_INET6 ? IFA_F_NODAD : 0};
    struct message message;
    int r = index_of(dev, &head.ifa_index);

    if (r < 0)
        return r;
    start(&message, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &head, sizeof(head));
    put_address(&message, IFA_LOCAL, address);
    put_address(&message, IFA_ADDRESS, address);
    return talk(fd, &message);
}

int netlink_add_neighbour(int fd, const char *dev, const struct prefix *address,
                          const uint8_t mac[6])
{
    struct ndmsg head = {.ndm_family = (uint8_t)address->family, .ndm_state = NUD_PERMANENT};
    struct message message;
    unsigned int index;
    int r = index_of(dev, &index);

    if (r < 0)
        return r;
    head.ndm_ifindex = (int)index;
    start(&message, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, &head, sizeof(head));
    put_address(&message, NDA_DST, address);
    put_attribute(&message, NDA_LLADDR, mac, 6);
    return talk(fd, &message);
}

int netlink_add_route(int fd, const struct netlink_route *route)
{
    const struct rtmsg head = {.rtm_family = (uint8_t)route->to.family,
                               .rtm_dst_len = route->to.len,
                               .rtm_table = route->table,
                               .rtm_protocol = RTPROT_STATIC,
                               .rtm_scope = route->scope,
                               .rtm_type = route->type};
    struct message message;
    unsigned int index = 0;
    int r = route->dev ? index_of(route->dev, &index) : 0;

    if (r < 0)
        return r;
    start(&message, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &head, sizeof(head));
    if (route->to.len > 0)
        put_address(&message, RTA_DST, &route->to);
    if (route->via)
        put_address(&message, RTA_GATEWAY, route->via);
    if (route->dev)
        put_u32(&message, RTA_OIF, index);
    return talk(fd, &message);
}

static int change_rule(int fd, const struct netlink_rule *rule, uint16_t type, uint16_t flags)
{
    const struct fib_rule_hdr head = {
        .family = (uint8_t)rule->family, .table = rule->table, .action = FR_ACT_TO_TBL};
    const struct fib_rule_port_range port = {.start = rule->port, .end = rule->port};
    struct message message;

    start(&message, type, flags, &head, sizeof(head));
    put_u32(&message, FRA_PRIORITY, rule->priority);
    if (rule->in)
        put_text(&message, FRA_IIFNAME, rule->in);
    if (rule->protocol)
        put_attribute(&message, FRA_IP_PROTO, &rule->protocol, sizeof(rule->protocol));
    if (rule->port)
        put_attribute(&message, FRA_DPORT_RANGE, &port, sizeof(port));
    return talk(fd, &message);
}

int netlink_add_rule(int fd, const struct netlink_rule *rule)
{
    return change_rule(fd, rule, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL);
}

int netlink_delete_rule(int fd, const struct netlink_rule *rule)
{
    return change_rule(fd, rule, RTM_DELRULE, 0);
}
