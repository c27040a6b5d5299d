/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Regions of files (S72). */

#include "tests/lib/fixture.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define WHOLE (3 * MIB) /* of the stream */
#define BEFORE 77u      /* bytes of the file in front of the region */

static char *data;

static void setup(void)
{
    fixture_setup();
    data = malloc(WHOLE);
    ck_assert_ptr_nonnull(data);
    pattern_fill(data, 0, WHOLE);
}

static void teardown(void)
{
    free(data);
    fixture_teardown();
}

TEST_FIXTURE(setup, teardown);

/* A file that has len bytes of the pattern, from `from` on, and others around them. */
static int new_file(size_t from, size_t len)
{
    int fd = memfd_create("file", MFD_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pwrite(fd, "around", 6, (off_t)(BEFORE + len)), 6);
    for (size_t done = 0; done < len;) {
        ssize_t n = pwrite(fd, data + from + done, len - done, (off_t)(BEFORE + done));

        ck_assert_int_gt(n, 0);
        done += (size_t)n;
    }
    return fd;
}

START_TEST(test_s72_header_region_and_trailer_are_one_send)
{
    static const size_t headers[] = {0, 1, 300 * KIB}, trailers[] = {0, 5, 200 * KIB};

    for (size_t i = 0; i < 3; i++) {
        struct server *server = server_start(SERVER_SINK, AF_INET, 0);
        asock_socket *sock = new_connected(fixture.context, server_addr(server));
        size_t header = headers[i], trailer = trailers[i], file = 2 * MIB + i;
        asock_op *op = i ? new_op_with(data, header) : new_op();
        asock_op *behind;
        int fd = new_file(header, file);
        struct server_result result;

        submitted(asock_send_file(sock, op, fd, BEFORE, file, data + header + file, trailer));
        close(fd); /* the library has its own */
        behind = new_op_with(data + header + file + trailer, 1000);
        submitted(asock_send(sock, behind));
        expect_bytes(op, ASOCK_SUCCESS, header + file + trailer);
        expect_bytes(behind, ASOCK_SUCCESS, 1000);
        close_now(sock, 0);
        server_wait_ended(server, 1);
        result = server_stop(server);
        ck_assert_uint_eq(result.bytes, header + file + trailer + 1000);
        ck_assert_uint_eq(result.mismatches, 0);
        ck_assert_uint_eq(result.fins, 1);
        asock_op_unref(op);
        asock_op_unref(behind);
        asock_socket_unref(sock);
    }
}
END_TEST

/* Its window opens a little at a time: pieces end within slices, and several go at once. */
START_TEST(test_s72_to_a_slow_reader)
{
    struct pair pair = new_pair_small(AF_INET);
    int fd = new_file(0, 2 * MIB);
    asock_op *op = new_op(), *ask = new_op();
    char got[70 * KIB];
    size_t at = 0;

    submitted(asock_send_file(pair.socket, op, fd, BEFORE, 2 * MIB, NULL, 0));
    while (at < 2 * MIB) {
        ssize_t n = recv(pair.peer, got, 1 + at * 7 % sizeof(got), MSG_DONTWAIT);

        if (n > 0) {
            ck_assert_int_eq(pattern_check(got, at, (size_t)n), -1);
            at += (size_t)n;
            continue;
        }
        ck_assert(n < 0 && errno == EAGAIN);
        /* Any answer of this socket says how much room there is. */
        submitted(asock_get_option(pair.socket, ask, ASOCK_OPTION_NO_DELAY));
        expect(ask, ASOCK_SUCCESS);
    }
    expect_bytes(op, ASOCK_SUCCESS, 2 * MIB);
    asock_op_unref(ask);
    asock_op_unref(op);
    close(fd);
    pair_close(&pair);
}
END_TEST

/* The op's buffers are what they were. */
START_TEST(test_s72_the_same_op_sends_again)
{
    struct pair pair = new_pair(AF_INET);
    int fd = new_file(0, 100);
    asock_op *op = new_op_with("head", 4);
    char got[110];

    for (int i = 0; i < 2; i++) {
        submitted(asock_send_file(pair.socket, op, fd, BEFORE, 100, NULL, 0));
        expect_bytes(op, ASOCK_SUCCESS, 104);
        remote_read(pair.peer, got, 104);
        ck_assert_mem_eq(got, "head", 4);
        ck_assert_int_eq(pattern_check(got + 4, 0, 100), -1);
    }
    submitted(asock_send(pair.socket, op));
    expect_bytes(op, ASOCK_SUCCESS, 4);
    remote_read(pair.peer, got, 4);
    /* Up to its end, and of one that has nothing there. */
    submitted(asock_send_file(pair.socket, op, fd, BEFORE + 100, 0, "t", 1));
    expect_bytes(op, ASOCK_SUCCESS, 11);
    remote_read(pair.peer, got, 11);
    ck_assert_mem_eq(got, "headaroundt", 11);
    submitted(asock_send_file(pair.socket, op, fd, BEFORE + 106, 0, NULL, 0));
    expect_bytes(op, ASOCK_SUCCESS, 4);
    ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 0);
    asock_op_unref(op);
    close(fd);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s72_a_header_in_shared_memory)
{
    struct pair pair = new_pair(AF_INET);
    int fd = new_file(4, 100);
    asock_buffer *buffer;
    asock_op *op;
    char got[104];

    ck_assert_int_eq(asock_buffer_new(fixture.context, 4096, 10000, &buffer), 0);
    memcpy(asock_buffer_data(buffer), data, 4);
    op = new_op_with(asock_buffer_data(buffer), 4);
    submitted(asock_send_file(pair.socket, op, fd, BEFORE, 100, NULL, 0));
    asock_buffer_unref(buffer);
    expect_bytes(op, ASOCK_SUCCESS, 104);
    remote_read(pair.peer, got, 104);
    ck_assert_int_eq(pattern_check(got, 0, 104), -1);
    asock_op_unref(op);
    close(fd);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s72_what_is_no_region_of_a_file)
{
    struct pair pair = new_pair(AF_INET);
    asock_socket *datagrams;
    int fd = new_file(0, 100), ends[2];
    asock_op *op = new_op();

    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(asock_send_file(pair.socket, op, -1, 0, 0, NULL, 0), -EINVAL);
    ck_assert_int_eq(asock_send_file(pair.socket, op, ends[0], 0, 1, NULL, 0), -EINVAL);
    ck_assert_int_eq(asock_send_file(pair.socket, op, fd, 0, 1, NULL, 1), -EINVAL);
    ck_assert_int_eq(asock_send_file(pair.socket, op, fd, BEFORE + 107, 0, NULL, 0), -EINVAL);
    ck_assert_int_eq(asock_send_file(pair.socket, op, fd, BEFORE, 107, NULL, 0), -EINVAL);
    ck_assert_int_eq(asock_send_file(pair.socket, op, fd, 0, UINT64_MAX, NULL, 0), -EINVAL);
    ck_assert_int_eq(asock_send_file(pair.socket, op, fd, UINT64_MAX, 0, NULL, 0), -EINVAL);
    close(ends[1]);
    ck_assert_int_eq(asock_send_file(pair.socket, op, ends[1], 0, 0, NULL, 0), -EBADF);
    ck_assert_int_eq(asock_send(pair.socket, op), -EINVAL); /* it has no buffers, as before */
    ck_assert_int_eq(asock_socket_new_udp(fixture.context, AF_INET, &datagrams), 0);
    submitted(asock_send_file(datagrams, op, fd, 0, 0, NULL, 0));
    expect_bytes(op, ASOCK_OPERATION_NOT_SUPPORTED, 0);
    asock_socket_unref(datagrams);
    close(ends[0]);
    close(fd);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

/* Not before its end, which looks like that of no whole stream. */
static void fail_by_truncation(size_t header)
{
    struct pair pair = new_pair_small(AF_INET);
    int fd = new_file(0, 2 * MIB);
    asock_op *op = new_op_with(data, header), *behind = new_op_with("x", 1);
    char got[64 * KIB];
    ssize_t n;

    submitted(asock_send_file(pair.socket, op, fd, BEFORE, 2 * MIB, NULL, 0));
    ck_assert_int_eq(ftruncate(fd, BEFORE + 1000), 0);
    submitted(asock_send(pair.socket, behind));
    sync_with_daemon();
    while (asock_op_is_pending(op)) {
        n = recv(pair.peer, got, sizeof(got), MSG_DONTWAIT);
        ck_assert(n > 0 || (n < 0 && errno == EAGAIN));
        sync_with_daemon();
    }
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_FAULT);
    ck_assert_uint_lt(asock_op_get_bytes(op), 2 * MIB);
    expect_bytes(behind, ASOCK_OPERATION_ABORTED, 0);
    close_now(pair.socket, 0);
    ck_assert_int_eq(remote_drain(pair.peer, NULL), REMOTE_RST);
    asock_op_unref(op);
    asock_op_unref(behind);
    close(fd);
    pair_close(&pair);
}

START_TEST(test_s72_a_file_that_becomes_shorter)
{
    fail_by_truncation(0);
    fail_by_truncation(WHOLE / 4);
}
END_TEST

/* Nothing of it has left yet: it waits for the connect. */
START_TEST(test_s72_a_file_that_is_shorter_before_it_begins)
{
    struct server *server = server_start(SERVER_SINK, AF_INET, 0);
    asock_socket *sock = new_socket(AF_INET);
    asock_op *connect = new_connect_op(server_addr(server)), *op = new_op();
    int fd = new_file(0, 1000);

    submitted(asock_connect(sock, connect));
    submitted(asock_send_file(sock, op, fd, BEFORE, 1000, NULL, 0));
    ck_assert_int_eq(ftruncate(fd, 0), 0);
    expect(connect, ASOCK_SUCCESS);
    expect_bytes(op, ASOCK_FAULT, 0);
    close_now(sock, 0);
    server_wait_ended(server, 1);
    ck_assert_uint_eq(server_stop(server).fins, 0);
    asock_op_unref(connect);
    asock_op_unref(op);
    asock_socket_unref(sock);
    close(fd);
}
END_TEST

START_TEST(test_s72_cancel_and_the_end_of_the_daemon)
{
    struct pair pair = new_pair_small(AF_INET);
    int fd = new_file(0, 2 * MIB);
    asock_op *op = new_op();

    submitted(asock_send_file(pair.socket, op, fd, BEFORE, 2 * MIB, NULL, 0));
    sync_with_daemon();
    ck_assert_int_eq(asock_cancel(op), 0);
    expect(op, ASOCK_OPERATION_ABORTED);
    pair_close(&pair);
    pair = new_pair_small(AF_INET);
    submitted(asock_send_file(pair.socket, op, fd, BEFORE, 2 * MIB, NULL, 0));
    flush();
    kill(fixture.daemon->pid, SIGKILL);
    private_daemon_wait(fixture.daemon);
    expect(op, ASOCK_CONNECTION_ABORTED);
    asock_op_unref(op);
    close(fd);
    pair_close(&pair);
    fixture_release_context();
    fixture.daemon = private_daemon_release(fixture.daemon);
}
END_TEST
