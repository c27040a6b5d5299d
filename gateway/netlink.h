/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_NETLINK_H
#define GATEWAY_NETLINK_H

/*
 * Links, addresses, routes, neighbours and rules of the network namespace that the socket was made
 * in. Each call waits for the kernel's answer, which is there at once; netlink_await_up() alone
 * waits longer. 0 or a negative errno.
 */
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* An IPv4 or IPv6 address with the length of its prefix. */
struct prefix {
    int family;
    struct in6_addr addr; /* IPv4: its first four bytes */
    uint8_t len;
};

struct netlink_rule {
    int family;
    uint32_t priority;
    const char *in;   /* the device by which packets come */
    uint8_t protocol; /* of IP; 0: any */
    uint16_t port;    /* the destination's; 0: any */
    uint8_t table;
};

struct netlink_route {
    struct prefix to;
    uint8_t table, type, scope;
    const struct prefix *via; /* may be NULL, like dev */
    const char *dev;
};

bool prefix_parse(const char *text, uint8_t len, struct prefix *ret);

int netlink_open(int *ret);
/* For netlink_await_up() alone: the kernel reports every change of a device there. */
int netlink_watch(int *ret);

/* A pair of devices, the second one in the network namespace of that process. */
int netlink_add_veth(int fd, const char *name, const uint8_t mac[6], const char *peer,
                     const uint8_t peer_mac[6], pid_t peer_of, uint32_t mtu);
int netlink_set_up(int fd, const char *dev);
/*
 * Until the device of this name sends. Where the end of a cable was set up first, and then the
 * other one, a task of the kernel starts it later, and what it is to send before that is lost.
 * -ETIMEDOUT: not within so many milliseconds.
 */
int netlink_await_up(int fd, const char *dev, unsigned int ms);
/*
 * None that it makes itself when it is set up: its network would be a way past the default route.
 */
int netlink_no_ipv6_address(int fd, const char *dev);
int netlink_add_address(int fd, const char *dev, const struct prefix *address);
int netlink_add_neighbour(int fd, const char *dev, const struct prefix *address,
                          const uint8_t mac[6]);
int netlink_add_route(int fd, const struct netlink_route *route);
int netlink_add_rule(int fd, const struct netlink_rule *rule);
int netlink_delete_rule(int fd, const struct netlink_rule *rule);

#endif
