/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Sending (S25 to S30). */

#include "tests/lib/fixture.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *new_pattern(size_t len)
{
    char *data = malloc(len);

    ck_assert_ptr_nonnull(data);
    pattern_fill(data, 0, len);
    return data;
}

static void send_whole(size_t len)
{
    struct pair pair = new_pair_small(AF_INET);
    char *data = new_pattern(len);
    asock_op *op = send_without_reader(pair.socket, data, len);
    char *got = malloc(len);

    sync_with_daemon();
    remote_read(pair.peer, got, len / 4);
    sync_with_daemon();
    ck_assert(asock_op_is_pending(op));
    remote_read(pair.peer, got + len / 4, len - len / 4);
    ck_assert_int_eq(pattern_check(got, 0, len), -1);
    expect_bytes(op, ASOCK_SUCCESS, len);
    asock_op_unref(op);
    free(got);
    free(data);
    pair_close(&pair);
}

TEST_FIXTURE(fixture_setup, fixture_teardown);

START_TEST(test_s25_send_completes_whole)
{
    send_whole(IN_DAEMON);
    send_whole(IN_LIBRARY);
}
END_TEST

START_TEST(test_s25_taken_is_not_delivered)
{
    struct pair pair = new_pair(AF_INET6);
    char buf[4];

    send_now(pair.socket, "data", 4);
    remote_read(pair.peer, buf, 4);
    ck_assert_mem_eq(buf, "data", 4);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s26_queued_sends_go_out_whole_and_in_order)
{
    static const size_t sizes[] = {1,         100 * KIB,     3,  700 * KIB, 0,
                                   256 * KIB, 256 * KIB + 1, 64, MIB};
    struct server *server = server_start(SERVER_SINK, AF_INET, 0);
    asock_socket *sock = new_connected(fixture.context, server_addr(server));
    char *data = new_pattern(4 * MIB);
    struct server_result result;
    asock_op *ops[9];
    size_t at = 0;

    for (size_t i = 0; i < 9; i++) {
        ops[i] = new_op_with(data + at, sizes[i]);
        submitted(asock_send(sock, ops[i]));
        at += sizes[i];
    }
    for (size_t i = 0; i < 9; i++) {
        expect_bytes(ops[i], ASOCK_SUCCESS, sizes[i]);
        asock_op_unref(ops[i]);
    }
    close_now(sock, 0);
    server_wait_ended(server, 1);
    result = server_stop(server);
    ck_assert_uint_eq(result.bytes, at);
    ck_assert_uint_eq(result.mismatches, 0);
    ck_assert_uint_eq(result.fins, 1);
    asock_socket_unref(sock);
    free(data);
}
END_TEST

/* Small ones, queued in the daemon or the library behind one that its peer does not take. */
static void queue_behind(size_t len)
{
    struct pair pair = new_pair_small(AF_INET);
    char *data = new_pattern(len + 55);
    asock_op *ops[11];
    size_t at = len;

    ops[0] = send_without_reader(pair.socket, data, len);
    for (size_t i = 1; i <= 10; i++) {
        ops[i] = send_without_reader(pair.socket, data + at, i);
        at += i;
    }
    sync_with_daemon();
    for (size_t i = 0; i <= 10; i++)
        ck_assert(asock_op_is_pending(ops[i]));
    for (size_t i = 0, n; i < at; i += n) {
        char got[4096];

        n = at - i < sizeof(got) ? at - i : sizeof(got);
        remote_read(pair.peer, got, n);
        ck_assert_int_eq(pattern_check(got, i, n), -1);
    }
    for (size_t i = 0; i <= 10; i++) {
        expect_bytes(ops[i], ASOCK_SUCCESS, i == 0 ? len : i);
        asock_op_unref(ops[i]);
    }
    free(data);
    pair_close(&pair);
}

START_TEST(test_s26_sends_behind_a_stalled_one_keep_their_order)
{
    queue_behind(IN_DAEMON);
    queue_behind(IN_LIBRARY);
}
END_TEST

START_TEST(test_s27_empty_send_succeeds_and_sends_nothing)
{
    struct pair pair = new_pair(AF_INET);
    asock_op *op = new_op_with(NULL, 0);

    submitted(asock_send(pair.socket, op));
    expect_bytes(op, ASOCK_SUCCESS, 0);
    sync_with_daemon();
    ck_assert(remote_nothing_to_read(pair.peer));
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

/* An empty send keeps its place: it does not overtake the one before it. */
static void empty_keeps_place(size_t len)
{
    struct pair pair = new_pair_small(AF_INET);
    char *data = new_pattern(len);
    asock_op *large = send_without_reader(pair.socket, data, len);
    asock_op *empty = new_op_with(NULL, 0);

    pending(asock_send(pair.socket, empty));
    sync_with_daemon();
    ck_assert(asock_op_is_pending(empty));
    close_now(pair.socket, ASOCK_CLOSE_ABORT);
    expect(large, ASOCK_OPERATION_ABORTED);
    expect_bytes(empty, ASOCK_OPERATION_ABORTED, 0);
    asock_op_unref(large);
    asock_op_unref(empty);
    free(data);
    pair_close(&pair);
}

START_TEST(test_s27_empty_send_keeps_its_place)
{
    empty_keeps_place(IN_DAEMON);
    empty_keeps_place(IN_LIBRARY);
}
END_TEST

static void assert_send_side_is_closed(asock_socket *socket, int error)
{
    asock_op *op = new_op_with("never", 5);

    submitted(asock_send(socket, op));
    expect_bytes(op, error, 0);
    submitted(asock_shutdown(socket, op, ASOCK_SHUTDOWN_SEND));
    expect(op, error);
    asock_op_unref(op);
}

static void assert_receiving_goes_on(struct pair *pair)
{
    char buf[4];

    remote_write(pair->peer, "back", 4);
    receive_now(pair->socket, buf, 4);
    ck_assert_mem_eq(buf, "back", 4);
}

static void fail_by_reset(size_t len)
{
    struct pair pair = new_pair_small(AF_INET);
    char *data = new_pattern(len), got[4096];
    asock_op *op = send_without_reader(pair.socket, data, len);
    asock_op *queued = new_op_with(data, 10);
    uint64_t moved;

    pending(asock_send(pair.socket, queued));
    remote_read(pair.peer, got, sizeof(got));
    remote_reset(pair.peer);
    pair.peer = -1;
    expect(op, ASOCK_CONNECTION_RESET);
    moved = asock_op_get_bytes(op);
    ck_assert_uint_ge(moved, sizeof(got));
    ck_assert_uint_lt(moved, len);
    expect_bytes(queued, ASOCK_OPERATION_ABORTED, 0);
    assert_send_side_is_closed(pair.socket, ASOCK_OPERATION_ABORTED);
    asock_op_unref(op);
    asock_op_unref(queued);
    free(data);
    pair_close(&pair);
}

START_TEST(test_s28_failed_send_tells_its_bytes_and_closes_the_send_side)
{
    fail_by_reset(IN_DAEMON);
    fail_by_reset(IN_LIBRARY);
}
END_TEST

static void fail_by_timeout(size_t len)
{
    struct pair pair = new_pair_small(AF_INET);
    char *data = new_pattern(len);
    asock_op *op = new_op_with(data, len), *queued = new_op_with(data, 10);
    uint64_t moved, bytes;

    ck_assert_int_eq(asock_op_set_timeout(op, 200), 0);
    pending(asock_send(pair.socket, op));
    pending(asock_send(pair.socket, queued));
    expect(op, ASOCK_TIMED_OUT);
    moved = asock_op_get_bytes(op);
    ck_assert_uint_lt(moved, len);
    expect_bytes(queued, ASOCK_OPERATION_ABORTED, 0);
    assert_send_side_is_closed(pair.socket, ASOCK_OPERATION_ABORTED);
    assert_receiving_goes_on(&pair);
    /* Half a stream never looks like a whole one. */
    close_now(pair.socket, 0);
    ck_assert_int_eq(remote_drain_pattern(pair.peer, 0, &bytes), REMOTE_RST);
    ck_assert_uint_le(bytes, moved);
    asock_op_unref(op);
    asock_op_unref(queued);
    free(data);
    pair_close(&pair);
}

START_TEST(test_s28_timed_out_send_closes_the_send_side_alone)
{
    fail_by_timeout(IN_DAEMON);
    fail_by_timeout(IN_LIBRARY);
}
END_TEST

/* The bytes that the op tells are those the peer can read: no more, and no less. */
static void compare_bytes(size_t len)
{
    struct pair pair = new_pair_small(AF_INET);
    char *data = new_pattern(len), *got;
    asock_op *op = new_op_with(data, len);
    uint64_t moved;

    ck_assert_int_eq(asock_op_set_timeout(op, 200), 0);
    pending(asock_send(pair.socket, op));
    expect(op, ASOCK_TIMED_OUT);
    moved = asock_op_get_bytes(op);
    got = malloc(moved);
    remote_read(pair.peer, got, moved);
    ck_assert_int_eq(pattern_check(got, 0, moved), -1);
    sync_with_daemon();
    ck_assert(remote_nothing_to_read(pair.peer));
    asock_op_unref(op);
    free(got);
    free(data);
    pair_close(&pair);
}

START_TEST(test_s28_bytes_told_are_bytes_sent)
{
    compare_bytes(IN_DAEMON);
    compare_bytes(IN_LIBRARY);
}
END_TEST

START_TEST(test_s29_send_after_shutdown_is_shutdown)
{
    struct pair pair = new_pair(AF_INET);
    asock_op *op = new_op_with("x", 1);

    submitted(asock_shutdown(pair.socket, op, ASOCK_SHUTDOWN_SEND));
    expect(op, ASOCK_SUCCESS);
    submitted(asock_send(pair.socket, op));
    expect_bytes(op, ASOCK_SHUTDOWN, 0);
    assert_receiving_goes_on(&pair);
    ck_assert_int_eq(remote_drain(pair.peer, NULL), REMOTE_FIN);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s29_send_on_unconnected_socket_is_not_connected)
{
    asock_socket *sock = new_socket(AF_INET);
    asock_op *op = new_op_with("x", 1);

    submitted(asock_send(sock, op));
    expect_bytes(op, ASOCK_NOT_CONNECTED, 0);
    submitted(asock_receive(sock, op));
    expect_bytes(op, ASOCK_NOT_CONNECTED, 0);
    asock_op_unref(op);
    asock_socket_unref(sock);
}
END_TEST

START_TEST(test_s29_send_after_reset_is_connection_reset)
{
    struct pair pair = new_pair(AF_INET);
    char buf;
    asock_op *op = new_op_with("x", 1), *receive = new_op_with(&buf, 1);

    pending(asock_receive(pair.socket, receive));
    flush();
    remote_reset(pair.peer);
    pair.peer = -1;
    expect_bytes(receive, ASOCK_CONNECTION_RESET, 0);
    submitted(asock_send(pair.socket, op));
    expect_bytes(op, ASOCK_CONNECTION_RESET, 0);
    asock_op_unref(op);
    asock_op_unref(receive);
    pair_close(&pair);
}
END_TEST

/* Nobody has heard of it before. */
START_TEST(test_s29_send_that_finds_the_reset_is_connection_reset)
{
    struct pair pair = new_pair(AF_INET);
    asock_op *op = new_op_with("x", 1);

    remote_reset(pair.peer);
    pair.peer = -1;
    submitted(asock_send(pair.socket, op));
    expect_bytes(op, ASOCK_CONNECTION_RESET, 0);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

static void cancel_queued(size_t len)
{
    struct pair pair = new_pair_small(AF_INET);
    char *data = new_pattern(len), *got = malloc(len + 4);
    asock_op *first = send_without_reader(pair.socket, data, len);
    asock_op *second = new_op_with("GAP", 3), *third = new_op_with("last", 4);

    pending(asock_send(pair.socket, second));
    pending(asock_send(pair.socket, third));
    sync_with_daemon();
    ck_assert_int_eq(asock_cancel(second), 0);
    expect_bytes(second, ASOCK_OPERATION_ABORTED, 0);
    ck_assert(asock_op_is_pending(first));
    ck_assert(asock_op_is_pending(third));
    remote_read(pair.peer, got, len + 4);
    ck_assert_int_eq(pattern_check(got, 0, len), -1);
    ck_assert_mem_eq(got + len, "last", 4);
    expect_bytes(first, ASOCK_SUCCESS, len);
    expect_bytes(third, ASOCK_SUCCESS, 4);
    close_now(pair.socket, 0);
    ck_assert_int_eq(remote_drain(pair.peer, NULL), REMOTE_FIN);
    asock_op_unref(first);
    asock_op_unref(second);
    asock_op_unref(third);
    free(data);
    free(got);
    pair_close(&pair);
}

START_TEST(test_s30_cancelled_queued_send_harms_no_other)
{
    cancel_queued(IN_DAEMON);
    cancel_queued(IN_LIBRARY);
}
END_TEST

static void cancel_begun(size_t len)
{
    struct pair pair = new_pair_small(AF_INET);
    char *data = new_pattern(len), got[1024];
    asock_op *first = send_without_reader(pair.socket, data, len), *second = new_op_with(data, 5);
    uint64_t moved;

    pending(asock_send(pair.socket, second));
    remote_read(pair.peer, got, sizeof(got));
    ck_assert_int_eq(asock_cancel(first), 0);
    expect(first, ASOCK_OPERATION_ABORTED);
    moved = asock_op_get_bytes(first);
    ck_assert_uint_ge(moved, sizeof(got));
    ck_assert_uint_lt(moved, len);
    expect_bytes(second, ASOCK_OPERATION_ABORTED, 0);
    assert_send_side_is_closed(pair.socket, ASOCK_OPERATION_ABORTED);
    assert_receiving_goes_on(&pair);
    close_now(pair.socket, 0);
    ck_assert_int_eq(remote_drain(pair.peer, NULL), REMOTE_RST);
    asock_op_unref(first);
    asock_op_unref(second);
    free(data);
    pair_close(&pair);
}

START_TEST(test_s30_cancelled_send_that_has_begun_breaks_the_stream)
{
    cancel_begun(IN_DAEMON);
    cancel_begun(IN_LIBRARY);
}
END_TEST

static void time_out_queued(size_t len)
{
    struct pair pair = new_pair_small(AF_INET);
    char *data = new_pattern(len), *got = malloc(len);
    asock_op *first = send_without_reader(pair.socket, data, len);
    asock_op *second = new_op_with(data, 5), *third = new_op_with(data, 5);

    ck_assert_int_eq(asock_op_set_timeout(second, 100), 0);
    pending(asock_send(pair.socket, second));
    pending(asock_send(pair.socket, third));
    expect_bytes(second, ASOCK_TIMED_OUT, 0);
    expect_bytes(third, ASOCK_OPERATION_ABORTED, 0);
    /* What was before it goes on. */
    ck_assert(asock_op_is_pending(first));
    remote_read(pair.peer, got, len);
    ck_assert_int_eq(pattern_check(got, 0, len), -1);
    expect_bytes(first, ASOCK_SUCCESS, len);
    assert_send_side_is_closed(pair.socket, ASOCK_OPERATION_ABORTED);
    close_now(pair.socket, 0);
    ck_assert_int_eq(remote_drain(pair.peer, NULL), REMOTE_RST);
    asock_op_unref(first);
    asock_op_unref(second);
    asock_op_unref(third);
    free(data);
    free(got);
    pair_close(&pair);
}

START_TEST(test_s30_timeout_always_counts_as_begun)
{
    time_out_queued(IN_DAEMON);
    time_out_queued(IN_LIBRARY);
}
END_TEST
