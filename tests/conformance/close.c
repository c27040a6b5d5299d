/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Shutdown and close (S39 to S45). */

#include "tests/lib/fixture.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void shutdown_now(asock_socket *socket, enum asock_how how, int error)
{
    asock_op *op = new_op();

    submitted(asock_shutdown(socket, op, how));
    expect(op, error);
    asock_op_unref(op);
}

static void shutdown_behind(size_t len)
{
    struct pair pair = new_pair_small(AF_INET);
    char *data = malloc(len), back[4];
    asock_op *shut = new_op(), *op;
    uint64_t bytes;

    pattern_fill(data, 0, len);
    op = send_without_reader(pair.socket, data, len);
    pending(asock_shutdown(pair.socket, shut, ASOCK_SHUTDOWN_SEND));
    sync_with_daemon();
    ck_assert(asock_op_is_pending(op));
    ck_assert(asock_op_is_pending(shut));
    ck_assert_int_eq(remote_drain_pattern(pair.peer, 0, &bytes), REMOTE_FIN);
    ck_assert_uint_eq(bytes, len);
    expect_bytes(op, ASOCK_SUCCESS, len);
    expect(shut, ASOCK_SUCCESS);
    /* Receiving goes on, until 0 bytes. */
    remote_write(pair.peer, "back", 4);
    receive_now(pair.socket, back, 4);
    remote_finish(pair.peer);
    ck_assert_int_eq(asock_op_set_buffer(op, back, 4), 0);
    submitted(asock_receive(pair.socket, op));
    expect_bytes(op, ASOCK_SUCCESS, 0);
    ck_assert_uint_eq(asock_op_get_result_flags(op), ASOCK_END_OF_STREAM);
    asock_op_unref(op);
    asock_op_unref(shut);
    free(data);
    pair_close(&pair);
}

TEST_FIXTURE(fixture_setup, fixture_teardown);

START_TEST(test_s39_shutdown_send_finishes_queued_sends_first)
{
    shutdown_behind(IN_DAEMON);
    shutdown_behind(IN_LIBRARY);
}
END_TEST

static void assert_end_of_stream(asock_op *op)
{
    expect_bytes(op, ASOCK_SUCCESS, 0);
    ck_assert_uint_eq(asock_op_get_result_flags(op), ASOCK_END_OF_STREAM);
}

START_TEST(test_s40_shutdown_receive_ends_pending_and_later_receives)
{
    struct pair pair = new_pair(AF_INET);
    char buf[3];
    asock_op *ops[3];

    for (size_t i = 0; i < 2; i++) {
        ops[i] = new_op_with(&buf[i], 1);
        pending(asock_receive(pair.socket, ops[i]));
    }
    sync_with_daemon();
    shutdown_now(pair.socket, ASOCK_SHUTDOWN_RECEIVE, ASOCK_SUCCESS);
    ops[2] = new_op_with(&buf[2], 1);
    submitted(asock_receive(pair.socket, ops[2]));
    for (size_t i = 0; i < 3; i++) {
        assert_end_of_stream(ops[i]);
        asock_op_unref(ops[i]);
    }
    /* Sending goes on. */
    send_now(pair.socket, "out", 3);
    remote_read(pair.peer, buf, 3);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s40_shutdown_both_is_both)
{
    struct pair pair = new_pair(AF_INET);
    char byte = 'x';
    asock_op *op = new_op_with(&byte, 1), *send_op = new_op_with(&byte, 1);

    pending(asock_receive(pair.socket, op));
    shutdown_now(pair.socket, ASOCK_SHUTDOWN_BOTH, ASOCK_SUCCESS);
    assert_end_of_stream(op);
    submitted(asock_send(pair.socket, send_op));
    expect_bytes(send_op, ASOCK_SHUTDOWN, 0);
    ck_assert_int_eq(remote_drain(pair.peer, NULL), REMOTE_FIN);
    asock_op_unref(op);
    asock_op_unref(send_op);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s41_shutdown_after_the_peer_closed_succeeds)
{
    struct pair pair = new_pair(AF_INET);
    char byte;
    asock_op *op = new_op_with(&byte, 1);

    remote_finish(pair.peer);
    submitted(asock_receive(pair.socket, op));
    assert_end_of_stream(op);
    shutdown_now(pair.socket, ASOCK_SHUTDOWN_SEND, ASOCK_SUCCESS);
    shutdown_now(pair.socket, ASOCK_SHUTDOWN_SEND, ASOCK_SUCCESS);
    ck_assert_int_eq(remote_drain(pair.peer, NULL), REMOTE_FIN);
    shutdown_now(pair.socket, ASOCK_SHUTDOWN_RECEIVE, ASOCK_SUCCESS);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s41_shutdown_of_unconnected_socket_is_not_connected)
{
    asock_socket *sock = new_socket(AF_INET);

    shutdown_now(sock, ASOCK_SHUTDOWN_SEND, ASOCK_NOT_CONNECTED);
    shutdown_now(sock, ASOCK_SHUTDOWN_RECEIVE, ASOCK_NOT_CONNECTED);
    shutdown_now(sock, ASOCK_SHUTDOWN_BOTH, ASOCK_NOT_CONNECTED);
    asock_socket_unref(sock);
}
END_TEST

struct order {
    int next;
    int receive_at, send_at, close_at;
    asock_op *receive, *send, *close;
};

static void note_order(asock_op *op, void *userdata)
{
    struct order *order = userdata;

    order->next++;
    if (op == order->receive)
        order->receive_at = order->next;
    else if (op == order->send)
        order->send_at = order->next;
    else
        order->close_at = order->next;
}

START_TEST(test_s42_close_aborts_pending_ops_and_completes_last)
{
    struct pair pair = new_pair_small(AF_INET);
    char *data = calloc(1, IN_LIBRARY), byte;
    struct order order = {
        .receive = new_op_with(&byte, 1), .send = new_op_with(data, IN_LIBRARY), .close = new_op()};

    asock_op_set_callback(order.receive, note_order, &order);
    asock_op_set_callback(order.send, note_order, &order);
    asock_op_set_callback(order.close, note_order, &order);
    pending(asock_receive(pair.socket, order.receive));
    pending(asock_send(pair.socket, order.send));
    sync_with_daemon();
    pending(asock_close(pair.socket, order.close, 0));
    wait_count(&order.next, 3);
    ck_assert_int_eq(order.close_at, 3);
    ck_assert_int_eq(asock_op_get_error(order.receive), ASOCK_OPERATION_ABORTED);
    ck_assert_int_eq(asock_op_get_error(order.send), ASOCK_OPERATION_ABORTED);
    ck_assert_int_eq(asock_op_get_error(order.close), ASOCK_SUCCESS);
    asock_op_unref(order.receive);
    asock_op_unref(order.send);
    asock_op_unref(order.close);
    free(data);
    pair_close(&pair);
}
END_TEST

/* Half a stream never looks like a whole one: the first send was not wholly taken. */
static void close_unfinished(size_t len)
{
    struct pair pair = new_pair_small(AF_INET);
    char *data = malloc(len);
    asock_op *op;
    uint64_t bytes;

    pattern_fill(data, 0, len);
    op = send_without_reader(pair.socket, data, len);
    sync_with_daemon();
    close_now(pair.socket, 0);
    expect(op, ASOCK_OPERATION_ABORTED);
    ck_assert_int_eq(remote_drain_pattern(pair.peer, 0, &bytes), REMOTE_RST);
    ck_assert_uint_lt(bytes, len);
    asock_op_unref(op);
    free(data);
    pair_close(&pair);
}

START_TEST(test_s42_close_with_an_unfinished_send_resets)
{
    close_unfinished(IN_DAEMON);
    close_unfinished(IN_LIBRARY);
}
END_TEST

/* Also one that has not begun, behind another that was cancelled before it began. */
START_TEST(test_s42_close_with_a_queued_send_resets)
{
    struct pair pair = new_pair_small(AF_INET);
    char *data = calloc(1, IN_DAEMON);
    asock_op *first = send_without_reader(pair.socket, data, IN_DAEMON);
    asock_op *second = send_without_reader(pair.socket, data, 10);

    sync_with_daemon();
    ck_assert_int_eq(asock_cancel(second), 0);
    expect_bytes(second, ASOCK_OPERATION_ABORTED, 0);
    pending(asock_send(pair.socket, second));
    sync_with_daemon();
    close_now(pair.socket, 0);
    expect(first, ASOCK_OPERATION_ABORTED);
    expect_bytes(second, ASOCK_OPERATION_ABORTED, 0);
    ck_assert_int_eq(remote_drain(pair.peer, NULL), REMOTE_RST);
    asock_op_unref(first);
    asock_op_unref(second);
    free(data);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s42_close_after_finished_sends_ends_with_fin)
{
    struct pair pair = new_pair(AF_INET);
    char *data = malloc(100 * KIB);
    uint64_t bytes;

    pattern_fill(data, 0, 100 * KIB);
    send_now(pair.socket, data, 100 * KIB);
    close_now(pair.socket, 0);
    ck_assert_int_eq(remote_drain_pattern(pair.peer, 0, &bytes), REMOTE_FIN);
    ck_assert_uint_eq(bytes, 100 * KIB);
    free(data);
    pair_close(&pair);
}
END_TEST

/* The kernel alone would reset: it does so when input is unread at close. */
START_TEST(test_s42_close_with_unread_input_ends_with_fin)
{
    struct pair pair = new_pair(AF_INET);
    char probe;
    asock_op *op = new_op_with(&probe, 1);
    uint64_t bytes;

    ck_assert_int_eq(asock_op_set_flags(op, ASOCK_PEEK), 0);
    pending(asock_receive(pair.socket, op));
    flush();
    remote_write(pair.peer, "unread", 6);
    expect_bytes(op, ASOCK_SUCCESS, 1);
    send_now(pair.socket, "whole", 5);
    close_now(pair.socket, 0);
    /* It still discards what comes in before the peer's FIN. */
    remote_write(pair.peer, "more", 4);
    ck_assert_int_eq(remote_drain(pair.peer, &bytes), REMOTE_FIN);
    ck_assert_uint_eq(bytes, 5);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s42_last_unref_is_a_close_without_linger)
{
    struct pair pair = new_pair(AF_INET);

    send_now(pair.socket, "x", 1);
    pair.socket = asock_socket_unref(pair.socket);
    flush();
    ck_assert_int_eq(remote_drain(pair.peer, NULL), REMOTE_FIN);
    pair_close(&pair);
}
END_TEST

/*
 * A client that dies: a child with a context of its own, killed with its sends done or half done.
 */
static void kill_client(size_t len, enum remote_end how)
{
    struct sockaddr_storage addr;
    int listener = remote_listen_small(AF_INET, &addr), ready[2], peer;
    char *data = malloc(len), byte;
    uint64_t bytes;
    pid_t pid;

    pattern_fill(data, 0, len);
    ck_assert_int_eq(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        asock_context *context = new_context();
        asock_socket *sock = new_connected(context, &addr);
        asock_op *op = new_op_of(context);

        asock_op_set_buffer(op, data, len);
        asock_send(sock, op);
        sync_of(context);
        if (how == REMOTE_FIN)
            asock_op_wait(op, LIVENESS_MS);
        if (write(ready[1], "", 1) == 1)
            pause();
        _exit(1);
    }
    peer = remote_accept(listener);
    wait_fd(ready[0], 1);
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    ck_assert_int_eq(remote_drain_pattern(peer, 0, &bytes), how);
    if (how == REMOTE_FIN)
        ck_assert_uint_eq(bytes, len);
    free(data);
    close(ready[0]);
    close(ready[1]);
    close(peer);
    close(listener);
}

START_TEST(test_s42_client_that_dies_with_sends_done_ends_with_fin)
{
    kill_client(1000, REMOTE_FIN);
}
END_TEST

START_TEST(test_s42_client_that_dies_with_a_send_half_done_resets)
{
    kill_client(IN_LIBRARY, REMOTE_RST);
}
END_TEST

static void linger_drains(size_t len)
{
    struct pair pair = new_pair_small(AF_INET);
    char *data = malloc(len);
    asock_op *op, *close_op = new_op();
    uint64_t bytes;

    pattern_fill(data, 0, len);
    op = send_without_reader(pair.socket, data, len);
    pending(asock_close(pair.socket, close_op, 60000));
    sync_with_daemon();
    ck_assert(asock_op_is_pending(close_op));
    ck_assert_int_eq(remote_drain_pattern(pair.peer, 0, &bytes), REMOTE_FIN);
    ck_assert_uint_eq(bytes, len);
    expect_bytes(op, ASOCK_SUCCESS, len);
    close(pair.peer);
    pair.peer = -1;
    expect(close_op, ASOCK_SUCCESS);
    asock_op_unref(op);
    asock_op_unref(close_op);
    free(data);
    pair_close(&pair);
}

START_TEST(test_s43_linger_drains_queued_sends)
{
    linger_drains(IN_DAEMON);
    linger_drains(IN_LIBRARY);
}
END_TEST

static void linger_ends(size_t len)
{
    struct pair pair = new_pair_small(AF_INET);
    char *data = calloc(1, len);
    asock_op *op = send_without_reader(pair.socket, data, len), *close_op = new_op();

    pending(asock_close(pair.socket, close_op, 100));
    ck_assert_int_eq(asock_op_wait(close_op, LIVENESS_MS), 0);
    expect(close_op, ASOCK_TIMED_OUT);
    expect(op, ASOCK_OPERATION_ABORTED);
    ck_assert_int_eq(remote_drain(pair.peer, NULL), REMOTE_RST);
    asock_op_unref(op);
    asock_op_unref(close_op);
    free(data);
    pair_close(&pair);
}

START_TEST(test_s43_linger_ends_after_its_time_with_reset)
{
    linger_ends(IN_DAEMON);
    linger_ends(IN_LIBRARY);
}
END_TEST

static void linger_cancelled(size_t len)
{
    struct pair pair = new_pair_small(AF_INET);
    char *data = calloc(1, len);
    asock_op *op = send_without_reader(pair.socket, data, len), *close_op = new_op();

    pending(asock_close(pair.socket, close_op, 60000));
    sync_with_daemon();
    ck_assert_int_eq(asock_cancel(close_op), 0);
    ck_assert_int_eq(asock_op_wait(close_op, LIVENESS_MS), 0);
    expect(close_op, ASOCK_OPERATION_ABORTED);
    expect(op, ASOCK_OPERATION_ABORTED);
    ck_assert_int_eq(remote_drain(pair.peer, NULL), REMOTE_RST);
    asock_op_unref(op);
    asock_op_unref(close_op);
    free(data);
    pair_close(&pair);
}

START_TEST(test_s43_timeout_shortens_the_linger_time)
{
    struct pair pair = new_pair_small(AF_INET);
    static char data[IN_LIBRARY];
    asock_op *op = send_without_reader(pair.socket, data, IN_LIBRARY), *close_op = new_op();

    asock_op_set_timeout(close_op, 100);
    pending(asock_close(pair.socket, close_op, 600000));
    expect(close_op, ASOCK_TIMED_OUT);
    expect(op, ASOCK_OPERATION_ABORTED);
    ck_assert_int_eq(remote_drain(pair.peer, NULL), REMOTE_RST);
    asock_op_unref(op);
    asock_op_unref(close_op);
    pair_close(&pair);
}
END_TEST

static void close_behind_refusal(bool has_send)
{
    struct sockaddr_storage closed;
    int reserved = remote_closed_port(AF_INET, &closed);
    asock_socket *sock = new_socket(AF_INET);
    char data[] = "data";
    asock_op *op = new_connect_op(&closed), *send_op = new_op_with(data, 4), *close_op = new_op();

    pending(asock_connect(sock, op));
    if (has_send)
        pending(asock_send(sock, send_op));
    pending(asock_close(sock, close_op, 60000));
    expect(close_op, ASOCK_OPERATION_ABORTED);
    expect(op, ASOCK_CONNECTION_REFUSED);
    asock_op_unref(op);
    asock_op_unref(send_op);
    asock_op_unref(close_op);
    asock_socket_unref(sock);
    close(reserved);
}

START_TEST(test_s43_nothing_was_sent_behind_a_connect_that_fails)
{
    close_behind_refusal(false);
    close_behind_refusal(true);
}
END_TEST

START_TEST(test_s43_draining_close_is_cancelled_with_reset)
{
    linger_cancelled(IN_DAEMON);
    linger_cancelled(IN_LIBRARY);
}
END_TEST

START_TEST(test_s43_close_with_abort_resets)
{
    struct pair pair = new_pair(AF_INET);

    send_now(pair.socket, "all taken", 9);
    close_now(pair.socket, ASOCK_CLOSE_ABORT);
    ck_assert_int_eq(remote_drain(pair.peer, NULL), REMOTE_RST);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s44_close_of_a_socket_never_used)
{
    static const int linger_ms[] = {ASOCK_CLOSE_ABORT, 0, 1};

    for (size_t i = 0; i < 3; i++) {
        asock_socket *sock = new_socket(AF_INET);

        close_now(sock, linger_ms[i]);
        asock_socket_unref(sock);
    }
}
END_TEST

START_TEST(test_s44_everything_after_close_is_a_clean_error)
{
    struct pair pair = new_pair(AF_INET);
    char buf[4];
    asock_op *op = new_op_with(buf, 4);

    close_now(pair.socket, 0);
    ck_assert_uint_eq(asock_socket_get_id(pair.socket), 0);
    for (size_t i = 0; i < 6; i++) {
        int r = i == 0   ? asock_send(pair.socket, op)
                : i == 1 ? asock_receive(pair.socket, op)
                : i == 2 ? asock_shutdown(pair.socket, op, ASOCK_SHUTDOWN_BOTH)
                : i == 3 ? asock_set_option(pair.socket, op, ASOCK_OPTION_NO_DELAY, 1)
                : i == 4 ? asock_get_option(pair.socket, op, ASOCK_OPTION_NO_DELAY)
                         : asock_close(pair.socket, op, 0);

        submitted(r);
        expect_bytes(op, ASOCK_NOT_SOCKET, 0);
    }
    ck_assert_int_eq(asock_context_get_error(fixture.context), 0);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

/* More sockets, one after the other, than ids; closes and opens are pipelined. */
START_TEST(test_s44_ids_are_used_again_at_once)
{
    struct server *server = server_start(SERVER_ECHO, AF_INET, 0);
    uint64_t limit;

    ck_assert_int_eq(asock_context_set_limit(fixture.context, ASOCK_LIMIT_SOCKETS, 16), 0);
    sync_with_daemon();
    ck_assert_int_eq(asock_context_get_limit(fixture.context, ASOCK_LIMIT_SOCKETS, &limit), 0);
    ck_assert_uint_eq(limit, 16);
    for (int round = 0; round < 10; round++) {
        asock_socket *socks[16];
        asock_op *ops[16];

        for (int i = 0; i < 16; i++) {
            socks[i] = new_socket(AF_INET);
            ops[i] = new_connect_op(server_addr(server));
            pending(asock_connect(socks[i], ops[i]));
        }
        for (int i = 0; i < 16; i++) {
            expect(ops[i], ASOCK_SUCCESS);
            asock_op_unref(ops[i]);
            /* No wait: the next round's opens are behind these closes. */
            asock_socket_unref(socks[i]);
        }
    }
    sync_with_daemon();
    server_wait_ended(server, 160);
    ck_assert_uint_eq(server_stop(server).connections, 160);
}
END_TEST

/* The others of the daemon do not notice: a second client's transfer goes on. */
START_TEST(test_s45_client_gone_leaves_nothing_behind)
{
    struct pair pair = new_pair(AF_INET);
    asock_context *control = new_control();
    char buf[8];
    size_t fds;

    sync_of(control);
    fds = private_daemon_fds(fixture.daemon);
    for (int i = 0; i < 3; i++)
        kill_client(i == 1 ? IN_LIBRARY : 1000, i == 1 ? REMOTE_RST : REMOTE_FIN);
    private_daemon_wait_fds(fixture.daemon, fds);
    ck_assert_int_eq(inspect_rows(control, "list"), 1);
    send_now(pair.socket, "fine", 4);
    remote_read(pair.peer, buf, 4);
    asock_context_unref(control);
    pair_close(&pair);
}
END_TEST
