/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Connecting (S15 to S17, lists of addresses of S19, S20, S21, S23). Names beyond localhost are in
 * names.c.
 */

#include "tests/lib/fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void connect_and_talk(int family)
{
    struct pair pair = new_pair(family);
    char buf[4];

    send_now(pair.socket, "ping", 4);
    remote_read(pair.peer, buf, 4);
    remote_write(pair.peer, "pong", 4);
    receive_now(pair.socket, buf, 4);
    ck_assert_mem_eq(buf, "pong", 4);
    pair_close(&pair);
}

TEST_FIXTURE(fixture_setup, fixture_teardown);

START_TEST(test_s15_connect_to_literal_ipv4)
{
    connect_and_talk(AF_INET);
}
END_TEST

START_TEST(test_s15_connect_to_literal_ipv6)
{
    connect_and_talk(AF_INET6);
}
END_TEST

/* family is that of the socket and of the listener. */
static void connect_by_name(int family, const char *host)
{
    struct sockaddr_storage addr, remote;
    int listener = remote_listen(family, &addr);
    asock_socket *sock = new_socket(family);
    asock_op *op = new_op();
    char service[8];
    int peer;

    snprintf(service, sizeof(service), "%u", remote_port(&addr));
    ck_assert_int_eq(asock_op_set_host(op, host, service), 0);
    pending(asock_connect(sock, op));
    expect(op, ASOCK_SUCCESS);
    ck_assert_int_eq(asock_op_get_remote(op, &remote), (int)remote_addr_len(&addr));
    ck_assert_mem_eq(&remote, &addr, remote_addr_len(&addr));
    ck_assert_int_eq(asock_op_get_connect_error(op), ASOCK_SUCCESS);
    peer = remote_accept(listener);
    close(peer);
    close(listener);
    asock_op_unref(op);
    asock_socket_unref(sock);
}

START_TEST(test_s15_connect_by_name_localhost)
{
    connect_by_name(AF_INET, "localhost");
}
END_TEST

START_TEST(test_s15_connect_by_name_without_family)
{
    struct server *server = server_start(SERVER_ECHO, AF_INET, 0);
    asock_socket *sock = new_socket(AF_UNSPEC);
    asock_op *op = new_op();
    char buf[2];

    ck_assert_int_eq(asock_op_set_host(op, "localhost", server_service(server)), 0);
    pending(asock_connect(sock, op));
    expect(op, ASOCK_SUCCESS);
    send_now(sock, "hi", 2);
    receive_now(sock, buf, 2);
    asock_op_unref(op);
    asock_socket_unref(sock);
    server_wait_ended(server, 1);
    server_stop(server);
}
END_TEST

START_TEST(test_s15_connect_by_name_takes_addresses_in_text_form)
{
    connect_by_name(AF_INET, "127.0.0.1");
    connect_by_name(AF_INET6, "::1");
}
END_TEST

START_TEST(test_s15_empty_and_unspecified_names_are_refused)
{
    static const char *const hosts[] = {"0.0.0.0", "::"};
    struct sockaddr_storage addr;
    int listener = remote_listen(AF_INET, &addr);
    asock_op *op = new_op();
    char service[8];

    snprintf(service, sizeof(service), "%u", remote_port(&addr));
    ck_assert_int_eq(asock_op_set_host(op, "", service), -EINVAL);
    for (size_t i = 0; i < 2; i++) {
        asock_socket *sock = new_socket(AF_UNSPEC);

        ck_assert_int_eq(asock_op_set_host(op, hosts[i], service), 0);
        submitted(asock_connect(sock, op));
        ck_assert_int_eq(asock_op_wait(op, LIVENESS_MS), 0);
        ck_assert_msg(asock_op_get_error(op) == ASOCK_INVALID_ARGUMENT ||
                          asock_op_get_error(op) == ASOCK_ACCESS_DENIED,
                      "%s: %s", hosts[i], asock_error_name(asock_op_get_error(op)));
        asock_socket_unref(sock);
    }
    ck_assert(remote_nobody_waits(listener));
    asock_op_unref(op);
    close(listener);
}
END_TEST

START_TEST(test_s15_family_of_the_socket_is_kept)
{
    struct sockaddr_storage addr;
    int listener = remote_listen(AF_INET, &addr);
    asock_socket *sock = new_socket(AF_INET6);
    asock_op *op = new_connect_op(&addr);

    submitted(asock_connect(sock, op));
    expect(op, ASOCK_ADDRESS_FAMILY_NOT_SUPPORTED);
    ck_assert(remote_nobody_waits(listener));
    asock_op_unref(op);
    asock_socket_unref(sock);
    close(listener);
}
END_TEST

START_TEST(test_s16_connect_on_a_connected_socket_harms_nothing)
{
    struct pair pair = new_pair(AF_INET);
    struct sockaddr_storage addr;
    int listener = remote_listen(AF_INET, &addr);
    asock_op *op = new_connect_op(&addr);
    char buf[4];

    submitted(asock_connect(pair.socket, op));
    expect(op, ASOCK_IS_CONNECTED);
    ck_assert(remote_nobody_waits(listener));
    send_now(pair.socket, "same", 4);
    remote_read(pair.peer, buf, 4);
    ck_assert_mem_eq(buf, "same", 4);
    remote_write(pair.peer, "peer", 4);
    receive_now(pair.socket, buf, 4);
    asock_op_unref(op);
    close(listener);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s16_connect_while_connecting_is_already_in_progress)
{
    struct black_hole hole;
    struct sockaddr_storage addr;
    asock_socket *sock = new_socket(AF_INET);
    asock_op *first, *second;

    remote_black_hole(&hole, &addr);
    first = new_connect_op(&addr);
    second = new_connect_op(&addr);
    pending(asock_connect(sock, first));
    submitted(asock_connect(sock, second));
    expect(second, ASOCK_ALREADY_IN_PROGRESS);
    ck_assert(asock_op_is_pending(first));
    ck_assert_int_eq(asock_cancel(first), 0);
    expect(first, ASOCK_OPERATION_ABORTED);
    asock_op_unref(first);
    asock_op_unref(second);
    asock_socket_unref(sock);
    remote_black_hole_close(&hole);
}
END_TEST

static void assert_every_transfer_ends(asock_socket *sock, int error)
{
    char buf[4] = "data";
    asock_op *op = new_op_with(buf, 4);

    submitted(asock_send(sock, op));
    expect_bytes(op, error, 0);
    submitted(asock_receive(sock, op));
    expect_bytes(op, error, 0);
    submitted(asock_shutdown(sock, op, ASOCK_SHUTDOWN_SEND));
    expect(op, error);
    submitted(asock_shutdown(sock, op, ASOCK_SHUTDOWN_RECEIVE));
    expect(op, error);
    asock_op_unref(op);
}

START_TEST(test_s17_refused_then_aborted_until_the_next_connect)
{
    struct sockaddr_storage closed, open;
    int reserved = remote_closed_port(AF_INET, &closed), listener = remote_listen(AF_INET, &open);
    asock_socket *sock = new_socket(AF_INET);
    asock_op *op = new_connect_op(&closed);
    char buf[2];
    int peer;

    pending(asock_connect(sock, op));
    expect(op, ASOCK_CONNECTION_REFUSED);
    assert_every_transfer_ends(sock, ASOCK_OPERATION_ABORTED);
    submitted(asock_set_option(sock, op, ASOCK_OPTION_NO_DELAY, 0));
    expect(op, ASOCK_SUCCESS);
    ck_assert_int_eq(asock_op_set_endpoint(op, (struct sockaddr *)&open, remote_addr_len(&open)),
                     0);
    pending(asock_connect(sock, op));
    expect(op, ASOCK_SUCCESS);
    peer = remote_accept(listener);
    send_now(sock, "ok", 2);
    remote_read(peer, buf, 2);
    asock_op_unref(op);
    asock_socket_unref(sock);
    close(peer);
    close(listener);
    close(reserved);
}
END_TEST

START_TEST(test_s17_never_connected_is_not_connected)
{
    asock_socket *sock = new_socket(AF_INET);

    assert_every_transfer_ends(sock, ASOCK_NOT_CONNECTED);
    asock_socket_unref(sock);
}
END_TEST

/*
 * The kernel's own error, sooner because of the user timeout: options apply to the attempt (S20).
 */
START_TEST(test_s17_s20_user_timeout_ends_connect_with_timed_out)
{
    struct black_hole hole;
    struct sockaddr_storage addr;
    asock_socket *sock = new_socket(AF_INET);
    asock_op *op = new_op(), *connect_op;

    remote_black_hole(&hole, &addr);
    connect_op = new_connect_op(&addr);
    submitted(asock_set_option(sock, op, ASOCK_OPTION_USER_TIMEOUT, 300));
    pending(asock_connect(sock, connect_op));
    expect(connect_op, ASOCK_TIMED_OUT);
    expect(op, ASOCK_SUCCESS);
    asock_op_unref(op);
    asock_op_unref(connect_op);
    asock_socket_unref(sock);
    remote_black_hole_close(&hole);
}
END_TEST

static int64_t option_of(asock_socket *sock, enum asock_option option)
{
    asock_op *op = new_op();
    int64_t value = -1;

    submitted(asock_get_option(sock, op, option));
    expect(op, ASOCK_SUCCESS);
    ck_assert_int_eq(asock_op_get_value(op, &value), 0);
    asock_op_unref(op);
    return value;
}

static void set_option(asock_socket *sock, enum asock_option option, int64_t value)
{
    asock_op *op = new_op();

    submitted(asock_set_option(sock, op, option, value));
    expect(op, ASOCK_SUCCESS);
    asock_op_unref(op);
}

START_TEST(test_s20_options_set_before_connect_are_kept)
{
    struct sockaddr_storage closed, open;
    int reserved = remote_closed_port(AF_INET, &closed), listener = remote_listen(AF_INET, &open);
    asock_socket *sock = new_socket(AF_UNSPEC);
    asock_op *op = new_connect_op(&closed);

    ck_assert_int_eq(option_of(sock, ASOCK_OPTION_NO_DELAY), 1);
    set_option(sock, ASOCK_OPTION_NO_DELAY, 0);
    set_option(sock, ASOCK_OPTION_KEEP_ALIVE, 1);
    set_option(sock, ASOCK_OPTION_KEEP_ALIVE_TIME, 77);
    set_option(sock, ASOCK_OPTION_HOP_LIMIT, 33);
    ck_assert_int_eq(option_of(sock, ASOCK_OPTION_NO_DELAY), 0);
    ck_assert_int_eq(option_of(sock, ASOCK_OPTION_HOP_LIMIT), 33);
    /* The first attempt fails, the second one has them as well. */
    pending(asock_connect(sock, op));
    expect(op, ASOCK_CONNECTION_REFUSED);
    ck_assert_int_eq(asock_op_set_endpoint(op, (struct sockaddr *)&open, remote_addr_len(&open)),
                     0);
    pending(asock_connect(sock, op));
    expect(op, ASOCK_SUCCESS);
    ck_assert_int_eq(option_of(sock, ASOCK_OPTION_NO_DELAY), 0);
    ck_assert_int_eq(option_of(sock, ASOCK_OPTION_KEEP_ALIVE), 1);
    ck_assert_int_eq(option_of(sock, ASOCK_OPTION_KEEP_ALIVE_TIME), 77);
    ck_assert_int_eq(option_of(sock, ASOCK_OPTION_HOP_LIMIT), 33);
    asock_op_unref(op);
    asock_socket_unref(sock);
    close(listener);
    close(reserved);
}
END_TEST

/* How a connect to a black hole is ended. */
enum ending { BY_CANCEL, BY_TIMEOUT, BY_CLOSE, BY_ABORT, BY_UNREF };

static void end_while_connecting(enum ending ending, int error)
{
    struct sockaddr_storage addr;
    struct black_hole hole;
    asock_socket *sock = new_socket(AF_INET);
    int called = 0;
    size_t fds;
    asock_op *op;

    sync_with_daemon();
    fds = private_daemon_fds(fixture.daemon);
    remote_black_hole(&hole, &addr);
    op = new_connect_op(&addr);
    asock_op_set_callback(op, count_callback, &called);
    asock_op_set_timeout(op, ending == BY_TIMEOUT ? 50 : 0);
    pending(asock_connect(sock, op));
    if (ending != BY_TIMEOUT)
        sync_with_daemon();
    if (ending == BY_CANCEL)
        ck_assert_int_eq(asock_cancel(op), 0);
    else if (ending == BY_CLOSE)
        close_now(sock, 0);
    else if (ending == BY_ABORT)
        close_now(sock, ASOCK_CLOSE_ABORT);
    wait_count(&called, 1);
    ck_assert_int_eq(asock_op_get_error(op), error);
    /* Nothing of it stays behind: no descriptor, no second completion. */
    private_daemon_wait_fds(fixture.daemon, fds);
    sync_with_daemon();
    ck_assert_int_eq(called, 1);
    asock_op_unref(op);
    asock_socket_unref(sock);
    remote_black_hole_close(&hole);
}

START_TEST(test_s21_cancel_while_connecting)
{
    end_while_connecting(BY_CANCEL, ASOCK_OPERATION_ABORTED);
}
END_TEST

START_TEST(test_s21_timeout_while_connecting)
{
    end_while_connecting(BY_TIMEOUT, ASOCK_TIMED_OUT);
}
END_TEST

START_TEST(test_s21_close_while_connecting)
{
    end_while_connecting(BY_CLOSE, ASOCK_OPERATION_ABORTED);
    end_while_connecting(BY_ABORT, ASOCK_OPERATION_ABORTED);
}
END_TEST

START_TEST(test_s21_socket_connects_again_after_cancel)
{
    struct sockaddr_storage hole_addr, addr;
    struct black_hole hole;
    int listener = remote_listen(AF_INET, &addr);
    asock_socket *sock = new_socket(AF_INET);
    asock_op *op;

    remote_black_hole(&hole, &hole_addr);
    op = new_connect_op(&hole_addr);
    pending(asock_connect(sock, op));
    ck_assert_int_eq(asock_cancel(op), 0);
    expect(op, ASOCK_OPERATION_ABORTED);
    ck_assert_int_eq(asock_op_set_endpoint(op, (struct sockaddr *)&addr, remote_addr_len(&addr)),
                     0);
    pending(asock_connect(sock, op));
    expect(op, ASOCK_SUCCESS);
    asock_op_unref(op);
    asock_socket_unref(sock);
    close(listener);
    remote_black_hole_close(&hole);
}
END_TEST

START_TEST(test_s23_ops_behind_a_connect_run_when_it_succeeds)
{
    struct sockaddr_storage addr;
    int listener = remote_listen(AF_INET6, &addr), peer;
    asock_socket *sock = new_socket(AF_INET6);
    char out[] = "hello", in[8], got[8];
    asock_op *op = new_connect_op(&addr), *send_op = new_op_with(out, 5);
    asock_op *receive_op = new_op_with(in, sizeof(in)), *shut = new_op();

    pending(asock_connect(sock, op));
    pending(asock_send(sock, send_op));
    pending(asock_receive(sock, receive_op));
    pending(asock_shutdown(sock, shut, ASOCK_SHUTDOWN_SEND));
    expect(op, ASOCK_SUCCESS);
    expect_bytes(send_op, ASOCK_SUCCESS, 5);
    expect(shut, ASOCK_SUCCESS);
    peer = remote_accept(listener);
    remote_read(peer, got, 5);
    ck_assert_mem_eq(got, "hello", 5);
    ck_assert_int_eq(remote_drain(peer, NULL), REMOTE_FIN);
    remote_write(peer, "answer", 6);
    expect_bytes(receive_op, ASOCK_SUCCESS, 6);
    asock_op_unref(op);
    asock_op_unref(send_op);
    asock_op_unref(receive_op);
    asock_op_unref(shut);
    asock_socket_unref(sock);
    close(peer);
    close(listener);
}
END_TEST

START_TEST(test_s23_ops_behind_a_failed_connect_are_aborted)
{
    struct sockaddr_storage addr;
    int reserved = remote_closed_port(AF_INET, &addr);
    asock_socket *sock = new_socket(AF_INET);
    char buf[8] = "hello";
    asock_op *op = new_connect_op(&addr), *send_op = new_op_with(buf, 5);
    asock_op *receive_op = new_op_with(buf, 5), *shut = new_op();

    pending(asock_connect(sock, op));
    pending(asock_send(sock, send_op));
    pending(asock_receive(sock, receive_op));
    pending(asock_shutdown(sock, shut, ASOCK_SHUTDOWN_SEND));
    expect(op, ASOCK_CONNECTION_REFUSED);
    expect_bytes(send_op, ASOCK_OPERATION_ABORTED, 0);
    expect_bytes(receive_op, ASOCK_OPERATION_ABORTED, 0);
    expect(shut, ASOCK_OPERATION_ABORTED);
    asock_op_unref(op);
    asock_op_unref(send_op);
    asock_op_unref(receive_op);
    asock_op_unref(shut);
    asock_socket_unref(sock);
    close(reserved);
}
END_TEST

/* ---- a list of addresses ---- */

static struct sockaddr_storage address_of(const char *text, uint16_t port)
{
    struct sockaddr_storage addr = {.ss_family = AF_INET};
    struct sockaddr_in *in = (void *)&addr;
    struct sockaddr_in6 *in6 = (void *)&addr;

    in->sin_port = htons(port); /* of both families */
    if (inet_pton(AF_INET, text, &in->sin_addr) == 1)
        return addr;
    addr.ss_family = AF_INET6;
    ck_assert_int_eq(inet_pton(AF_INET6, text, &in6->sin6_addr), 1);
    return addr;
}

/* Ends with NULL. */
static asock_op *new_list_op(uint16_t port, const char *const *texts)
{
    asock_op *op = NULL;

    for (; *texts; texts++) {
        struct sockaddr_storage addr = address_of(*texts, port);

        if (!op)
            op = new_connect_op(&addr);
        else
            ck_assert_int_eq(
                asock_op_add_endpoint(op, (struct sockaddr *)&addr, remote_addr_len(&addr)), 0);
    }
    return op;
}

static void list_ends(int family, uint16_t port, const char *const *texts, int error)
{
    asock_socket *sock = new_socket(family);
    asock_op *op = new_list_op(port, texts);

    pending(asock_connect(sock, op));
    expect(op, error);
    asock_op_unref(op);
    asock_socket_unref(sock);
}

START_TEST(test_s19_a_list_of_addresses_is_tried_in_turn)
{
    const char *const texts[] = {"127.0.0.3", "::1", "127.0.0.2", "127.0.0.1", NULL};
    struct sockaddr_storage addr;
    int listener = remote_listen(AF_INET, &addr);

    expect_connects_to(new_list_op(remote_port(&addr), texts), listener, &addr);
    close(listener);
}
END_TEST

START_TEST(test_s19_a_list_of_which_nothing_is_left)
{
    const char *const refused[] = {"127.0.0.2", "::1", NULL};
    const char *const of_ipv4[] = {"127.0.0.1", "127.0.0.2", NULL};
    struct sockaddr_storage addr;
    int listener = remote_listen(AF_INET, &addr);
    uint16_t port = remote_port(&addr);

    list_ends(AF_UNSPEC, port, refused, ASOCK_CONNECTION_REFUSED);
    list_ends(AF_INET6, port, of_ipv4, ASOCK_ADDRESS_FAMILY_NOT_SUPPORTED);
    list_ends(AF_INET6, port, refused, ASOCK_CONNECTION_REFUSED);
    ck_assert(remote_nobody_waits(listener));
    close(listener);
}
END_TEST

START_TEST(test_s19_what_is_no_list)
{
    struct sockaddr_storage addr = address_of("127.0.0.1", 80), other = address_of("127.0.0.1", 81);
    asock_op *op = new_op();

    ck_assert_int_eq(asock_op_add_endpoint(op, (struct sockaddr *)&addr, sizeof(addr)), -EINVAL);
    ck_assert_int_eq(asock_op_set_endpoint(op, (struct sockaddr *)&addr, sizeof(addr)), 0);
    ck_assert_int_eq(asock_op_add_endpoint(op, NULL, 0), -EINVAL);
    ck_assert_int_eq(asock_op_add_endpoint(op, (struct sockaddr *)&other, sizeof(other)), -EINVAL);
    for (int i = 0; i < 31; i++)
        ck_assert_int_eq(asock_op_add_endpoint(op, (struct sockaddr *)&addr, sizeof(addr)), 0);
    ck_assert_int_eq(asock_op_add_endpoint(op, (struct sockaddr *)&addr, sizeof(addr)), -E2BIG);
    ck_assert_int_eq(asock_op_set_endpoint(op, (struct sockaddr *)&addr, sizeof(addr)), 0);
    ck_assert_int_eq(asock_op_add_endpoint(op, (struct sockaddr *)&addr, sizeof(addr)), 0);
    ck_assert_int_eq(asock_op_set_host(op, "localhost", "80"), 0);
    ck_assert_int_eq(asock_op_add_endpoint(op, (struct sockaddr *)&addr, sizeof(addr)), -EINVAL);
    asock_op_unref(op);
}
END_TEST
