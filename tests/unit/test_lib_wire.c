/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the library writes, and in which order: seen from the daemon's end. */
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "tests/lib/skip.h"
#include "tests/lib/suite.h"
#include "tests/unit/fake_daemon.h"

#define MIB (1024u * 1024u)

TEST_FIXTURE_TIMEOUT(fake_setup, fake_teardown, 120);

START_TEST(test_hello_comes_first_and_says_the_name)
{
    struct request *r;

    ck_assert_int_eq(asock_context_set_name(fake.context, "a \"name\""), 0);
    ck_assert_int_eq(asock_context_set_limit(fake.context, ASOCK_LIMIT_OPS, 100), 0);
    r = fake_expect(VERB_HELLO);
    ck_assert_uint_eq(r->hello.version, 1);
    ck_assert_str_eq(r->hello.name, "a \"name\"");
    ck_assert_uint_eq(r->hello.ops, 100);
    ck_assert(fake_is_silent());
    /* Until the first op it may be said again. */
    ck_assert_int_eq(asock_context_set_name(fake.context, "b"), 0);
    ck_assert_str_eq(fake_expect(VERB_HELLO)->hello.name, "b");
}
END_TEST

START_TEST(test_name_and_limits_are_settled_by_the_first_op)
{
    asock_op *op = fake_op(NULL, 0);

    ck_assert_int_eq(asock_sync(fake.context, op), 1);
    ck_assert_int_eq(asock_context_set_name(fake.context, "late"), -EBUSY);
    ck_assert_int_eq(asock_context_set_limit(fake.context, ASOCK_LIMIT_OPS, 1), -EBUSY);
    ck_assert_int_eq(asock_context_set_limit(fake.context, ASOCK_LIMIT_PAYLOAD, 1), -EINVAL);
    asock_op_unref(op);
}
END_TEST

START_TEST(test_requests_follow_hello_without_waiting)
{
    char data[3] = "abc";
    asock_socket *socket = fake_socket();
    asock_op *connect = fake_op(NULL, 0), *send = fake_op(data, 3), *receive = fake_op(data, 3);
    struct request *r;

    ck_assert_int_eq(asock_op_set_host(connect, "host.test", "80"), 0);
    ck_assert_int_eq(asock_connect(socket, connect), 1);
    ck_assert_int_eq(asock_send(socket, send), 1);
    ck_assert_int_eq(asock_receive(socket, receive), 1);
    fake_expect(VERB_HELLO);
    r = fake_expect(VERB_OPEN);
    ck_assert_uint_eq(r->flags, REQUEST_ERRORS_ONLY);
    ck_assert_uint_ge(r->socket, 1);
    ck_assert_uint_le(r->socket, 16);
    ck_assert_str_eq(fake_expect(VERB_CONNECT)->connect.host, "host.test");
    ck_assert_uint_eq(fake_expect(VERB_RECEIVE)->receive.length, 3);
    fake_expect(VERB_SEND);
    ck_assert_uint_eq(fake.payload_len, 3);
    ck_assert(memcmp(fake.payload, "abc", 3) == 0);
    ck_assert(fake_is_silent());
    asock_op_unref(connect);
    asock_op_unref(send);
    asock_op_unref(receive);
    asock_socket_unref(socket);
}
END_TEST

START_TEST(test_a_socket_never_used_is_never_mentioned)
{
    asock_socket *socket = fake_socket();
    asock_op *op = fake_op(NULL, 0);

    ck_assert_int_eq(asock_close(socket, op, 0), 1);
    ck_assert_int_eq(fake_end(op), ASOCK_SUCCESS);
    asock_socket_unref(socket);
    asock_socket_unref(fake_socket());
    fake_expect(VERB_HELLO);
    ck_assert(fake_is_silent());
    asock_op_unref(op);
}
END_TEST

START_TEST(test_a_large_send_is_a_chain_and_shares_the_line)
{
    size_t len = 64 * FRAME_PAYLOAD_MAX + 5, got = 0;
    uint8_t *data = malloc(len);
    asock_socket *a, *b;
    asock_op *large = fake_op(data, len), *small = fake_op(data, 1);
    struct request *r;
    int between = 0;
    uint64_t token;

    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 7 + i / 251);
    fake_welcome(0, 0, 32 * MIB, 256 * MIB);
    a = fake_connected();
    b = fake_connected();
    ck_assert_int_eq(asock_send(a, large), 1);
    ck_assert_int_eq(asock_send(b, small), 1);
    r = fake_expect(VERB_SEND);
    token = r->op;
    ck_assert_uint_eq(r->send.total_len, len);
    for (;;) {
        if (r->op != token) {
            between++;
        } else {
            ck_assert(memcmp(fake.payload, data + got, fake.payload_len) == 0);
            got += fake.payload_len;
            ck_assert_int_eq(r->send.more, got < len);
            if (!r->send.more)
                break;
        }
        r = fake_expect(VERB_SEND);
        ck_assert_uint_eq(r->send.total_len, 0);
    }
    ck_assert_uint_eq(got, len);
    ck_assert_int_eq(between, 1);
    fake_complete(r, 0, len);
    ck_assert_int_eq(fake_end(large), ASOCK_SUCCESS);
    ck_assert_uint_eq(asock_op_get_bytes(large), len);
    asock_op_unref(large);
    asock_op_unref(small);
    asock_socket_unref(a);
    asock_socket_unref(b);
    free(data);
}
END_TEST

START_TEST(test_payload_is_not_copied)
{
    size_t len = 10 * MIB;
    char *data = calloc(1, len), tiny[64] = {0};
    asock_socket *sockets[8];
    asock_op *ops[64];

    fake_welcome(0, 256, 16 * MIB, 256 * MIB);
    for (int i = 0; i < 8; i++)
        sockets[i] = fake_connected();
    for (int i = 0; i < 64; i++) {
        ops[i] = i ? fake_op(tiny, 1) : fake_op(data, len);
        ck_assert_int_eq(asock_send(sockets[i % 8], ops[i]), 1);
    }
    data[len - 1] = 'x';
    for (size_t got = 0; got < len;) {
        struct request *r = fake_expect(VERB_SEND);

        if (fake.payload_len == 1)
            continue;
        got += fake.payload_len;
        if (got == len)
            ck_assert_int_eq(fake.payload[fake.payload_len - 1], 'x');
        if (got == len)
            ck_assert(!r->send.more);
    }
    for (int i = 0; i < 64; i++)
        asock_op_unref(ops[i]);
    for (int i = 0; i < 8; i++)
        asock_socket_unref(sockets[i]);
    asock_context_unref(asock_context_ref(fake.context));
    fake.context = asock_context_unref(fake.context);
    free(data);
}
END_TEST

START_TEST(test_s12_lists_longer_than_iov_max)
{
    enum { SEGMENTS = 3000 };
    static char data[SEGMENTS];
    static struct iovec list[2 * SEGMENTS];
    asock_socket *socket;
    asock_op *op = fake_op(NULL, 0);
    size_t got = 0;

    for (int i = 0; i < SEGMENTS; i++) {
        data[i] = (char)i;
        list[2 * i] = (struct iovec){&data[i], 1};
        list[2 * i + 1] = (struct iovec){NULL, 0};
    }
    ck_assert_int_eq(asock_op_set_buffers(op, list, 2 * SEGMENTS), 0);
    memset(list, 0xff, sizeof(list)); /* it was copied */
    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    ck_assert_int_eq(asock_send(socket, op), 1);
    while (got < SEGMENTS) {
        fake_expect(VERB_SEND);
        ck_assert(memcmp(fake.payload, data + got, fake.payload_len) == 0);
        got += fake.payload_len;
    }
    ck_assert(fake_is_silent());
    asock_op_unref(op);
    asock_socket_unref(socket);
}
END_TEST

/* Fills the window, so that data waits in the library. */
static asock_op *stall(asock_socket *socket, void *data, size_t len)
{
    asock_op *op = fake_op(data, len);

    ck_assert_int_eq(asock_send(socket, op), 1);
    while (fake_drop(1))
        ck_assert_uint_eq(fake.request.verb, VERB_SEND);
    return op;
}

START_TEST(test_s53_cancel_close_sync_and_shutdown_pass_stalled_data)
{
    char *data = calloc(1, 4 * MIB);
    asock_socket *socket;
    asock_op *send, *receive = fake_op(data, 10), *op = fake_op(NULL, 0), *sync = fake_op(NULL, 0);
    struct request *r;
    uint64_t token;

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    send = stall(socket, data, 4 * MIB);
    ck_assert_int_eq(asock_receive(socket, receive), 1);
    token = fake_expect(VERB_RECEIVE)->op;
    ck_assert_int_eq(asock_cancel(receive), 0);
    r = fake_expect(VERB_CANCEL);
    ck_assert_uint_eq(r->cancel.target, token);
    ck_assert_uint_ne(r->op, token);
    ck_assert_int_eq(asock_sync(fake.context, sync), 1);
    fake_expect(VERB_SYNC);
    ck_assert_int_eq(asock_shutdown(socket, op, ASOCK_SHUTDOWN_RECEIVE), 1);
    fake_complete(fake_expect(VERB_SHUTDOWN), 0, 0);
    ck_assert_int_eq(fake_end(op), ASOCK_SUCCESS);
    ck_assert_int_eq(asock_close(socket, op, 0), 1);
    /* Half of a send has left: the stream must not look whole. */
    ck_assert(fake_expect(VERB_CLOSE)->close.abort);
    asock_op_unref(send);
    asock_op_unref(receive);
    asock_op_unref(op);
    asock_op_unref(sync);
    asock_socket_unref(socket);
    fake.context = asock_context_unref(fake.context);
    free(data);
}
END_TEST

START_TEST(test_s54_a_sync_leaves_behind_what_was_submitted_before)
{
    asock_socket *socket;
    asock_op *option = fake_op(NULL, 0), *sync = fake_op(NULL, 0);

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    ck_assert_int_eq(asock_set_option(socket, option, ASOCK_OPTION_NO_DELAY, 0), 1);
    ck_assert_int_eq(asock_sync(fake.context, sync), 1);
    fake_complete(fake_expect(VERB_SET_OPTION), 0, 0);
    fake_complete(fake_expect(VERB_SYNC), 0, 0);
    ck_assert_int_eq(fake_end(option), ASOCK_SUCCESS);
    ck_assert_int_eq(fake_end(sync), ASOCK_SUCCESS);
    asock_op_unref(option);
    asock_op_unref(sync);
    asock_socket_unref(socket);
}
END_TEST

START_TEST(test_s42_close_drops_what_waits_and_resets)
{
    char *data = calloc(1, 4 * MIB);
    asock_socket *socket;
    asock_op *first, *second = fake_op(data, 1), *close = fake_op(NULL, 0);
    struct request *r, saved;

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    first = stall(socket, data, 4 * MIB);
    saved = fake.request;
    ck_assert_int_eq(asock_send(socket, second), 1);
    ck_assert_int_eq(asock_close(socket, close, 0), 1);
    ck_assert_int_eq(fake_end(second), ASOCK_OPERATION_ABORTED);
    r = fake_expect(VERB_CLOSE);
    ck_assert(r->close.abort);
    ck_assert(asock_op_is_pending(first));
    ck_assert_int_eq(asock_send(socket, second), 1);
    ck_assert_int_eq(fake_end(second), ASOCK_NOT_SOCKET);
    saved = (struct request){.op = saved.op, .socket = saved.socket};
    struct request closing = *r;
    fake_complete(&saved, ERR_OPERATION_ABORTED, 7);
    fake_complete(&closing, 0, 0);
    ck_assert_int_eq(fake_end(first), ASOCK_OPERATION_ABORTED);
    ck_assert_uint_eq(asock_op_get_bytes(first), 7);
    ck_assert_int_eq(fake_end(close), ASOCK_SUCCESS);
    ck_assert(fake_is_silent());
    asock_op_unref(first);
    asock_op_unref(second);
    asock_op_unref(close);
    asock_socket_unref(socket);
    free(data);
}
END_TEST

START_TEST(test_s43_linger_waits_for_queued_sends)
{
    char *data = calloc(1, 2 * MIB);
    asock_socket *socket;
    asock_op *send, *close = fake_op(NULL, 0);
    struct request *r;
    uint32_t socket_id;
    bool more = true;

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    socket_id = asock_socket_get_id(socket);
    send = stall(socket, data, 2 * MIB);
    ck_assert_int_eq(asock_close(socket, close, 60000), 1);
    ck_assert(fake_is_silent());
    /* Room, again and again: the rest leaves, and CLOSE right behind it. */
    for (int i = 0; i < 100 && fake.request.verb == VERB_SEND; i++) {
        fake_room(socket_id, MIB);
        while (fake_drop(1) && fake.request.verb == VERB_SEND)
            more = fake.request.send.more;
    }
    r = &fake.request;
    ck_assert(!more);
    ck_assert_uint_eq(r->verb, VERB_CLOSE);
    ck_assert(!r->close.abort);
    ck_assert_uint_gt(r->close.linger_ms, 0);
    ck_assert_uint_le(r->close.linger_ms, 60000);
    asock_op_unref(send);
    asock_op_unref(close);
    asock_socket_unref(socket);
    fake.context = asock_context_unref(fake.context);
    free(data);
}
END_TEST

static struct request set_linger(asock_socket *socket, asock_op *op, int64_t ms, unsigned int flags)
{
    ck_assert_int_eq(asock_op_set_flags(op, flags), 0);
    ck_assert_int_eq(asock_set_option(socket, op, ASOCK_OPTION_LINGER, ms), 1);
    return *fake_expect(VERB_SET_OPTION);
}

/*
 * The daemon has the option when it reads the CLOSE, also where it has not said so yet, or never
 * will. The last one counts, whoever hears of it first. So the library waits for as long, and tells
 * no success before.
 */
START_LOOP_TEST(test_s43_close_goes_by_an_option_that_has_left, 0, 4)
{
    asock_op *option = fake_op(NULL, 0), *other = fake_op(NULL, 0), *close = fake_op(NULL, 0);
    asock_socket *socket;
    struct request request;
    uint32_t linger_ms;

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    request = set_linger(socket, option, _i == 3 ? 60000 : 50000, _i == 0 ? 0 : ASOCK_ERRORS_ONLY);
    if (_i == 2) {
        /* A question tells of the silent one. */
        ck_assert_int_eq(asock_get_option(socket, other, ASOCK_OPTION_NO_DELAY), 1);
        fake_complete(fake_expect(VERB_GET_OPTION), ERR_SUCCESS, 0);
        ck_assert_int_eq(fake_end(other), ASOCK_SUCCESS);
    } else if (_i == 3) {
        request = set_linger(socket, other, 50000, 0);
        fake_complete(&request, ERR_SUCCESS, 0);
        ck_assert_int_eq(fake_end(other), ASOCK_SUCCESS);
    }
    ck_assert_int_eq(asock_close(socket, close, 0), 1);
    linger_ms = fake_expect(VERB_CLOSE)->close.linger_ms;
    ck_assert_uint_gt(linger_ms, 0);
    ck_assert_uint_le(linger_ms, 50000);
    fake_complete(&fake.request, ERR_TIMED_OUT, 0);
    ck_assert_int_eq(fake_end(close), ASOCK_TIMED_OUT);
    asock_op_unref(option);
    asock_op_unref(other);
    asock_op_unref(close);
    asock_socket_unref(socket);
}
END_TEST

START_TEST(test_s43_linger_that_runs_out_resets)
{
    char *data = calloc(1, 4 * MIB);
    asock_socket *socket;
    asock_op *send, *waiting = fake_op(data, 9), *close = fake_op(NULL, 0);

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    send = stall(socket, data, 4 * MIB);
    ck_assert_int_eq(asock_send(socket, waiting), 1);
    ck_assert_int_eq(asock_close(socket, close, 1), 1);
    ck_assert_int_eq(fake_end(waiting), ASOCK_OPERATION_ABORTED);
    ck_assert(fake_expect(VERB_CLOSE)->close.abort);
    asock_op_unref(send);
    asock_op_unref(waiting);
    asock_op_unref(close);
    asock_socket_unref(socket);
    fake.context = asock_context_unref(fake.context);
    free(data);
}
END_TEST

START_TEST(test_a_failed_chain_is_given_up)
{
    char *data = calloc(1, 4 * MIB);
    asock_socket *socket;
    asock_op *send, *next = fake_op(data, 1);
    struct request saved, *r;

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    send = stall(socket, data, 4 * MIB);
    saved = fake.request;
    fake_complete_free(&saved, ERR_CONNECTION_RESET, 5, MIB, 1);
    ck_assert_int_eq(fake_end(send), ASOCK_CONNECTION_RESET);
    ck_assert_uint_eq(asock_op_get_bytes(send), 5);
    ck_assert_int_eq(asock_send(socket, next), 1);
    r = fake_expect(VERB_SEND);
    ck_assert(r->send.abandon);
    ck_assert(!r->send.more);
    ck_assert_uint_eq(r->op, saved.op);
    ck_assert_uint_eq(fake.payload_len, 0);
    r = fake_expect(VERB_SEND);
    ck_assert_uint_ne(r->op, saved.op);
    ck_assert_uint_eq(fake.payload_len, 1);
    asock_op_unref(send);
    asock_op_unref(next);
    asock_socket_unref(socket);
    fake.context = asock_context_unref(fake.context);
    free(data);
}
END_TEST

START_TEST(test_a_cancelled_chain_is_given_up)
{
    char *data = calloc(1, 4 * MIB);
    asock_socket *socket;
    asock_op *send;
    struct request saved;

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    send = stall(socket, data, 4 * MIB);
    saved = fake.request;
    ck_assert_int_eq(asock_cancel(send), 0);
    ck_assert_uint_eq(fake_expect(VERB_CANCEL)->cancel.target, saved.op);
    ck_assert(fake_expect(VERB_SEND)->send.abandon);
    ck_assert(asock_op_is_pending(send));
    fake_complete_free(&saved, ERR_OPERATION_ABORTED, 9, MIB, 1);
    ck_assert_int_eq(fake_end(send), ASOCK_OPERATION_ABORTED);
    ck_assert_int_eq(asock_cancel(send), -ENOENT);
    ck_assert(fake_is_silent());
    asock_op_unref(send);
    asock_socket_unref(socket);
    free(data);
}
END_TEST

/* Nothing is read: a frame stands half written in the output. */
START_TEST(test_an_op_is_held_while_a_frame_refers_to_it)
{
    char *data = calloc(1, 4 * MIB);
    asock_socket *socket;
    asock_op *op = fake_op(data, 4 * MIB);
    struct request first;

    fake_welcome(0, 0, 8 * MIB, 64 * MIB);
    socket = fake_connected();
    ck_assert_int_eq(asock_send(socket, op), 1);
    first = *fake_expect(VERB_SEND); /* more fills the connection meanwhile */
    fake_complete_free(&first, ERR_CONNECTION_RESET, 0, FRAME_PAYLOAD_MAX, 1);
    fake_process();
    fake_process();
    ck_assert(asock_op_is_pending(op));
    ck_assert_int_eq(asock_op_get_error(op), -EINPROGRESS);
    while (asock_op_is_pending(op))
        fake_next();
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_CONNECTION_RESET);
    while (!fake.request.send.abandon)
        fake_expect(VERB_SEND);
    ck_assert(fake_is_silent());
    asock_op_unref(op);
    asock_socket_unref(socket);
    free(data);
}
END_TEST

START_TEST(test_queues_do_not_hold_up_each_other)
{
    char *data = calloc(1, 4 * MIB);
    asock_socket *socket;
    asock_op *send, *receive = fake_op(data, 10), *option = fake_op(NULL, 0);

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    send = stall(socket, data, 4 * MIB);
    ck_assert_int_eq(asock_receive(socket, receive), 1);
    fake_expect(VERB_RECEIVE);
    ck_assert_int_eq(asock_get_option(socket, option, ASOCK_OPTION_NO_DELAY), 1);
    fake_expect(VERB_GET_OPTION);
    asock_op_unref(send);
    asock_op_unref(receive);
    asock_op_unref(option);
    asock_socket_unref(socket);
    fake.context = asock_context_unref(fake.context);
    free(data);
}
END_TEST

START_TEST(test_sync_goes_behind_what_was_submitted_before)
{
    asock_socket *socket;
    asock_op *option = fake_op(NULL, 0), *sync = fake_op(NULL, 0);

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    ck_assert_int_eq(asock_set_option(socket, option, ASOCK_OPTION_NO_DELAY, 0), 1);
    ck_assert_int_eq(asock_sync(fake.context, sync), 1);
    ck_assert_int_eq(fake_expect(VERB_SET_OPTION)->option.value.number, 0);
    fake_expect(VERB_SYNC);
    asock_op_unref(option);
    asock_op_unref(sync);
    asock_socket_unref(socket);
}
END_TEST

START_TEST(test_submit_writes_by_itself_when_much_is_queued)
{
    static char data[80 * 1024];
    asock_socket *socket;
    asock_op *op = fake_op(data, 10), *large = fake_op(data, sizeof(data));
    char c;

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    ck_assert_int_eq(asock_send(socket, op), 1);
    ck_assert_int_lt(recv(fake.fd, &c, 1, MSG_DONTWAIT | MSG_PEEK), 0);
    ck_assert_int_eq(asock_context_get_events(fake.context), 5); /* POLLIN | POLLOUT */
    ck_assert_int_eq(asock_send(socket, large), 1);
    ck_assert_int_eq(recv(fake.fd, &c, 1, MSG_DONTWAIT | MSG_PEEK), 1);
    asock_op_unref(op);
    asock_op_unref(large);
    asock_socket_unref(socket);
    fake.context = asock_context_unref(fake.context);
}
END_TEST

START_TEST(test_submitting_allocates_nothing)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    TEST_SKIP("the sanitizer has its own allocator");
#else
    enum { COUNT = 1000 };
    static asock_op *ops[COUNT];
    asock_socket *socket;
    char x = 'x';
    size_t before;

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    for (int i = 0; i < COUNT; i++)
        ops[i] = fake_op(&x, 1);
    before = mallinfo2().uordblks;
    for (int i = 0; i < COUNT; i++)
        ck_assert_int_eq(asock_send(socket, ops[i]), 1);
    asock_context_flush(fake.context);
    ck_assert_uint_eq(mallinfo2().uordblks, before);
    for (int i = 0; i < COUNT; i++)
        asock_op_unref(ops[i]);
    asock_socket_unref(socket);
#endif
}
END_TEST
