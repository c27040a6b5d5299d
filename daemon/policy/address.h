/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_POLICY_ADDRESS_H
#define ASOCKD_POLICY_ADDRESS_H

/*
 * Which addresses are special: what IANA's registries for special purposes (RFC 6890) say, and what
 * is no unicast address at all.
 */
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* The flags that a rule needs to allow such an address. */
#define POLICY_LOOPBACK 0x01u
#define POLICY_PRIVATE 0x02u
#define POLICY_LINKLOCAL 0x04u
#define POLICY_LOCAL 0x08u /* any address of this host */
#define POLICY_SPECIAL 0x10u
#define POLICY_FLAGS_ALL 0x1fu
/* Further flags of a rule: connections that it allows may be lent, or given, to the client. */
#define POLICY_LEND 0x20u
#define POLICY_LEND_GIVEN 0x40u
#define POLICY_LENDS (POLICY_LEND | POLICY_LEND_GIVEN)
/*
 * Unspecified, multicast, broadcast: there is nothing to connect to. Datagrams go to the latter two
 * if a rule names them.
 */
#define POLICY_NEVER 0x80u

struct policy_nat64;

struct policy_address {
    int family;        /* AF_INET, AF_INET6 */
    uint8_t bytes[16]; /* the first 4 of AF_INET */
    uint32_t scope_id;
};

/* False: another family. IPv4 in ::ffff:0:0/96 is what the kernel makes of it: IPv4. */
bool policy_address_from(const struct sockaddr *addr, struct policy_address *ret);

/* How many leading bits of both are the same has to be at least prefix. */
bool policy_address_within(const struct policy_address *addr, int family, const uint8_t *net,
                           unsigned int prefix);

/* One of the flags, POLICY_NEVER, or 0: globally reachable. +local is not looked at here. */
uint8_t policy_address_class(const struct policy_address *addr);
/* Multicast, or 255.255.255.255: several hosts at a time. */
bool policy_network_is_group(int family, const uint8_t *net, unsigned int prefix);
/* The same of a whole network, where all of it lies in one range of the table; else 0. */
uint8_t policy_network_class(int family, const uint8_t *net, unsigned int prefix);

/* The classes of ranges in the table that lie within it, and are smaller. */
uint8_t policy_network_contains(int family, const uint8_t *net, unsigned int prefix);

/* IPv4 addresses that packets to this IPv6 address may end up at; their count. */
#define POLICY_EMBEDDED_MAX 9u
unsigned int policy_address_embedded(const struct policy_address *addr,
                                     const struct policy_nat64 *nat64,
                                     struct policy_address ret[static POLICY_EMBEDDED_MAX]);

#endif
