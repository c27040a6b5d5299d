/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Buffers and lists of buffers (S11, S12). */

#include "tests/lib/fixture.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TEST_FIXTURE(fixture_setup, fixture_teardown);

START_TEST(test_s11_list_replaces_buffer_and_buffer_replaces_list)
{
    struct pair pair = new_pair(AF_INET);
    struct iovec list[2] = {{.iov_base = (char[]){"list"}, .iov_len = 4},
                            {.iov_base = (char[]){"ed"}, .iov_len = 2}};
    asock_op *op = new_op_with("single", 6);
    char one[] = "one", buf[16];

    ck_assert_int_eq(asock_op_set_buffers(op, list, 2), 0);
    pending(asock_send(pair.socket, op));
    expect_bytes(op, ASOCK_SUCCESS, 6);
    remote_read(pair.peer, buf, 6);
    ck_assert_mem_eq(buf, "listed", 6);
    ck_assert_int_eq(asock_op_set_buffer(op, one, 3), 0);
    pending(asock_send(pair.socket, op));
    expect_bytes(op, ASOCK_SUCCESS, 3);
    remote_read(pair.peer, buf, 3);
    ck_assert_mem_eq(buf, "one", 3);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

/* Submitting only queues, so nothing has left when the last byte is changed. */
START_TEST(test_s11_list_is_copied_and_bytes_are_not)
{
    struct pair pair = new_pair(AF_INET);
    char first[] = "aaa", second[] = "bbb", buf[6];
    struct iovec list[2] = {{.iov_base = first, .iov_len = 3}, {.iov_base = second, .iov_len = 3}};
    asock_op *op = new_op();

    ck_assert_int_eq(asock_op_set_buffers(op, list, 2), 0);
    memset(list, 0, sizeof(list));
    first[0] = 'A';
    pending(asock_send(pair.socket, op));
    second[2] = 'B';
    expect_bytes(op, ASOCK_SUCCESS, 6);
    remote_read(pair.peer, buf, 6);
    ck_assert_mem_eq(buf, "AaabbB", 6);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s12_zero_length_segments_are_skipped)
{
    struct pair pair = new_pair(AF_INET);
    char a[] = "ab", b[] = "cd", buf[4] = {0};
    struct iovec out[5] = {{.iov_base = NULL, .iov_len = 0},
                           {.iov_base = a, .iov_len = 2},
                           {.iov_base = a, .iov_len = 0},
                           {.iov_base = b, .iov_len = 2},
                           {.iov_base = NULL, .iov_len = 0}};
    struct iovec in[4] = {{.iov_base = NULL, .iov_len = 0},
                          {.iov_base = buf, .iov_len = 1},
                          {.iov_base = buf, .iov_len = 0},
                          {.iov_base = buf + 1, .iov_len = 3}};
    asock_op *op = new_op();
    char got[4];

    ck_assert_int_eq(asock_op_set_buffers(op, out, 5), 0);
    pending(asock_send(pair.socket, op));
    expect_bytes(op, ASOCK_SUCCESS, 4);
    remote_read(pair.peer, got, 4);
    ck_assert_mem_eq(got, "abcd", 4);
    ck_assert_int_eq(asock_op_set_buffers(op, in, 4), 0);
    remote_write(pair.peer, "wxyz", 4);
    submitted(asock_receive(pair.socket, op));
    expect_bytes(op, ASOCK_SUCCESS, 4);
    ck_assert_mem_eq(buf, "wxyz", 4);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s12_list_of_empty_segments_is_an_empty_send)
{
    struct pair pair = new_pair(AF_INET);
    struct iovec list[3] = {{0}, {0}, {0}};
    asock_op *op = new_op();

    ck_assert_int_eq(asock_op_set_buffers(op, list, 3), 0);
    submitted(asock_send(pair.socket, op));
    expect_bytes(op, ASOCK_SUCCESS, 0);
    ck_assert_int_eq(asock_op_set_buffers(op, NULL, 0), 0);
    submitted(asock_send(pair.socket, op));
    expect_bytes(op, ASOCK_SUCCESS, 0);
    ck_assert(remote_nothing_to_read(pair.peer));
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

/* Segments of 1 to 7 bytes, more of them than one system call takes. */
#define SEGMENTS (3 * IOV_MAX + 17)

static size_t slice(struct iovec *list, char *data, size_t step)
{
    size_t at = 0;

    for (size_t i = 0; i < SEGMENTS; i++) {
        list[i].iov_base = data + at;
        list[i].iov_len = 1 + i * step % 7;
        at += list[i].iov_len;
    }
    return at;
}

START_TEST(test_s12_list_longer_than_iov_max_is_sent_whole)
{
    struct pair pair = new_pair(AF_INET);
    struct iovec *list = calloc(SEGMENTS, sizeof(*list));
    char *data = malloc(SEGMENTS * 7), *got = malloc(SEGMENTS * 7);
    size_t len = slice(list, data, 3);
    asock_op *op = new_op();

    pattern_fill(data, 0, len);
    ck_assert_int_eq(asock_op_set_buffers(op, list, SEGMENTS), 0);
    pending(asock_send(pair.socket, op));
    remote_read(pair.peer, got, len);
    ck_assert_mem_eq(got, data, len);
    expect_bytes(op, ASOCK_SUCCESS, len);
    asock_op_unref(op);
    free(list);
    free(data);
    free(got);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s12_list_longer_than_iov_max_is_filled_front_to_back)
{
    struct pair pair = new_pair(AF_INET);
    struct iovec *list = calloc(SEGMENTS, sizeof(*list));
    char *data = malloc(SEGMENTS * 7), *sent = malloc(SEGMENTS * 7);
    size_t len = slice(list, data, 5);
    asock_op *op = new_op();

    pattern_fill(sent, 0, len);
    ck_assert_int_eq(asock_op_set_buffers(op, list, SEGMENTS), 0);
    ck_assert_int_eq(asock_op_set_flags(op, ASOCK_WAIT_ALL), 0);
    pending(asock_receive(pair.socket, op));
    remote_write(pair.peer, sent, len);
    expect_bytes(op, ASOCK_SUCCESS, len);
    ck_assert_mem_eq(data, sent, len);
    asock_op_unref(op);
    free(list);
    free(data);
    free(sent);
    pair_close(&pair);
}
END_TEST

/* Larger than a frame: pieces begin and end inside segments. */
START_TEST(test_s12_long_list_of_large_segments_is_one_op)
{
    struct server *server = server_start(SERVER_SINK, AF_INET, 0);
    asock_socket *sock = new_connected(fixture.context, server_addr(server));
    size_t len = 3000 * 1021;
    char *data = malloc(len);
    struct iovec *list = calloc(3000, sizeof(*list));
    asock_op *op = new_op();
    struct server_result result;

    pattern_fill(data, 0, len);
    for (size_t i = 0; i < 3000; i++)
        list[i] = (struct iovec){.iov_base = data + i * 1021, .iov_len = 1021};
    ck_assert_int_eq(asock_op_set_buffers(op, list, 3000), 0);
    pending(asock_send(sock, op));
    expect_bytes(op, ASOCK_SUCCESS, len);
    close_now(sock, 0);
    server_wait_ended(server, 1);
    result = server_stop(server);
    ck_assert_uint_eq(result.bytes, len);
    ck_assert_uint_eq(result.mismatches, 0);
    asock_op_unref(op);
    asock_socket_unref(sock);
    free(list);
    free(data);
}
END_TEST
