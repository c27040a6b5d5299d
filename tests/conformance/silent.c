/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* ASOCK_ERRORS_ONLY and released sockets (S8, S42): nothing waits for itself. */

#include "tests/lib/fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static asock_op *silent_op(const void *data, size_t len, int *called)
{
    asock_op *op = new_op_with(data, len);

    ck_assert_int_eq(asock_op_set_flags(op, ASOCK_ERRORS_ONLY), 0);
    ck_assert_int_eq(asock_op_set_callback(op, count_callback, called), 0);
    return op;
}

/* The op completes once, and the peer gets all of it and FIN. */
static void expect_end(int peer, const int *called, uint64_t bytes)
{
    uint64_t got;

    ck_assert_int_eq(remote_drain(peer, &got), REMOTE_FIN);
    ck_assert_uint_eq(got, bytes);
    ck_assert_int_eq(*called, 1);
    close(peer);
}

TEST_FIXTURE(fixture_setup, fixture_teardown);

START_TEST(test_s8_silent_send_that_waits_is_let_go)
{
    struct pair pair = new_pair(AF_INET);
    int called = 0;
    asock_op *op = silent_op("bye", 3, &called);

    pending(asock_send(pair.socket, op));
    asock_op_unref(op);
    asock_socket_unref(pair.socket);
    expect_end(pair.peer, &called, 3);
}
END_TEST

START_TEST(test_s8_silent_send_that_has_left_is_let_go)
{
    struct pair pair = new_pair(AF_INET);
    int called = 0;
    asock_op *op = silent_op("bye", 3, &called);

    pending(asock_send(pair.socket, op));
    sync_with_daemon();
    asock_op_unref(op);
    asock_socket_unref(pair.socket);
    expect_end(pair.peer, &called, 3);
}
END_TEST

/* The daemon holds some of it, the library the rest, and the peer does not read. */
START_TEST(test_s8_silent_send_half_gone_is_let_go)
{
    struct pair pair = new_pair_small(AF_INET);
    char *data = calloc(1, IN_LIBRARY);
    int called = 0;
    asock_op *op = silent_op(data, IN_LIBRARY, &called);

    pending(asock_send(pair.socket, op));
    sync_with_daemon();
    asock_op_unref(op);
    asock_socket_unref(pair.socket);
    ck_assert_int_eq(called, 0);
    remote_read(pair.peer, data, 1);
    expect_end(pair.peer, &called, IN_LIBRARY - 1);
    free(data);
}
END_TEST

START_TEST(test_s8_silent_option_is_let_go)
{
    struct pair pair = new_pair(AF_INET);
    int called = 0;
    asock_op *op = silent_op(NULL, 0, &called);

    pending(asock_set_option(pair.socket, op, ASOCK_OPTION_NO_DELAY, 0));
    sync_with_daemon(); /* which tells of it */
    wait_count(&called, 1);
    pending(asock_set_option(pair.socket, op, ASOCK_OPTION_NO_DELAY, 1));
    flush();
    asock_op_unref(op);
    asock_socket_unref(pair.socket);
    wait_count(&called, 2);
    called = 1;
    expect_end(pair.peer, &called, 0);
}
END_TEST

/* In its callback the program holds no socket any more, and sends once more. */
static void send_again(asock_op *op, void *userdata)
{
    int *called = userdata;

    if ((*called)++ == 0)
        pending(asock_send(asock_op_get_socket(op), op));
}

START_TEST(test_s8_silent_send_without_a_reference_to_its_socket)
{
    struct pair pair = new_pair(AF_INET);
    int called = 0;
    asock_op *op = silent_op("bye", 3, &called);

    ck_assert_int_eq(asock_op_set_callback(op, send_again, &called), 0);
    pending(asock_send(pair.socket, op));
    asock_op_unref(op);
    asock_socket_unref(pair.socket);
    wait_count(&called, 2);
    called = 1;
    expect_end(pair.peer, &called, 6);
}
END_TEST

/* It is pending, and keeps the connection open, until the program says that it does not want it. */
START_TEST(test_s42_a_receive_and_its_socket_are_let_go)
{
    struct pair pair = new_pair(AF_INET);
    int called = 0;
    char buf[4];
    asock_op *op = new_op_with(buf, sizeof(buf));

    ck_assert_int_eq(asock_op_set_callback(op, count_callback, &called), 0);
    pending(asock_receive(pair.socket, op));
    ck_assert_int_eq(asock_close(pair.socket, NULL, 0), 0);
    ck_assert_int_eq(asock_close(pair.socket, NULL, 0), 0);
    asock_op_unref(op);
    asock_socket_unref(pair.socket);
    wait_count(&called, 1);
    expect_end(pair.peer, &called, 0);
}
END_TEST

START_TEST(test_s42_a_socket_is_closed_and_forgotten)
{
    struct pair pair = new_pair(AF_INET);
    asock_socket *unused = new_socket(AF_INET);
    asock_op *op = new_op_with("x", 1);
    int called = 1;

    send_now(pair.socket, "bye", 3);
    ck_assert_int_eq(asock_close(pair.socket, NULL, 1000), 0);
    ck_assert_int_eq(asock_close(unused, NULL, ASOCK_CLOSE_ABORT), 0);
    submitted(asock_send(pair.socket, op));
    expect(op, ASOCK_NOT_SOCKET);
    expect_end(pair.peer, &called, 3);
    ck_assert_int_eq(asock_close(NULL, NULL, 0), -EINVAL);
    asock_op_unref(op);
    asock_socket_unref(unused);
    asock_socket_unref(pair.socket);
}
END_TEST
