/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/lib/suite.h"
#include "daemon/names/host.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define L63 "a23456789012345678901234567890123456789012345678901234567890123"
#define L61 "a234567890123456789012345678901234567890123456789012345678901"
#define N253 L63 "." L63 "." L63 "." L61

static const struct {
    const char *text;
    int r;
    enum host_kind kind;
    const char *result; /* name or address */
} table[] = {
    {"example.com", 0, HOST_NAME, "example.com"},
    {"example.com.", 0, HOST_NAME, "example.com"},
    {"Example.COM", 0, HOST_NAME, "Example.COM"},
    {"single", 0, HOST_NAME, "single"},
    {"_service._tcp.example", 0, HOST_NAME, "_service._tcp.example"},
    {"xn--bcher-kva.example", 0, HOST_NAME, "xn--bcher-kva.example"},
    {"1.2.3.4.example", 0, HOST_NAME, "1.2.3.4.example"},
    {"a.0xg", 0, HOST_NAME, "a.0xg"},
    {"a.x1", 0, HOST_NAME, "a.x1"},
    {N253, 0, HOST_NAME, N253},
    {N253 ".", 0, HOST_NAME, N253},

    {"localhost", 0, HOST_LOOPBACK, "localhost"},
    {"LocalHost.", 0, HOST_LOOPBACK, "LocalHost"},
    {"a.b.localhost", 0, HOST_LOOPBACK, "a.b.localhost"},
    {"mylocalhost", 0, HOST_NAME, "mylocalhost"},
    {"localhost.example", 0, HOST_NAME, "localhost.example"},

    {"127.0.0.1", 0, HOST_ADDRESS, "127.0.0.1"},
    {"255.255.255.255", 0, HOST_ADDRESS, "255.255.255.255"},
    {"::1", 0, HOST_ADDRESS, "::1"},
    {"2001:DB8::1", 0, HOST_ADDRESS, "2001:db8::1"},
    {"::ffff:1.2.3.4", 0, HOST_ADDRESS, "::ffff:1.2.3.4"},
    {"fe80::1%1", 0, HOST_ADDRESS, "fe80::1"},
    {"fe80::1%lo", 0, HOST_ADDRESS, "fe80::1"},

    {"", -EINVAL, 0, NULL},
    {".", -EINVAL, 0, NULL},
    {"..", -EINVAL, 0, NULL},
    {".example", -EINVAL, 0, NULL},
    {"a..b", -EINVAL, 0, NULL},
    {"a..", -EINVAL, 0, NULL},
    {"a" L63, -EINVAL, 0, NULL},
    {N253 "a", -EINVAL, 0, NULL},
    {N253 "a.", -EINVAL, 0, NULL},
    {"a." N253, -EINVAL, 0, NULL},
    {"a b", -EINVAL, 0, NULL},
    {"a/b", -EINVAL, 0, NULL},
    {"a\\.b", -EINVAL, 0, NULL},
    {"a\n", -EINVAL, 0, NULL},
    {"a%lo", -EINVAL, 0, NULL},
    {"*.example", -EINVAL, 0, NULL},
    {"b\xc3\xbc"
     "cher.example",
     -EINVAL, 0, NULL},

    {"127.1", -EINVAL, 0, NULL},
    {"2130706433", -EINVAL, 0, NULL},
    {"0x7f.1", -EINVAL, 0, NULL},
    {"0x7f000001", -EINVAL, 0, NULL},
    {"1.2.3.0x4", -EINVAL, 0, NULL},
    {"a.0X", -EINVAL, 0, NULL},
    {"127.0.0.1.", -EINVAL, 0, NULL},
    {"127.0.0.256", -EINVAL, 0, NULL},
    {"127.0.0.01", -EINVAL, 0, NULL},
    {"1.2.3.4.5", -EINVAL, 0, NULL},
    {"example.5", -EINVAL, 0, NULL},
    {"example.5.", -EINVAL, 0, NULL},

    {"0.0.0.0", -EINVAL, 0, NULL},
    {"::", -EINVAL, 0, NULL},
    {"0:0::0", -EINVAL, 0, NULL},
    {"::ffff:0.0.0.0", -EINVAL, 0, NULL},
    {"[::1]", -EINVAL, 0, NULL},
    {"::1.", -EINVAL, 0, NULL},
    {"::1%1", -EINVAL, 0, NULL},
    {"fe80::1%", -EINVAL, 0, NULL},
    {"fe80::1%0", -EINVAL, 0, NULL},
    {"fe80::1%no-such-if", 0, HOST_ADDRESS, "fe80::1"}, /* no server is asked */
    {"fe80::1%no/if", -EINVAL, 0, NULL},
    {"fe80::1%sixteen-letters-", -EINVAL, 0, NULL},
    {"fe80::1%99999999999", -EINVAL, 0, NULL},
    {":" N253, -EINVAL, 0, NULL},
    {":a" L63 "." L63 "." L63 "." L61 ".", -EINVAL, 0, NULL},
};

START_TEST(test_host_parse)
{
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char text[INET6_ADDRSTRLEN] = "";
        struct host host;
        int r = host_parse(table[i].text, &host);

        ck_assert_msg(r == table[i].r, "\"%s\": %d", table[i].text, r);
        if (r < 0)
            continue;
        ck_assert_msg(host.kind == table[i].kind, "\"%s\": kind %d", table[i].text, host.kind);
        if (host.kind != HOST_ADDRESS) {
            ck_assert_str_eq(host.name, table[i].result);
            continue;
        }
        if (host.address.any.sa_family == AF_INET)
            inet_ntop(AF_INET, &host.address.in.sin_addr, text, sizeof(text));
        else
            inet_ntop(AF_INET6, &host.address.in6.sin6_addr, text, sizeof(text));
        ck_assert_str_eq(text, table[i].result);
    }
}
END_TEST

START_TEST(test_host_scope)
{
    struct host host;

    ck_assert_int_eq(host_parse("fe80::1%7", &host), 0);
    ck_assert_int_eq(host_find_zone(&host), 0);
    ck_assert_uint_eq(host.address.in6.sin6_scope_id, 7);
    ck_assert_int_eq(host_parse("fe80::1%lo", &host), 0);
    ck_assert_uint_eq(host.address.in6.sin6_scope_id, 0);
    ck_assert_int_eq(host_find_zone(&host), 0);
    ck_assert_uint_eq(host.address.in6.sin6_scope_id, 1);
    ck_assert_int_eq(host_parse("fe80::1", &host), 0);
    ck_assert_uint_eq(host.address.in6.sin6_scope_id, 0);
    ck_assert_int_eq(host_parse("fe80::1%no-such-if", &host), 0);
    ck_assert_int_eq(host_find_zone(&host), -EINVAL);
}
END_TEST
