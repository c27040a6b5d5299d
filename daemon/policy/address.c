/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/policy/address.h"

#include <netinet/in.h>
#include <string.h>

#include "daemon/policy/nat64.h"

struct range {
    int family;
    uint8_t net[16];
    uint8_t prefix;
    uint8_t class;
};

#define V4(a, b, c, d, prefix, class)                                                              \
    {                                                                                              \
        AF_INET, {a, b, c, d}, prefix, class                                                       \
    }
#define V6(prefix, class, ...)                                                                     \
    {                                                                                              \
        AF_INET6, {__VA_ARGS__}, prefix, class                                                     \
    }

/*
 * The smallest range that contains an address tells its class; asockd.policy(5) has the same table.
 * IPv6 outside of 2000::/3 has not been given out: special, as far as nothing else is said.
 */
static const struct range ranges[] = {
    V4(0, 0, 0, 0, 8, POLICY_SPECIAL), /* "this network" */
    V4(0, 0, 0, 0, 32, POLICY_NEVER),
    V4(10, 0, 0, 0, 8, POLICY_PRIVATE),
    V4(100, 64, 0, 0, 10, POLICY_PRIVATE), /* shared, RFC 6598 */
    V4(127, 0, 0, 0, 8, POLICY_LOOPBACK),
    V4(169, 254, 0, 0, 16, POLICY_LINKLOCAL),
    V4(172, 16, 0, 0, 12, POLICY_PRIVATE),
    V4(192, 0, 0, 0, 24, POLICY_SPECIAL),   /* IETF protocol assignments */
    V4(192, 0, 0, 9, 32, 0),                /* port control protocol anycast */
    V4(192, 0, 0, 10, 32, 0),               /* TURN anycast */
    V4(192, 0, 2, 0, 24, POLICY_SPECIAL),   /* documentation */
    V4(192, 88, 99, 0, 24, POLICY_SPECIAL), /* 6to4 relay anycast, deprecated */
    V4(192, 168, 0, 0, 16, POLICY_PRIVATE),
    V4(198, 18, 0, 0, 15, POLICY_SPECIAL), /* benchmarking */
    V4(198, 51, 100, 0, 24, POLICY_SPECIAL),
    V4(203, 0, 113, 0, 24, POLICY_SPECIAL),
    V4(224, 0, 0, 0, 4, POLICY_NEVER),   /* multicast */
    V4(240, 0, 0, 0, 4, POLICY_SPECIAL), /* reserved */
    V4(255, 255, 255, 255, 32, POLICY_NEVER),

    V6(3, POLICY_SPECIAL, 0x00),
    V6(128, POLICY_NEVER, 0x00),
    V6(128, POLICY_LOOPBACK, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1),
    V6(96, 0, 0x00, 0x64, 0xff, 0x9b),                             /* NAT64 */
    V6(23, POLICY_SPECIAL, 0x20, 0x01),                            /* IETF protocol assignments */
    V6(128, 0, 0x20, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1), /* PCP anycast */
    V6(128, 0, 0x20, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2), /* TURN anycast */
    V6(128, 0, 0x20, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3), /* DNS-SD anycast */
    V6(32, 0, 0x20, 0x01, 0x00, 0x03),                             /* AMT */
    V6(48, 0, 0x20, 0x01, 0x00, 0x04, 0x01, 0x12),                 /* AS112 */
    V6(28, 0, 0x20, 0x01, 0x00, 0x20),                             /* ORCHIDv2 */
    V6(28, 0, 0x20, 0x01, 0x00, 0x30),                             /* drone remote identification */
    V6(32, POLICY_SPECIAL, 0x20, 0x01, 0x0d, 0xb8),                /* documentation */
    V6(16, POLICY_SPECIAL, 0x20, 0x02),                            /* 6to4 */
    V6(20, POLICY_SPECIAL, 0x3f, 0xff),                            /* documentation */
    V6(2, POLICY_SPECIAL, 0x40),
    V6(1, POLICY_SPECIAL, 0x80),
    V6(7, POLICY_PRIVATE, 0xfc),
    V6(10, POLICY_LINKLOCAL, 0xfe, 0x80),
    V6(8, POLICY_NEVER, 0xff), /* multicast */
};

bool policy_address_from(const struct sockaddr *addr, struct policy_address *ret)
{
    memset(ret, 0, sizeof(*ret));
    ret->family = addr->sa_family;
    if (addr->sa_family == AF_INET) {
        memcpy(ret->bytes, &((const struct sockaddr_in *)(const void *)addr)->sin_addr, 4);
        return true;
    }
    if (addr->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)addr;

        memcpy(ret->bytes, &in6->sin6_addr, 16);
        ret->scope_id = in6->sin6_scope_id;
        if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
            *ret = (struct policy_address){.family = AF_INET};
            memcpy(ret->bytes, &in6->sin6_addr.s6_addr[12], 4);
        }
        return true;
    }
    return false;
}

static bool has_prefix(const uint8_t *bytes, const uint8_t *net, unsigned int prefix)
{
    unsigned int whole = prefix / 8, rest = prefix % 8;

    /* Mostly the first byte tells, and no call is needed. */
    if (whole > 0 && (bytes[0] != net[0] || memcmp(bytes, net, whole) != 0))
        return false;
    return rest == 0 || (bytes[whole] ^ net[whole]) >> (8 - rest) == 0;
}

bool policy_address_within(const struct policy_address *addr, int family, const uint8_t *net,
                           unsigned int prefix)
{
    return addr->family == family && has_prefix(addr->bytes, net, prefix);
}

uint8_t policy_network_class(int family, const uint8_t *net, unsigned int prefix)
{
    const struct range *best = NULL;

    for (const struct range *it = ranges; it < ranges + sizeof(ranges) / sizeof(ranges[0]); it++) {
        if (it->family != family || it->prefix > prefix || !has_prefix(net, it->net, it->prefix))
            continue;
        if (!best || it->prefix > best->prefix)
            best = it;
    }
    return best ? best->class : 0;
}

bool policy_network_is_group(int family, const uint8_t *net, unsigned int prefix)
{
    static const uint8_t all[4] = {255, 255, 255, 255};

    if (family == AF_INET6)
        return prefix >= 8 && net[0] == 0xff;
    return (prefix >= 4 && net[0] >> 4 == 0xe) || (prefix == 32 && memcmp(net, all, 4) == 0);
}

uint8_t policy_network_contains(int family, const uint8_t *net, unsigned int prefix)
{
    uint8_t classes = 0;

    for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
        if (ranges[i].family == family && ranges[i].prefix > prefix &&
            has_prefix(ranges[i].net, net, prefix))
            classes |= ranges[i].class;
    return classes;
}

uint8_t policy_address_class(const struct policy_address *addr)
{
    return policy_network_class(addr->family, addr->bytes, addr->family == AF_INET ? 32 : 128);
}

/* ---- IPv4 in IPv6 ---- */

static void take_v4(struct policy_address *ret, uint8_t a, uint8_t b, uint8_t c, uint8_t d)
{
    *ret = (struct policy_address){.family = AF_INET, .bytes = {a, b, c, d}};
}

static unsigned int take_teredo(const uint8_t *o, struct policy_address *ret)
{
    take_v4(&ret[0], o[4], o[5], o[6], o[7]); /* its server, and the client in disguise */
    take_v4(&ret[1], o[12] ^ 0xff, o[13] ^ 0xff, o[14] ^ 0xff, o[15] ^ 0xff);
    return 2;
}

/*
 * RFC 8215 leaves the length of the prefix open. All that RFC 6052 knows are looked at; an address
 * of 0.0.0.0/8 is what the wrong ones read, and no host has one.
 */
static unsigned int take_local_nat64(const uint8_t *o, struct policy_address *ret)
{
    unsigned int n = 0;

    for (unsigned int length = 48; length <= 96; length += length < 64 ? 8 : 32) {
        policy_nat64_extract(o, length, &ret[n]);
        if (ret[n].bytes[0] != 0)
            n++;
    }
    return n;
}

static unsigned int take_by_range(const uint8_t *o, struct policy_address *ret)
{
    static const uint8_t teredo[4] = {0x20, 0x01}, nat64[12] = {0x00, 0x64, 0xff, 0x9b},
                         local_nat64[6] = {0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, zero[12];

    if (has_prefix(o, teredo, 32))
        return take_teredo(o, ret);
    if (has_prefix(o, local_nat64, 48))
        return take_local_nat64(o, ret);
    if (o[0] == 0x20 && o[1] == 0x02) { /* 6to4 */
        take_v4(&ret[0], o[2], o[3], o[4], o[5]);
        return 1;
    }
    /* "Compatible", RFC 4291; ::1 is none. */
    if (!has_prefix(o, nat64, 96) &&
        (!has_prefix(o, zero, 96) || (o[12] == 0 && o[13] == 0 && o[14] == 0 && o[15] <= 1)))
        return 0;
    take_v4(&ret[0], o[12], o[13], o[14], o[15]);
    return 1;
}

/* RFC 5214: ::0:5efe:a.b.c.d behind any prefix, with or without the bit that says "universal". */
static bool is_isatap(const uint8_t *o)
{
    return (o[8] & ~0x02) == 0 && o[9] == 0 && o[10] == 0x5e && o[11] == 0xfe;
}

unsigned int policy_address_embedded(const struct policy_address *addr,
                                     const struct policy_nat64 *nat64,
                                     struct policy_address ret[static POLICY_EMBEDDED_MAX])
{
    const uint8_t *o = addr->bytes;
    unsigned int n = 0;

    if (addr->family != AF_INET6)
        return 0;
    for (unsigned int i = 0; i < nat64->count; i++) {
        if (policy_nat64_has(&nat64->prefixes[i], addr))
            policy_nat64_extract(o, nat64->prefixes[i].length, &ret[n++]);
    }
    if (n == 0)
        n = take_by_range(o, ret);
    if (is_isatap(o))
        take_v4(&ret[n++], o[12], o[13], o[14], o[15]);
    return n;
}
