/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A socket that connects again (S73). What .NET's tests of Disconnect ask is here, too. */

#include "tests/lib/fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TEST_FIXTURE(fixture_setup, fixture_teardown);

static void disconnect(asock_socket *socket, int error)
{
    asock_op *op = new_op();

    submitted(asock_disconnect(socket, op));
    expect(op, error);
    asock_op_unref(op);
}

/* To a new listener; the new peer. */
static int connect_again(asock_socket *socket, int family)
{
    struct sockaddr_storage addr;
    int listener = remote_listen(family, &addr), peer;
    asock_op *op = new_connect_op(&addr);

    pending(asock_connect(socket, op));
    peer = remote_accept(listener);
    expect(op, ASOCK_SUCCESS);
    asock_op_unref(op);
    close(listener);
    return peer;
}

static void exchange(asock_socket *socket, int peer)
{
    char buf[4];

    send_now(socket, "ping", 4);
    remote_read(peer, buf, 4);
    ck_assert_mem_eq(buf, "ping", 4);
    remote_write(peer, "pong", 4);
    receive_now(socket, buf, 4);
    ck_assert_mem_eq(buf, "pong", 4);
}

static void ends_with(int peer, enum remote_end end, uint64_t bytes)
{
    uint64_t got;

    ck_assert_int_eq(remote_drain(peer, &got), end);
    ck_assert_uint_eq(got, bytes);
    close(peer);
}

START_LOOP_TEST(test_s73_disconnects_and_connects_again, 0, 2)
{
    static const int families[] = {AF_INET, AF_INET6};
    struct pair pair = new_pair(families[_i]);
    struct sockaddr_storage addr;

    for (int turn = 0; turn < 3; turn++) {
        exchange(pair.socket, pair.peer);
        ck_assert_int_eq(asock_socket_is_connected(pair.socket), 1);
        disconnect(pair.socket, ASOCK_SUCCESS);
        ck_assert_int_eq(asock_socket_is_connected(pair.socket), 0);
        ck_assert_int_eq(asock_socket_get_remote(pair.socket, &addr), -ENODATA);
        ends_with(pair.peer, REMOTE_FIN, 0);
        pair.peer = connect_again(pair.socket, families[_i]);
        ck_assert_int_gt(asock_socket_get_remote(pair.socket, &addr), 0);
    }
    exchange(pair.socket, pair.peer);
    pair_close(&pair);
}
END_TEST

/* "Not for another connection": the program just closes it. */
START_TEST(test_s73_disconnects_and_closes)
{
    struct pair pair = new_pair(AF_INET);

    disconnect(pair.socket, ASOCK_SUCCESS);
    close_now(pair.socket, 30000);
    disconnect(pair.socket, ASOCK_NOT_SOCKET);
    ends_with(pair.peer, REMOTE_FIN, 0);
    pair.peer = -1;
    pair_close(&pair);
}
END_TEST

START_TEST(test_s73_calls_back_and_waits)
{
    struct pair pair = new_pair(AF_INET);
    asock_op *op = new_op();
    int called = 0;

    asock_op_set_callback(op, count_callback, &called);
    pending(asock_disconnect(pair.socket, op));
    ck_assert_int_eq(asock_op_get_operation(op), ASOCK_OPERATION_DISCONNECT);
    wait_count(&called, 1);
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_SUCCESS);
    ends_with(pair.peer, REMOTE_FIN, 0);
    pair.peer = connect_again(pair.socket, AF_INET);
    exchange(pair.socket, pair.peer);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s73_only_a_connection)
{
    asock_socket *socket = new_socket(AF_INET);
    struct sockaddr_storage addr;
    int closed = remote_closed_port(AF_INET, &addr);
    asock_op *op = new_connect_op(&addr), *behind = new_op();

    disconnect(socket, ASOCK_NOT_CONNECTED);
    pending(asock_connect(socket, op));
    submitted(asock_disconnect(socket, behind));
    expect(op, ASOCK_CONNECTION_REFUSED);
    expect(behind, ASOCK_OPERATION_ABORTED);
    disconnect(socket, ASOCK_OPERATION_ABORTED);
    ck_assert_int_eq(asock_disconnect(socket, NULL), -EINVAL);
    ck_assert_int_eq(asock_disconnect(NULL, op), -EINVAL);
    asock_op_unref(op);
    asock_op_unref(behind);
    asock_socket_unref(socket);
    close(closed);
}
END_TEST

START_TEST(test_s73_the_ops_of_the_first_end_before)
{
    struct pair pair = new_pair(AF_INET);
    asock_op *op = new_op(), *receives[40], *hangup = new_op(), *shut = new_op();
    static char bytes[40];
    char buf[4];

    /* More than leave the library at once. */
    for (int i = 0; i < 40; i++) {
        receives[i] = new_op_with(bytes + i, 1);
        pending(asock_receive(pair.socket, receives[i]));
    }
    pending(asock_await_hangup(pair.socket, hangup));
    pending(asock_disconnect(pair.socket, op));
    expect(op, ASOCK_SUCCESS);
    for (int i = 0; i < 40; i++)
        ck_assert_int_eq(asock_op_get_error(receives[i]), ASOCK_OPERATION_ABORTED);
    ck_assert_int_eq(asock_op_get_error(hangup), ASOCK_OPERATION_ABORTED);
    ends_with(pair.peer, REMOTE_FIN, 0);
    pair.peer = connect_again(pair.socket, AF_INET);
    remote_write(pair.peer, "abc", 3);
    receive_now(pair.socket, buf, 3);
    ck_assert_mem_eq(buf, "abc", 3);
    submitted(asock_shutdown(pair.socket, shut, ASOCK_SHUTDOWN_BOTH));
    expect(shut, ASOCK_SUCCESS);
    for (int i = 0; i < 40; i++)
        asock_op_unref(receives[i]);
    asock_op_unref(op);
    asock_op_unref(hangup);
    asock_op_unref(shut);
    pair_close(&pair);
}
END_TEST

/* An accept that waits for a free socket has not been refused yet. */
START_TEST(test_s73_an_accept_of_the_first_ends_before)
{
    asock_op *op = new_op(), *accept = new_op();
    asock_socket *other;
    struct pair pair;

    ck_assert_int_eq(asock_context_set_limit(fixture.context, ASOCK_LIMIT_SOCKETS, 2), 0);
    pair = new_pair(AF_INET);
    other = new_socket(AF_INET);
    pending(asock_accept_multishot(pair.socket, accept));
    pending(asock_disconnect(pair.socket, op));
    expect(op, ASOCK_SUCCESS);
    ck_assert_int_eq(asock_op_get_error(accept), ASOCK_OPERATION_ABORTED);
    asock_op_unref(op);
    asock_op_unref(accept);
    asock_socket_unref(other);
    pair_close(&pair);
}
END_TEST

/* What is sent comes first, be it in the daemon, or still in the library. */
START_LOOP_TEST(test_s73_behind_what_is_sent, 0, 2)
{
    static const size_t sizes[] = {IN_DAEMON, IN_LIBRARY};
    struct pair pair = new_pair_small(AF_INET);
    uint8_t *data = malloc(sizes[_i]);
    asock_op *send, *op = new_op(), *second = new_op(), *quiet = new_op_with("quiet", 5);
    uint64_t got;

    ck_assert_ptr_nonnull(data);
    pattern_fill(data, 0, sizes[_i]);
    send = send_without_reader(pair.socket, data, sizes[_i]);
    asock_op_set_flags(quiet, ASOCK_ERRORS_ONLY);
    pending(asock_send(pair.socket, quiet));
    pending(asock_disconnect(pair.socket, op));
    sync_with_daemon();
    ck_assert(asock_op_is_pending(op));
    /* Cancelled, it has not happened. */
    ck_assert_int_eq(asock_cancel(op), 0);
    expect(op, ASOCK_OPERATION_ABORTED);
    ck_assert_int_eq(asock_socket_is_connected(pair.socket), 1);
    pending(asock_disconnect(pair.socket, op));
    pending(asock_disconnect(pair.socket, second));
    ck_assert_int_eq(remote_drain(pair.peer, &got), REMOTE_FIN);
    ck_assert_uint_eq(got, sizes[_i] + 5);
    expect(op, ASOCK_SUCCESS);
    expect_bytes(send, ASOCK_SUCCESS, sizes[_i]);
    expect_bytes(quiet, ASOCK_SUCCESS, 5);
    ck_assert_int_eq(asock_op_wait(second, LIVENESS_MS), 0);
    ck_assert_int_ne(asock_op_get_error(second), ASOCK_SUCCESS);
    close(pair.peer);
    pair.peer = connect_again(pair.socket, AF_INET);
    exchange(pair.socket, pair.peer);
    asock_op_unref(send);
    asock_op_unref(op);
    asock_op_unref(second);
    asock_op_unref(quiet);
    pair_close(&pair);
    free(data);
}
END_TEST

/* A send that timed out in the library: only the library knows that the stream is cut. */
START_LOOP_TEST(test_s73_a_cut_stream_is_reset, 0, 2)
{
    static const size_t sizes[] = {IN_DAEMON, IN_LIBRARY};
    struct pair pair = new_pair_small(AF_INET);
    uint8_t *data = malloc(sizes[_i]);
    asock_op *send, *late = new_op_with("late", 4);
    uint64_t got;

    ck_assert_ptr_nonnull(data);
    memset(data, 'x', sizes[_i]);
    send = send_without_reader(pair.socket, data, sizes[_i]);
    asock_op_set_timeout(late, 1);
    pending(asock_send(pair.socket, late));
    expect(late, ASOCK_TIMED_OUT);
    disconnect(pair.socket, ASOCK_CONNECTION_RESET);
    ck_assert_int_eq(remote_drain(pair.peer, &got), REMOTE_RST);
    ck_assert_int_eq(asock_op_wait(send, LIVENESS_MS), 0);
    ck_assert_int_eq(asock_op_get_error(send), ASOCK_OPERATION_ABORTED);
    close(pair.peer);
    pair.peer = connect_again(pair.socket, AF_INET);
    exchange(pair.socket, pair.peer);
    asock_op_unref(send);
    asock_op_unref(late);
    pair_close(&pair);
    free(data);
}
END_TEST

START_TEST(test_s73_a_reset_connection_makes_room_for_another)
{
    struct pair pair = new_pair(AF_INET);
    asock_op *op = new_op();

    pending(asock_await_hangup(pair.socket, op));
    remote_reset(pair.peer);
    expect(op, ASOCK_CONNECTION_RESET);
    disconnect(pair.socket, ASOCK_CONNECTION_RESET);
    pair.peer = connect_again(pair.socket, AF_INET);
    ck_assert_int_eq(asock_socket_is_connected(pair.socket), 1);
    exchange(pair.socket, pair.peer);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

/* The window is the socket's: what was outstanding for one connection is free for the next one. */
START_TEST(test_s73_the_window_is_whole_again)
{
    struct pair pair = new_pair_small(AF_INET);
    uint8_t *data = malloc(IN_LIBRARY);
    asock_op *send;
    uint64_t got;

    ck_assert_ptr_nonnull(data);
    pattern_fill(data, 0, IN_LIBRARY);
    for (int turn = 0; turn < 4; turn++) {
        asock_op *op = new_op();

        send = send_without_reader(pair.socket, data, IN_LIBRARY);
        pending(asock_disconnect(pair.socket, op));
        ck_assert_int_eq(remote_drain_pattern(pair.peer, 0, &got), REMOTE_FIN);
        ck_assert_uint_eq(got, IN_LIBRARY);
        expect(op, ASOCK_SUCCESS);
        expect(send, ASOCK_SUCCESS);
        asock_op_unref(send);
        asock_op_unref(op);
        close(pair.peer);
        pair.peer = connect_again(pair.socket, AF_INET);
    }
    exchange(pair.socket, pair.peer);
    pair_close(&pair);
    free(data);
}
END_TEST

/* A datagram socket of the test's on loopback, and its address. */
static int new_peer(int family, struct sockaddr_storage *ret)
{
    struct timeval patience = {.tv_sec = 30};
    socklen_t len = sizeof(*ret);
    int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    close(remote_closed_port(family, ret)); /* an address of loopback: the port is another one */
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)ret, remote_addr_len(ret)), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)ret, &len), 0);
    return fd;
}

START_TEST(test_s73_a_datagram_socket_can_have_another_peer)
{
    asock_socket *socket;

    ck_assert_int_eq(asock_socket_new_udp(fixture.context, AF_UNSPEC, &socket), 0);
    disconnect(socket, ASOCK_NOT_CONNECTED);
    for (int turn = 0; turn < 2; turn++) {
        struct sockaddr_storage addr;
        int peer = new_peer(turn ? AF_INET6 : AF_INET, &addr);
        asock_op *to = new_connect_op(&addr);
        char buf[4];

        pending(asock_connect(socket, to));
        expect(to, ASOCK_SUCCESS);
        send_now(socket, "abc", 3);
        ck_assert_int_eq(recv(peer, buf, sizeof(buf), 0), 3);
        disconnect(socket, ASOCK_SUCCESS);
        asock_op_unref(to);
        close(peer);
    }
    asock_socket_unref(socket);
}
END_TEST
