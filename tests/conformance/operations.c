/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Operation objects (S1 to S9): submit, complete once, use again, release at any time. */

#include "tests/lib/fixture.h"

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

TEST_FIXTURE(fixture_setup, fixture_teardown);

START_TEST(test_s1_pending_op_runs_its_callback)
{
    struct pair pair = new_pair(AF_INET);
    char byte = 'a';
    asock_op *op = new_op_with(&byte, 1);
    int called = 0;

    ck_assert_int_eq(asock_op_set_callback(op, count_callback, &called), 0);
    pending(asock_send(pair.socket, op));
    ck_assert_int_eq(called, 0);
    ck_assert(asock_op_is_pending(op));
    wait_count(&called, 1);
    ck_assert(!asock_op_is_pending(op));
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_SUCCESS);
    sync_with_daemon();
    pump_turn(-1, 0, 0);
    ck_assert_int_eq(called, 1);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

/* What the library knows already it says at once, and then no callback runs. */
START_TEST(test_s1_completed_now_runs_no_callback)
{
    struct pair pair = new_pair(AF_INET);
    char buf[8];
    asock_op *op = new_op_with(buf, sizeof(buf));
    int called = 0, r;

    close_now(pair.socket, 0);
    ck_assert_int_eq(asock_op_set_callback(op, count_callback, &called), 0);
    r = asock_receive(pair.socket, op);
    if (r != 0)
        wait_count(&called, 1);
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_NOT_SOCKET);
    sync_with_daemon();
    pump_turn(-1, 0, 0);
    ck_assert_int_eq(called, r);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s1_always_pending_never_completes_now)
{
    struct pair pair = new_pair(AF_INET);
    char buf[8];
    asock_op *op = new_op_with(buf, sizeof(buf));
    int called = 0;

    ck_assert_int_eq(asock_context_set_always_pending(fixture.context, true), 0);
    close_now(pair.socket, 0);
    ck_assert_int_eq(asock_op_set_callback(op, count_callback, &called), 0);
    pending(asock_receive(pair.socket, op));
    ck_assert_int_eq(called, 0);
    wait_count(&called, 1);
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_NOT_SOCKET);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

/* What is known already still waits for what was submitted to the same socket before. */
START_TEST(test_s1_nothing_is_told_before_what_is_pending)
{
    struct pair pair = new_pair(AF_INET);
    char buf[2];
    asock_op *first = new_op_with(&buf[0], 1), *last = new_op_with(&buf[1], 1), *close = new_op();

    pending(asock_receive(pair.socket, first));
    pending(asock_close(pair.socket, close, 0));
    pending(asock_receive(pair.socket, last));
    expect(first, ASOCK_OPERATION_ABORTED);
    expect(close, ASOCK_SUCCESS);
    expect(last, ASOCK_NOT_SOCKET);
    asock_op_unref(first);
    asock_op_unref(last);
    asock_op_unref(close);
    pair_close(&pair);
}
END_TEST

/* A refused submission leaves no trace: the op is free, the stream is as it was. */
START_TEST(test_s1_refused_call_leaves_op_free)
{
    struct pair pair = new_pair(AF_INET);
    asock_op *op = new_op();
    char byte = 'x', got;

    ck_assert_int_eq(asock_connect(pair.socket, op), -EINVAL);
    ck_assert_int_eq(asock_send(pair.socket, op), -EINVAL);
    ck_assert_int_eq(asock_receive(pair.socket, op), -EINVAL);
    ck_assert(!asock_op_is_pending(op));
    ck_assert_int_eq(asock_op_wait(op, 0), -EINVAL);
    ck_assert_int_eq(asock_op_set_buffer(op, &byte, 1), 0);
    pending(asock_send(pair.socket, op));
    expect_bytes(op, ASOCK_SUCCESS, 1);
    remote_read(pair.peer, &got, 1);
    ck_assert_int_eq(got, 'x');
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

static asock_op *counted_op(int *called, void *data, size_t len)
{
    asock_op *op = new_op_with(data, len);

    ck_assert_int_eq(asock_op_set_callback(op, count_callback, called), 0);
    return op;
}

/* One op of each fate: success, cancel, timeout, close; each callback runs once. */
START_TEST(test_s2_every_op_completes_exactly_once)
{
    struct pair pair = new_pair(AF_INET);
    char buf[4];
    int called[4] = {0};
    asock_op *ops[4];

    for (size_t i = 0; i < 4; i++)
        ops[i] = counted_op(&called[i], &buf[i], 1);
    ck_assert_int_eq(asock_op_set_timeout(ops[2], 50), 0);
    for (size_t i = 0; i < 4; i++)
        pending(asock_receive(pair.socket, ops[i]));
    ck_assert_int_eq(asock_cancel(ops[1]), 0);
    wait_count(&called[1], 1);
    wait_count(&called[2], 1);
    remote_write(pair.peer, "a", 1);
    wait_count(&called[0], 1);
    close_now(pair.socket, 0);
    wait_count(&called[3], 1);
    sync_with_daemon();
    pump_turn(-1, 0, 0);
    ck_assert_int_eq(asock_op_get_error(ops[0]), ASOCK_SUCCESS);
    ck_assert_int_eq(asock_op_get_error(ops[1]), ASOCK_OPERATION_ABORTED);
    ck_assert_int_eq(asock_op_get_error(ops[2]), ASOCK_TIMED_OUT);
    ck_assert_int_eq(asock_op_get_error(ops[3]), ASOCK_OPERATION_ABORTED);
    for (size_t i = 0; i < 4; i++) {
        ck_assert_int_eq(called[i], 1);
        asock_op_unref(ops[i]);
    }
    pair_close(&pair);
}
END_TEST

START_TEST(test_s2_ops_complete_when_the_daemon_is_lost)
{
    struct pair pair = new_pair(AF_INET);
    char buf[100];
    int called = 0;
    asock_op *ops[100], *sync = counted_op(&called, NULL, 0);

    for (size_t i = 0; i < 100; i++) {
        ops[i] = counted_op(&called, &buf[i], 1);
        pending(asock_receive(pair.socket, ops[i]));
    }
    sync_with_daemon();
    private_daemon_freeze(fixture.daemon);
    pending(asock_sync(fixture.context, sync));
    flush();
    kill(fixture.daemon->pid, SIGKILL);
    private_daemon_wait(fixture.daemon);
    wait_count(&called, 101);
    pump_turn(-1, 0, 0);
    ck_assert_int_eq(called, 101);
    ck_assert_int_eq(asock_op_get_error(sync), ASOCK_CONNECTION_ABORTED);
    asock_op_unref(sync);
    for (size_t i = 0; i < 100; i++) {
        ck_assert_int_eq(asock_op_get_error(ops[i]), ASOCK_CONNECTION_ABORTED);
        asock_op_unref(ops[i]);
    }
    pair_close(&pair);
    fixture.daemon = private_daemon_release(fixture.daemon);
}
END_TEST

START_TEST(test_s3_completed_op_is_used_again_on_another_socket)
{
    struct pair first = new_pair(AF_INET), second = new_pair(AF_INET6);
    asock_op *op = new_op_with("one", 3);
    char buf[8];

    pending(asock_send(first.socket, op));
    expect_bytes(op, ASOCK_SUCCESS, 3);
    ck_assert_int_eq(asock_op_set_buffer(op, buf, sizeof(buf)), 0);
    remote_write(second.peer, "later", 5);
    submitted(asock_receive(second.socket, op));
    expect_bytes(op, ASOCK_SUCCESS, 5);
    ck_assert_mem_eq(buf, "later", 5);
    ck_assert_int_eq(asock_op_get_operation(op), ASOCK_OPERATION_RECEIVE);
    ck_assert_ptr_eq(asock_op_get_socket(op), second.socket);
    /* An error, too, is overwritten by the next use. */
    ck_assert_int_eq(asock_op_set_timeout(op, 1), 0);
    pending(asock_receive(second.socket, op));
    expect_bytes(op, ASOCK_TIMED_OUT, 0);
    ck_assert_int_eq(asock_op_set_timeout(op, 0), 0);
    remote_write(second.peer, "more", 4);
    submitted(asock_receive(second.socket, op));
    expect_bytes(op, ASOCK_SUCCESS, 4);
    asock_op_unref(op);
    pair_close(&first);
    pair_close(&second);
}
END_TEST

START_TEST(test_s3_no_result_of_the_last_time_stays)
{
    struct pair ended = new_pair(AF_INET), other = new_pair(AF_INET);
    char byte;
    asock_op *op = new_op_with(&byte, 1);

    remote_finish(ended.peer);
    submitted(asock_receive(ended.socket, op));
    expect_bytes(op, ASOCK_SUCCESS, 0);
    ck_assert_uint_eq(asock_op_get_result_flags(op), ASOCK_END_OF_STREAM);
    remote_write(other.peer, "a", 1);
    submitted(asock_receive(other.socket, op));
    expect_bytes(op, ASOCK_SUCCESS, 1);
    ck_assert_uint_eq(asock_op_get_result_flags(op), 0);
    asock_op_unref(op);
    pair_close(&ended);
    pair_close(&other);
}
END_TEST

static void assert_every_setter_refuses(asock_op *op)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = 1};
    struct iovec list = {.iov_base = &addr, .iov_len = 1};

    ck_assert_int_eq(asock_op_set_callback(op, count_callback, NULL), -EBUSY);
    ck_assert_int_eq(asock_op_set_buffer(op, &addr, 1), -EBUSY);
    ck_assert_int_eq(asock_op_set_buffers(op, &list, 1), -EBUSY);
    ck_assert_int_eq(asock_op_set_endpoint(op, (struct sockaddr *)&addr, sizeof(addr)), -EBUSY);
    ck_assert_int_eq(asock_op_set_host(op, "localhost", "80"), -EBUSY);
    ck_assert_int_eq(asock_op_set_timeout(op, 1), -EBUSY);
    ck_assert_int_eq(asock_op_set_flags(op, ASOCK_PEEK), -EBUSY);
}

START_TEST(test_s4_op_in_flight_is_neither_changed_nor_submitted)
{
    struct pair pair = new_pair(AF_INET), other = new_pair(AF_INET);
    char buf[8] = {0};
    asock_op *op = new_op_with(buf, sizeof(buf));

    pending(asock_receive(pair.socket, op));
    assert_every_setter_refuses(op);
    ck_assert_int_eq(asock_receive(pair.socket, op), -EBUSY);
    ck_assert_int_eq(asock_send(other.socket, op), -EBUSY);
    ck_assert_int_eq(asock_connect(other.socket, op), -EBUSY);
    ck_assert_int_eq(asock_shutdown(other.socket, op, ASOCK_SHUTDOWN_SEND), -EBUSY);
    ck_assert_int_eq(asock_close(other.socket, op, 0), -EBUSY);
    ck_assert_int_eq(asock_set_option(other.socket, op, ASOCK_OPTION_NO_DELAY, 0), -EBUSY);
    ck_assert_int_eq(asock_get_option(other.socket, op, ASOCK_OPTION_NO_DELAY), -EBUSY);
    ck_assert_int_eq(asock_sync(fixture.context, op), -EBUSY);
    ck_assert_int_eq(asock_op_get_error(op), -EINPROGRESS);
    sync_with_daemon();
    /* The first use is unharmed, and so is the other socket. */
    remote_write(pair.peer, "fine", 4);
    expect_bytes(op, ASOCK_SUCCESS, 4);
    ck_assert_mem_eq(buf, "fine", 4);
    send_now(other.socket, "ok", 2);
    remote_read(other.peer, buf, 2);
    asock_op_unref(op);
    pair_close(&pair);
    pair_close(&other);
}
END_TEST

START_TEST(test_s5_released_op_in_flight_completes_then_goes)
{
    struct pair pair = new_pair(AF_INET);
    char buf[8];
    int called = 0;
    asock_op *op = counted_op(&called, buf, sizeof(buf));

    pending(asock_receive(pair.socket, op));
    ck_assert_ptr_null(asock_op_unref(op));
    /* The op holds the socket, too: it stays open. */
    pair.socket = asock_socket_unref(pair.socket);
    remote_write(pair.peer, "late", 4);
    wait_count(&called, 1);
    ck_assert_mem_eq(buf, "late", 4);
    pair_close(&pair);
}
END_TEST

struct reuse {
    struct pair *pair, *other;
    asock_op *blocked;
    char buf[8];
    int called, left;
    int blocked_called;
    bool release_context;
};

static void resubmit(asock_op *op, void *userdata)
{
    struct reuse *reuse = userdata;

    reuse->called++;
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_SUCCESS);
    if (--reuse->left > 0)
        submitted(asock_receive(reuse->pair->socket, op));
}

START_TEST(test_s6_callback_submits_its_own_op_again)
{
    struct pair pair = new_pair(AF_INET);
    struct reuse reuse = {.pair = &pair, .left = 5};
    asock_op *op = new_op_with(reuse.buf, 1);

    /* Each of the five receives takes one byte; none may be completed without a callback. */
    ck_assert_int_eq(asock_context_set_always_pending(fixture.context, true), 0);
    ck_assert_int_eq(asock_op_set_callback(op, resubmit, &reuse), 0);
    pending(asock_receive(pair.socket, op));
    remote_write(pair.peer, "12345", 5);
    wait_count(&reuse.called, 5);
    ck_assert_int_eq(reuse.buf[0], '5');
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

static void close_and_cancel(asock_op *op, void *userdata)
{
    struct reuse *reuse = userdata;

    (void)op;
    reuse->called++;
    ck_assert_int_eq(asock_cancel(reuse->blocked), 0);
    reuse->pair->socket = asock_socket_unref(reuse->pair->socket);
    if (reuse->other->socket)
        reuse->other->socket = asock_socket_unref(reuse->other->socket);
}

START_TEST(test_s6_callback_closes_sockets_and_cancels_ops)
{
    struct pair pair = new_pair(AF_INET), other = new_pair(AF_INET), third = new_pair(AF_INET);
    struct reuse reuse = {.pair = &pair, .other = &other};
    asock_op *op = new_op_with(reuse.buf, 4);
    char buf;

    reuse.blocked = counted_op(&reuse.blocked_called, &buf, 1);
    pending(asock_receive(third.socket, reuse.blocked));
    ck_assert_int_eq(asock_op_set_callback(op, close_and_cancel, &reuse), 0);
    pending(asock_receive(pair.socket, op));
    asock_op_unref(op);
    remote_write(pair.peer, "go", 2);
    wait_count(&reuse.called, 1);
    wait_count(&reuse.blocked_called, 1);
    ck_assert_int_eq(asock_op_get_error(reuse.blocked), ASOCK_OPERATION_ABORTED);
    ck_assert_int_eq(remote_drain(pair.peer, NULL), REMOTE_FIN);
    ck_assert_int_eq(remote_drain(other.peer, NULL), REMOTE_FIN);
    asock_op_unref(reuse.blocked);
    pair_close(&pair);
    pair_close(&other);
    pair_close(&third);
}
END_TEST

static void release_everything(asock_op *op, void *userdata)
{
    struct reuse *reuse = userdata;

    reuse->called++;
    reuse->pair->socket = asock_socket_unref(reuse->pair->socket);
    asock_op_unref(op);
    fixture_release_context();
}

START_TEST(test_s6_callback_releases_the_context)
{
    struct pair pair = new_pair(AF_INET);
    struct reuse reuse = {.pair = &pair};
    asock_op *op = new_op_with(reuse.buf, 4);

    ck_assert_int_eq(asock_op_set_callback(op, release_everything, &reuse), 0);
    pending(asock_receive(pair.socket, op));
    remote_write(pair.peer, "go", 2);
    wait_count(&reuse.called, 1);
    ck_assert_int_eq(remote_drain(pair.peer, NULL), REMOTE_FIN);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s7_op_carries_its_results)
{
    struct sockaddr_storage addr, got;
    int listener = remote_listen(AF_INET, &addr), token;
    asock_socket *sock = new_socket(AF_INET);
    asock_op *op = new_connect_op(&addr);

    ck_assert_int_eq(asock_op_set_callback(op, NULL, &token), 0);
    ck_assert_int_eq(asock_op_get_operation(op), ASOCK_OPERATION_NONE);
    ck_assert_ptr_null(asock_op_get_socket(op));
    pending(asock_connect(sock, op));
    ck_assert_int_eq(asock_op_get_error(op), -EINPROGRESS);
    expect_bytes(op, ASOCK_SUCCESS, 0);
    ck_assert_int_eq(asock_op_get_operation(op), ASOCK_OPERATION_CONNECT);
    ck_assert_ptr_eq(asock_op_get_socket(op), sock);
    ck_assert_ptr_eq(asock_op_get_userdata(op), &token);
    ck_assert_uint_eq(asock_op_get_result_flags(op), 0);
    ck_assert_int_eq(asock_op_get_remote(op, &got), (int)remote_addr_len(&addr));
    ck_assert_mem_eq(&got, &addr, remote_addr_len(&addr));
    ck_assert_int_gt(asock_op_get_local(op, &got), 0);
    ck_assert_int_eq(got.ss_family, AF_INET);
    asock_op_unref(op);
    asock_socket_unref(sock);
    close(listener);
}
END_TEST

START_TEST(test_s8_ops_without_callback_are_waited_for)
{
    struct pair pair = new_pair(AF_INET);
    asock_op *ops[10];
    char buf[10];

    for (size_t i = 0; i < 10; i++) {
        ops[i] = new_op_with(&"0123456789"[i], 1);
        pending(asock_send(pair.socket, ops[i]));
    }
    for (size_t i = 10; i-- > 0;) {
        expect_bytes(ops[i], ASOCK_SUCCESS, 1);
        asock_op_unref(ops[i]);
    }
    remote_read(pair.peer, buf, 10);
    ck_assert_mem_eq(buf, "0123456789", 10);
    pair_close(&pair);
}
END_TEST

/* Far more than the daemon takes at a time: the rest waits in the library. */
START_TEST(test_s8_ten_thousand_sends_are_outstanding)
{
    struct server *server = server_start(SERVER_SINK, AF_INET, 0);
    asock_socket *sock = new_connected(fixture.context, server_addr(server));
    static uint8_t data[10000];
    static asock_op *ops[10000];
    struct server_result result;
    int called = 0;

    pattern_fill(data, 0, sizeof(data));
    for (size_t i = 0; i < 10000; i++) {
        ops[i] = counted_op(&called, &data[i], 1);
        pending(asock_send(sock, ops[i]));
    }
    wait_count(&called, 10000);
    for (size_t i = 0; i < 10000; i++) {
        ck_assert_int_eq(asock_op_get_error(ops[i]), ASOCK_SUCCESS);
        asock_op_unref(ops[i]);
    }
    ck_assert_int_eq(called, 10000);
    close_now(sock, 0);
    server_wait_ended(server, 1);
    result = server_stop(server);
    ck_assert_uint_eq(result.bytes, 10000);
    ck_assert_uint_eq(result.mismatches, 0);
    asock_socket_unref(sock);
}
END_TEST

START_TEST(test_s8_errors_only_is_implied_by_the_next_completion)
{
    struct pair pair = new_pair(AF_INET);
    asock_op *quiet = new_op_with("quiet", 5), *loud = new_op_with("loud", 4);
    int called = 0;
    char buf[9];

    ck_assert_int_eq(asock_op_set_flags(quiet, ASOCK_ERRORS_ONLY), 0);
    ck_assert_int_eq(asock_op_set_callback(quiet, count_callback, &called), 0);
    pending(asock_send(pair.socket, quiet));
    pending(asock_send(pair.socket, loud));
    expect_bytes(loud, ASOCK_SUCCESS, 4);
    wait_count(&called, 1);
    ck_assert_int_eq(asock_op_get_error(quiet), ASOCK_SUCCESS);
    ck_assert_uint_eq(asock_op_get_bytes(quiet), 5);
    remote_read(pair.peer, buf, 9);
    ck_assert_mem_eq(buf, "quietloud", 9);
    /* Waited for without anything behind it, it completes all the same. */
    pending(asock_send(pair.socket, quiet));
    expect_bytes(quiet, ASOCK_SUCCESS, 5);
    asock_op_unref(quiet);
    asock_op_unref(loud);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s8_errors_only_tells_failure)
{
    struct pair pair = new_pair(AF_INET);
    asock_op *quiet = new_op_with("quiet", 5);
    int called = 0;

    ck_assert_int_eq(asock_op_set_flags(quiet, ASOCK_ERRORS_ONLY), 0);
    ck_assert_int_eq(asock_op_set_callback(quiet, count_callback, &called), 0);
    asock_op *op = new_op();
    pending(asock_shutdown(pair.socket, op, ASOCK_SHUTDOWN_SEND));
    expect(op, ASOCK_SUCCESS);
    if (asock_send(pair.socket, quiet) == 1)
        wait_count(&called, 1);
    ck_assert_int_eq(asock_op_get_error(quiet), ASOCK_SHUTDOWN);
    asock_op_unref(op);
    asock_op_unref(quiet);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s9_wait_returns_after_its_time_or_with_the_result)
{
    struct pair pair = new_pair(AF_INET);
    char buf[8];
    int called = 0;
    asock_op *op = counted_op(&called, buf, sizeof(buf));

    pending(asock_receive(pair.socket, op));
    ck_assert_int_eq(asock_op_wait(op, 0), -ETIMEDOUT);
    ck_assert_int_eq(asock_op_wait(op, 20), -ETIMEDOUT);
    remote_write(pair.peer, "ab", 2);
    expect_bytes(op, ASOCK_SUCCESS, 2);
    /* Waiting runs no callback; the loop does, later, once. */
    ck_assert_int_eq(called, 0);
    ck_assert_int_eq(asock_context_get_timeout(fixture.context), 0);
    wait_count(&called, 1);
    ck_assert_int_eq(asock_op_wait(op, 0), 0);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST
