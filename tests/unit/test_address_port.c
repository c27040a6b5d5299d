/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/address_port.h"
#include "tests/lib/suite.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct {
    const char *text, *address, *port; /* address NULL: refused */
    bool is_ipv6;
} places[] = {
    {"192.0.2.1:80", "192.0.2.1", "80", false},
    {"192.0.2.1", "192.0.2.1", NULL, false},
    {"example.org:https", "example.org", "https", false},
    {"example.org:", "example.org", "", false},
    {"[::1]:80", "::1", "80", true},
    {"[2001:db8::1]", "2001:db8::1", NULL, true},
    {"", NULL, NULL, false},
    {":80", NULL, NULL, false},
    {"::1:80", NULL, NULL, false},
    {"192.0.2.1:80:80", NULL, NULL, false},
    {"[]:80", NULL, NULL, false},
    {"[::1", NULL, NULL, false},
    {"[::1]80", NULL, NULL, false},
    {"[::1]:80:80", NULL, NULL, false},
    {"[192.0.2.1]:80", NULL, NULL, false},
    {"[example.org]:80", NULL, NULL, false},
};

START_LOOP_TEST(test_address_port_split, 0, COUNT(places))
{
    const char *text = places[_i].text, *address = places[_i].address, *port = places[_i].port;
    struct address_port parts;

    ck_assert_msg(asock_address_port_split(text, strlen(text), &parts) == !!address, "%s", text);
    if (!address)
        return;
    ck_assert_uint_eq(parts.address_len, strlen(address));
    ck_assert_mem_eq(parts.address, address, strlen(address));
    ck_assert(parts.is_ipv6 == places[_i].is_ipv6);
    ck_assert(!parts.port == !port);
    ck_assert_uint_eq(parts.port_len, port ? strlen(port) : 0);
    if (port)
        ck_assert_mem_eq(parts.port, port, strlen(port));
}
END_TEST

/* Of a text that goes on behind it. */
START_TEST(test_address_port_length)
{
    struct address_port parts;

    ck_assert(asock_address_port_split("[::1]:80:90", 8, &parts));
    ck_assert_uint_eq(parts.port_len, 2);
    ck_assert(asock_address_port_split("a:80", 1, &parts));
    ck_assert_ptr_null(parts.port);
    ck_assert(!asock_address_port_split("[::1]", 4, &parts));
}
END_TEST

START_TEST(test_address_port_number)
{
    static const struct {
        const char *text;
        uint16_t min;
        int number;
    } numbers[] = {{"a:0", 0, 0},      {"a:0", 1, -1},     {"a:65535", 1, 65535},
                   {"a:00080", 1, 80}, {"a:65536", 0, -1}, {"a:000080", 0, -1},
                   {"a:", 0, -1},      {"a", 0, -1},       {"a:+1", 0, -1},
                   {"a: 1", 0, -1},    {"a:1x", 0, -1}};

    for (size_t i = 0; i < COUNT(numbers); i++) {
        struct address_port parts;
        uint16_t port;
        bool is_number;

        ck_assert(asock_address_port_split(numbers[i].text, strlen(numbers[i].text), &parts));
        is_number = asock_address_port_number(&parts, numbers[i].min, &port);
        ck_assert_msg(is_number == (numbers[i].number >= 0), "%s", numbers[i].text);
        if (is_number)
            ck_assert_int_eq(port, numbers[i].number);
    }
}
END_TEST

START_TEST(test_address_port_numeric)
{
    static const struct {
        const char *text, *address; /* NULL: it is not numeric */
    } addresses[] = {{"192.0.2.1", "192.0.2.1"},
                     {"[2001:db8::1]", "2001:db8::1"},
                     {"192.0.2", NULL},
                     {"example.org", NULL},
                     {"[2001:db8::x]", NULL},
                     {"[1111:2222:3333:4444:5555:6666:7777:8888:9999]", NULL},
                     {"[0000000000:0000000000:0000000000:0000000000:0000000001]", NULL}};

    for (size_t i = 0; i < COUNT(addresses); i++) {
        struct sockaddr_storage address;
        struct address_port parts;
        char text[INET6_ADDRSTRLEN];
        const struct sockaddr_in *in = (const struct sockaddr_in *)&address;
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&address;
        size_t len;

        ck_assert(asock_address_port_split(addresses[i].text, strlen(addresses[i].text), &parts));
        len = asock_address_port_numeric(&parts, 80, &address);
        ck_assert_msg(!len == !addresses[i].address, "%s", addresses[i].text);
        if (!len)
            continue;
        ck_assert_uint_eq(len, parts.is_ipv6 ? sizeof(*in6) : sizeof(*in));
        ck_assert_int_eq(address.ss_family, parts.is_ipv6 ? AF_INET6 : AF_INET);
        ck_assert_uint_eq(ntohs(parts.is_ipv6 ? in6->sin6_port : in->sin_port), 80);
        inet_ntop(address.ss_family, parts.is_ipv6 ? (const void *)&in6->sin6_addr : &in->sin_addr,
                  text, sizeof(text));
        ck_assert_str_eq(text, addresses[i].address);
    }
}
END_TEST
