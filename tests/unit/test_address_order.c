/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/suite.h"
#include "daemon/names/address_order.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 6

/*
 * The examples of RFC 6724, section 10.2, and what it says in words: destinations, each with its
 * source.
 */
struct order_case {
    const char *what;
    const char *pairs[MOST][2]; /* destination, source ("": none), as resolved */
    const char *sorted[MOST];
};

static const struct order_case cases[] = {
    {"prefer matching scope",
     {{"2001:db8:1::1", "2001:db8:1::2"}, {"198.51.100.121", "169.254.13.78"}},
     {"2001:db8:1::1", "198.51.100.121"}},
    {"prefer matching scope, IPv4",
     {{"2001:db8:1::1", "fe80::1"}, {"198.51.100.121", "198.51.100.117"}},
     {"198.51.100.121", "2001:db8:1::1"}},
    {"prefer higher precedence",
     {{"10.1.2.3", "10.1.2.4"}, {"2001:db8:1::1", "2001:db8:1::2"}},
     {"2001:db8:1::1", "10.1.2.3"}},
    {"prefer smaller scope",
     {{"2001:db8:1::1", "2001:db8:1::2"}, {"fe80::1", "fe80::2"}},
     {"fe80::1", "2001:db8:1::1"}},
    {"prefer matching label",
     {{"2002:c633:6401::1", "2002:c633:6401::2"}, {"2001:db8:1::1", "2002:c633:6401::2"}},
     {"2002:c633:6401::1", "2001:db8:1::1"}},
    {"prefer higher precedence over 6to4",
     {{"2002:c633:6401::1", "2002:c633:6401::2"}, {"2001:db8:1::1", "2001:db8:1::2"}},
     {"2001:db8:1::1", "2002:c633:6401::1"}},
    {"longest matching prefix",
     {{"2001:db8:3ffe::1", "2001:db8:1::2"}, {"2001:db8:1:8::1", "2001:db8:1::2"}},
     {"2001:db8:1:8::1", "2001:db8:3ffe::1"}},
    {"no source comes last",
     {{"2001:db8:1::1", ""}, {"192.0.2.1", "192.0.2.2"}, {"2001:db8:2::1", ""}},
     {"192.0.2.1", "2001:db8:1::1", "2001:db8:2::1"}},
    {"IPv4 stays as the name server had it",
     {{"192.0.2.9", "10.0.0.1"}, {"192.0.2.1", "10.0.0.1"}, {"10.0.0.7", "10.0.0.1"}},
     {"192.0.2.9", "192.0.2.1", "10.0.0.7"}},
    {"unique local behind global",
     {{"fd00::1", "2001:db8::2"}, {"2001:db8::1", "2001:db8::2"}},
     {"2001:db8::1", "fd00::1"}},
    {"loopback, both families", {{"127.0.0.1", "127.0.0.1"}, {"::1", "::1"}}, {"::1", "127.0.0.1"}},
};

static const struct order_case *present;

static void parse(const char *text, union resolver_address *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (strchr(text, ':')) {
        ret->in6.sin6_family = AF_INET6;
        ck_assert_int_eq(inet_pton(AF_INET6, text, &ret->in6.sin6_addr), 1);
    } else {
        ret->in.sin_family = AF_INET;
        ck_assert_int_eq(inet_pton(AF_INET, text, &ret->in.sin_addr), 1);
    }
}

static const char *format(const union resolver_address *address, char text[INET6_ADDRSTRLEN])
{
    const void *bytes = address->any.sa_family == AF_INET ? (const void *)&address->in.sin_addr
                                                          : &address->in6.sin6_addr;

    return inet_ntop(address->any.sa_family, bytes, text, INET6_ADDRSTRLEN);
}

static bool source_of_case(const union resolver_address *to, union resolver_address *ret)
{
    char text[INET6_ADDRSTRLEN];

    format(to, text);
    for (int i = 0; i < MOST && present->pairs[i][0]; i++) {
        if (strcmp(present->pairs[i][0], text) != 0)
            continue;
        if (!*present->pairs[i][1])
            return false;
        parse(present->pairs[i][1], ret);
        return true;
    }
    ck_abort_msg("unknown destination %s", text);
    return false;
}

/* Whatever order the addresses came in, for those that the rules tell apart. */
START_LOOP_TEST(test_s19_rfc6724_order, 0, sizeof(cases) / sizeof(cases[0]))
{
    union resolver_address addresses[MOST];
    char text[INET6_ADDRSTRLEN];
    size_t count = 0;

    present = &cases[_i];
    while (count < MOST && present->pairs[count][0]) {
        parse(present->pairs[count][0], &addresses[count]);
        count++;
    }
    address_order(addresses, count, source_of_case);
    for (size_t i = 0; i < count; i++) {
        parse(present->sorted[i], &addresses[MOST - 1]);
        ck_assert_msg(strcmp(format(&addresses[i], text), present->sorted[i]) == 0,
                      "%s: place %zu is %s", present->what, i, text);
    }
}
END_TEST

START_TEST(test_the_kernel_knows_the_source)
{
    union resolver_address to, from;

    parse("127.0.0.1", &to);
    ck_assert(address_order_kernel_source(&to, &from));
    ck_assert_uint_eq(from.in.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
}
END_TEST
