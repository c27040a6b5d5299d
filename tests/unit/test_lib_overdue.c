/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A daemon that does not answer (S57). */
#include <limits.h>

#include "tests/lib/suite.h"
#include "tests/unit/clock_ahead.h"
#include "tests/unit/fake_daemon.h"

#define WAIT_MS 30000

static char byte, other_byte;
static asock_op *timed_receive(asock_socket *socket, unsigned int timeout_ms)
{
    asock_op *op = fake_op(&byte, 1);

    ck_assert_int_eq(asock_op_set_timeout(op, timeout_ms), 0);
    ck_assert_int_eq(asock_receive(socket, op), 1);
    return op;
}

static asock_socket *make_socket(unsigned int grace_ms)
{
    ck_assert_int_eq(asock_context_set_grace_ms(fake.context, grace_ms), 0);
    fake_welcome(0, 0, 0, 0);
    return fake_connected();
}

TEST_FIXTURE(fake_setup, fake_teardown);

START_TEST(test_s57_an_op_ends_without_an_answer_and_so_does_the_session)
{
    asock_socket *socket = make_socket(20), *more;
    asock_op *other = fake_op(&other_byte, 1), *op;

    ck_assert_int_eq(asock_receive(socket, other), 1);
    op = timed_receive(socket, 10);
    ck_assert_int_eq(asock_op_wait(op, WAIT_MS), 0);
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_TIMED_OUT);
    ck_assert_uint_eq(asock_op_get_bytes(op), 0);
    ck_assert_int_eq(asock_op_get_error(other), ASOCK_CONNECTION_ABORTED);
    ck_assert_int_eq(asock_context_get_error(fake.context), ASOCK_TIMED_OUT);
    ck_assert_int_lt(asock_socket_new(fake.context, AF_INET, &more), 0);
    asock_op_unref(op);
    asock_op_unref(other);
    asock_socket_unref(socket);
}
END_TEST

START_TEST(test_s57_a_close_with_a_linger_time_ends_too)
{
    asock_socket *socket = make_socket(20);
    asock_op *op = fake_op(NULL, 0);

    ck_assert_int_eq(asock_close(socket, op, 10), 1);
    ck_assert_int_eq(asock_op_wait(op, WAIT_MS), 0);
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_TIMED_OUT);
    ck_assert_int_eq(asock_context_get_error(fake.context), ASOCK_TIMED_OUT);
    asock_op_unref(op);
    asock_socket_unref(socket);
}
END_TEST

/* Nothing ends a receive without a deadline, until the program wants it to end. */
START_TEST(test_s57_a_cancelled_op_ends_too)
{
    asock_socket *socket = make_socket(20);
    asock_op *op = fake_op(&byte, 1);

    ck_assert_int_eq(asock_receive(socket, op), 1);
    fake_expect(VERB_RECEIVE);
    ck_assert_int_eq(asock_context_get_timeout(fake.context), -1);
    ck_assert_int_eq(asock_cancel(op), 0);
    ck_assert_int_eq(asock_op_wait(op, WAIT_MS), 0);
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_TIMED_OUT);
    ck_assert_int_eq(asock_context_get_error(fake.context), ASOCK_TIMED_OUT);
    asock_op_unref(op);
    asock_socket_unref(socket);
}
END_TEST

/* A cancel does not give more time than the op's own deadline did. */
START_TEST(test_s57_a_cancel_does_not_prolong)
{
    asock_socket *socket = make_socket(1000 * 1000);
    asock_op *op = timed_receive(socket, 60 * 1000);
    int before;

    fake_expect(VERB_RECEIVE);
    ahead_ms = 400 * 1000;
    before = asock_context_get_timeout(fake.context);
    ck_assert_int_eq(asock_cancel(op), 0);
    ck_assert_int_le(asock_context_get_timeout(fake.context), before);
    asock_op_unref(op);
    asock_socket_unref(socket);
}
END_TEST

START_LOOP_TEST(test_s57_a_close_without_a_linger_time_ends_too, ASOCK_CLOSE_ABORT, 1)
{
    asock_socket *socket = make_socket(20);
    asock_op *op = fake_op(NULL, 0);

    ck_assert_int_eq(asock_close(socket, op, _i), 1);
    ck_assert_int_eq(asock_op_wait(op, WAIT_MS), 0);
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_TIMED_OUT);
    ck_assert_int_eq(asock_context_get_error(fake.context), ASOCK_TIMED_OUT);
    asock_op_unref(op);
    asock_socket_unref(socket);
}
END_TEST

/* The daemon reads nothing any more, so that neither CLOSE nor CANCEL can leave. */
START_LOOP_TEST(test_s57_a_request_that_cannot_leave_ends_too, 0, 3)
{
    static char data[16 * 1024 * 1024];
    asock_op *send = fake_op(data, sizeof(data)), *op = fake_op(NULL, 0);
    asock_socket *socket;

    ck_assert_int_eq(asock_context_set_grace_ms(fake.context, 20), 0);
    fake_welcome(16, 64, sizeof(data), sizeof(data));
    socket = fake_connected();
    ck_assert_int_eq(asock_send(socket, send), 1);
    if (_i == 0) {
        ck_assert_int_eq(asock_cancel(send), 0);
        ck_assert_int_eq(asock_op_wait(send, WAIT_MS), 0);
        ck_assert_int_eq(asock_op_get_error(send), ASOCK_TIMED_OUT);
    } else {
        ck_assert_int_eq(asock_close(socket, op, _i - 1), 1);
        ck_assert_int_eq(asock_op_wait(op, WAIT_MS), 0);
        ck_assert_int_eq(asock_op_get_error(op), ASOCK_TIMED_OUT);
    }
    ck_assert_int_eq(asock_context_get_error(fake.context), ASOCK_TIMED_OUT);
    asock_op_unref(op);
    asock_op_unref(send);
    asock_socket_unref(socket);
}
END_TEST

START_TEST(test_s57_a_send_that_has_partly_left_ends_too)
{
    static char data[3 * 1024 * 1024];
    asock_socket *socket = make_socket(20);
    asock_op *op = fake_op(data, sizeof(data));

    ck_assert_int_eq(asock_op_set_timeout(op, 10), 0);
    ck_assert_int_eq(asock_send(socket, op), 1);
    ck_assert_int_eq(asock_op_wait(op, WAIT_MS), 0);
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_TIMED_OUT);
    ck_assert_int_eq(asock_context_get_error(fake.context), ASOCK_TIMED_OUT);
    asock_op_unref(op);
    asock_socket_unref(socket);
}
END_TEST

/* The program does nothing until deadline and grace are over. */
static void be_late(void)
{
    int timeout;

    while ((timeout = asock_context_get_timeout(fake.context)) != 0)
        ahead_ms += timeout;
}

START_TEST(test_s57_what_the_daemon_has_said_is_read_first)
{
    asock_socket *socket = make_socket(20 * 1000);
    asock_op *op = timed_receive(socket, 60 * 1000), *other = fake_op(&other_byte, 1);
    struct request *request = fake_expect(VERB_RECEIVE);

    /* Much else stands in front of the answer. */
    for (int i = 0; i < 100; i++)
        fake_reply(
            &(struct reply){.kind = KIND_EVENT, .body = BODY_EVENT, .event = EVENT_SEND_ROOM}, NULL,
            0);
    fake_complete(request, ERR_TIMED_OUT, 0);
    be_late();
    ck_assert_int_ge(asock_context_process(fake.context), 0);
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_TIMED_OUT);
    ck_assert_int_eq(asock_context_get_error(fake.context), 0);
    /* The session goes on. */
    ck_assert_int_eq(asock_receive(socket, other), 1);
    fake_complete(fake_expect(VERB_RECEIVE), ERR_SUCCESS, 0);
    ck_assert_int_eq(fake_end(other), ASOCK_SUCCESS);
    asock_op_unref(op);
    asock_op_unref(other);
    asock_socket_unref(socket);
}
END_TEST

/* It was stopped with half of a request in its hands: the daemon cannot have answered. */
START_TEST(test_s57_what_a_late_program_held_back_leaves_first)
{
    static char data[16 * 1024 * 1024];
    asock_op *op = fake_op(data, sizeof(data));
    asock_socket *socket;

    ck_assert_int_eq(asock_context_set_grace_ms(fake.context, 20 * 1000), 0);
    fake_welcome(16, 64, sizeof(data), sizeof(data));
    socket = fake_connected();
    ck_assert_int_eq(asock_op_set_timeout(op, 60 * 1000), 0);
    ck_assert_int_eq(asock_send(socket, op), 1);
    ahead_ms = 70 * 1000 + 100;
    fake_process(); /* the CANCEL cannot leave */
    while (fake_take())
        ;
    ahead_ms += 15 * 1000;
    fake_process();
    ck_assert_int_eq(asock_context_get_error(fake.context), 0);
    ck_assert(asock_op_is_pending(op));
    /* It has left, and nothing has come. */
    ahead_ms += 15 * 1000;
    fake_process();
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_TIMED_OUT);
    ck_assert_int_eq(asock_context_get_error(fake.context), ASOCK_TIMED_OUT);
    asock_op_unref(op);
    asock_socket_unref(socket);
}
END_TEST

/* The daemon has been given more time, and is given up when that is over. */
static void expect_one_more_wait(asock_socket *socket, asock_op *op, int ms)
{
    ck_assert_int_eq(asock_context_get_error(fake.context), 0);
    ck_assert(asock_op_is_pending(op));
    ahead_ms += ms;
    fake_process();
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_TIMED_OUT);
    ck_assert_int_eq(asock_context_get_error(fake.context), ASOCK_TIMED_OUT);
    asock_op_unref(op);
    asock_socket_unref(socket);
}

/* The same of one whose timer is hardly late: the CANCEL leaves only now. */
START_TEST(test_s57_a_daemon_that_takes_more_at_last_does_not_hang)
{
    static char data[16 * 1024 * 1024];
    asock_op *op = fake_op(data, sizeof(data));
    asock_socket *socket;

    ck_assert_int_eq(asock_context_set_grace_ms(fake.context, 600 * 1000), 0);
    fake_welcome(16, 64, sizeof(data), sizeof(data));
    socket = fake_connected();
    ck_assert_int_eq(asock_op_set_timeout(op, 60 * 1000), 0);
    ck_assert_int_eq(asock_send(socket, op), 1);
    ahead_ms = 360 * 1000 + 100;
    fake_process(); /* the CANCEL cannot leave */
    while (fake_take())
        ;
    ahead_ms += 300 * 1000 + 100;
    fake_process();
    /* It has left, and nothing has come. */
    expect_one_more_wait(socket, op, 300 * 1000 + 100);
}
END_TEST

/*
 * The timer is hardly late, but the program has read nothing since the CANCEL: the daemon may have
 * had no room for the answer.
 */
START_TEST(test_s57_a_daemon_whose_words_were_not_read_does_not_hang)
{
    asock_socket *socket = make_socket(20 * 1000);
    asock_op *op = timed_receive(socket, 60 * 1000);

    fake_expect(VERB_RECEIVE);
    ahead_ms = 70 * 1000 + 100;
    fake_expect(VERB_CANCEL);
    fake_reply(&(struct reply){.kind = KIND_EVENT, .body = BODY_EVENT, .event = EVENT_SEND_ROOM},
               NULL, 0);
    ahead_ms += 10 * 1000 + 100;
    fake_process();
    /* Now it has had room, and nothing has come. */
    expect_one_more_wait(socket, op, 10 * 1000 + 100);
}
END_TEST

/* What there was to read is read for the first of them; it counts for all that are due. */
START_TEST(test_s57_a_late_program_gives_the_daemon_time_for_each_op)
{
    asock_socket *socket = make_socket(20 * 1000);
    asock_op *ops[2];

    for (int i = 0; i < 2; i++) {
        ops[i] = timed_receive(socket, 60 * 1000);
        fake_expect(VERB_RECEIVE);
    }
    ahead_ms = 70 * 1000 + 100;
    for (int i = 0; i < 2; i++)
        fake_expect(VERB_CANCEL);
    fake_reply(&(struct reply){.kind = KIND_EVENT, .body = BODY_EVENT, .event = EVENT_SEND_ROOM},
               NULL, 0);
    ahead_ms += 15 * 1000;
    fake_process();
    ck_assert_int_eq(asock_context_get_error(fake.context), 0);
    for (int i = 0; i < 2; i++)
        ck_assert(asock_op_is_pending(ops[i]));
    ahead_ms += 15 * 1000;
    fake_process();
    ck_assert_int_eq(asock_context_get_error(fake.context), ASOCK_TIMED_OUT);
    for (int i = 0; i < 2; i++)
        asock_op_unref(ops[i]);
    asock_socket_unref(socket);
}
END_TEST

START_TEST(test_s57_an_answer_in_the_grace_is_in_time)
{
    asock_socket *socket = make_socket(600 * 1000);
    asock_op *op = timed_receive(socket, 300 * 1000);
    struct request *request = fake_expect(VERB_RECEIVE);

    ahead_ms = 600 * 1000;
    fake_process();
    ck_assert(asock_op_is_pending(op));
    fake_complete(request, ERR_TIMED_OUT, 0);
    ck_assert_int_eq(fake_end(op), ASOCK_TIMED_OUT);
    ck_assert_int_eq(asock_context_get_error(fake.context), 0);
    asock_op_unref(op);
    asock_socket_unref(socket);
}
END_TEST

/* What the library asks for by default; the program's loop runs. */
static struct request *await_request(uint32_t verb)
{
    while (!fake_take()) {
        ahead_ms += asock_context_get_timeout(fake.context);
        fake_process();
        ck_assert_int_eq(asock_context_get_error(fake.context), 0);
    }
    ck_assert_uint_eq(fake.request.verb, verb);
    return &fake.request;
}

/*
 * It counts from when it read the request: if it was stopped before that, it keeps the deadline too
 * late.
 */
START_TEST(test_s57_a_daemon_that_counts_late_does_not_hang)
{
    asock_socket *socket = make_socket(20 * 1000);
    asock_op *receive = timed_receive(socket, 60 * 1000), *send = fake_op(&byte, 1);
    struct request told = *fake_expect(VERB_RECEIVE);

    await_request(VERB_CANCEL);
    fake_complete(&told, ERR_OPERATION_ABORTED, 0);
    ck_assert_int_eq(fake_end(receive), ASOCK_TIMED_OUT);
    /*
     * Behind a send that timed out nothing may be sent; but nothing of this one was, and the stream
     * goes on.
     */
    ck_assert_int_eq(asock_op_set_timeout(send, 60 * 1000), 0);
    ck_assert_int_eq(asock_send(socket, send), 1);
    told = *fake_expect(VERB_SEND);
    await_request(VERB_CANCEL);
    fake_complete(&told, ERR_OPERATION_ABORTED, 0);
    ck_assert_int_eq(fake_end(send), ASOCK_OPERATION_ABORTED);
    ck_assert_int_eq(asock_context_get_error(fake.context), 0);
    asock_op_unref(receive);
    asock_op_unref(send);
    asock_socket_unref(socket);
}
END_TEST

/* An unlikely grace, but the program has asked for it. */
START_TEST(test_s57_the_longest_grace_is_long)
{
    asock_socket *socket = make_socket(UINT_MAX);
    asock_op *op = timed_receive(socket, 60 * 1000);
    struct request request = *fake_expect(VERB_RECEIVE);

    ahead_ms = 600 * 1000;
    fake_process();
    fake_process();
    ck_assert(asock_op_is_pending(op));
    fake_complete(&request, ERR_TIMED_OUT, 0);
    ck_assert_int_eq(fake_end(op), ASOCK_TIMED_OUT);
    ck_assert_int_eq(asock_context_get_error(fake.context), 0);
    asock_op_unref(op);
    asock_socket_unref(socket);
}
END_TEST

static asock_op *silent_op(void)
{
    asock_op *op = fake_op(&byte, 1);

    ck_assert_int_eq(asock_op_set_flags(op, ASOCK_ERRORS_ONLY), 0);
    ck_assert_int_eq(asock_op_set_timeout(op, 60 * 1000), 0);
    return op;
}

START_TEST(test_s57_a_silent_success_is_asked_for)
{
    asock_socket *socket = make_socket(20 * 1000);
    asock_op *before = fake_op(&byte, 1), *send = silent_op(), *option = silent_op();

    ck_assert_int_eq(asock_op_set_flags(before, ASOCK_ERRORS_ONLY), 0);
    ck_assert_int_eq(asock_send(socket, before), 1);
    fake_expect(VERB_SEND);
    ck_assert_int_eq(asock_send(socket, send), 1);
    ck_assert_uint_eq(fake_expect(VERB_SEND)->flags, REQUEST_ERRORS_ONLY);
    fake_complete(await_request(VERB_CANCEL), ERR_SUCCESS, 0);
    ck_assert_int_eq(fake_end(send), ASOCK_SUCCESS);
    ck_assert_uint_eq(asock_op_get_bytes(send), 1);
    ck_assert_int_eq(asock_op_get_error(before), ASOCK_SUCCESS);
    ck_assert_int_eq(asock_set_option(socket, option, ASOCK_OPTION_NO_DELAY, 1), 1);
    ck_assert_uint_eq(fake_expect(VERB_SET_OPTION)->flags, REQUEST_ERRORS_ONLY);
    fake_complete(await_request(VERB_CANCEL), ERR_SUCCESS, 0);
    ck_assert_int_eq(fake_end(option), ASOCK_SUCCESS);
    ck_assert_uint_eq(asock_op_get_bytes(option), 0);
    ck_assert_int_eq(asock_context_get_error(fake.context), 0);
    asock_op_unref(before);
    asock_op_unref(send);
    asock_op_unref(option);
    asock_socket_unref(socket);
}
END_TEST

START_TEST(test_s57_a_silent_op_ends_without_an_answer_too)
{
    asock_socket *socket = make_socket(20 * 1000);
    asock_op *op = silent_op();

    ck_assert_int_eq(asock_send(socket, op), 1);
    fake_expect(VERB_SEND);
    await_request(VERB_CANCEL);
    be_late();
    ck_assert_int_eq(asock_op_wait(op, WAIT_MS), 0);
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_TIMED_OUT);
    ck_assert_int_eq(asock_context_get_error(fake.context), ASOCK_TIMED_OUT);
    asock_op_unref(op);
    asock_socket_unref(socket);
}
END_TEST

/* Its close may take longer than the op might have. */
START_TEST(test_s57_a_silent_success_behind_a_close_waits_for_it)
{
    asock_socket *socket = make_socket(20 * 1000);
    asock_op *op = silent_op(), *close = fake_op(NULL, 0);
    struct request request;

    ck_assert_int_eq(asock_send(socket, op), 1);
    fake_expect(VERB_SEND);
    ck_assert_int_eq(asock_close(socket, close, 600 * 1000), 1);
    request = *fake_expect(VERB_CLOSE);
    ahead_ms = 100 * 1000;
    fake_process();
    ck_assert(asock_op_is_pending(op));
    fake_complete(&request, ERR_SUCCESS, 0);
    ck_assert_int_eq(fake_end(close), ASOCK_SUCCESS);
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_SUCCESS);
    ck_assert_int_eq(asock_context_get_error(fake.context), 0);
    asock_op_unref(op);
    asock_op_unref(close);
    asock_socket_unref(socket);
}
END_TEST
