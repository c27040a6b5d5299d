/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Limits, ids and who may have how much: what waits in the library, and what wakes it. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "tests/lib/suite.h"
#include "tests/unit/fake_daemon.h"

#define MIB (1024u * 1024u)

TEST_FIXTURE_TIMEOUT(fake_setup, fake_teardown, 120);

START_TEST(test_limits_are_told_once_the_welcome_is_there)
{
    uint64_t value;

    ck_assert_int_eq(asock_context_get_limit(fake.context, ASOCK_LIMIT_OPS, &value), -EAGAIN);
    fake_welcome(20, 70, 0, 0);
    ck_assert_int_eq(asock_context_get_limit(fake.context, ASOCK_LIMIT_OPS, &value), 0);
    ck_assert_uint_eq(value, 70);
    ck_assert_int_eq(asock_context_get_limit(fake.context, ASOCK_LIMIT_SOCKETS, &value), 0);
    ck_assert_uint_eq(value, 20);
    ck_assert_int_eq(asock_context_get_limit(fake.context, (enum asock_limit)0, &value), -EINVAL);
}
END_TEST

/* Reads all there is; bytes and count of sends of a socket. */
static uint64_t drain_sends(uint32_t socket, int *ret_count)
{
    uint64_t bytes = 0;

    *ret_count = 0;
    while (fake_drop(1)) {
        if (fake.request.verb != VERB_SEND || fake.request.socket != socket)
            continue;
        bytes += fake.payload_len;
        ++*ret_count;
    }
    return bytes;
}

START_TEST(test_a_socket_never_has_more_outstanding_than_its_window)
{
    char *data = calloc(1, 8 * MIB);
    asock_socket *socket;
    asock_op *op = fake_op(data, 8 * MIB);
    uint64_t total = 0, held = 0;
    uint32_t id;
    int count;

    fake_welcome(0, 0, MIB, 64 * MIB);
    socket = fake_connected();
    id = asock_socket_get_id(socket);
    ck_assert_int_eq(asock_send(socket, op), 1);
    while (total < 8 * MIB) {
        uint64_t n = drain_sends(id, &count);

        ck_assert_uint_gt(n, 0);
        total += n;
        held += n;
        ck_assert_uint_le(held, MIB);
        fake_room(id, held);
        held = 0;
    }
    ck_assert(!fake.request.send.more);
    asock_op_unref(op);
    asock_socket_unref(socket);
    fake.context = asock_context_unref(fake.context);
    free(data);
}
END_TEST

/*
 * The daemon reports from a quarter of the queue on. What is below goes on without a report; and
 * every piece has a byte, however little there is.
 */
START_LOOP_TEST(test_s51_no_room_below_the_daemons_reports_is_waited_for, 0, 3)
{
    static const uint64_t queues[] = {1, 40, 65536};
    uint64_t queue = queues[_i], held;
    char *data = calloc(1, MIB);
    asock_socket *socket, *other;
    asock_op *op = fake_op(data, MIB);
    uint32_t id;
    int count;

    fake_welcome(11, 64, 65536, queue);
    socket = fake_connected();
    other = fake_connected();
    id = asock_socket_get_id(socket);
    ck_assert_int_eq(asock_send(socket, op), 1);
    held = drain_sends(id, &count);
    ck_assert_uint_ge(held, 1);
    ck_assert_int_le(count, 10);
    fake_room(id, held - queue / 5);
    held = drain_sends(id, &count);
    ck_assert_uint_ge(held, 1);
    ck_assert_int_le(count, 10);
    asock_op_unref(op);
    asock_socket_unref(socket);
    asock_socket_unref(other);
    fake.context = asock_context_unref(fake.context);
    free(data);
}
END_TEST

START_TEST(test_ops_beyond_the_limit_wait_in_the_library)
{
    enum { COUNT = 500 };
    static asock_op *ops[COUNT];
    char c[COUNT];
    asock_socket *socket;
    int seen = 0, n;

    fake_welcome(0, 64, 0, 0);
    socket = fake_connected();
    for (int i = 0; i < COUNT; i++) {
        ops[i] = fake_op(&c[i], 1);
        ck_assert_int_eq(asock_receive(socket, ops[i]), 1);
    }
    n = fake_drop(COUNT);
    ck_assert_int_gt(n, 8);
    ck_assert_int_lt(n, 64);
    seen = n;
    while (seen < COUNT) {
        struct reply reply = {.kind = KIND_COMPLETION, .socket = fake.request.socket};

        /* The oldest that is outstanding ends. */
        reply.op = fake.request.op;
        reply.bytes = 1;
        reply.ops_freed = 1;
        fake_reply(&reply, "x", 1);
        ck_assert_int_eq(fake_end(ops[seen - 1]), ASOCK_SUCCESS);
        ck_assert_int_eq(fake_drop(2), 1);
        seen++;
    }
    fake.context = asock_context_ref(fake.context);
    for (int i = 0; i < COUNT; i++)
        asock_op_unref(ops[i]);
    asock_socket_unref(socket);
    asock_context_unref(fake.context);
}
END_TEST

/* Alone, a socket may have more receives than beside another one; its send goes all the same. */
START_TEST(test_s51_a_send_leaves_beside_receives_of_a_socket_that_was_alone)
{
    enum { COUNT = 60 };
    static asock_op *ops[COUNT];
    char c[COUNT], d = 'd';
    asock_socket *socket, *other;
    asock_op *send = fake_op(&d, 1);

    fake_welcome(0, 64, 0, 0);
    socket = fake_connected();
    for (int i = 0; i < COUNT; i++) {
        ops[i] = fake_op(&c[i], 1);
        ck_assert_int_eq(asock_receive(socket, ops[i]), 1);
    }
    fake_drop(COUNT);
    other = fake_socket();
    ck_assert_int_eq(asock_send(socket, send), 1);
    fake_complete(fake_expect(VERB_SEND), 0, 1);
    ck_assert_int_eq(fake_end(send), ASOCK_SUCCESS);
    fake.context = asock_context_ref(fake.context);
    for (int i = 0; i < COUNT; i++)
        asock_op_unref(ops[i]);
    asock_op_unref(send);
    asock_socket_unref(other);
    asock_socket_unref(socket);
    asock_context_unref(fake.context);
}
END_TEST

START_TEST(test_receives_leave_room_for_a_send)
{
    enum { COUNT = 100 };
    static asock_op *ops[COUNT];
    char c[COUNT], d = 'd';
    asock_socket *socket;
    asock_op *send = fake_op(&d, 1);

    fake_welcome(0, 64, 0, 0);
    socket = fake_connected();
    for (int i = 0; i < COUNT; i++) {
        ops[i] = fake_op(&c[i], 1);
        ck_assert_int_eq(asock_receive(socket, ops[i]), 1);
    }
    fake_drop(COUNT);
    ck_assert_int_eq(asock_send(socket, send), 1);
    fake_expect(VERB_SEND);
    for (int i = 0; i < COUNT; i++)
        asock_op_unref(ops[i]);
    asock_op_unref(send);
    asock_socket_unref(socket);
    fake.context = asock_context_unref(fake.context);
}
END_TEST

/* However many sockets are stalled, the last one moves (S51). */
static void stall_all_but_one(uint32_t sockets, uint64_t queued)
{
    char *data = calloc(1, 4 * MIB);
    asock_socket **all = calloc(sockets, sizeof(*all));
    asock_op **ops = calloc(sockets, sizeof(*ops));
    uint64_t total = 0;
    int count;

    fake_welcome(sockets, 4 * sockets, MIB, queued);
    for (uint32_t i = 0; i < sockets; i++) {
        all[i] = fake_connected();
        ops[i] = fake_op(data, 4 * MIB);
        if (i == 0)
            continue;
        ck_assert_int_eq(asock_send(all[i], ops[i]), 1);
        total += drain_sends(asock_socket_get_id(all[i]), &count);
    }
    ck_assert_uint_lt(total, queued);
    ck_assert_int_eq(asock_send(all[0], ops[0]), 1);
    for (int i = 0; i < 50; i++) {
        uint64_t n = drain_sends(asock_socket_get_id(all[0]), &count);

        ck_assert_uint_gt(n, 0);
        fake_room(asock_socket_get_id(all[0]), n);
    }
    for (uint32_t i = 0; i < sockets; i++) {
        asock_op_unref(ops[i]);
        asock_socket_unref(all[i]);
    }
    fake.context = asock_context_unref(fake.context);
    free(all);
    free(ops);
    free(data);
}

START_TEST(test_s51_stalled_sockets_leave_room_for_another)
{
    stall_all_but_one(16, MIB);
}
END_TEST

START_TEST(test_s51_with_many_sockets)
{
    stall_all_but_one(100, 4 * MIB);
}
END_TEST

START_TEST(test_s51_stalled_receives_leave_room_for_another)
{
    enum { SOCKETS = 16, EACH = 30 };
    static char c;
    asock_socket *all[SOCKETS];
    asock_op *ops[SOCKETS][EACH];

    fake_welcome(SOCKETS, 64, 0, 0);
    for (int i = 0; i < SOCKETS; i++)
        all[i] = fake_connected();
    for (int i = 1; i < SOCKETS; i++) {
        for (int k = 0; k < EACH; k++) {
            ops[i][k] = fake_op(&c, 1);
            ck_assert_int_eq(asock_receive(all[i], ops[i][k]), 1);
        }
        ck_assert_int_gt(fake_drop(EACH), 0);
    }
    ops[0][0] = fake_op(&c, 1);
    ops[0][1] = fake_op(&c, 1);
    ck_assert_int_eq(asock_receive(all[0], ops[0][0]), 1);
    ck_assert_uint_eq(fake_expect(VERB_RECEIVE)->socket, asock_socket_get_id(all[0]));
    ck_assert_int_eq(asock_send(all[0], ops[0][1]), 1);
    ck_assert_uint_eq(fake_expect(VERB_SEND)->socket, asock_socket_get_id(all[0]));
    for (int i = 0; i < SOCKETS; i++) {
        for (int k = 0; k < (i ? EACH : 2); k++)
            asock_op_unref(ops[i][k]);
        asock_socket_unref(all[i]);
    }
    fake.context = asock_context_unref(fake.context);
}
END_TEST

/* ------------------------------------------------------------------------------------------ ids */

/* Cheap: a socket that exists for the daemon. */
static asock_socket *opened(void)
{
    asock_socket *socket = fake_socket();
    asock_op *op = fake_op(NULL, 0);

    ck_assert_int_eq(asock_set_option(socket, op, ASOCK_OPTION_NO_DELAY, 1), 1);
    asock_op_unref(op);
    return socket;
}

START_TEST(test_s44_an_id_is_not_used_again_before_the_close_is_answered)
{
    asock_socket *all[16], *late;
    asock_op *op = fake_op(NULL, 0);
    struct request closing, *r;

    fake_welcome(16, 0, 0, 0);
    for (int i = 0; i < 16; i++)
        all[i] = opened();
    ck_assert_int_eq(asock_socket_new(fake.context, AF_INET, &late), -EMFILE);
    while (fake_drop(2))
        if (fake.request.verb == VERB_SET_OPTION)
            fake_complete_free(&fake.request, 0, 0, 0, 2);
    fake_process();
    ck_assert_int_eq(asock_close(all[3], op, 30000), 1);
    late = opened();
    closing = *fake_expect(VERB_CLOSE);
    /* The close lingers: a SYNC tells when the daemon has let the id go. */
    r = fake_expect(VERB_SYNC);
    ck_assert(fake_is_silent());
    fake_complete_free(r, 0, 0, 0, 0);
    fake_process();
    r = fake_expect(VERB_OPEN);
    ck_assert_uint_eq(r->socket, closing.socket);
    ck_assert_uint_eq(fake_expect(VERB_SET_OPTION)->socket, closing.socket);
    ck_assert(asock_op_is_pending(op));
    closing.socket = 0; /* it drains, without an id */
    fake_complete_free(&closing, 0, 0, 0, 0);
    ck_assert_int_eq(fake_end(op), ASOCK_SUCCESS);
    for (int i = 0; i < 16; i++)
        asock_socket_unref(all[i]);
    asock_socket_unref(late);
    asock_op_unref(op);
}
END_TEST

START_TEST(test_more_sockets_than_ids_before_the_welcome)
{
    asock_socket *all[20];
    int opens = 0;

    for (int i = 0; i < 20; i++)
        all[i] = opened();
    fake_welcome(20, 0, 0, 0);
    while (fake_drop(1))
        opens += fake.request.verb == VERB_OPEN;
    ck_assert_int_eq(opens, 20);
    for (int i = 0; i < 20; i++)
        asock_socket_unref(all[i]);
}
END_TEST

START_TEST(test_s49_sockets_that_the_welcome_does_not_grant)
{
    asock_socket *all[20];
    asock_op *op = fake_op(NULL, 0);
    int refused = 0;

    for (int i = 0; i < 20; i++)
        all[i] = opened();
    fake_welcome(16, 0, 0, 0);
    for (int i = 0; i < 20; i++) {
        int r = asock_set_option(all[i], op, ASOCK_OPTION_NO_DELAY, 1);

        if (r == 0 && asock_op_get_error(op) == ASOCK_TOO_MANY_OPEN_SOCKETS) {
            refused++;
        } else {
            asock_op_unref(op);
            op = fake_op(NULL, 0);
        }
    }
    ck_assert_int_eq(refused, 4);
    for (int i = 0; i < 20; i++)
        asock_socket_unref(all[i]);
    asock_op_unref(op);
}
END_TEST

START_TEST(test_the_error_of_open_is_told_by_the_first_op)
{
    asock_socket *socket;
    asock_op *op = fake_op(NULL, 0);
    struct request open;

    fake_welcome(0, 0, 0, 0);
    socket = fake_socket();
    ck_assert_int_eq(asock_get_option(socket, op, ASOCK_OPTION_NO_DELAY), 1);
    open = *fake_expect(VERB_OPEN);
    fake_complete_free(&open, ERR_TOO_MANY_OPEN_SOCKETS, 0, 0, 1);
    fake_complete_free(fake_expect(VERB_GET_OPTION), ERR_NOT_SOCKET, 0, 0, 1);
    ck_assert_int_eq(fake_end(op), ASOCK_TOO_MANY_OPEN_SOCKETS);
    asock_op_unref(op);
    asock_socket_unref(socket);
}
END_TEST

/* ------------------------------------------------------------------------------------ deadlines */

START_TEST(test_a_deadline_travels_with_the_first_frame)
{
    char c;
    asock_socket *socket;
    asock_op *op = fake_op(&c, 1);
    struct request *r;

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    ck_assert_int_eq(asock_op_set_timeout(op, 50000), 0);
    ck_assert_int_eq(asock_receive(socket, op), 1);
    ck_assert_int_gt(asock_context_get_timeout(fake.context), 0);
    ck_assert_int_le(asock_context_get_timeout(fake.context), 50000);
    r = fake_expect(VERB_RECEIVE);
    ck_assert_uint_gt(r->timeout_ms, 0);
    ck_assert_uint_le(r->timeout_ms, 50000);
    asock_op_unref(op);
    asock_socket_unref(socket);
    fake.context = asock_context_unref(fake.context);
}
END_TEST

START_TEST(test_s30_a_send_that_times_out_in_the_library_breaks_the_stream)
{
    char *data = calloc(1, 4 * MIB);
    asock_socket *socket;
    asock_op *stalled = fake_op(data, 4 * MIB), *late = fake_op(data, 1), *next = fake_op(data, 1),
             *shutdown = fake_op(NULL, 0), *receive = fake_op(data, 1), *close = fake_op(NULL, 0);

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    ck_assert_int_eq(asock_send(socket, stalled), 1);
    while (fake_drop(1))
        ;
    ck_assert_int_eq(asock_op_set_timeout(late, 1), 0);
    ck_assert_int_eq(asock_send(socket, late), 1);
    ck_assert_int_eq(asock_send(socket, next), 1);
    ck_assert_int_eq(fake_end(late), ASOCK_TIMED_OUT);
    ck_assert_uint_eq(asock_op_get_bytes(late), 0);
    ck_assert_int_eq(fake_end(next), ASOCK_OPERATION_ABORTED);
    ck_assert_int_eq(asock_send(socket, next), 1);
    ck_assert_int_eq(fake_end(next), ASOCK_OPERATION_ABORTED);
    ck_assert_int_ge(asock_shutdown(socket, shutdown, ASOCK_SHUTDOWN_SEND), 0);
    ck_assert_int_eq(fake_end(shutdown), ASOCK_OPERATION_ABORTED);
    ck_assert_int_eq(asock_receive(socket, receive), 1);
    fake_expect(VERB_RECEIVE);
    ck_assert_int_eq(asock_close(socket, close, 1000), 1);
    ck_assert(fake_expect(VERB_CLOSE)->close.abort);
    asock_op_unref(stalled);
    asock_op_unref(late);
    asock_op_unref(next);
    asock_op_unref(shutdown);
    asock_op_unref(receive);
    asock_op_unref(close);
    asock_socket_unref(socket);
    fake.context = asock_context_unref(fake.context);
    free(data);
}
END_TEST

START_TEST(test_s30_cancelling_a_send_that_waits_harms_no_other)
{
    char *data = calloc(1, 4 * MIB), y[] = "y";
    asock_socket *socket;
    asock_op *stalled = fake_op(data, MIB), *gone = fake_op(data, 1), *next = fake_op(y, 1);
    uint32_t id;
    int count;

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    id = asock_socket_get_id(socket);
    ck_assert_int_eq(asock_send(socket, stalled), 1);
    drain_sends(id, &count);
    ck_assert_int_eq(asock_send(socket, gone), 1);
    ck_assert_int_eq(asock_send(socket, next), 1);
    ck_assert_int_eq(asock_cancel(gone), 0);
    ck_assert_int_eq(fake_end(gone), ASOCK_OPERATION_ABORTED);
    ck_assert(asock_op_is_pending(next));
    while (!fake.payload || fake.payload[0] != 'y') {
        fake_room(id, MIB);
        drain_sends(id, &count);
    }
    asock_op_unref(stalled);
    asock_op_unref(gone);
    asock_op_unref(next);
    asock_socket_unref(socket);
    fake.context = asock_context_unref(fake.context);
    free(data);
}
END_TEST

START_TEST(test_s40_shutdowns_behind_a_connect_keep_their_order)
{
    asock_socket *socket;
    asock_op *connect = fake_op(NULL, 0), *ops[3];
    uint64_t tokens[3];

    fake_welcome(0, 0, 0, 0);
    socket = fake_socket();
    ck_assert_int_eq(asock_op_set_host(connect, "a", "1"), 0);
    ck_assert_int_eq(asock_connect(socket, connect), 1);
    for (int i = 0; i < 3; i++) {
        ops[i] = fake_op(NULL, 0);
        ck_assert_int_eq(asock_shutdown(socket, ops[i], ASOCK_SHUTDOWN_RECEIVE), 1);
    }
    fake_expect(VERB_OPEN);
    fake_complete(fake_expect(VERB_CONNECT), ERR_SUCCESS, 0);
    for (int i = 0; i < 3; i++)
        tokens[i] = fake_expect(VERB_SHUTDOWN)->op;
    for (int i = 0; i < 3; i++) {
        fake_complete(&(struct request){.op = tokens[i], .socket = 1}, ERR_SUCCESS, 0);
        ck_assert_int_eq(fake_end(ops[i]), ASOCK_SUCCESS);
    }
    for (int i = 0; i < 3; i++)
        asock_op_unref(ops[i]);
    asock_op_unref(connect);
    asock_socket_unref(socket);
}
END_TEST

/* The program's loop does not run until the connect's time is over. */
static void test_failed_connect(bool is_close_before)
{
    char c = 'c';
    asock_socket *socket = fake_socket();
    asock_op *connect = fake_op(NULL, 0), *send = fake_op(&c, 1), *close = fake_op(NULL, 0);

    ck_assert_int_eq(asock_op_set_host(connect, "a", "1"), 0);
    ck_assert_int_eq(asock_op_set_timeout(connect, 1), 0);
    ck_assert_int_eq(asock_connect(socket, connect), 1);
    ck_assert_int_eq(asock_send(socket, send), 1);
    if (is_close_before)
        ck_assert_int_eq(asock_close(socket, close, 60000), 1);
    while (asock_context_get_timeout(fake.context) != 0)
        poll(NULL, 0, 1);
    fake_process();
    if (!is_close_before)
        ck_assert_int_eq(asock_close(socket, close, 60000), 1);
    ck_assert_int_eq(asock_op_get_error(connect), ASOCK_TIMED_OUT);
    ck_assert_int_eq(fake_end(send), ASOCK_OPERATION_ABORTED);
    ck_assert_int_eq(fake_end(close), ASOCK_OPERATION_ABORTED);
    asock_op_unref(connect);
    asock_op_unref(send);
    asock_op_unref(close);
    asock_socket_unref(socket);
}

START_TEST(test_s43_a_close_fails_behind_a_connect_that_ended_in_the_library)
{
    fake_welcome(0, 0, 0, 0);
    test_failed_connect(true);
    test_failed_connect(false);
}
END_TEST

START_TEST(test_s17_a_connect_that_ends_in_the_library_fails_what_waits_for_it)
{
    enum { COUNT = 64 };
    asock_socket *busy, *socket;
    asock_op *ops[COUNT], *connect = fake_op(NULL, 0), *send, *receive;
    char c;

    fake_welcome(0, 64, 0, 0);
    busy = fake_connected();
    socket = fake_socket();
    /* No op may leave: the session is full. */
    for (int i = 0; i < COUNT; i++) {
        ops[i] = fake_op(&c, 1);
        ck_assert_int_eq(asock_receive(busy, ops[i]), 1);
    }
    send = fake_op(&c, 1);
    receive = fake_op(&c, 1);
    ck_assert_int_eq(asock_op_set_host(connect, "a", "1"), 0);
    ck_assert_int_eq(asock_connect(socket, connect), 1);
    ck_assert_int_eq(asock_send(socket, send), 1);
    ck_assert_int_eq(asock_receive(socket, receive), 1);
    ck_assert_int_eq(asock_cancel(connect), 0);
    ck_assert_int_eq(fake_end(connect), ASOCK_OPERATION_ABORTED);
    ck_assert_int_eq(fake_end(send), ASOCK_OPERATION_ABORTED);
    ck_assert_int_eq(fake_end(receive), ASOCK_OPERATION_ABORTED);
    ck_assert_int_ge(asock_receive(socket, receive), 0);
    ck_assert_int_eq(fake_end(receive), ASOCK_OPERATION_ABORTED);
    for (int i = 0; i < COUNT; i++)
        asock_op_unref(ops[i]);
    asock_op_unref(connect);
    asock_op_unref(send);
    asock_op_unref(receive);
    asock_socket_unref(busy);
    asock_socket_unref(socket);
    fake.context = asock_context_unref(fake.context);
}
END_TEST
