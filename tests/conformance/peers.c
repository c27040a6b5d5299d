/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Peers that behave badly on purpose, and large amounts (S25, S28, S31, S42, S43). */

#include "tests/lib/fixture.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BUFFERS 5
#define BUFFER 12345678u
#define LARGE (100u * MIB)

static void print_memory(const char *what)
{
    fprintf(stderr, "# %s: the daemon's VmHWM is %ld KiB\n", what,
            private_daemon_memory(fixture.daemon, "VmHWM"));
}

static void at_most_kib(long before, long growth)
{
    if (!test_sanitized())
        ck_assert_int_le(private_daemon_memory(fixture.daemon, "VmHWM"), before + growth);
}

TEST_FIXTURE(fixture_setup, fixture_teardown);

START_TEST(test_s25_sixty_two_megabytes_in_five_buffers)
{
    struct server *server = server_start(SERVER_SINK, AF_INET6, 0);
    asock_socket *sock = new_connected(fixture.context, server_addr(server));
    long before = private_daemon_memory(fixture.daemon, "VmHWM");
    char *data = malloc((size_t)BUFFERS * BUFFER);
    struct server_result result;
    struct iovec list[BUFFERS];
    asock_op *op = new_op();
    size_t total = 0;

    pattern_fill(data, 0, (size_t)BUFFERS * BUFFER);
    for (size_t i = 0; i < BUFFERS; i++) {
        list[i] = (struct iovec){data + total, BUFFER - i};
        total += list[i].iov_len;
    }
    ck_assert_int_eq(asock_op_set_buffers(op, list, BUFFERS), 0);
    pending(asock_send(sock, op));
    expect_bytes(op, ASOCK_SUCCESS, total);
    close_now(sock, 0);
    server_wait_ended(server, 1);
    result = server_stop(server);
    ck_assert_uint_eq(result.bytes, total);
    ck_assert_uint_eq(result.mismatches, 0);
    ck_assert_uint_eq(result.fins, 1);
    print_memory("62 MB sent");
    at_most_kib(before, 4 * 1024);
    asock_op_unref(op);
    asock_socket_unref(sock);
    free(data);
}
END_TEST

START_TEST(test_s25_smallest_buffers)
{
    struct pair pair = new_pair_small(AF_INET);
    asock_op *op = new_op();
    char *data = malloc(MIB), *got = malloc(MIB);

    submitted(asock_set_option(pair.socket, op, ASOCK_OPTION_SEND_BUFFER, 1));
    expect(op, ASOCK_SUCCESS);
    submitted(asock_set_option(pair.socket, op, ASOCK_OPTION_RECEIVE_BUFFER, 1));
    expect(op, ASOCK_SUCCESS);
    pattern_fill(data, 0, MIB);
    ck_assert_int_eq(asock_op_set_buffer(op, data, MIB), 0);
    pending(asock_send(pair.socket, op));
    remote_read(pair.peer, got, MIB);
    ck_assert_int_eq(pattern_check(got, 0, MIB), -1);
    expect_bytes(op, ASOCK_SUCCESS, MIB);
    asock_op_unref(op);
    free(data);
    free(got);
    pair_close(&pair);
}
END_TEST

/* A peer that sends a byte at a time: none is lost, none waits for another. */
START_TEST(test_s31_peer_that_trickles)
{
    struct pair pair = new_pair(AF_INET);
    char buf[64];
    asock_op *op = new_op_with(buf, sizeof(buf));

    for (int i = 0; i < 200; i++) {
        char byte = (char)i;

        submitted(asock_receive(pair.socket, op));
        remote_write(pair.peer, &byte, 1);
        expect_bytes(op, ASOCK_SUCCESS, 1);
        ck_assert_int_eq(buf[0], byte);
    }
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

/*
 * A close with 100 MB pending, of which the peer has read some: RST, and every send is accounted
 * for.
 */
START_TEST(test_s42_close_with_100_mb_pending)
{
    struct pair pair = new_pair_small(AF_INET);
    long before = private_daemon_memory(fixture.daemon, "VmHWM");
    char *data = calloc(1, LARGE), some[1000];
    asock_op *ops[10], *close_op = new_op();
    uint64_t told = 0, read = 0;

    for (size_t i = 0; i < 10; i++)
        ops[i] = send_without_reader(pair.socket, data + i * (LARGE / 10), LARGE / 10);
    sync_with_daemon();
    remote_read(pair.peer, some, sizeof(some));
    sync_with_daemon();
    pending(asock_close(pair.socket, close_op, 0));
    expect(close_op, ASOCK_SUCCESS);
    for (size_t i = 0; i < 10; i++) {
        ck_assert(!asock_op_is_pending(ops[i]));
        ck_assert_int_eq(asock_op_get_error(ops[i]), ASOCK_OPERATION_ABORTED);
        told += asock_op_get_bytes(ops[i]);
        asock_op_unref(ops[i]);
    }
    ck_assert_int_eq(remote_drain(pair.peer, &read), REMOTE_RST);
    ck_assert_uint_le(read + sizeof(some), told);
    ck_assert_uint_lt(told, LARGE);
    print_memory("closed with 100 MB pending");
    at_most_kib(before, 4 * 1024);
    asock_op_unref(close_op);
    free(data);
    pair_close(&pair);
}
END_TEST

/*
 * A peer that reads nothing and then resets: the sends end, with what went of them, and nothing
 * hangs.
 */
START_TEST(test_s28_peer_that_never_reads_and_resets)
{
    struct pair pair = new_pair_small(AF_INET);
    char *data = calloc(1, 8 * MIB), byte;
    asock_op *first = send_without_reader(pair.socket, data, 8 * MIB);
    asock_op *second = send_without_reader(pair.socket, data, 8 * MIB);
    asock_op *receive = new_op_with(&byte, 1);

    pending(asock_receive(pair.socket, receive));
    sync_with_daemon();
    remote_reset(pair.peer);
    pair.peer = -1;
    expect(first, ASOCK_CONNECTION_RESET);
    ck_assert_uint_lt(asock_op_get_bytes(first), 8 * MIB);
    expect_bytes(second, ASOCK_OPERATION_ABORTED, 0);
    expect(receive, ASOCK_CONNECTION_RESET);
    submitted(asock_receive(pair.socket, receive));
    expect(receive, ASOCK_CONNECTION_RESET);
    asock_op_unref(first);
    asock_op_unref(second);
    asock_op_unref(receive);
    free(data);
    pair_close(&pair);
}
END_TEST

/* A peer that keeps sending after the close: the daemon does not read from it without end. */
START_TEST(test_s42_peer_that_floods_a_closed_socket)
{
    struct pair pair = new_pair(AF_INET);
    static char flood[64 * KIB];
    size_t sent = 0;
    ssize_t n;

    send_now(pair.socket, "whole", 5);
    close_now(pair.socket, 0);
    do {
        struct pollfd pollfd = {.fd = pair.peer, .events = POLLOUT};

        ck_assert_int_eq(poll(&pollfd, 1, LIVENESS_MS), 1);
        n = send(pair.peer, flood, sizeof(flood), MSG_NOSIGNAL | MSG_DONTWAIT);
        sent += n > 0 ? (size_t)n : 0;
        ck_assert_uint_lt(sent, 64 * MIB);
    } while (n > 0);
    fprintf(stderr, "# reset after %zu bytes\n", sent);
    pair_close(&pair);
}
END_TEST

/* A peer that half-closes before anything else: sending goes on, and so does reading its end. */
START_TEST(test_s32_peer_that_half_closes_at_once)
{
    struct pair pair = new_pair(AF_INET);
    char buf[5];
    asock_op *op = new_op_with(buf, sizeof(buf));

    remote_finish(pair.peer);
    for (int i = 0; i < 3; i++) {
        submitted(asock_receive(pair.socket, op));
        expect_bytes(op, ASOCK_SUCCESS, 0);
        ck_assert_uint_eq(asock_op_get_result_flags(op), ASOCK_END_OF_STREAM);
        send_now(pair.socket, "still", 5);
        remote_read(pair.peer, buf, 5);
        ck_assert_mem_eq(buf, "still", 5);
    }
    close_now(pair.socket, 0);
    ck_assert_int_eq(remote_drain(pair.peer, NULL), REMOTE_FIN);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

/* A stream has a peer, and no datagrams. */
START_TEST(test_s64_an_address_is_for_datagrams_alone)
{
    struct pair pair = new_pair(AF_INET);
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    asock_op *receive = new_op_with("x", 1), *send = new_op_with("x", 1);

    ck_assert_int_eq(asock_op_set_endpoint(send, (const struct sockaddr *)&to, sizeof(to)), 0);
    submitted(asock_receive_from(pair.socket, receive));
    expect_bytes(receive, ASOCK_OPERATION_NOT_SUPPORTED, 0);
    submitted(asock_send_to(pair.socket, send));
    expect_bytes(send, ASOCK_OPERATION_NOT_SUPPORTED, 0);
    send_now(pair.socket, "goes on", 7);
    asock_op_unref(receive);
    asock_op_unref(send);
    pair_close(&pair);
}
END_TEST
