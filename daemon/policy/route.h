/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_POLICY_ROUTE_H
#define ASOCKD_POLICY_ROUTE_H

/* Where the kernel would send the packets of a connection. */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/policy/address.h"

struct policy_egress;

/* What a rule of the routing policy may look at, beside the address. */
struct policy_way {
    bool is_udp;
    uint16_t port; /* host byte order */
    uint8_t traffic_class;
    const struct policy_egress *egress; /* NULL: any source, any device */
};

/*
 * Do packets to it stay on this host? It may be an address of an interface or in a prefix that is
 * routed to the host; the same address may be somebody else's for another protocol, port, traffic
 * class, source or device. Needs a socket for netlink, and sends no packet. What cannot be found
 * out stays; to what has no route nothing gets.
 */
bool policy_route_is_local(const struct policy_address *addr, const struct policy_way *way);

#endif
