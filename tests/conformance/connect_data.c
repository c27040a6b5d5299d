/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Connecting with data (S22). */

#include "tests/lib/fixture.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TEST_FIXTURE(fixture_setup, fixture_teardown);

START_TEST(test_s22_data_of_connect_goes_first_and_counts)
{
    struct sockaddr_storage addr;
    int listener = remote_listen(AF_INET, &addr), peer;
    asock_socket *sock = new_socket(AF_INET);
    asock_op *op = new_connect_op(&addr), *send_op = new_op_with("second", 6);
    char data[] = "first", buf[11];

    ck_assert_int_eq(asock_op_set_buffer(op, data, 5), 0);
    pending(asock_connect(sock, op));
    pending(asock_send(sock, send_op));
    expect_bytes(op, ASOCK_SUCCESS, 5);
    expect_bytes(send_op, ASOCK_SUCCESS, 6);
    peer = remote_accept(listener);
    remote_read(peer, buf, 11);
    ck_assert_mem_eq(buf, "firstsecond", 11);
    asock_op_unref(op);
    asock_op_unref(send_op);
    asock_socket_unref(sock);
    close(peer);
    close(listener);
}
END_TEST

/* Segments that the peer has got until it had the first byte. */
static unsigned int segments_until_data(int listener)
{
    int peer = remote_accept(listener);
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);
    char x;

    remote_read(peer, &x, 1);
    ck_assert_int_eq(getsockopt(peer, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
    close(peer);
    return info.tcpi_segs_in;
}

static unsigned int segments_of_kernel(int listener, const struct sockaddr_storage *addr)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unsigned int segments;

    ck_assert_int_eq(connect(fd, (const struct sockaddr *)addr, remote_addr_len(addr)), 0);
    ck_assert_int_eq(send(fd, "x", 1, 0), 1);
    segments = segments_until_data(listener);
    close(fd);
    return segments;
}

static unsigned int segments_of_daemon(int listener, const struct sockaddr_storage *addr)
{
    asock_socket *sock = new_socket(AF_INET);
    asock_op *op = new_connect_op(addr);
    unsigned int segments;
    char x = 'x';

    ck_assert_int_eq(asock_op_set_buffer(op, &x, 1), 0);
    pending(asock_connect(sock, op));
    expect_bytes(op, ASOCK_SUCCESS, 1);
    segments = segments_until_data(listener);
    asock_op_unref(op);
    asock_socket_unref(sock);
    return segments;
}

/* On a very slow machine the kernel may lose patience now and then. */
START_TEST(test_s22_data_of_connect_travels_with_the_end_of_the_handshake)
{
    struct sockaddr_storage addr;
    int listener = remote_listen(AF_INET, &addr);
    unsigned int usual = segments_of_kernel(listener, &addr);
    long long limit = now_ms() + LIVENESS_MS;

    while (segments_of_daemon(listener, &addr) != usual - 1)
        ck_assert_int_lt(now_ms(), limit);
    close(listener);
}
END_TEST

/*
 * Connects with data in pieces of piece bytes, none beside another, and checks what the peer gets.
 */
static void connect_with_pieces(size_t count, size_t piece)
{
    struct sockaddr_storage addr;
    int listener = remote_listen(AF_INET, &addr), peer;
    asock_socket *sock = new_socket(AF_INET);
    asock_op *op = new_connect_op(&addr);
    size_t len = count * piece;
    uint8_t *data = malloc(count * (piece + 1)), *got = malloc(len);
    struct iovec *list = calloc(count, sizeof(*list));

    ck_assert(data && got && list);
    for (size_t i = 0; i < count; i++) {
        list[i] = (struct iovec){data + i * (piece + 1), piece};
        pattern_fill(list[i].iov_base, i * piece, piece);
    }
    ck_assert_int_eq(asock_op_set_buffers(op, list, count), 0);
    pending(asock_connect(sock, op));
    expect_bytes(op, ASOCK_SUCCESS, len);
    peer = remote_accept(listener);
    remote_read(peer, got, len);
    ck_assert_int_eq(pattern_check(got, 0, len), -1);
    asock_op_unref(op);
    asock_socket_unref(sock);
    close(peer);
    close(listener);
    free(data);
    free(got);
    free(list);
}

START_TEST(test_s12_s22_data_of_connect_in_a_long_list_goes_whole)
{
    connect_with_pieces(300, 1);
    connect_with_pieces(5000, 50);
    ck_assert_int_eq(asock_context_get_error(fixture.context), 0);
}
END_TEST

/* What waits in front of it leaves little room in the library's own list. */
START_TEST(test_s22_data_of_connect_behind_many_sends_goes_whole)
{
    enum { BUSY = 49 };
    struct pair busy[BUSY];
    asock_op *sends[BUSY];
    char data[4][101];
    struct iovec list[4];

    memset(data, 'x', sizeof(data));
    for (int i = 0; i < 4; i++)
        list[i] = (struct iovec){data[i], 100};
    for (int i = 0; i < BUSY; i++)
        busy[i] = new_pair(AF_INET);
    for (int i = 0; i < BUSY; i++) {
        sends[i] = new_op();
        ck_assert_int_eq(asock_op_set_buffers(sends[i], list, 4), 0);
        pending(asock_send(busy[i].socket, sends[i]));
    }
    connect_with_pieces(16, 100);
    for (int i = 0; i < BUSY; i++) {
        expect_bytes(sends[i], ASOCK_SUCCESS, 400);
        asock_op_unref(sends[i]);
        pair_close(&busy[i]);
    }
}
END_TEST

START_TEST(test_s22_failed_connect_moved_no_byte)
{
    struct sockaddr_storage addr;
    int reserved = remote_closed_port(AF_INET, &addr);
    asock_socket *sock = new_socket(AF_INET);
    asock_op *op = new_connect_op(&addr);
    char data[] = "first";

    ck_assert_int_eq(asock_op_set_buffer(op, data, 5), 0);
    pending(asock_connect(sock, op));
    expect_bytes(op, ASOCK_CONNECTION_REFUSED, 0);
    asock_op_unref(op);
    asock_socket_unref(sock);
    close(reserved);
}
END_TEST

/* The library refuses it; for the socket it is a failed connect like any other. */
START_TEST(test_s17_too_much_data_is_a_connect_that_failed)
{
    static char data[1024 * 1024];
    struct sockaddr_storage addr;
    int listener = remote_listen(AF_INET, &addr), peer;
    asock_socket *sock = new_socket(AF_INET);
    asock_op *op = new_connect_op(&addr), *send_op = new_op_with("after", 5);

    ck_assert_int_eq(asock_op_set_buffer(op, data, sizeof(data)), 0);
    submitted(asock_connect(sock, op));
    expect_bytes(op, ASOCK_MESSAGE_SIZE, 0);
    submitted(asock_send(sock, send_op));
    expect_bytes(send_op, ASOCK_OPERATION_ABORTED, 0);
    submitted(asock_close(sock, send_op, 1000));
    expect(send_op, ASOCK_OPERATION_ABORTED);
    asock_socket_unref(sock);
    /* Until the next one. */
    sock = new_socket(AF_INET);
    submitted(asock_connect(sock, op));
    expect_bytes(op, ASOCK_MESSAGE_SIZE, 0);
    ck_assert_int_eq(asock_op_set_buffer(op, data, 1), 0);
    pending(asock_connect(sock, op));
    pending(asock_send(sock, send_op));
    expect_bytes(op, ASOCK_SUCCESS, 1);
    expect_bytes(send_op, ASOCK_SUCCESS, 5);
    peer = remote_accept(listener);
    asock_op_unref(op);
    asock_op_unref(send_op);
    asock_socket_unref(sock);
    close(peer);
    close(listener);
}
END_TEST
