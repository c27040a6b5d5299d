/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_ADDRESS_ORDER_H
#define ASOCKD_ADDRESS_ORDER_H

/*
 * The order in which the addresses of a name are tried: destination address selection of RFC 6724,
 * section 6. The source address of each destination is what the kernel would use: that of a UDP
 * socket connected to it (nothing is sent).
 *
 * Rules 3, 4 and 7 (deprecated, home and native addresses) need knowledge that the kernel tells by
 * netlink only, and are left out, as in c-ares and musl. Rule 9 (longest common prefix) is applied
 * to IPv6 alone: for IPv4 it defeats what a name server's round robin is for.
 */
#include <stdbool.h>
#include <stddef.h>

#include "daemon/names/resolver.h"

/* Finds the source address for `to`. False: there is none, the destination cannot be reached. */
typedef bool (*order_source_fn)(const union resolver_address *to, union resolver_address *ret);

bool address_order_kernel_source(const union resolver_address *to, union resolver_address *ret);

/*
 * Sorts; stable. source NULL: the kernel's. At most ORDER_MAX addresses, more are left behind as
 * they are.
 */
#define ORDER_MAX 64
void address_order(union resolver_address *addresses, size_t count, order_source_fn source);

#endif
