/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Large operations of ordinary memory once the library sends them by reference too (S13): the same
 * bytes, the same results, and what the library takes for it comes back.
 */

#include "tests/lib/fixture.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

static int64_t shared(void)
{
    return inspect_number(fixture.context, "show", "shared");
}

/* Large receives through the socket, until the library has thought better of it. */
static void warm_up(struct pair *pair)
{
    char *data = malloc(256 * KIB);

    ck_assert_ptr_nonnull(data);
    pattern_fill(data, 0, 256 * KIB);
    for (int i = 0; shared() <= 0; i++) {
        ck_assert_int_lt(i, 100);
        remote_write(pair->peer, data, 64 * KIB);
        receive_now(pair->socket, data, 64 * KIB);
        ck_assert_int_eq(pattern_check(data, 0, 64 * KIB), -1);
    }
    free(data);
}

static bool has_given_back(void *userdata)
{
    (void)userdata;
    pump_turn(-1, 0, 0);
    return shared() == 0;
}

/* Segments with odd lengths, each way. */
static void exchange(struct pair *pair, size_t len)
{
    char *out = malloc(len), *in = malloc(len);
    struct iovec list[] = {{out, 1}, {out + 1, 0}, {out + 1, len / 3}, {out + 1 + len / 3, 0}};
    struct iovec parts[] = {{in, len / 2}, {NULL, 0}, {in + len / 2, len - len / 2}};
    asock_op *send = new_op(), *receive = new_op();

    ck_assert_ptr_nonnull(out);
    ck_assert_ptr_nonnull(in);
    list[3].iov_len = len - 1 - len / 3;
    pattern_fill(out, 3, len);
    ck_assert_int_eq(asock_op_set_buffers(send, list, 4), 0);
    ck_assert_int_eq(asock_op_set_buffers(receive, parts, 3), 0);
    ck_assert_int_eq(asock_op_set_flags(receive, ASOCK_WAIT_ALL), 0);
    pending(asock_send(pair->socket, send));
    flush();
    remote_read(pair->peer, in, len);
    expect_bytes(send, ASOCK_SUCCESS, len);
    ck_assert_int_eq(pattern_check(in, 3, len), -1);
    /* What was sent is the program's again. */
    memset(out, 0, len);
    memset(in, 0, len);
    pending(asock_receive(pair->socket, receive));
    pattern_fill(out, 5, len);
    remote_write(pair->peer, out, len);
    expect_bytes(receive, ASOCK_SUCCESS, len);
    ck_assert_int_eq(pattern_check(in, 5, len), -1);
    asock_op_unref(send);
    asock_op_unref(receive);
    free(out);
    free(in);
}

TEST_FIXTURE(fixture_setup, fixture_teardown);

START_TEST(test_s13_large_operations_of_any_memory)
{
    static const size_t lengths[] = {8191, 8192, 8193, 65537, 300001, 2 * MIB, 2 * MIB + 1};
    struct pair pair = new_pair(AF_INET);

    warm_up(&pair);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
        exchange(&pair, lengths[i]);
    pair_close(&pair);
}
END_TEST

/* A receive gets what there is, and the rest of the program's memory stays as it was. */
START_TEST(test_s31_fewer_bytes_than_asked_for)
{
    struct pair pair = new_pair(AF_INET);
    char data[16 * KIB];
    asock_op *op = new_op_with(data, sizeof(data));

    warm_up(&pair);
    memset(data, 'z', sizeof(data));
    pending(asock_receive(pair.socket, op));
    flush();
    remote_write(pair.peer, "abc", 3);
    expect_bytes(op, ASOCK_SUCCESS, 3);
    ck_assert_mem_eq(data, "abcz", 4);
    ck_assert_int_eq(data[sizeof(data) - 1], 'z');
    pending(asock_receive(pair.socket, op));
    sync_with_daemon();
    ck_assert_int_eq(asock_cancel(op), 0);
    expect_bytes(op, ASOCK_OPERATION_ABORTED, 0);
    ck_assert_mem_eq(data, "abcz", 4);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

/* One who does not read takes all the room there is: others go on, and all of his bytes come. */
START_TEST(test_s13_without_room)
{
    struct pair stalled = new_pair_small(AF_INET), other = new_pair(AF_INET);
    char *data = malloc(8 * MIB);
    asock_op *ops[64];
    uint64_t bytes;

    ck_assert_ptr_nonnull(data);
    warm_up(&other);
    pattern_fill(data, 0, 8 * MIB);
    for (int i = 0; i < 64; i++) {
        ops[i] = new_op_with(data + (size_t)i * 128 * KIB, 128 * KIB);
        pending(asock_send(stalled.socket, ops[i]));
    }
    flush();
    exchange(&other, 300001);
    asock_socket_unref(stalled.socket);
    stalled.socket = NULL;
    ck_assert_int_eq(remote_drain_pattern(stalled.peer, 0, &bytes), REMOTE_FIN);
    ck_assert_uint_eq(bytes, 8 * MIB);
    for (int i = 0; i < 64; i++) {
        expect_bytes(ops[i], ASOCK_SUCCESS, 128 * KIB);
        asock_op_unref(ops[i]);
    }
    free(data);
    pair_close(&stalled);
    pair_close(&other);
}
END_TEST

/* All that the session may have is the program's. */
START_TEST(test_s14_the_library_steps_back)
{
    struct pair pair = new_pair(AF_INET);
    asock_buffer *buffer;
    uint64_t most;

    warm_up(&pair);
    ck_assert_int_eq(asock_context_get_limit(fixture.context, ASOCK_LIMIT_SHARED_MEMORY, &most), 0);
    ck_assert_int_eq(asock_buffer_new(fixture.context, most, LIVENESS_MS, &buffer), 0);
    exchange(&pair, 65537);
    ck_assert_int_eq(shared(), (int64_t)most);
    asock_buffer_unref(buffer);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s14_unused_it_is_given_back)
{
    struct pair pair = new_pair(AF_INET);

    warm_up(&pair);
    ck_assert(wait_condition(has_given_back, NULL));
    exchange(&pair, 65537);
    warm_up(&pair);
    exchange(&pair, 65537);
    pair_close(&pair);
}
END_TEST

/* A session that ends has ops in progress; the next one starts afresh. */
/* The library's own descriptor: the only Unix stream socket with a peer that has a name. */
static int connection(void)
{
    for (int fd = 3; fd < 64; fd++) {
        struct sockaddr_un peer;
        socklen_t len = sizeof(peer);

        if (getpeername(fd, (struct sockaddr *)&peer, &len) == 0 && peer.sun_family == AF_UNIX &&
            len > sizeof(sa_family_t))
            return fd;
    }
    ck_abort_msg("no connection");
    return -1;
}

START_TEST(test_s46_session_ends_meanwhile)
{
    struct pair pair = new_pair_small(AF_INET);
    char *data = malloc(2 * MIB);
    asock_op *send = new_op_with(data, 2 * MIB), *receive = new_op_with(data, 64 * KIB);

    ck_assert_ptr_nonnull(data);
    warm_up(&pair);
    memset(data, 'x', 2 * MIB);
    pending(asock_receive(pair.socket, receive));
    pending(asock_send(pair.socket, send));
    sync_with_daemon();
    ck_assert_int_eq(shutdown(connection(), SHUT_RDWR), 0);
    expect(receive, ASOCK_CONNECTION_ABORTED);
    expect(send, ASOCK_CONNECTION_ABORTED);
    ck_assert_int_eq(data[0], 'x');
    asock_socket_unref(pair.socket);
    remote_reset(pair.peer);
    while (asock_context_process(fixture.context) > 0)
        ;
    ck_assert_int_eq(asock_context_reconnect(fixture.context), 0);
    pair = new_pair(AF_INET);
    exchange(&pair, 65537);
    ck_assert_int_eq(shared(), 0);
    warm_up(&pair);
    exchange(&pair, 65537);
    asock_op_unref(send);
    asock_op_unref(receive);
    free(data);
    pair_close(&pair);
}
END_TEST
