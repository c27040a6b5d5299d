/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/names/address_order.h"

#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/endpoint.h"

struct candidate {
    union resolver_address address;
    struct in6_addr to, from; /* IPv4 as mapped IPv6 */
    bool has_source;
};

struct policy_row {
    uint8_t prefix[16];
    unsigned int bits;
    int precedence, label;
};

/* RFC 6724, section 2.1, longest prefixes first. */
static const struct policy_row policy_table[] = {
    {{[15] = 1}, 128, 50, 0},  {{[10] = 0xff, 0xff}, 96, 35, 4},
    {{0}, 96, 1, 3},           {{0x20, 0x01}, 32, 5, 5},
    {{0x20, 0x02}, 16, 30, 2}, {{0x3f, 0xfe}, 16, 1, 12},
    {{0xfe, 0xc0}, 10, 1, 11}, {{0xfc}, 7, 3, 13},
    {{0}, 0, 40, 1},
};

static unsigned int common_bits(const uint8_t *a, const uint8_t *b)
{
    unsigned int n = 0;

    while (n < 128 && !((a[n / 8] ^ b[n / 8]) & 0x80 >> n % 8))
        n++;
    return n;
}

static const struct policy_row *policy_of(const struct in6_addr *address)
{
    const struct policy_row *row = policy_table;

    while (common_bits(row->prefix, address->s6_addr) < row->bits)
        row++;
    return row;
}

enum { SCOPE_LINK = 0x2, SCOPE_SITE = 0x5, SCOPE_GLOBAL = 0xe };

/* RFC 6724, sections 3.1 and 3.2. */
static int scope_of(const struct in6_addr *address)
{
    const uint8_t *bytes = address->s6_addr;

    if (IN6_IS_ADDR_V4MAPPED(address))
        return bytes[12] == 127 || (bytes[12] == 169 && bytes[13] == 254) ? SCOPE_LINK
                                                                          : SCOPE_GLOBAL;
    if (IN6_IS_ADDR_MULTICAST(address))
        return bytes[1] & 0xf;
    if (IN6_IS_ADDR_LOOPBACK(address) || IN6_IS_ADDR_LINKLOCAL(address))
        return SCOPE_LINK;
    return IN6_IS_ADDR_SITELOCAL(address) ? SCOPE_SITE : SCOPE_GLOBAL;
}

static void to_in6(const union resolver_address *address, struct in6_addr *ret)
{
    static const uint8_t mapped[12] = {[10] = 0xff, 0xff};

    if (address->any.sa_family == AF_INET6) {
        *ret = address->in6.sin6_addr;
        return;
    }
    memcpy(ret->s6_addr, mapped, sizeof(mapped));
    memcpy(ret->s6_addr + 12, &address->in.sin_addr, 4);
}

static socklen_t length_of(const union resolver_address *address)
{
    return address->any.sa_family == AF_INET ? sizeof(address->in) : sizeof(address->in6);
}

bool address_order_kernel_source(const union resolver_address *to, union resolver_address *ret)
{
    socklen_t len = sizeof(*ret);
    union resolver_address probe = *to;
    bool found;
    int fd;

    fd = socket(to->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    /* Port 0 is refused by some kernels; the discard port is never spoken to. */
    asock_sockaddr_set_port(&probe.any, 9);
    found = connect(fd, &probe.any, length_of(&probe)) == 0 &&
            getsockname(fd, &ret->any, &len) == 0;
    close(fd);
    return found;
}

static int order_of_bools(bool a, bool b)
{
    return a == b ? 0 : a ? -1 : 1;
}

static bool scopes_match(const struct candidate *c)
{
    return scope_of(&c->to) == scope_of(&c->from);
}

static bool labels_match(const struct candidate *c)
{
    return policy_of(&c->to)->label == policy_of(&c->from)->label;
}

static bool is_v6(const struct candidate *c)
{
    return c->address.any.sa_family == AF_INET6;
}

/* Rule 9: how much of the destination its source shares; a source has 64 bits of prefix. */
static int compare_prefix(const struct candidate *a, const struct candidate *b)
{
    unsigned int in_a, in_b;

    if (!is_v6(a) || !is_v6(b))
        return 0;
    in_a = common_bits(a->to.s6_addr, a->from.s6_addr);
    in_b = common_bits(b->to.s6_addr, b->from.s6_addr);
    in_a = in_a > 64 ? 64 : in_a;
    in_b = in_b > 64 ? 64 : in_b;
    return (int)in_b - (int)in_a;
}

/* Below 0: a first. */
static int compare(const struct candidate *a, const struct candidate *b)
{
    int r = order_of_bools(a->has_source, b->has_source); /* rule 1 */

    if (r == 0 && !a->has_source)
        return 0;
    if (r == 0)
        r = order_of_bools(scopes_match(a), scopes_match(b)); /* rule 2 */
    if (r == 0)
        r = order_of_bools(labels_match(a), labels_match(b)); /* rule 5 */
    if (r == 0)
        r = policy_of(&b->to)->precedence - policy_of(&a->to)->precedence; /* rule 6 */
    if (r == 0)
        r = scope_of(&a->to) - scope_of(&b->to); /* rule 8 */
    return r != 0 ? r : compare_prefix(a, b);    /* rules 9, 10 */
}

static void insert_sorted(struct candidate *candidates, size_t count, const struct candidate *c)
{
    while (count > 0 && compare(c, &candidates[count - 1]) < 0) {
        candidates[count] = candidates[count - 1];
        count--;
    }
    candidates[count] = *c;
}

void address_order(union resolver_address *addresses, size_t count, order_source_fn source)
{
    struct candidate candidates[ORDER_MAX];

    if (count > ORDER_MAX)
        count = ORDER_MAX;
    for (size_t i = 0; i < count; i++) {
        struct candidate c = {.address = addresses[i]};
        union resolver_address from;

        c.has_source = (source ? source : address_order_kernel_source)(&addresses[i], &from);
        to_in6(&addresses[i], &c.to);
        if (c.has_source)
            to_in6(&from, &c.from);
        insert_sorted(candidates, i, &c);
    }
    for (size_t i = 0; i < count; i++)
        addresses[i] = candidates[i].address;
}
