/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Receiving (S31 to S37). */

#include "tests/lib/fixture.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static asock_op *receive_op(struct pair *pair, void *buf, size_t len, unsigned int flags)
{
    asock_op *op = new_op_with(buf, len);

    ck_assert_int_eq(asock_op_set_flags(op, flags), 0);
    pending(asock_receive(pair->socket, op));
    return op;
}

TEST_FIXTURE(fixture_setup, fixture_teardown);

START_TEST(test_s31_receive_completes_with_what_is_there)
{
    struct pair pair = new_pair(AF_INET);
    char buf[100];
    asock_op *op = receive_op(&pair, buf, sizeof(buf), 0);

    sync_with_daemon();
    ck_assert(asock_op_is_pending(op));
    remote_write(pair.peer, "abc", 3);
    expect_bytes(op, ASOCK_SUCCESS, 3);
    ck_assert_mem_eq(buf, "abc", 3);
    ck_assert_uint_eq(asock_op_get_result_flags(op), 0);
    /* And never with more than there is room for. */
    ck_assert_int_eq(asock_op_set_buffer(op, buf, 2), 0);
    remote_write(pair.peer, "defg", 4);
    submitted(asock_receive(pair.socket, op));
    expect_bytes(op, ASOCK_SUCCESS, 2);
    submitted(asock_receive(pair.socket, op));
    expect_bytes(op, ASOCK_SUCCESS, 2);
    ck_assert_mem_eq(buf, "fg", 2);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s31_lists_are_filled_front_to_back)
{
    struct pair pair = new_pair(AF_INET);
    char a[2], b[3], c[8] = {0};
    struct iovec list[3] = {{.iov_base = a, .iov_len = 2},
                            {.iov_base = b, .iov_len = 3},
                            {.iov_base = c, .iov_len = 8}};
    asock_op *op = new_op();

    ck_assert_int_eq(asock_op_set_buffers(op, list, 3), 0);
    remote_write(pair.peer, "1234567", 7);
    submitted(asock_receive(pair.socket, op));
    expect_bytes(op, ASOCK_SUCCESS, 7);
    ck_assert_mem_eq(a, "12", 2);
    ck_assert_mem_eq(b, "345", 3);
    ck_assert_mem_eq(c, "67\0", 3);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s31_stream_arrives_whole_and_in_order)
{
    struct server *server = server_start(SERVER_SOURCE, AF_INET6, 20 * MIB);
    asock_socket *sock = new_connected(fixture.context, server_addr(server));
    size_t size = 300 * KIB, got = 0;
    char *buf = malloc(size);
    asock_op *op = new_op_with(buf, size);

    for (;;) {
        uint64_t n;

        submitted(asock_receive(sock, op));
        expect(op, ASOCK_SUCCESS);
        n = asock_op_get_bytes(op);
        if (n == 0)
            break;
        ck_assert_int_eq(pattern_check(buf, got, n), -1);
        got += n;
    }
    ck_assert_uint_eq(asock_op_get_result_flags(op), ASOCK_END_OF_STREAM);
    ck_assert_uint_eq(got, 20 * MIB);
    asock_op_unref(op);
    asock_socket_unref(sock);
    server_wait_ended(server, 1);
    server_stop(server);
    free(buf);
}
END_TEST

START_TEST(test_s32_end_of_stream_is_said_again_and_again)
{
    struct pair pair = new_pair(AF_INET);
    char buf[8];
    asock_op *op = new_op_with(buf, sizeof(buf));

    remote_write(pair.peer, "bye", 3);
    remote_finish(pair.peer);
    submitted(asock_receive(pair.socket, op));
    expect_bytes(op, ASOCK_SUCCESS, 3);
    for (int i = 0; i < 3; i++) {
        submitted(asock_receive(pair.socket, op));
        expect_bytes(op, ASOCK_SUCCESS, 0);
        ck_assert_uint_eq(asock_op_get_result_flags(op), ASOCK_END_OF_STREAM);
    }
    /* The other direction lives. */
    send_now(pair.socket, "still", 5);
    remote_read(pair.peer, buf, 5);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s32_end_of_stream_ends_every_pending_receive)
{
    struct pair pair = new_pair(AF_INET);
    char buf[5];
    asock_op *ops[5];

    for (size_t i = 0; i < 5; i++)
        ops[i] = receive_op(&pair, &buf[i], 1, 0);
    flush();
    remote_write(pair.peer, "ab", 2);
    remote_finish(pair.peer);
    for (size_t i = 0; i < 5; i++) {
        expect_bytes(ops[i], ASOCK_SUCCESS, i < 2 ? 1 : 0);
        ck_assert_uint_eq(asock_op_get_result_flags(ops[i]), i < 2 ? 0 : ASOCK_END_OF_STREAM);
        asock_op_unref(ops[i]);
    }
    ck_assert_mem_eq(buf, "ab", 2);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s33_empty_receive_is_a_readiness_probe)
{
    struct pair pair = new_pair(AF_INET);
    asock_op *probe = receive_op(&pair, NULL, 0, 0);
    char buf[4];

    sync_with_daemon();
    ck_assert(asock_op_is_pending(probe));
    remote_write(pair.peer, "data", 4);
    expect_bytes(probe, ASOCK_SUCCESS, 0);
    ck_assert_uint_eq(asock_op_get_result_flags(probe), 0);
    submitted(asock_receive(pair.socket, probe));
    expect_bytes(probe, ASOCK_SUCCESS, 0);
    receive_now(pair.socket, buf, 4);
    ck_assert_mem_eq(buf, "data", 4);
    /* Consumed now, so it pends again, until end of stream. */
    pending(asock_receive(pair.socket, probe));
    sync_with_daemon();
    ck_assert(asock_op_is_pending(probe));
    remote_finish(pair.peer);
    expect_bytes(probe, ASOCK_SUCCESS, 0);
    ck_assert_uint_eq(asock_op_get_result_flags(probe), ASOCK_END_OF_STREAM);
    asock_op_unref(probe);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s34_pending_receives_are_served_in_order)
{
    struct pair pair = new_pair(AF_INET);
    char buf[20][3];
    asock_op *ops[20];

    for (size_t i = 0; i < 20; i++)
        ops[i] = receive_op(&pair, buf[i], 3, 0);
    sync_with_daemon();
    /* One byte at a time: each receive takes what is there when its turn comes. */
    for (size_t i = 0; i < 20; i++) {
        char byte = (char)('A' + i);

        remote_write(pair.peer, &byte, 1);
        expect_bytes(ops[i], ASOCK_SUCCESS, 1);
        ck_assert_int_eq(buf[i][0], byte);
        ck_assert(i == 19 || asock_op_is_pending(ops[i + 1]));
        asock_op_unref(ops[i]);
    }
    pair_close(&pair);
}
END_TEST

START_TEST(test_s34_each_receive_gets_its_own_slice)
{
    struct pair pair = new_pair(AF_INET);
    char buf[10][7], data[70];
    asock_op *ops[10];

    pattern_fill(data, 0, sizeof(data));
    for (size_t i = 0; i < 10; i++)
        ops[i] = receive_op(&pair, buf[i], 7, ASOCK_WAIT_ALL);
    remote_write(pair.peer, data, sizeof(data));
    for (size_t i = 0; i < 10; i++) {
        expect_bytes(ops[i], ASOCK_SUCCESS, 7);
        asock_op_unref(ops[i]);
    }
    ck_assert_mem_eq(buf, data, sizeof(data));
    pair_close(&pair);
}
END_TEST

START_TEST(test_s35_peek_leaves_the_data)
{
    struct pair pair = new_pair(AF_INET);
    char buf[8], again[8];
    asock_op *op = receive_op(&pair, buf, sizeof(buf), ASOCK_PEEK);

    flush();
    remote_write(pair.peer, "peeked", 6);
    expect_bytes(op, ASOCK_SUCCESS, 6);
    ck_assert_mem_eq(buf, "peeked", 6);
    ck_assert_int_eq(asock_op_set_buffer(op, again, 3), 0);
    submitted(asock_receive(pair.socket, op));
    expect_bytes(op, ASOCK_SUCCESS, 3);
    ck_assert_mem_eq(again, "pee", 3);
    receive_now(pair.socket, again, 6);
    ck_assert_mem_eq(again, "peeked", 6);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s35_wait_all_completes_when_full)
{
    struct pair pair = new_pair(AF_INET);
    size_t len = 3 * MIB + 5;
    char *buf = malloc(len), *data = malloc(len);
    asock_op *op = receive_op(&pair, buf, len, ASOCK_WAIT_ALL);

    pattern_fill(data, 0, len);
    remote_write(pair.peer, data, len - 1);
    sync_with_daemon();
    ck_assert(asock_op_is_pending(op));
    remote_write(pair.peer, data + len - 1, 1);
    expect_bytes(op, ASOCK_SUCCESS, len);
    ck_assert_int_eq(pattern_check(buf, 0, len), -1);
    asock_op_unref(op);
    free(buf);
    free(data);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s35_wait_all_ends_at_end_of_stream)
{
    struct pair pair = new_pair(AF_INET);
    char buf[10];
    asock_op *op = receive_op(&pair, buf, 10, ASOCK_WAIT_ALL);

    remote_write(pair.peer, "four", 4);
    sync_with_daemon();
    remote_finish(pair.peer);
    expect_bytes(op, ASOCK_SUCCESS, 4);
    ck_assert_uint_eq(asock_op_get_result_flags(op), ASOCK_END_OF_STREAM);
    ck_assert_mem_eq(buf, "four", 4);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s35_wait_all_tells_its_bytes_on_timeout)
{
    struct pair pair = new_pair(AF_INET);
    char buf[10];
    asock_op *op = new_op_with(buf, 10);

    ck_assert_int_eq(asock_op_set_flags(op, ASOCK_WAIT_ALL), 0);
    ck_assert_int_eq(asock_op_set_timeout(op, 100), 0);
    remote_write(pair.peer, "four", 4);
    submitted(asock_receive(pair.socket, op));
    expect_bytes(op, ASOCK_TIMED_OUT, 4);
    ck_assert_mem_eq(buf, "four", 4);
    /* Those bytes are this op's; the next one goes on behind them. */
    remote_write(pair.peer, "five", 4);
    receive_now(pair.socket, buf, 4);
    ck_assert_mem_eq(buf, "five", 4);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s35_wait_all_tells_its_bytes_on_reset)
{
    struct pair pair = new_pair(AF_INET);
    char buf[10];
    asock_op *op = receive_op(&pair, buf, 10, ASOCK_WAIT_ALL);

    flush();
    remote_write(pair.peer, "four", 4);
    while (inspect_number(fixture.context, "list", "bytes_in") < 4)
        ;
    remote_reset(pair.peer);
    pair.peer = -1;
    expect_bytes(op, ASOCK_CONNECTION_RESET, 4);
    ck_assert_mem_eq(buf, "four", 4);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s36_cancelled_receive_loses_no_data)
{
    struct pair pair = new_pair(AF_INET);
    char buf[3];
    asock_op *ops[3];

    for (size_t i = 0; i < 3; i++)
        ops[i] = receive_op(&pair, &buf[i], 1, 0);
    sync_with_daemon();
    ck_assert_int_eq(asock_cancel(ops[0]), 0);
    expect_bytes(ops[0], ASOCK_OPERATION_ABORTED, 0);
    ck_assert(asock_op_is_pending(ops[1]));
    ck_assert(asock_op_is_pending(ops[2]));
    remote_write(pair.peer, "12", 2);
    expect_bytes(ops[1], ASOCK_SUCCESS, 1);
    expect_bytes(ops[2], ASOCK_SUCCESS, 1);
    ck_assert_mem_eq(buf + 1, "12", 2);
    for (size_t i = 0; i < 3; i++)
        asock_op_unref(ops[i]);
    pair_close(&pair);
}
END_TEST

/* Whichever wins, the stream has no hole: the cancelled op has the byte or leaves it. */
START_TEST(test_s36_cancel_races_with_data_and_loses_none)
{
    struct pair pair = new_pair(AF_INET);
    char first = 0, second;
    asock_op *op = new_op_with(&first, 1);

    for (int i = 0; i < 200; i++) {
        char byte = (char)i;

        pending(asock_receive(pair.socket, op));
        if (i % 2)
            flush();
        remote_write(pair.peer, &byte, 1);
        asock_cancel(op);
        ck_assert_int_eq(asock_op_wait(op, LIVENESS_MS), 0);
        if (asock_op_get_error(op) == ASOCK_SUCCESS) {
            ck_assert_int_eq(first, byte);
        } else {
            ck_assert_int_eq(asock_op_get_error(op), ASOCK_OPERATION_ABORTED);
            ck_assert_uint_eq(asock_op_get_bytes(op), 0);
            receive_now(pair.socket, &second, 1);
            ck_assert_int_eq(second, byte);
        }
    }
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s37_timeout_ends_the_op_and_not_the_connection)
{
    struct pair pair = new_pair(AF_INET);
    char buf[5];
    asock_op *op = new_op_with(buf, 5);

    ck_assert_int_eq(asock_op_set_timeout(op, 20), 0);
    for (int i = 0; i < 3; i++) {
        pending(asock_receive(pair.socket, op));
        expect_bytes(op, ASOCK_TIMED_OUT, 0);
    }
    remote_write(pair.peer, "alive", 5);
    receive_now(pair.socket, buf, 5);
    ck_assert_mem_eq(buf, "alive", 5);
    send_now(pair.socket, "too", 3);
    remote_read(pair.peer, buf, 3);
    ck_assert_mem_eq(buf, "too", 3);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST
