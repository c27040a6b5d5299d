/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef GATEWAY_FAKE_NAMES_H
#define GATEWAY_FAKE_NAMES_H

/*
 * Names and the addresses that stand for them. A name keeps its addresses, and they stay its own.
 */
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

/* Names at a time: as many as 198.19.0.0/16 has addresses, without its first and last. */
#define FAKE_NAMES_MAX 65534u
/*
 * fd61:736f:636b::/48, which has no other use, and 198.18.0.0/15, which is for tests of networks
 * (RFC 2544).
 */
#define FAKE_PREFIX6                                                                               \
    {                                                                                              \
        0xfd, 0x61, 0x73, 0x6f, 0x63, 0x6b                                                         \
    }

struct destination;
struct fake_name;
struct flow;

struct fake_names {
    struct fake_name **by_number; /* number n at n - 1 */
    struct fake_name **buckets;
    unsigned int count, size;
};

void fake_names_init(struct fake_names *names);
void fake_names_deinit(struct fake_names *names);
/* Its number, from 1 on. 0: there are too many, or no memory. */
unsigned int fake_names_add(struct fake_names *names, const char *name);
void fake_names_address(unsigned int number, int family, struct in6_addr *ret);
/*
 * address: IPv4 as ::ffff:a.b.c.d. NULL: it stands for no name; *is_fake: and never will for
 * anything else.
 */
const char *fake_names_find(const struct fake_names *names, const struct in6_addr *address,
                            bool *is_fake);
/*
 * Where that flow goes: to a name where its target stands for one. false: it stands for none yet.
 */
bool fake_names_destination(const struct fake_names *names, const struct flow *flow,
                            struct destination *ret);

#endif
