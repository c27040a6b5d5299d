/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCKD_POLICY_NAT64_H
#define ASOCKD_POLICY_NAT64_H

/*
 * Prefixes of RFC 6052 by which a translator of this network reaches IPv4, beside the well-known
 * 64:ff9b::/96. An address behind one counts as global, as one behind 64:ff9b::/96 does; the IPv4
 * address in it is judged too.
 */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/policy/address.h"

#define POLICY_NAT64_MAX 8u

struct policy_nat64_prefix {
    uint8_t net[16];
    uint8_t length; /* 32, 40, 48, 56, 64 or 96 */
};

struct policy_nat64 {
    unsigned int count;
    struct policy_nat64_prefix prefixes[POLICY_NAT64_MAX];
};

/* "PREFIX/LENGTH,...". 0; -EINVAL: not a prefix of RFC 6052; -E2BIG: over POLICY_NAT64_MAX. */
int policy_nat64_parse(const char *text, struct policy_nat64 *ret);

bool policy_nat64_has(const struct policy_nat64_prefix *prefix, const struct policy_address *addr);
bool policy_nat64_contains(const struct policy_nat64 *nat64, const struct policy_address *addr);

/* The IPv4 address behind a prefix of that length; bytes are those of an IPv6 address. */
void policy_nat64_extract(const uint8_t *bytes, unsigned int length, struct policy_address *ret);

#endif
