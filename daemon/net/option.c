/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Socket options by name: range, level and number in the kernel. */
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <unistd.h>

#include "daemon/net/tcp.h"
#include "proto/errors.h"

struct option_entry {
    int64_t least, most;
    int level, name;   /* IPv4's where they differ */
    int level6, name6; /* IPv6's, 0: the same */
};

#define SAME 0, 0

/*
 * The daemon implements OPTION_LINGER itself: with SO_LINGER, close(2) would block or drop the rest
 * (socket(7)).
 */
static const struct option_entry entries[NETSOCK_OPTIONS + 1] = {
    [OPTION_NO_DELAY] = {0, 1, IPPROTO_TCP, TCP_NODELAY, SAME},
    [OPTION_KEEP_ALIVE] = {0, 1, SOL_SOCKET, SO_KEEPALIVE, SAME},
    [OPTION_KEEP_ALIVE_TIME] = {1, 32767, IPPROTO_TCP, TCP_KEEPIDLE, SAME},
    [OPTION_KEEP_ALIVE_INTERVAL] = {1, 32767, IPPROTO_TCP, TCP_KEEPINTVL, SAME},
    [OPTION_KEEP_ALIVE_COUNT] = {1, 127, IPPROTO_TCP, TCP_KEEPCNT, SAME},
    [OPTION_SEND_BUFFER] = {1, 1 << 30, SOL_SOCKET, SO_SNDBUF, SAME},
    [OPTION_RECEIVE_BUFFER] = {1, 1 << 30, SOL_SOCKET, SO_RCVBUF, SAME},
    [OPTION_HOP_LIMIT] = {1, 255, IPPROTO_IP, IP_TTL, IPPROTO_IPV6, IPV6_UNICAST_HOPS},
    [OPTION_TRAFFIC_CLASS] = {0, 255, IPPROTO_IP, IP_TOS, IPPROTO_IPV6, IPV6_TCLASS},
    [OPTION_REUSE_ADDRESS] = {0, 1, SOL_SOCKET, SO_REUSEADDR, SAME},
    [OPTION_USER_TIMEOUT] = {0, INT_MAX, IPPROTO_TCP, TCP_USER_TIMEOUT, SAME},
    [OPTION_LINGER] = {-1, INT_MAX, 0, 0, SAME},
    /* The kernel's option is the opposite (IPV6_V6ONLY), and only exists for IPv6. */
    [OPTION_DUAL_MODE] = {0, 1, IPPROTO_IPV6, IPV6_V6ONLY, SAME},
    [OPTION_COALESCE] = {0, 1, IPPROTO_UDP, UDP_GRO, SAME},
    [OPTION_BROADCAST] = {0, 1, SOL_SOCKET, SO_BROADCAST, SAME},
    [OPTION_MULTICAST_HOPS] = {0, 255, IPPROTO_IP, IP_MULTICAST_TTL, IPPROTO_IPV6,
                               IPV6_MULTICAST_HOPS},
    [OPTION_MULTICAST_LOOP] = {0, 1, IPPROTO_IP, IP_MULTICAST_LOOP, IPPROTO_IPV6,
                               IPV6_MULTICAST_LOOP},
    [OPTION_MULTICAST_INTERFACE] = {0, INT_MAX, IPPROTO_IP, IP_MULTICAST_IF, IPPROTO_IPV6,
                                    IPV6_MULTICAST_IF},
};

int netsock_check_option(uint32_t option, int64_t value)
{
    if (option == 0 || option > NETSOCK_OPTIONS)
        return ERR_PROTOCOL_OPTION;
    if (value < entries[option].least || value > entries[option].most)
        return ERR_INVALID_ARGUMENT;
    return ERR_SUCCESS;
}

static int family_of(const struct netsock *ns)
{
    int family = AF_UNSPEC;
    socklen_t len = sizeof(family);

    getsockopt(ns->fd, SOL_SOCKET, SO_DOMAIN, &family, &len);
    return family;
}

/* Level and number for this socket's family. */
static void kernel_option(const struct netsock *ns, uint32_t option, int *level, int *name)
{
    const struct option_entry *e = &entries[option];
    bool six = e->level6 != 0 && family_of(ns) == AF_INET6;

    *level = six ? e->level6 : e->level;
    *name = six ? e->name6 : e->name;
}

/* Of IPv4 an int would be an address. */
static int set_interface(struct netsock *ns, int32_t index)
{
    struct ip_mreqn request = {.imr_ifindex = index};

    return setsockopt(ns->fd, IPPROTO_IP, IP_MULTICAST_IF, &request, sizeof(request)) < 0 ? -errno
                                                                                          : 0;
}

int netsock_set_option(struct netsock *ns, uint32_t option, int32_t value)
{
    int level, name;

    if (option == OPTION_LINGER || (option == OPTION_DUAL_MODE && family_of(ns) != AF_INET6))
        return 0;
    if (option == OPTION_DUAL_MODE)
        value = !value;
    if (option == OPTION_MULTICAST_INTERFACE && family_of(ns) == AF_INET)
        return set_interface(ns, value);
    kernel_option(ns, option, &level, &name);
    return setsockopt(ns->fd, level, name, &value, sizeof(value)) < 0 ? -errno : 0;
}

int netsock_get_option(const struct netsock *ns, uint32_t option, int64_t *ret)
{
    int level, name, value = 0;
    socklen_t len = sizeof(value);

    kernel_option(ns, option, &level, &name);
    if (getsockopt(ns->fd, level, name, &value, &len) < 0)
        return -errno;
    *ret = option == OPTION_DUAL_MODE ? !value : value;
    return 0;
}

int netsock_apply_options(struct netsock *ns, const struct netsock_options *options)
{
    for (uint32_t option = 1; options && option <= NETSOCK_OPTIONS; option++) {
        int r;

        if (!(options->set & UINT32_C(1) << option))
            continue;
        r = netsock_set_option(ns, option, options->values[option]);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- buffers ---- */

/* Used if /proc cannot be read: the largest default that Linux has had, for any size of memory. */
#define SEND_AUTO (4u * 1024u * 1024u)
#define RECEIVE_AUTO (32u * 1024u * 1024u)
#define RECEIVE_START (128u * 1024u)

/*
 * Reads the second of the file's three numbers (the initial size of a buffer) and the third (the
 * most that autotuning may use). On failure both stay as they are.
 */
static void read_autotuned(const char *path, uint64_t *start, uint64_t *most)
{
    unsigned long long numbers[2];
    FILE *file = fopen(path, "re");

    if (!file)
        return;
    if (fscanf(file, "%*u %llu %llu", &numbers[0], &numbers[1]) == 2) {
        *start = numbers[0];
        *most = numbers[1];
    }
    fclose(file);
}

/*
 * The largest size that a process without a capability gets, doubled as the kernel does; found by
 * asking for more.
 */
static uint64_t probe_most(int fd, int name)
{
    int value = INT_MAX / 2;
    socklen_t len = sizeof(value);

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, name, &value, sizeof(value)) < 0 ||
        getsockopt(fd, SOL_SOCKET, name, &value, &len) < 0)
        return INT_MAX;
    return (uint64_t)value;
}

/* Linux's own default of net.core.wmem_default and rmem_default, if those cannot be read. */
#define DATAGRAM_AUTO 212992u

static uint64_t default_of(int fd, int name)
{
    int value = 0;
    socklen_t len = sizeof(value);

    if (fd < 0 || getsockopt(fd, SOL_SOCKET, name, &value, &len) < 0 || value <= 0)
        return DATAGRAM_AUTO;
    return (uint64_t)value;
}

void netsock_buffer_limits(struct netsock_buffers *ret)
{
    uint64_t send_start;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    ret->datagram_send = default_of(fd, SO_SNDBUF);
    ret->datagram_receive = default_of(fd, SO_RCVBUF);
    if (fd >= 0)
        close(fd);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ret->send_auto = SEND_AUTO;
    ret->receive_auto = RECEIVE_AUTO;
    ret->receive_start = RECEIVE_START;
    read_autotuned("/proc/sys/net/ipv4/tcp_wmem", &send_start, &ret->send_auto);
    read_autotuned("/proc/sys/net/ipv4/tcp_rmem", &ret->receive_start, &ret->receive_auto);
    ret->send_most = probe_most(fd, SO_SNDBUF);
    ret->receive_most = probe_most(fd, SO_RCVBUF);
    if (fd >= 0)
        close(fd);
}
