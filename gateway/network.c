/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The gateway's namespace has no route but the one back to the command, and a table that makes
 * every address its own. That table is asked for ports somebody listens at, and for what the
 * gateway itself sends by its loopback. Everything else is dropped by the kernel without a word; a
 * packet socket has seen it: so a first packet is held, and a datagram refused. (The kernel itself
 * refuses no datagram to an address that is in no other table.)
 */
#include "gateway/network.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/netlink.h"

#define OUTSIDE "cable0"
#define INSIDE "cable1"
#define LOOPBACK "lo"
#define MTU 65535u /* at 1500 bulk is a third slower */
#define TABLE_EVERYTHING 100
#define PRIORITY_LOOPBACK 100
#define PRIORITY_PORT 1000
#define BACKLOG 4096
#define CABLE_MS 5000           /* longer than that only if the kernel's tasks get no processor */
#define NAME_SERVER 0xc6120001u /* NETWORK_NAME_SERVER */

static const uint8_t outside_mac[6] = {2, 'a', 's', 'o', 'c', 1};
static const uint8_t inside_mac[6] = {2, 'a', 's', 'o', 'c', 2};

struct ends {
    const char *outside, *inside, *everything;
    uint8_t len, host_len;
};

static const struct ends ends4 = {NETWORK_NAME_SERVER, "198.18.0.2", "0.0.0.0", 30, 32};
static const struct ends ends6 = {"fd61:736f:636b::1", "fd61:736f:636b::2", "::", 126, 128};

static int fail(struct network_problem *why, const char *what, int r)
{
    *why = (struct network_problem){what, -r};
    return -1;
}

/* ---- files of the kernel ---- */

static int write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int r = 0;

    if (fd < 0)
        return -errno;
    if (write(fd, text, strlen(text)) < 0)
        r = -errno;
    close(fd);
    return r;
}

static bool has_value(const char *path, const char *value)
{
    char text[32];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return false;
    text[n - (text[n - 1] == '\n')] = 0;
    return strcmp(text, value) == 0;
}

static int map_ids(struct network_problem *why, uid_t uid, gid_t gid)
{
    char text[64];
    int r;

    /* Without this the other map may not be written; a kernel before 3.19 does not have it. */
    r = write_file("/proc/self/setgroups", "deny");
    if (r < 0 && r != -ENOENT)
        return fail(why, "write /proc/self/setgroups", r);
    snprintf(text, sizeof(text), "%u %u 1", uid, uid);
    r = write_file("/proc/self/uid_map", text);
    if (r < 0)
        return fail(why, "map a user ID in the user namespace", r);
    snprintf(text, sizeof(text), "%u %u 1", gid, gid);
    r = write_file("/proc/self/gid_map", text);
    return r < 0 ? fail(why, "map a group ID in the user namespace", r) : 0;
}

int network_unshare(struct network_problem *why)
{
    uid_t uid = geteuid();
    gid_t gid = getegid();

    if (unshare(CLONE_NEWUSER) < 0)
        return fail(why, "create a user namespace", -errno);
    if (map_ids(why, uid, gid) < 0)
        return -1;
    return unshare(CLONE_NEWNET) < 0 ? fail(why, "create a network namespace", -errno) : 0;
}

/*
 * The first ones a new namespace inherits from the host: a router's would answer, and a strict one
 * drop, what is to be held. With TCP Fast Open a program could send before its connection is
 * decided about.
 */
static int set_kernel(struct network_problem *why)
{
    static const struct {
        const char *path, *value;
    } settings[] = {
        {"/proc/sys/net/ipv4/conf/all/forwarding", "0"},
        {"/proc/sys/net/ipv4/conf/default/forwarding", "0"},
        {"/proc/sys/net/ipv4/conf/all/rp_filter", "0"},
        {"/proc/sys/net/ipv4/conf/default/rp_filter", "0"},
        {"/proc/sys/net/ipv4/conf/lo/rp_filter", "0"},
        {"/proc/sys/net/ipv4/tcp_fastopen", "0"},
    };

    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        int r = write_file(settings[i].path, settings[i].value);

        if (r < 0 && !has_value(settings[i].path, settings[i].value))
            return fail(why, "set sysctls in /proc/sys/net", r);
    }
    return 0;
}

/*
 * Nothing else is on this link. Pacing, as by BBR, halves the throughput; a new namespace has the
 * host's choice.
 */
static void choose_congestion_control(void)
{
    (void)write_file("/proc/sys/net/ipv4/tcp_congestion_control", "reno");
}

/* ---- the gateway's namespace ---- */

static int route_outside(int netlink, const struct ends *ends)
{
    struct prefix own, other, everything;
    struct netlink_route back = {
        .table = RT_TABLE_LOCAL, .type = RTN_UNICAST, .scope = RT_SCOPE_LINK, .dev = OUTSIDE};
    struct netlink_route all = {
        .table = TABLE_EVERYTHING, .type = RTN_LOCAL, .scope = RT_SCOPE_HOST, .dev = LOOPBACK};
    struct netlink_route nowhere = {.table = RT_TABLE_MAIN, .type = RTN_BLACKHOLE};
    struct netlink_rule rule = {
        .priority = PRIORITY_LOOPBACK, .in = LOOPBACK, .table = TABLE_EVERYTHING};
    int r;

    prefix_parse(ends->outside, ends->host_len, &own);
    prefix_parse(ends->inside, ends->host_len, &other);
    prefix_parse(ends->everything, 0, &everything);
    back.to = other;
    all.to = nowhere.to = everything;
    rule.family = own.family;
    r = netlink_add_address(netlink, OUTSIDE, &own);
    r = r < 0 ? r : netlink_add_neighbour(netlink, OUTSIDE, &other, inside_mac);
    r = r < 0 ? r : netlink_add_route(netlink, &back);
    r = r < 0 ? r : netlink_add_route(netlink, &all);
    r = r < 0 ? r : netlink_add_route(netlink, &nowhere);
    return r < 0 ? r : netlink_add_rule(netlink, &rule);
}

/*
 * By protocol, IPv4 and IPv6, and not to the gateway itself. Of TCP the first packet of a
 * connection only. For UDP the byte of the flags is not looked at.
 */
static int filter_packets(int fd, uint8_t protocol)
{
    const uint8_t flags = protocol == IPPROTO_TCP ? TH_SYN | TH_ACK | TH_RST | TH_FIN : 0;
    const uint8_t wanted = protocol == IPPROTO_TCP ? TH_SYN : 0;
    const uint8_t at = protocol == IPPROTO_TCP ? 13 : 0;
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
        BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 4, 0, 7),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 9),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, protocol, 0, 12),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 16),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NAME_SERVER, 10, 0),
        BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0),
        BPF_STMT(BPF_LD | BPF_B | BPF_IND, at),
        BPF_JUMP(BPF_JMP | BPF_JA, 4, 0, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 6, 0, 6),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 6),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, protocol, 0, 4),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 40u + at),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, flags),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, wanted, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

static int open_packets(const struct network *network, uint8_t protocol, int *ret)
{
    struct sockaddr_ll address = {.sll_family = AF_PACKET,
                                  .sll_protocol = htons(ETH_P_ALL),
                                  .sll_ifindex = (int)network->cable};
    int fd;

    /* Nothing is seen before it is bound. */
    fd = *ret = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    /* A first packet that finds no room is sent again by the program's kernel, a second later. */
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){4 << 20}, sizeof(int));
    if (filter_packets(fd, protocol) < 0 ||
        setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &(int){1}, sizeof(int)) < 0 ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    return 0;
}

static int has_device(const char *name, unsigned int *ret)
{
    *ret = if_nametoindex(name);
    return *ret ? 0 : -errno;
}

static bool knows_ipv6(void)
{
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static int make_outside(pid_t command, struct network *network, struct network_problem *why)
{
    int r = netlink_open(&network->netlink);

    if (r < 0)
        return fail(why, "open a netlink socket", r);
    if (set_kernel(why) < 0)
        return -1;
    choose_congestion_control();
    r = netlink_add_veth(network->netlink, OUTSIDE, outside_mac, INSIDE, inside_mac, command, MTU);
    if (r < 0)
        return fail(why, "create a pair of veth devices", r);
    r = netlink_set_up(network->netlink, LOOPBACK);
    if (r == 0 && network->has_ipv6)
        r = netlink_no_ipv6_address(network->netlink, OUTSIDE);
    r = r < 0 ? r : netlink_set_up(network->netlink, OUTSIDE);
    r = r < 0 ? r : has_device(LOOPBACK, &network->loopback);
    r = r < 0 ? r : has_device(OUTSIDE, &network->cable);
    if (r < 0)
        return fail(why, "set up a network device", r);
    r = route_outside(network->netlink, &ends4);
    if (r == 0 && network->has_ipv6)
        r = route_outside(network->netlink, &ends6);
    if (r < 0)
        return fail(why, "set up policy routing", r);
    r = open_packets(network, IPPROTO_TCP, &network->packets);
    r = r < 0 ? r : open_packets(network, IPPROTO_UDP, &network->datagrams);
    return r < 0 ? fail(why, "open a packet socket", r) : 0;
}

int network_make_outside(pid_t command, struct network *ret, struct network_problem *why)
{
    *ret = (struct network){.netlink = -1,
                            .packets = -1,
                            .datagrams = -1,
                            .own = -1,
                            .inside = -1,
                            .has_ipv6 = knows_ipv6()};
    if (make_outside(command, ret, why) == 0)
        return 0;
    network_close(ret);
    return -1;
}

void network_close(struct network *network)
{
    if (network->netlink >= 0)
        close(network->netlink);
    if (network->packets >= 0)
        close(network->packets);
    if (network->datagrams >= 0)
        close(network->datagrams);
    if (network->own >= 0)
        close(network->own);
    if (network->inside >= 0)
        close(network->inside);
    network->netlink = network->packets = network->datagrams = -1;
    network->own = network->inside = -1;
}

/* ---- sockets in the command's namespace ---- */

int network_reach_inside(struct network *network, int inside, struct network_problem *why)
{
    network->inside = fcntl(inside, F_DUPFD_CLOEXEC, 0);
    if (network->inside >= 0)
        network->own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    return network->own < 0 ? fail(why, "open a network namespace", -errno) : 0;
}

/* A socket belongs to the namespace that the thread is in when it makes it. */
int network_socket_inside(const struct network *network, int family)
{
    int fd;

    if (setns(network->inside, CLONE_NEWNET) < 0)
        return -errno;
    fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    fd = fd < 0 ? -errno : fd;
    if (setns(network->own, CLONE_NEWNET) < 0)
        abort(); /* it was this thread's a moment ago; everything else would go to the wrong network */
    return fd;
}

/* ---- the command's namespace ---- */

static int route_inside(int netlink, const struct ends *ends)
{
    struct prefix own, other;
    struct netlink_route all = {.table = RT_TABLE_MAIN,
                                .type = RTN_UNICAST,
                                .scope = RT_SCOPE_UNIVERSE,
                                .via = &other,
                                .dev = INSIDE};
    int r;

    prefix_parse(ends->inside, ends->len, &own);
    prefix_parse(ends->outside, ends->len, &other);
    prefix_parse(ends->everything, 0, &all.to);
    r = netlink_add_address(netlink, INSIDE, &own);
    r = r < 0 ? r : netlink_add_neighbour(netlink, INSIDE, &other, outside_mac);
    return r < 0 ? r : netlink_add_route(netlink, &all);
}

int network_watch_outside(struct network_problem *why)
{
    int fd, r = netlink_watch(&fd);

    return r < 0 ? fail(why, "open a netlink socket", r) : fd;
}

static int make_inside(struct network_problem *why)
{
    int netlink, r = netlink_open(&netlink);

    if (r < 0)
        return fail(why, "open a netlink socket", r);
    choose_congestion_control();
    /*
     * The command has no capabilities, and there are no other users: its server may have port 80.
     */
    (void)write_file("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
    r = netlink_set_up(netlink, LOOPBACK);
    if (r == 0 && knows_ipv6())
        r = netlink_no_ipv6_address(netlink, INSIDE);
    r = r < 0 ? r : netlink_set_up(netlink, INSIDE);
    r = r < 0 ? r : route_inside(netlink, &ends4);
    if (r == 0 && knows_ipv6())
        r = route_inside(netlink, &ends6);
    close(netlink);
    return r < 0 ? fail(why, "set up the command's network", r) : 0;
}

/*
 * The other end was set up first, so it starts some time after this one. Until then the answers to
 * the command's first packets would be lost: to a SYN it comes a second later, to a datagram never.
 */
int network_make_inside(int outside, struct network_problem *why)
{
    int r = make_inside(why);

    if (r == 0)
        (void)netlink_await_up(outside, OUTSIDE, CABLE_MS);
    close(outside);
    return r;
}

/* ---- ports ---- */

static struct netlink_rule rule_of(int family, uint16_t port)
{
    return (struct netlink_rule){.family = family,
                                 .priority = PRIORITY_PORT,
                                 .in = OUTSIDE,
                                 .protocol = IPPROTO_TCP,
                                 .port = port,
                                 .table = TABLE_EVERYTHING};
}

int network_open_port(const struct network *network, int family, uint16_t port)
{
    struct netlink_rule rule = rule_of(family, port);

    return netlink_add_rule(network->netlink, &rule);
}

void network_close_port(const struct network *network, int family, uint16_t port)
{
    struct netlink_rule rule = rule_of(family, port);

    (void)netlink_delete_rule(network->netlink, &rule);
}

/*
 * What comes by the cable has not been decided about yet. Those that are accepted have the filter,
 * too: it costs them less than the call that would take it off.
 */
static int filter_listener(int fd, unsigned int loopback)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, TH_SYN | TH_ACK | TH_RST | TH_FIN),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TH_SYN, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(SKF_AD_OFF + SKF_AD_IFINDEX)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, loopback, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

static int start_listening(const struct network *network, int fd, int family, uint16_t port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    bool is_ipv4 = family == AF_INET;

    /* TCP_NODELAY is for those that are accepted. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)) < 0 ||
        filter_listener(fd, network->loopback) < 0)
        return -1;
    if (is_ipv4)
        return setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &(int){1}, sizeof(int)) < 0 ||
                       bind(fd, (struct sockaddr *)&in, sizeof(in)) < 0
                   ? -1
                   : listen(fd, BACKLOG);
    return setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){1}, sizeof(int)) < 0 ||
                   setsockopt(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, &(int){1}, sizeof(int)) < 0 ||
                   bind(fd, (struct sockaddr *)&in6, sizeof(in6)) < 0
               ? -1
               : listen(fd, BACKLOG);
}

int network_listen(const struct network *network, int family, uint16_t port, int *ret)
{
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), r;

    if (fd < 0)
        return -errno;
    if (start_listening(network, fd, family, port) < 0) {
        r = -errno;
        close(fd);
        return r;
    }
    *ret = fd;
    return 0;
}

/* ---- packets ---- */

static int put(const struct network *network, int family, unsigned int device, const uint8_t *mac,
               const void *packet, size_t len)
{
    struct sockaddr_ll to = {.sll_family = AF_PACKET,
                             .sll_protocol = htons(family == AF_INET ? ETH_P_IP : ETH_P_IPV6),
                             .sll_ifindex = (int)device,
                             .sll_halen = sizeof(inside_mac)};
    ssize_t n;

    memcpy(to.sll_addr, mac, sizeof(inside_mac));
    n = sendto(network->packets, packet, len, 0, (struct sockaddr *)&to, sizeof(to));
    return n < 0 ? -errno : 0;
}

int network_put_syn(const struct network *network, const struct packet *syn)
{
    static const uint8_t none[sizeof(inside_mac)];

    return put(network, syn->family, network->loopback, none, syn->head, syn->len);
}

int network_put_answer(const struct network *network, int family, const void *packet, size_t len)
{
    return put(network, family, network->cable, inside_mac, packet, len);
}
