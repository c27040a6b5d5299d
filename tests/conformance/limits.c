/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Flow and limits (S49, S51, S53, S54). */

#include "tests/lib/fixture.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LARGE (16 * MIB)

static uint64_t limit_of(asock_context *context, enum asock_limit limit)
{
    uint64_t value = 0;

    sync_of(context);
    ck_assert_int_eq(asock_context_get_limit(context, limit, &value), 0);
    return value;
}

TEST_FIXTURE(fixture_setup, fixture_teardown);

START_TEST(test_s49_every_limit_is_stated)
{
    uint64_t value;

    ck_assert_int_eq(asock_context_get_limit(fixture.context, ASOCK_LIMIT_OPS, &value), -EAGAIN);
    for (int limit = ASOCK_LIMIT_SOCKETS; limit <= ASOCK_LIMIT_PAYLOAD; limit++)
        ck_assert_uint_gt(limit_of(fixture.context, (enum asock_limit)limit), 0);
    for (int limit = ASOCK_LIMIT_SHARED_MEMORY; limit <= ASOCK_LIMIT_RESOLUTIONS; limit++)
        ck_assert_uint_gt(limit_of(fixture.context, (enum asock_limit)limit), 0);
    ck_assert_uint_eq(limit_of(fixture.context, ASOCK_LIMIT_CONNECTS_PER_SECOND),
                      0); /* any number */
    ck_assert_uint_ge(limit_of(fixture.context, ASOCK_LIMIT_SOCKETS), 16);
    ck_assert_uint_ge(limit_of(fixture.context, ASOCK_LIMIT_OPS), 64);
    ck_assert_uint_ge(limit_of(fixture.context, ASOCK_LIMIT_SEND_WINDOW), MIB);
}
END_TEST

START_TEST(test_s49_granted_is_at_most_what_was_asked)
{
    ck_assert_int_eq(asock_context_set_limit(fixture.context, ASOCK_LIMIT_SOCKETS, 20), 0);
    ck_assert_int_eq(asock_context_set_limit(fixture.context, ASOCK_LIMIT_OPS, 100), 0);
    ck_assert_uint_eq(limit_of(fixture.context, ASOCK_LIMIT_SOCKETS), 20);
    ck_assert_uint_eq(limit_of(fixture.context, ASOCK_LIMIT_OPS), 100);
}
END_TEST

START_TEST(test_s49_sockets_over_the_limit_are_refused_and_the_session_lives)
{
    asock_socket *socks[17], *more;

    ck_assert_int_eq(asock_context_set_limit(fixture.context, ASOCK_LIMIT_SOCKETS, 16), 0);
    ck_assert_uint_eq(limit_of(fixture.context, ASOCK_LIMIT_SOCKETS), 16);
    for (int i = 0; i < 16; i++)
        socks[i] = new_socket(AF_INET);
    ck_assert_int_eq(asock_socket_new(fixture.context, AF_INET, &more), -EMFILE);
    sync_with_daemon();
    asock_socket_unref(socks[3]);
    socks[3] = new_socket(AF_INET);
    sync_with_daemon();
    ck_assert_int_eq(asock_context_get_error(fixture.context), 0);
    for (int i = 0; i < 16; i++)
        asock_socket_unref(socks[i]);
}
END_TEST

/* Ops over the limit wait in the library: all of them complete, none fails. */
START_TEST(test_s49_ops_over_the_limit_wait_in_the_library)
{
    struct pair pair = new_pair(AF_INET);
    uint64_t count = limit_of(fixture.context, ASOCK_LIMIT_SOCKET_OPS) * 3 + 7;
    asock_op **ops = calloc(count, sizeof(asock_op *));
    char *buf = malloc(count), *data = malloc(count);

    pattern_fill(data, 0, count);
    for (uint64_t i = 0; i < count; i++) {
        ops[i] = new_op_with(&buf[i], 1);
        pending(asock_receive(pair.socket, ops[i]));
    }
    sync_with_daemon();
    remote_write(pair.peer, data, count);
    for (uint64_t i = 0; i < count; i++) {
        expect_bytes(ops[i], ASOCK_SUCCESS, 1);
        asock_op_unref(ops[i]);
    }
    ck_assert_mem_eq(buf, data, count);
    free(ops);
    free(buf);
    free(data);
    pair_close(&pair);
}
END_TEST

static void echo_round(asock_socket *sock, uint32_t number)
{
    uint32_t back = 0;

    send_now(sock, &number, sizeof(number));
    receive_now(sock, &back, sizeof(back));
    ck_assert_uint_eq(back, number);
}

START_TEST(test_s51_stalled_peer_holds_up_its_own_socket_only)
{
    struct server *echo = server_start(SERVER_ECHO, AF_INET, 0);
    asock_socket *live = new_connected(fixture.context, server_addr(echo));
    struct pair stalled = new_pair_small(AF_INET);
    char *data = calloc(1, LARGE);
    asock_op *ops[20];

    for (size_t i = 0; i < 20; i++)
        ops[i] = send_without_reader(stalled.socket, data, LARGE);
    sync_with_daemon();
    for (uint32_t i = 0; i < 1000; i++)
        echo_round(live, i);
    for (size_t i = 0; i < 20; i++)
        ck_assert(asock_op_is_pending(ops[i]));
    close_now(stalled.socket, 0);
    for (size_t i = 0; i < 20; i++) {
        expect(ops[i], ASOCK_OPERATION_ABORTED);
        asock_op_unref(ops[i]);
    }
    pair_close(&stalled);
    asock_socket_unref(live);
    server_wait_ended(echo, 1);
    server_stop(echo);
    free(data);
}
END_TEST

/* Many stalled sockets use up the session's window; one that is not stalled still gets through. */
START_TEST(test_s51_many_stalled_peers_do_not_hold_up_another)
{
    struct server *echo = server_start(SERVER_ECHO, AF_INET, 0);
    asock_socket *live = new_connected(fixture.context, server_addr(echo));
    struct pair stalled[12];
    char *data = calloc(1, LARGE);
    asock_op *ops[12];

    for (size_t i = 0; i < 12; i++) {
        stalled[i] = new_pair_small(AF_INET);
        ops[i] = send_without_reader(stalled[i].socket, data, LARGE);
    }
    sync_with_daemon();
    for (uint32_t i = 0; i < 100; i++)
        echo_round(live, i);
    for (size_t i = 0; i < 12; i++) {
        ck_assert(asock_op_is_pending(ops[i]));
        close_now(stalled[i].socket, ASOCK_CLOSE_ABORT);
        expect(ops[i], ASOCK_OPERATION_ABORTED);
        asock_op_unref(ops[i]);
        pair_close(&stalled[i]);
    }
    asock_socket_unref(live);
    server_wait_ended(echo, 1);
    server_stop(echo);
    free(data);
}
END_TEST

/* Window full, ops used up: what ends things still works, and at once. */
START_TEST(test_s53_control_verbs_work_at_every_limit)
{
    struct pair pair = new_pair_small(AF_INET), other = new_pair_small(AF_INET);
    uint64_t count = limit_of(fixture.context, ASOCK_LIMIT_SOCKET_OPS) + 50;
    asock_op **ops = calloc(count, sizeof(asock_op *)), *sent, *more, *shut = new_op();
    char *data = calloc(1, LARGE), *buf = malloc(count);

    sent = send_without_reader(pair.socket, data, LARGE);
    more = send_without_reader(other.socket, data, LARGE);
    for (uint64_t i = 0; i < count; i++) {
        ops[i] = new_op_with(&buf[i], 1);
        pending(asock_receive(pair.socket, ops[i]));
    }
    sync_with_daemon();
    /* One that is in the daemon, one that waits in the library. */
    ck_assert_int_eq(asock_cancel(ops[0]), 0);
    expect_bytes(ops[0], ASOCK_OPERATION_ABORTED, 0);
    ck_assert_int_eq(asock_cancel(ops[count - 1]), 0);
    expect_bytes(ops[count - 1], ASOCK_OPERATION_ABORTED, 0);
    submitted(asock_shutdown(pair.socket, shut, ASOCK_SHUTDOWN_RECEIVE));
    expect(shut, ASOCK_SUCCESS);
    for (uint64_t i = 1; i < count - 1; i++)
        expect_bytes(ops[i], ASOCK_SUCCESS, 0);
    submitted(asock_shutdown(other.socket, shut, ASOCK_SHUTDOWN_SEND));
    sync_with_daemon();
    close_now(pair.socket, 0);
    close_now(other.socket, 0);
    expect(shut, ASOCK_OPERATION_ABORTED);
    expect(sent, ASOCK_OPERATION_ABORTED);
    expect(more, ASOCK_OPERATION_ABORTED);
    for (uint64_t i = 0; i < count; i++)
        asock_op_unref(ops[i]);
    asock_op_unref(sent);
    asock_op_unref(more);
    asock_op_unref(shut);
    free(ops);
    free(data);
    free(buf);
    pair_close(&pair);
    pair_close(&other);
}
END_TEST

/* Processed, not completed: a receive that stays pending does not hold it up. */
START_TEST(test_s54_sync_completes_when_earlier_requests_are_processed)
{
    struct pair pair = new_pair(AF_INET);
    char buf;
    asock_op *receive = new_op_with(&buf, 1), *sync = new_op(), *option = new_op();

    pending(asock_receive(pair.socket, receive));
    pending(asock_set_option(pair.socket, option, ASOCK_OPTION_NO_DELAY, 0));
    pending(asock_sync(fixture.context, sync));
    expect(sync, ASOCK_SUCCESS);
    ck_assert(asock_op_is_pending(receive));
    ck_assert_int_eq(asock_op_get_operation(sync), ASOCK_OPERATION_SYNC);
    /* Its reply came before that of the sync. */
    ck_assert_int_eq(asock_op_get_error(option), ASOCK_SUCCESS);
    asock_cancel(receive);
    expect(receive, ASOCK_OPERATION_ABORTED);
    asock_op_unref(receive);
    asock_op_unref(sync);
    asock_op_unref(option);
    pair_close(&pair);
}
END_TEST

/*
 * 4 GiB of zero pages to a peer that stops reading after 1 MiB: the daemon grows by no more than
 * 1 MiB and the window, and another socket completes 1,000 ops meanwhile.
 */
START_TEST(test_s51_huge_send_to_a_stalled_peer_costs_bounded_memory)
{
    struct server *echo = server_start(SERVER_ECHO, AF_INET, 0);
    asock_socket *live = new_connected(fixture.context, server_addr(echo));
    struct pair stalled = new_pair(AF_INET);
    size_t len = 4096ull * MIB;
    long window = (long)(limit_of(fixture.context, ASOCK_LIMIT_SEND_WINDOW) / KIB), before, grown;
    void *zeros = mmap(NULL, len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    char *got = malloc(MIB);
    asock_op *op;

    ck_assert_ptr_ne(zeros, MAP_FAILED);
    echo_round(live, 1);
    before = private_daemon_memory(fixture.daemon, "VmHWM");
    op = send_without_reader(stalled.socket, zeros, len);
    remote_read(stalled.peer, got, MIB);
    for (uint32_t i = 0; i < 500; i++)
        echo_round(live, i);
    ck_assert(asock_op_is_pending(op));
    grown = private_daemon_memory(fixture.daemon, "VmHWM") - before;
    close_now(stalled.socket, 0);
    expect(op, ASOCK_OPERATION_ABORTED);
    ck_assert_uint_ge(asock_op_get_bytes(op), MIB);
    ck_assert_uint_lt(asock_op_get_bytes(op), len);
    ck_assert_int_eq(remote_drain(stalled.peer, NULL), REMOTE_RST);
    if (test_sanitized())
        fprintf(stderr, "# VmHWM grew by %ld KiB; not judged: sanitizers keep freed memory\n",
                grown);
    else
        ck_assert_int_lt(grown, 1024 + window);
    asock_op_unref(op);
    munmap(zeros, len);
    free(got);
    pair_close(&stalled);
    asock_socket_unref(live);
    server_wait_ended(echo, 1);
    server_stop(echo);
}
END_TEST
