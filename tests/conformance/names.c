/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Connect by name (S15, S17, S18, S21, S24) and resolving (S58), in a network of the test's own
 * with a name server in it.
 */

#include "tests/lib/dns.h"
#include "tests/lib/fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct dns_server *dns;

static void setup_network(void)
{
    fixture_setup_nothing();
    dns = dns_enter_network() ? dns_start() : NULL;
}

static void teardown_network(void)
{
    if (dns)
        dns = dns_stop(dns);
    fixture_teardown();
}

/* The daemon is started by the test: it reads resolv.conf in the network that setup has entered. */
static bool start(const char *const *args)
{
    struct private_daemon_options options = {.args = args};

    if (!dns)
        return false;
    fixture_start(&options);
    fixture.context = new_context();
    pump_add(fixture.context);
    return true;
}

#define START(args)                                                                                \
    do {                                                                                           \
        if (!start(args))                                                                          \
            TEST_SKIP("no right to make network and mount namespaces");                            \
    } while (0)

static asock_op *new_name_op(const char *host, const struct sockaddr_storage *addr)
{
    asock_op *op = new_op();
    char service[8];

    snprintf(service, sizeof(service), "%u", addr ? remote_port(addr) : 1);
    ck_assert_int_eq(asock_op_set_host(op, host, service), 0);
    return op;
}

static void connect_fails(const char *host, int error)
{
    asock_socket *sock = new_socket(AF_UNSPEC);
    asock_op *op = new_name_op(host, NULL);

    pending(asock_connect(sock, op));
    expect(op, error);
    ck_assert_int_eq(asock_op_get_connect_error(op), error);
    asock_op_unref(op);
    asock_socket_unref(sock);
}

static void connect_reaches(const char *host, int family)
{
    struct sockaddr_storage addr;
    int listener = remote_listen(family, &addr);

    expect_connects_to(new_name_op(host, &addr), listener, &addr);
    close(listener);
}

TEST_FIXTURE(setup_network, teardown_network);

START_TEST(test_s15_names_are_resolved_by_the_daemon)
{
    START(NULL);
    connect_reaches("one.test", AF_INET);
    connect_reaches("six.test", AF_INET6);
    connect_reaches("ONE.Test", AF_INET);
    connect_reaches("localhost", AF_INET6);
    connect_reaches("localhost", AF_INET);
}
END_TEST

/* One address refuses, the next one answers; the completion names it. */
START_TEST(test_s19_addresses_are_tried_in_turn)
{
    START(NULL);
    connect_reaches("second.test", AF_INET);
    connect_reaches("both.test", AF_INET);
    connect_reaches("both.test", AF_INET6);
}
END_TEST

START_TEST(test_s19_both_kinds_of_address_are_asked_for)
{
    struct dns_counts counts;

    START(NULL);
    connect_reaches("both.test", AF_INET6);
    counts = dns_wait_for_both(dns);
    ck_assert_uint_ge(counts.a, 1);
    ck_assert_uint_ge(counts.aaaa, 1);
    ck_assert_uint_eq(counts.other, 0);
}
END_TEST

START_TEST(test_s18_unknown_name_is_host_not_found)
{
    START(NULL);
    connect_fails("missing.test", ASOCK_HOST_NOT_FOUND);
}
END_TEST

START_TEST(test_s18_name_without_address_is_no_data)
{
    START(NULL);
    connect_fails("empty.test", ASOCK_NO_DATA);
}
END_TEST

START_TEST(test_s18_failing_name_server_is_try_again)
{
    START(NULL);
    connect_fails("broken.test", ASOCK_TRY_AGAIN);
}
END_TEST

START_TEST(test_s18_error_of_the_last_attempt)
{
    START(NULL);
    connect_fails("second.test", ASOCK_CONNECTION_REFUSED);
    connect_fails("one.test", ASOCK_CONNECTION_REFUSED);
}
END_TEST

/* A socket of one family takes none of the other's addresses. */
START_TEST(test_s18_family_without_address_is_no_data)
{
    asock_socket *sock;
    asock_op *op;

    START(NULL);
    sock = new_socket(AF_INET6);
    op = new_name_op("one.test", NULL);
    pending(asock_connect(sock, op));
    expect(op, ASOCK_NO_DATA);
    asock_op_unref(op);
    asock_socket_unref(sock);
}
END_TEST

START_TEST(test_s17_no_way_is_network_unreachable)
{
    struct sockaddr_in far = {.sin_family = AF_INET, .sin_port = htons(80)};
    struct sockaddr_storage addr = {0};
    asock_socket *sock;
    asock_op *op;

    START(NULL);
    inet_pton(AF_INET, "192.0.2.1", &far.sin_addr);
    memcpy(&addr, &far, sizeof(far));
    sock = new_socket(AF_INET);
    op = new_connect_op(&addr);
    pending(asock_connect(sock, op));
    expect(op, ASOCK_NETWORK_UNREACHABLE);
    asock_op_unref(op);
    asock_socket_unref(sock);
}
END_TEST

static void end_while_resolving(int how, int error)
{
    asock_socket *sock = new_socket(AF_UNSPEC);
    asock_op *op = new_name_op("silent.test", NULL), *behind = new_op_with("x", 1);
    int called = 0;

    asock_op_set_callback(op, count_callback, &called);
    asock_op_set_timeout(op, how == 1 ? 50 : 0);
    pending(asock_connect(sock, op));
    pending(asock_send(sock, behind));
    sync_with_daemon();
    if (how == 0)
        ck_assert_int_eq(asock_cancel(op), 0);
    else if (how == 2)
        close_now(sock, 0);
    wait_count(&called, 1);
    ck_assert_int_eq(asock_op_get_error(op), error);
    expect_bytes(behind, ASOCK_OPERATION_ABORTED, 0);
    sync_with_daemon();
    ck_assert_int_eq(called, 1);
    asock_op_unref(op);
    asock_op_unref(behind);
    asock_socket_unref(sock);
}

START_TEST(test_s21_cancel_timeout_and_close_while_resolving)
{
    START(NULL);
    end_while_resolving(0, ASOCK_OPERATION_ABORTED);
    end_while_resolving(1, ASOCK_TIMED_OUT);
    end_while_resolving(2, ASOCK_OPERATION_ABORTED);
}
END_TEST

/* Names are a leak, too: what no rule could admit is not asked for. */
START_TEST(test_s24_denied_name_is_not_asked_for)
{
    static const char *const args[] = {NULL};
    struct dns_counts counts;
    asock_socket *sock;
    asock_op *op;

    START(args);
    sock = new_socket(AF_UNSPEC);
    op = new_name_op("one.test", NULL);
    submitted(asock_connect(sock, op));
    expect(op, ASOCK_ACCESS_DENIED);
    counts = dns_counts(dns);
    ck_assert_uint_eq(counts.a + counts.aaaa + counts.other, 0);
    asock_op_unref(op);
    asock_socket_unref(sock);
}
END_TEST

/* ---- resolving ---- */

static void resolves_to(const char *host, int family, const char *const *expected)
{
    struct sockaddr_storage addr, more;
    asock_op *op = new_op();
    char text[INET6_ADDRSTRLEN];
    unsigned int count = 0;

    pending(asock_resolve(fixture.context, op, host, family));
    expect(op, ASOCK_SUCCESS);
    ck_assert_int_eq(asock_op_get_operation(op), ASOCK_OPERATION_RESOLVE);
    ck_assert_ptr_null(asock_op_get_text(op));
    for (; expected[count]; count++) {
        ck_assert_int_eq(asock_op_get_address(op, count, &addr), (int)remote_addr_len(&addr));
        ck_assert_uint_eq(remote_port(&addr), 0);
        inet_ntop(addr.ss_family,
                  addr.ss_family == AF_INET ? (void *)&((struct sockaddr_in *)&addr)->sin_addr
                                            : (void *)&((struct sockaddr_in6 *)&addr)->sin6_addr,
                  text, sizeof(text));
        ck_assert_str_eq(text, expected[count]);
    }
    ck_assert_uint_eq(asock_op_get_address_count(op), count);
    ck_assert_int_eq(asock_op_get_address(op, count, &more), -ENODATA);
    asock_op_unref(op);
}

static void resolve_fails(const char *host, int family, int error, const char *text)
{
    struct sockaddr_storage addr;
    asock_op *op = new_op();

    pending(asock_resolve(fixture.context, op, host, family));
    expect(op, error);
    ck_assert_uint_eq(asock_op_get_address_count(op), 0);
    ck_assert_int_eq(asock_op_get_address(op, 0, &addr), -ENODATA);
    if (text)
        ck_assert_str_eq(asock_op_get_text(op), text);
    asock_op_unref(op);
}

START_TEST(test_s58_resolve_tells_the_addresses)
{
    START(NULL);
    resolves_to("both.test", AF_UNSPEC, (const char *const[]){"::1", "127.0.0.1", NULL});
    resolves_to("both.test", AF_INET, (const char *const[]){"127.0.0.1", NULL});
    resolves_to("both.test", AF_INET6, (const char *const[]){"::1", NULL});
    resolves_to("one.test", AF_UNSPEC, (const char *const[]){"127.0.0.1", NULL});
    resolves_to("second.test", AF_INET, (const char *const[]){"127.0.0.2", "127.0.0.1", NULL});
    resolves_to("192.0.2.1", AF_UNSPEC, (const char *const[]){"192.0.2.1", NULL});
}
END_TEST

START_TEST(test_s58_resolve_tells_errors_apart)
{
    START(NULL);
    resolve_fails("nowhere.test", AF_UNSPEC, ASOCK_HOST_NOT_FOUND, NULL);
    resolve_fails("empty.test", AF_UNSPEC, ASOCK_NO_DATA, NULL);
    resolve_fails("one.test", AF_INET6, ASOCK_NO_DATA, NULL);
    resolve_fails("broken.test", AF_UNSPEC, ASOCK_TRY_AGAIN, NULL);
    resolve_fails("127.1", AF_UNSPEC, ASOCK_INVALID_ARGUMENT, "neither a host name nor an address");
    resolve_fails("192.0.2.1", AF_INET6, ASOCK_ADDRESS_FAMILY_NOT_SUPPORTED, NULL);
}
END_TEST

START_TEST(test_s58_resolve_of_what_is_denied_asks_nobody)
{
    static const char *const args[] = {NULL};
    struct dns_counts counts;

    START(args);
    resolve_fails("one.test", AF_UNSPEC, ASOCK_ACCESS_DENIED, NULL);
    counts = dns_counts(dns);
    ck_assert_uint_eq(counts.a + counts.aaaa + counts.other, 0);
}
END_TEST

START_TEST(test_s58_resolve_ends_early)
{
    asock_op *op, *other;

    START(NULL);
    op = new_op();
    other = new_op();
    pending(asock_resolve(fixture.context, op, "silent.test", AF_UNSPEC));
    pending(asock_resolve(fixture.context, other, "one.test", AF_UNSPEC));
    expect(other, ASOCK_SUCCESS);
    ck_assert_int_eq(asock_cancel(op), 0);
    expect(op, ASOCK_OPERATION_ABORTED);
    ck_assert_int_eq(asock_op_set_timeout(op, 1), 0);
    pending(asock_resolve(fixture.context, op, "silent.test", AF_UNSPEC));
    expect(op, ASOCK_TIMED_OUT);
    asock_op_unref(op);
    asock_op_unref(other);
}
END_TEST

START_TEST(test_s58_lookup_waits)
{
    struct sockaddr_storage addresses[2];
    char text[128];

    START(NULL);
    ck_assert_int_eq(asock_lookup(fixture.context, "both.test", AF_UNSPEC, 30000, addresses, 2), 2);
    ck_assert_int_eq(addresses[0].ss_family, AF_INET6);
    ck_assert_int_eq(addresses[1].ss_family, AF_INET);
    ck_assert_int_eq(asock_lookup(fixture.context, "both.test", AF_UNSPEC, 30000, addresses, 1), 2);
    ck_assert_int_eq(asock_lookup(fixture.context, "both.test", AF_INET, 30000, NULL, 0), 1);
    ck_assert_int_eq(asock_lookup(fixture.context, "nowhere.test", AF_UNSPEC, -1, NULL, 0), -ENXIO);
    ck_assert_int_eq(asock_context_get_last_error(fixture.context, text, sizeof(text)),
                     ASOCK_HOST_NOT_FOUND);
    ck_assert_int_eq(asock_lookup(fixture.context, "silent.test", AF_UNSPEC, 1, NULL, 0),
                     -ETIMEDOUT);
}
END_TEST
