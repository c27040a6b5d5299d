/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Multishot receives out of a pool of slices (S38). */

#include "tests/lib/fixture.h"
#include "tests/lib/multishot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

TEST_FIXTURE(fixture_setup, fixture_teardown);

START_TEST(test_s38_one_request_many_completions)
{
    struct pair pair = new_pair(AF_INET);
    asock_pool *pool = new_pool(4096, 8);
    struct seen seen = {0};
    asock_op *op = new_multishot(pool, &seen);

    pending(asock_receive_multishot(pair.socket, op));
    for (int i = 0; i < 100; i++) {
        write_pattern(pair.peer, seen.bytes, 7);
        wait_count(&seen.calls, i + 1);
        ck_assert_uint_eq(seen.flags, ASOCK_MORE);
        ck_assert_int_eq(seen.error, ASOCK_SUCCESS);
        ck_assert(asock_op_is_pending(op));
        ck_assert_int_eq(asock_op_get_error(op), -EINPROGRESS);
        ck_assert_ptr_null(asock_op_get_slice(op, NULL));
    }
    ck_assert_uint_eq(seen.bytes, 700);
    ck_assert_uint_eq(seen.mismatches, 0);
    remote_finish(pair.peer);
    wait_count(&seen.ends, 1);
    ck_assert_uint_eq(seen.flags, ASOCK_END_OF_STREAM);
    ck_assert(!seen.had_slice);
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_SUCCESS);
    ck_assert_uint_eq(asock_op_get_bytes(op), 0);
    asock_op_unref(op);
    asock_pool_unref(pool);
    pair_close(&pair);
}
END_TEST

/* Whatever the sizes, the stream arrives whole and in order; used-up credit means: submit again. */
START_TEST(test_s38_stream_through_few_slices)
{
    static const size_t sizes[][2] = {{4096, 2}, {1024, 64}, {64 * KIB, 16}, {100, 200}};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct server *server = server_start(SERVER_SOURCE, AF_INET, 2 * MIB);
        asock_socket *sock = new_connected(fixture.context, server_addr(server));
        asock_pool *pool = new_pool(sizes[i][0], sizes[i][1]);
        struct seen seen = {.again = sock};
        asock_op *op = new_multishot(pool, &seen);

        pending(asock_receive_multishot(sock, op));
        while (seen.flags != ASOCK_END_OF_STREAM)
            wait_count(&seen.ends, seen.ends + 1);
        ck_assert_uint_eq(seen.bytes, 2 * MIB);
        ck_assert_uint_eq(seen.mismatches, 0);
        ck_assert_int_eq(seen.error, ASOCK_SUCCESS);
        asock_op_unref(op);
        asock_pool_unref(pool);
        asock_socket_unref(sock);
        server_stop(server);
    }
}
END_TEST

/* With the daemon stopped meanwhile it has no more than what it was given. */
START_TEST(test_s38_ends_when_its_credit_is_used_up)
{
    struct pair pair = new_pair(AF_INET);
    asock_pool *pool = new_pool(4096, 4);
    struct seen seen = {0};
    asock_op *op = new_multishot(pool, &seen);
    char rest[64 * KIB];

    private_daemon_freeze(fixture.daemon);
    write_pattern(pair.peer, 0, 20000);
    pending(asock_receive_multishot(pair.socket, op));
    flush();
    private_daemon_thaw(fixture.daemon);
    wait_count(&seen.ends, 1);
    ck_assert_int_eq(seen.calls, 4);
    ck_assert_uint_eq(seen.bytes, 4 * 4096);
    ck_assert_uint_eq(seen.flags, 0);
    ck_assert_int_eq(seen.error, ASOCK_SUCCESS);
    ck_assert(seen.had_slice);
    receive_now(pair.socket, rest, 20000 - 4 * 4096);
    ck_assert_int_eq(pattern_check(rest, 4 * 4096, 20000 - 4 * 4096), -1);
    /* And once more, with the same slices. */
    seen.bytes = 20000;
    pending(asock_receive_multishot(pair.socket, op));
    write_pattern(pair.peer, 20000, 10);
    wait_count(&seen.calls, 5);
    ck_assert_uint_eq(seen.bytes, 20010);
    ck_assert_uint_eq(seen.mismatches, 0);
    asock_op_unref(op);
    asock_pool_unref(pool);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s38_never_outruns_what_the_program_gives_back)
{
    struct pair pair = new_pair(AF_INET);
    asock_pool *pool = new_pool(4096, 3);
    struct seen seen = {.takes = true};
    asock_op *op = new_multishot(pool, &seen);
    uint64_t bytes;

    pending(asock_receive_multishot(pair.socket, op));
    write_pattern(pair.peer, 0, 5 * 4096);
    wait_count(&seen.ends, 1);
    ck_assert_int_eq(seen.calls, 3);
    bytes = seen.bytes;
    ck_assert_uint_le(bytes, 3 * 4096);
    /* All slices are the program's: it waits. */
    pending(asock_receive_multishot(pair.socket, op));
    sync_with_daemon();
    ck_assert_int_eq(seen.calls, 3);
    for (int i = 0, at = 0; i < 3; i++, at += 4096)
        ck_assert_int_eq(pattern_check(seen.taken[i], (uint64_t)at, bytes < 4096 ? bytes : 4096),
                         -1);
    ck_assert_int_eq(asock_pool_give(pool, seen.taken[1]), 0);
    wait_count(&seen.calls, 4);
    ck_assert_ptr_eq(seen.taken[3], seen.taken[1]);
    ck_assert_uint_eq(seen.mismatches, 0);
    ck_assert_int_eq(asock_pool_give(pool, seen.taken[0] + 1), -EINVAL);
    ck_assert_int_eq(asock_pool_give(pool, &seen), -EINVAL);
    ck_assert_int_eq(asock_pool_give(pool, NULL), -EINVAL);
    ck_assert_int_eq(asock_pool_give(pool, seen.taken[0]), 0);
    ck_assert_int_eq(asock_pool_give(pool, seen.taken[0]), -EINVAL);
    asock_op_unref(op);
    asock_pool_unref(pool);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s38_holds_the_head_of_the_queue)
{
    struct pair pair = new_pair(AF_INET);
    asock_pool *pool = new_pool(4096, 4);
    struct seen seen = {0};
    asock_op *op = new_multishot(pool, &seen), *behind;
    char buf[10];

    behind = new_op_with(buf, sizeof(buf));
    pending(asock_receive_multishot(pair.socket, op));
    pending(asock_receive(pair.socket, behind));
    for (int i = 0; i < 20; i++) {
        write_pattern(pair.peer, seen.bytes, 5);
        wait_count(&seen.calls, i + 1);
        ck_assert(asock_op_is_pending(behind));
    }
    ck_assert_int_eq(asock_cancel(op), 0);
    wait_count(&seen.ends, 1);
    ck_assert_int_eq(seen.error, ASOCK_OPERATION_ABORTED);
    remote_write(pair.peer, "next", 4);
    expect_bytes(behind, ASOCK_SUCCESS, 4);
    ck_assert_mem_eq(buf, "next", 4);
    asock_op_unref(op);
    asock_op_unref(behind);
    asock_pool_unref(pool);
    pair_close(&pair);
}
END_TEST

enum ending { BY_CANCEL, BY_TIMEOUT, BY_END, BY_RESET, BY_SHUTDOWN, BY_CLOSE, ENDINGS };

static void end_it(enum ending ending, struct pair *pair, asock_op *op)
{
    asock_op *other = new_op();

    if (ending == BY_CANCEL)
        ck_assert_int_eq(asock_cancel(op), 0);
    if (ending == BY_END)
        remote_finish(pair->peer);
    if (ending == BY_RESET) {
        remote_reset(pair->peer);
        pair->peer = -1;
    }
    if (ending == BY_SHUTDOWN)
        submitted(asock_shutdown(pair->socket, other, ASOCK_SHUTDOWN_RECEIVE));
    if (ending == BY_CLOSE)
        submitted(asock_close(pair->socket, other, 0));
    asock_op_unref(other);
}

START_TEST(test_s38_ends)
{
    static const int errors[] = {ASOCK_OPERATION_ABORTED, ASOCK_TIMED_OUT, ASOCK_SUCCESS,
                                 ASOCK_CONNECTION_RESET,  ASOCK_SUCCESS,   ASOCK_OPERATION_ABORTED};

    for (enum ending ending = BY_CANCEL; ending < ENDINGS; ending++) {
        struct pair pair = new_pair(AF_INET);
        asock_pool *pool = new_pool(4096, 4);
        struct seen seen = {0};
        asock_op *op = new_multishot(pool, &seen);
        bool is_end = ending == BY_END || ending == BY_SHUTDOWN;

        if (ending == BY_TIMEOUT)
            ck_assert_int_eq(asock_op_set_timeout(op, 300), 0);
        write_pattern(pair.peer, 0, 10);
        pending(asock_receive_multishot(pair.socket, op));
        wait_count(&seen.calls, 1);
        end_it(ending, &pair, op);
        wait_count(&seen.ends, 1);
        ck_assert_msg(seen.error == errors[ending], "ending %d: %s", ending,
                      asock_error_name(seen.error));
        ck_assert_uint_eq(seen.flags, is_end ? ASOCK_END_OF_STREAM : 0);
        ck_assert(!seen.had_slice);
        ck_assert_uint_eq(seen.bytes, 10);
        asock_op_unref(op);
        asock_pool_unref(pool);
        pair_close(&pair);
    }
}
END_TEST

/* Nothing was asked of the daemon yet. */
START_TEST(test_s38_ends_in_the_library)
{
    struct sockaddr_storage addr;
    struct black_hole hole;
    asock_pool *pool = new_pool(4096, 4);
    struct seen seen = {0};
    asock_op *op = new_multishot(pool, &seen), *connect;
    asock_socket *sock = new_socket(AF_INET);

    remote_black_hole(&hole, &addr);
    connect = new_connect_op(&addr);
    pending(asock_receive_multishot(sock, op));
    ck_assert_int_eq(asock_cancel(op), 0);
    wait_count(&seen.ends, 1);
    ck_assert_int_eq(seen.error, ASOCK_OPERATION_ABORTED);
    submitted(asock_receive_multishot(sock, op));
    wait_count(&seen.ends, 2);
    ck_assert_int_eq(seen.error, ASOCK_NOT_CONNECTED);
    pending(asock_connect(sock, connect));
    pending(asock_receive_multishot(sock, op));
    flush();
    ck_assert_int_eq(asock_cancel(connect), 0);
    wait_count(&seen.ends, 3);
    ck_assert_int_eq(seen.error, ASOCK_OPERATION_ABORTED);
    expect(connect, ASOCK_OPERATION_ABORTED);
    asock_op_unref(op);
    asock_op_unref(connect);
    asock_socket_unref(sock);
    asock_pool_unref(pool);
    remote_black_hole_close(&hole);
}
END_TEST

START_TEST(test_s38_misuse)
{
    struct pair pair = new_pair(AF_INET);
    asock_pool *pool = new_pool(4096, 2), *other;
    struct seen seen = {0};
    asock_op *op = new_multishot(pool, &seen), *second = new_multishot(pool, NULL);
    asock_buffer *buffer;
    char buf[4];
    void *data;
    size_t len;

    ck_assert_int_eq(asock_buffer_new(fixture.context, 4096, -1, &buffer), 0);
    ck_assert_int_eq(asock_pool_new(NULL, 1, &other), -EINVAL);
    ck_assert_int_eq(asock_pool_new(buffer, 0, &other), -EINVAL);
    ck_assert_int_eq(asock_pool_new(buffer, 4097, &other), -EINVAL);
    ck_assert_int_eq(asock_pool_new(buffer, 1, NULL), -EINVAL);
    ck_assert_int_eq(asock_op_set_pool(op, NULL), -EINVAL);
    ck_assert_int_eq(asock_op_set_pool(NULL, pool), -EINVAL);
    asock_buffer_unref(buffer);
    /* Buffers and pool replace each other. */
    ck_assert_int_eq(asock_receive(pair.socket, op), -EINVAL);
    ck_assert_int_eq(asock_op_set_buffer(op, buf, 4), 0);
    ck_assert_int_eq(asock_receive_multishot(pair.socket, op), -EINVAL);
    ck_assert_int_eq(asock_op_set_pool(op, pool), 0);
    pending(asock_receive_multishot(pair.socket, op));
    ck_assert_int_eq(asock_receive_multishot(pair.socket, op), -EBUSY);
    ck_assert_int_eq(asock_receive_multishot(pair.socket, second), -EBUSY);
    ck_assert_int_eq(asock_op_set_pool(op, pool), -EBUSY);
    ck_assert_int_eq(asock_op_set_buffer(op, buf, 4), -EBUSY);
    ck_assert_int_eq(asock_receive_next(op, 0, &data, &len), -EINVAL);
    ck_assert_int_eq(asock_receive_next(second, 0, &data, &len), -EINVAL);
    ck_assert_int_eq(asock_receive_next(NULL, 0, &data, &len), -EINVAL);
    ck_assert_ptr_null(asock_op_take_slice(op));
    ck_assert_int_eq(asock_cancel(op), 0);
    wait_count(&seen.ends, 1);
    /* What does not go together is the op's result. */
    ck_assert_int_eq(asock_op_set_flags(op, ASOCK_WAIT_ALL), 0);
    pending(asock_receive_multishot(pair.socket, op));
    wait_count(&seen.ends, 2);
    ck_assert_int_eq(seen.error, ASOCK_INVALID_ARGUMENT);
    ck_assert_ptr_null(asock_pool_unref(NULL));
    asock_op_unref(op);
    asock_op_unref(second);
    asock_pool_unref(pool);
    pair_close(&pair);
}
END_TEST

/* A program that has released the pool can give no slice back: nothing can end the wait for one. */
START_TEST(test_s38_ends_when_no_slice_can_come_back)
{
    struct pair pair = new_pair(AF_INET);
    asock_pool *pool = new_pool(4096, 2);
    struct seen seen = {.takes = true};
    asock_op *op = new_multishot(pool, &seen);

    pending(asock_receive_multishot(pair.socket, op));
    write_pattern(pair.peer, 0, 8192);
    wait_count(&seen.ends, 1);
    ck_assert_int_eq(seen.taken_count, 2);
    pending(asock_receive_multishot(pair.socket, op));
    ck_assert(asock_op_is_pending(op));
    asock_pool_unref(pool);
    wait_count(&seen.ends, 2);
    ck_assert_int_eq(seen.error, ASOCK_NO_BUFFER_SPACE);
    submitted(asock_receive_multishot(pair.socket, op));
    expect(op, ASOCK_NO_BUFFER_SPACE);
    /* The memory is there still, and the bytes in it. */
    ck_assert_int_eq(pattern_check(seen.taken[0], 0, 4096), -1);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

/* The same when the last slice is taken in the callback, and when there is none. */
START_TEST(test_s38_ends_when_the_last_slice_is_taken)
{
    struct pair pair = new_pair(AF_INET);
    asock_pool *pool = new_pool(4096, 2);
    asock_op *op = new_multishot(pool, NULL);
    void *data;
    size_t len;

    pending(asock_receive_multishot(pair.socket, op));
    write_pattern(pair.peer, 0, 8192);
    ck_assert_int_eq(asock_receive_next(op, LIVENESS_MS, &data, &len), 1);
    asock_pool_unref(pool);
    ck_assert_int_eq(asock_receive_next(op, LIVENESS_MS, &data, &len), 1);
    ck_assert_int_eq(asock_op_wait(op, LIVENESS_MS), 0);
    submitted(asock_receive_multishot(pair.socket, op));
    expect(op, ASOCK_NO_BUFFER_SPACE);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

/* In a callback of an op that has the pool, which the program had let go of. */
START_TEST(test_s38_a_pool_that_is_held_again)
{
    struct pair pair = new_pair(AF_INET);
    asock_pool *pool = new_pool(4096, 2);
    asock_op *op = new_multishot(pool, NULL);
    void *data;
    size_t len;

    asock_pool_unref(pool);
    asock_pool_ref(pool); /* the op has it */
    pending(asock_receive_multishot(pair.socket, op));
    write_pattern(pair.peer, 0, 100);
    ck_assert_int_eq(asock_receive_next(op, LIVENESS_MS, &data, &len), 1);
    asock_cancel(op);
    ck_assert_int_eq(asock_op_wait(op, LIVENESS_MS), 0);
    asock_op_unref(op);
    ck_assert_int_eq(asock_pool_give(pool, data), 0);
    asock_pool_unref(pool);
    pair_close(&pair);
}
END_TEST

/* ---- without a callback ---- */

/* Its end was known before it left: there is nothing to wait for, and the result can be read. */
START_TEST(test_s38_waiting_for_the_next_of_one_that_has_ended_at_once)
{
    struct pair pair = new_pair(AF_INET);
    asock_pool *pool = new_pool(4096, 4);
    asock_op *op = new_multishot(pool, NULL);
    size_t len;
    void *data;

    ck_assert_int_eq(asock_close(pair.socket, NULL, 0), 0);
    ck_assert_int_ge(asock_receive_multishot(pair.socket, op), 0);
    ck_assert_int_eq(asock_receive_next(op, LIVENESS_MS, &data, &len), 0);
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_NOT_SOCKET);
    asock_op_unref(op);
    asock_pool_unref(pool);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s38_waiting_for_the_next)
{
    struct pair pair = new_pair(AF_INET);
    asock_pool *pool = new_pool(4096, 4);
    asock_op *op = new_multishot(pool, NULL);
    uint64_t got = 0;
    size_t len;
    void *data;

    pending(asock_receive_multishot(pair.socket, op));
    ck_assert_int_eq(asock_receive_next(op, 20, &data, &len), -ETIMEDOUT);
    for (int i = 0; i < 30; i++) {
        write_pattern(pair.peer, got, 100);
        ck_assert_int_eq(asock_receive_next(op, LIVENESS_MS, &data, &len), 1);
        ck_assert_int_eq(pattern_check(data, got, len), -1);
        got += len;
        ck_assert_int_eq(asock_pool_give(pool, data), 0);
        while (got < (uint64_t)(i + 1) * 100) {
            ck_assert_int_eq(asock_receive_next(op, LIVENESS_MS, &data, &len), 1);
            got += len;
            ck_assert_int_eq(asock_pool_give(pool, data), 0);
        }
    }
    write_pattern(pair.peer, got, 50);
    remote_finish(pair.peer);
    ck_assert_int_eq(asock_op_wait(op, LIVENESS_MS), 0);
    ck_assert_uint_eq(asock_op_get_result_flags(op), ASOCK_END_OF_STREAM);
    ck_assert_int_eq(asock_receive_next(op, -1, &data, &len), 1);
    ck_assert_int_eq(pattern_check(data, got, len), -1);
    ck_assert_int_eq(asock_pool_give(pool, data), 0);
    while (asock_receive_next(op, -1, &data, &len) == 1)
        ck_assert_int_eq(asock_pool_give(pool, data), 0);
    ck_assert_int_eq(asock_receive_next(op, -1, &data, &len), 0);
    asock_op_unref(op);
    asock_pool_unref(pool);
    pair_close(&pair);
}
END_TEST

/* Slices that were not taken are given back with the op, or when it is submitted again. */
START_TEST(test_s38_slices_that_nobody_asked_for)
{
    struct pair pair = new_pair(AF_INET);
    asock_pool *pool = new_pool(4096, 2);
    asock_op *op = new_multishot(pool, NULL);
    size_t len;
    void *data;

    for (int i = 0; i < 5; i++) {
        pending(asock_receive_multishot(pair.socket, op));
        sync_with_daemon();
        remote_write(pair.peer, "x", 1);
        ck_assert_int_eq(asock_receive_next(op, LIVENESS_MS, &data, &len), 1);
        ck_assert_int_eq(asock_pool_give(pool, data), 0);
        remote_write(pair.peer, "y", 1);
        while (asock_op_is_pending(op) && asock_op_wait(op, 5) == -ETIMEDOUT)
            ck_assert_int_eq(asock_cancel(op), 0);
    }
    asock_op_unref(op);
    asock_pool_unref(pool);
    pair_close(&pair);
}
END_TEST

/* ---- loss of the daemon (S46) ---- */

START_TEST(test_s46_multishot_of_a_lost_session)
{
    struct pair pair = new_pair(AF_INET);
    asock_pool *pool = new_pool(4096, 4);
    struct seen seen = {0};
    asock_op *op = new_multishot(pool, &seen), *second = new_multishot(pool, NULL);
    asock_socket *sock = pair.socket;

    pending(asock_receive_multishot(sock, op));
    write_pattern(pair.peer, 0, 100);
    wait_count(&seen.calls, 1);
    /* By the administrator: the path stays. */
    {
        asock_context *control = new_control();
        char id[32];
        const char *args[] = {id, NULL};

        snprintf(id, sizeof(id), "%lld", (long long)inspect_number(fixture.context, "show", "id"));
        ck_assert_int_ge(asock_context_control(control, "kill", args, NULL, NULL, LIVENESS_MS), 0);
        asock_context_unref(control);
    }
    wait_count(&seen.ends, 1);
    ck_assert_int_eq(seen.error, ASOCK_CONNECTION_ABORTED);
    pump_remove(fixture.context);
    ck_assert_int_eq(asock_context_reconnect(fixture.context), 0);
    pair_close(&pair);
    pair = new_pair(AF_INET);
    /* The pool is of the session that was. */
    submitted(asock_receive_multishot(pair.socket, second));
    expect(second, ASOCK_CONNECTION_ABORTED);
    asock_op_unref(op);
    asock_op_unref(second);
    asock_pool_unref(pool);
    pair_close(&pair);
    pump_add(fixture.context);
}
END_TEST
