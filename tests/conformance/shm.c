/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Ops in memory that client and daemon share (S13). */

#include "tests/lib/fixture.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where the bytes of a test lie: the same is to come of each. */
enum mode { INLINE, SHARED, MIXED, MODES };

struct memory {
    asock_buffer *buffer;
    char *own;   /* ordinary memory */
    char *front; /* where the first half of the segments lies */
    char *back;  /* and the second half */
    size_t half;
};

static asock_buffer *new_buffer(size_t size)
{
    asock_buffer *buffer = NULL;

    ck_assert_int_eq(asock_buffer_new(fixture.context, size, LIVENESS_MS, &buffer), 0);
    ck_assert_ptr_nonnull(buffer);
    return buffer;
}

static struct memory new_memory(enum mode mode, size_t half)
{
    struct memory memory = {.half = half};
    char *shared;

    memory.buffer = new_buffer(2 * half);
    memory.own = calloc(2, half);
    ck_assert_ptr_nonnull(memory.own);
    shared = asock_buffer_data(memory.buffer);
    memory.front = mode == INLINE ? memory.own : shared;
    memory.back = mode == SHARED ? shared + half : memory.own + half;
    return memory;
}

static void free_memory(struct memory *memory)
{
    asock_buffer_unref(memory->buffer);
    free(memory->own);
}

/* Both halves as one list. */
static asock_op *op_over(const struct memory *memory, size_t len)
{
    struct iovec list[3] = {{.iov_base = memory->front, .iov_len = len - len / 2},
                            {.iov_base = memory->own, .iov_len = 0},
                            {.iov_base = memory->back, .iov_len = len / 2}};
    asock_op *op = new_op();

    ck_assert_int_eq(asock_op_set_buffers(op, list, 3), 0);
    return op;
}

static void fill(const struct memory *memory, uint64_t from, size_t len)
{
    pattern_fill(memory->front, from, len - len / 2);
    pattern_fill(memory->back, from + len - len / 2, len / 2);
}

static void expect_pattern(const struct memory *memory, size_t cap, uint64_t from, size_t len)
{
    size_t first = cap - cap / 2 < len ? cap - cap / 2 : len;

    ck_assert_int_eq(pattern_check(memory->front, from, first), -1);
    ck_assert_int_eq(pattern_check(memory->back, from + first, len - first), -1);
}

/* What is written into the memory behind the submission arrives only where the bytes stay in it. */
static char first_to_arrive(enum mode mode)
{
    struct pair pair = new_pair(AF_INET);
    struct memory memory = new_memory(mode, 100);
    asock_op *op = op_over(&memory, 200);
    char got[200];

    memset(memory.front, 'a', 100);
    memset(memory.back, 'a', 100);
    private_daemon_freeze(fixture.daemon);
    pending(asock_send(pair.socket, op));
    flush();
    memset(memory.front, 'b', 100);
    memset(memory.back, 'b', 100);
    private_daemon_thaw(fixture.daemon);
    expect_bytes(op, ASOCK_SUCCESS, 200);
    remote_read(pair.peer, got, 200);
    for (int i = 1; i < 200; i++)
        ck_assert_int_eq(got[i], got[0]);
    asock_op_unref(op);
    free_memory(&memory);
    pair_close(&pair);
    return got[0];
}

TEST_FIXTURE(fixture_setup, fixture_teardown);

START_TEST(test_s13_shared_goes_by_reference_mixed_does_not)
{
    ck_assert_int_eq(first_to_arrive(INLINE), 'a');
    ck_assert_int_eq(first_to_arrive(MIXED), 'a');
    ck_assert_int_eq(first_to_arrive(SHARED), 'b');
}
END_TEST

START_TEST(test_s13_sends_are_the_same)
{
    struct pair pair = new_pair(AF_INET);
    char got[4001];

    for (enum mode mode = INLINE; mode < MODES; mode++) {
        struct memory memory = new_memory(mode, 4096);
        asock_op *op = op_over(&memory, 4001);

        fill(&memory, 0, 4001);
        pending(asock_send(pair.socket, op));
        expect_bytes(op, ASOCK_SUCCESS, 4001);
        remote_read(pair.peer, got, 4001);
        ck_assert_int_eq(pattern_check(got, 0, 4001), -1);
        ck_assert_int_eq(asock_op_set_buffer(op, memory.front, 0), 0);
        pending(asock_send(pair.socket, op));
        expect_bytes(op, ASOCK_SUCCESS, 0);
        ck_assert_int_eq(asock_op_set_buffer(op, memory.front, 10), 0);
        ck_assert_int_eq(asock_op_set_flags(op, ASOCK_ERRORS_ONLY), 0);
        pending(asock_send(pair.socket, op));
        expect_bytes(op, ASOCK_SUCCESS, 10);
        remote_read(pair.peer, got, 10);
        asock_op_unref(op);
        free_memory(&memory);
    }
    pair_close(&pair);
}
END_TEST

START_TEST(test_s13_receives_are_the_same)
{
    struct pair pair = new_pair(AF_INET6);
    char data[1000];

    pattern_fill(data, 0, sizeof(data));
    for (enum mode mode = INLINE; mode < MODES; mode++) {
        struct memory memory = new_memory(mode, 4096);
        asock_op *op = op_over(&memory, 600);

        remote_write(pair.peer, data, 1000);
        ck_assert_int_eq(asock_op_set_flags(op, ASOCK_PEEK), 0);
        pending(asock_receive(pair.socket, op));
        expect(op, ASOCK_SUCCESS);
        ck_assert_int_eq(asock_op_set_flags(op, ASOCK_WAIT_ALL), 0);
        pending(asock_receive(pair.socket, op));
        expect_bytes(op, ASOCK_SUCCESS, 600);
        expect_pattern(&memory, 600, 0, 600);
        ck_assert_int_eq(asock_op_set_flags(op, 0), 0);
        pending(asock_receive(pair.socket, op));
        expect_bytes(op, ASOCK_SUCCESS, 400);
        expect_pattern(&memory, 600, 600, 400);
        /* One that is not filled before its time is over has what came. */
        remote_write(pair.peer, data, 50);
        ck_assert_int_eq(asock_op_set_flags(op, ASOCK_WAIT_ALL), 0);
        ck_assert_int_eq(asock_op_set_timeout(op, 50), 0);
        pending(asock_receive(pair.socket, op));
        expect_bytes(op, ASOCK_TIMED_OUT, 50);
        expect_pattern(&memory, 600, 0, 50);
        asock_op_unref(op);
        free_memory(&memory);
    }
    pair_close(&pair);
}
END_TEST

static void probe_and_end(enum mode mode)
{
    struct pair pair = new_pair(AF_INET);
    struct memory memory = new_memory(mode, 4096);
    asock_op *probe = new_op_with(memory.front, 0), *first = op_over(&memory, 100);
    asock_op *second = op_over(&memory, 100);

    pending(asock_receive(pair.socket, probe));
    sync_with_daemon();
    ck_assert(asock_op_is_pending(probe));
    remote_write(pair.peer, "x", 1);
    expect_bytes(probe, ASOCK_SUCCESS, 0);
    pending(asock_receive(pair.socket, first));
    expect_bytes(first, ASOCK_SUCCESS, 1);
    pending(asock_receive(pair.socket, first));
    pending(asock_receive(pair.socket, second));
    ck_assert_int_eq(asock_cancel(first), 0);
    expect_bytes(first, ASOCK_OPERATION_ABORTED, 0);
    remote_finish(pair.peer);
    expect_bytes(second, ASOCK_SUCCESS, 0);
    ck_assert_uint_eq(asock_op_get_result_flags(second), ASOCK_END_OF_STREAM);
    remote_reset(pair.peer);
    pair.peer = -1;
    asock_op_unref(probe);
    asock_op_unref(first);
    asock_op_unref(second);
    free_memory(&memory);
    pair_close(&pair);
}

START_TEST(test_s13_ends_are_the_same)
{
    for (enum mode mode = INLINE; mode < MODES; mode++)
        probe_and_end(mode);
}
END_TEST

/*
 * A send that has not begun is cancelled without harm; one that has begun closes the sending side
 * (S30).
 */
static void cancel_sends(enum mode mode)
{
    struct pair pair = new_pair_small(AF_INET);
    struct memory memory = new_memory(mode, 2 * MIB);
    asock_op *first = op_over(&memory, 4 * MIB), *second = op_over(&memory, 100);
    asock_op *third = op_over(&memory, 100);
    uint64_t bytes;

    fill(&memory, 0, 4 * MIB);
    pending(asock_send(pair.socket, first));
    pending(asock_send(pair.socket, second));
    pending(asock_send(pair.socket, third));
    sync_with_daemon();
    ck_assert_int_eq(asock_cancel(second), 0);
    expect_bytes(second, ASOCK_OPERATION_ABORTED, 0);
    ck_assert_int_eq(asock_cancel(first), 0);
    expect(first, ASOCK_OPERATION_ABORTED);
    expect_bytes(third, ASOCK_OPERATION_ABORTED, 0);
    asock_socket_unref(pair.socket);
    pair.socket = NULL;
    flush();
    ck_assert_int_eq(remote_drain(pair.peer, &bytes), REMOTE_RST);
    asock_op_unref(first);
    asock_op_unref(second);
    asock_op_unref(third);
    free_memory(&memory);
    pair_close(&pair);
}

START_TEST(test_s13_cancelled_sends_are_the_same)
{
    for (enum mode mode = INLINE; mode < MODES; mode++)
        cancel_sends(mode);
}
END_TEST

/* More segments than a request names go inline, with the same result. */
START_TEST(test_s13_any_number_of_segments)
{
    static const size_t counts[] = {1, 63, 64, 65, 1000};
    struct pair pair = new_pair(AF_INET);
    asock_buffer *buffer = new_buffer(64 * KIB);
    char *data = asock_buffer_data(buffer), got[64000];
    struct iovec list[1000];

    pattern_fill(data, 0, 64000);
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        size_t count = counts[i], step = 64000 / count;
        asock_op *op = new_op();

        for (size_t k = 0; k < count; k++)
            list[k] = (struct iovec){.iov_base = data + k * step, .iov_len = step};
        ck_assert_int_eq(asock_op_set_buffers(op, list, count), 0);
        pending(asock_send(pair.socket, op));
        expect_bytes(op, ASOCK_SUCCESS, count * step);
        remote_read(pair.peer, got, count * step);
        ck_assert_int_eq(pattern_check(got, 0, count * step), -1);
        remote_write(pair.peer, got, count * step);
        ck_assert_int_eq(asock_op_set_flags(op, ASOCK_WAIT_ALL), 0);
        memset(data, 0, 64000);
        pending(asock_receive(pair.socket, op));
        expect_bytes(op, ASOCK_SUCCESS, count * step);
        ck_assert_int_eq(pattern_check(data, 0, count * step), -1);
        pattern_fill(data, 0, 64000);
        asock_op_unref(op);
    }
    asock_buffer_unref(buffer);
    pair_close(&pair);
}
END_TEST

/* Several buffers in one op, one of which was made before the other and lies elsewhere. */
START_TEST(test_s13_several_buffers_in_one_op)
{
    struct pair pair = new_pair(AF_INET);
    asock_buffer *buffers[9];
    struct iovec list[9];
    asock_op *op = new_op();
    char got[900];

    for (unsigned int i = 0; i < 9; i++) {
        buffers[i] = new_buffer(1 + i * 5000);
        list[i] = (struct iovec){.iov_base = asock_buffer_data(buffers[i]), .iov_len = 100};
        pattern_fill(list[i].iov_base, i * 100, 100);
    }
    ck_assert_int_eq(asock_op_set_buffers(op, list, 9), 0);
    pending(asock_send(pair.socket, op));
    for (unsigned int i = 0; i < 9; i++)
        asock_buffer_unref(buffers[i * 7 % 9]);
    expect_bytes(op, ASOCK_SUCCESS, 900);
    remote_read(pair.peer, got, 900);
    ck_assert_int_eq(pattern_check(got, 0, 900), -1);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s13_large_ops)
{
    struct server *server = server_start(SERVER_SINK, AF_INET, 0);
    asock_socket *sock = new_connected(fixture.context, server_addr(server));
    asock_buffer *buffer = new_buffer(32 * MIB);
    asock_op *op = new_op_with(asock_buffer_data(buffer), 32 * MIB);
    struct server_result result;

    pattern_fill(asock_buffer_data(buffer), 0, 32 * MIB);
    pending(asock_send(sock, op));
    expect_bytes(op, ASOCK_SUCCESS, 32 * MIB);
    pending(asock_shutdown(sock, op, ASOCK_SHUTDOWN_SEND));
    expect(op, ASOCK_SUCCESS);
    server_wait_ended(server, 1);
    asock_op_unref(op);
    asock_buffer_unref(buffer);
    asock_socket_unref(sock);
    result = server_stop(server);
    ck_assert_uint_eq(result.bytes, 32 * MIB);
    ck_assert_uint_eq(result.mismatches, 0);
}
END_TEST

START_TEST(test_s13_stream_in_large_receives)
{
    struct server *server = server_start(SERVER_SOURCE, AF_INET, 20 * MIB);
    asock_socket *sock = new_connected(fixture.context, server_addr(server));
    asock_buffer *buffer = new_buffer(MIB);
    asock_op *op = new_op_with(asock_buffer_data(buffer), MIB);
    uint64_t got = 0;

    do {
        pending(asock_receive(sock, op));
        expect(op, ASOCK_SUCCESS);
        ck_assert_int_eq(pattern_check(asock_buffer_data(buffer), got, asock_op_get_bytes(op)), -1);
        got += asock_op_get_bytes(op);
    } while (asock_op_get_bytes(op) > 0);
    ck_assert_uint_eq(got, 20 * MIB);
    asock_op_unref(op);
    asock_buffer_unref(buffer);
    asock_socket_unref(sock);
    server_stop(server);
}
END_TEST

START_TEST(test_s13_connect_with_data)
{
    struct sockaddr_storage addr;
    int listener = remote_listen(AF_INET, &addr);
    asock_buffer *buffer = new_buffer(4096);
    asock_socket *sock = new_socket(AF_INET);
    asock_op *op = new_connect_op(&addr);
    char got[5];
    int peer;

    memcpy(asock_buffer_data(buffer), "hello", 5);
    ck_assert_int_eq(asock_op_set_buffer(op, asock_buffer_data(buffer), 5), 0);
    pending(asock_connect(sock, op));
    expect_bytes(op, ASOCK_SUCCESS, 5);
    peer = remote_accept(listener);
    remote_read(peer, got, 5);
    ck_assert_mem_eq(got, "hello", 5);
    asock_op_unref(op);
    asock_buffer_unref(buffer);
    asock_socket_unref(sock);
    close(peer);
    close(listener);
}
END_TEST

/* A buffer is of one context: for another it is memory like any. */
START_TEST(test_s13_buffer_of_another_context)
{
    asock_context *other = new_context();
    struct pair pair = new_pair_of(other, AF_INET);
    asock_buffer *buffer = new_buffer(4096);
    asock_op *op = new_op_of(other);
    char got[5];

    memcpy(asock_buffer_data(buffer), "hello", 5);
    ck_assert_int_eq(asock_op_set_buffer(op, asock_buffer_data(buffer), 5), 0);
    pending(asock_send(pair.socket, op));
    expect_bytes(op, ASOCK_SUCCESS, 5);
    remote_read(pair.peer, got, 5);
    ck_assert_mem_eq(got, "hello", 5);
    asock_op_unref(op);
    asock_buffer_unref(buffer);
    pair_close(&pair);
    asock_context_unref(other);
}
END_TEST
