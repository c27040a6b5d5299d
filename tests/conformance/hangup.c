/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The end of a connection (S60). */

#include "tests/lib/fixture.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TEST_FIXTURE(fixture_setup, fixture_teardown);

START_TEST(test_s60_hangup_tells_of_a_reset_and_takes_nothing)
{
    struct pair pair = new_pair(AF_INET);
    asock_op *op = new_op();
    char buf[16];
    int called = 0;

    asock_op_set_callback(op, count_callback, &called);
    pending(asock_await_hangup(pair.socket, op));
    ck_assert_int_eq(asock_op_get_operation(op), ASOCK_OPERATION_HANGUP);
    remote_write(pair.peer, "abc", 3);
    sync_with_daemon();
    ck_assert_int_eq(called, 0);
    remote_reset(pair.peer);
    pair.peer = -1;
    wait_count(&called, 1);
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_CONNECTION_RESET);
    receive_now(pair.socket, buf, 3);
    ck_assert_mem_eq(buf, "abc", 3);
    ck_assert_int_eq(asock_receive_some(pair.socket, buf, sizeof(buf), 30000), -ECONNRESET);
    sync_with_daemon();
    ck_assert_int_eq(called, 1);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s60_hangup_tells_when_both_have_ended)
{
    struct pair pair = new_pair(AF_INET6);
    asock_op *op = new_op(), *shut = new_op();
    int called = 0;

    asock_op_set_callback(op, count_callback, &called);
    pending(asock_await_hangup(pair.socket, op));
    ck_assert_int_eq(shutdown(pair.peer, SHUT_WR), 0);
    sync_with_daemon();
    ck_assert_int_eq(called, 0);
    pending(asock_shutdown(pair.socket, shut, ASOCK_SHUTDOWN_SEND));
    wait_count(&called, 1);
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_SUCCESS);
    expect(shut, ASOCK_SUCCESS);
    asock_op_unref(op);
    asock_op_unref(shut);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s60_hangup_ends_early)
{
    struct pair pair = new_pair(AF_INET);
    asock_op *op = new_op(), *second = new_op();
    asock_socket *unconnected = new_socket(AF_INET);

    pending(asock_await_hangup(pair.socket, op));
    submitted(asock_await_hangup(pair.socket, second));
    expect(second, ASOCK_ALREADY_IN_PROGRESS);
    ck_assert_int_eq(asock_cancel(op), 0);
    expect(op, ASOCK_OPERATION_ABORTED);
    ck_assert_int_eq(asock_op_set_timeout(op, 1), 0);
    pending(asock_await_hangup(pair.socket, op));
    expect(op, ASOCK_TIMED_OUT);
    ck_assert_ptr_null(asock_op_get_text(op));
    ck_assert_int_eq(asock_op_set_timeout(op, 0), 0);
    pending(asock_await_hangup(pair.socket, op));
    close_now(pair.socket, 0);
    expect(op, ASOCK_OPERATION_ABORTED);
    submitted(asock_await_hangup(pair.socket, op));
    expect(op, ASOCK_NOT_SOCKET);
    submitted(asock_await_hangup(unconnected, op));
    expect(op, ASOCK_NOT_CONNECTED);
    asock_op_unref(op);
    asock_op_unref(second);
    asock_socket_unref(unconnected);
    pair_close(&pair);
}
END_TEST
