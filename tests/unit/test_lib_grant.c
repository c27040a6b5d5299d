/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A session begins with the least, and the library asks for more when something needs it (S49). */

#include "tests/unit/clock_ahead.h"
#include "tests/unit/fake_daemon.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define KIB 1024u
#define MIB (1024u * KIB)
/* Of this daemon. */
#define MOST_SOCKETS 100
#define MOST_OPS 400
#define MOST_QUEUED (4u * MIB)

struct hello {
    uint32_t sockets, ops;
    uint64_t send_window, queued_max;
};

static const struct hello least = {1, 8, 64 * KIB, 64 * KIB};

/* Answers a Hello: so much is granted; text NULL: it is all that was asked for. */
static void answer(struct hello granted, const char *text)
{
    struct reply reply = {.kind = KIND_WELCOME, .body = BODY_WELCOME};

    reply.error = text ? ERR_NO_BUFFER_SPACE : 0;
    reply.welcome = (struct welcome){
        .version = 1,
        .verbs = fake.verbs,
        .sockets = granted.sockets,
        .ops = granted.ops,
        .socket_ops = granted.ops,
        .send_window = granted.send_window,
        .queued_max = granted.queued_max,
        .payload_max = FRAME_PAYLOAD_MAX,
        .head_max = FRAME_HEAD_MAX,
        .most_sockets = MOST_SOCKETS,
        .most_ops = MOST_OPS,
        .most_socket_ops = MOST_OPS,
        .most_send_window = MIB,
        .most_queued = MOST_QUEUED,
    };
    fake_reply(&reply, text, text ? strlen(text) : 0);
    fake_process();
}

static struct hello expect_hello(void)
{
    const struct request *r = fake_expect(VERB_HELLO);

    return (struct hello){r->hello.sockets, r->hello.ops, r->hello.send_window,
                          r->hello.queued_max};
}

static asock_socket *begin(void)
{
    expect_hello();
    answer(least, NULL);
    return fake_connected();
}

static asock_op *set_option(asock_socket *socket)
{
    asock_op *op = fake_op(NULL, 0);

    ck_assert_int_eq(asock_set_option(socket, op, ASOCK_OPTION_NO_DELAY, 1), 1);
    return op;
}

static void is_text(asock_op *op, const char *text)
{
    ck_assert_ptr_nonnull(asock_op_get_text(op));
    ck_assert_str_eq(asock_op_get_text(op), text);
}

TEST_FIXTURE(fake_setup, fake_teardown);

START_TEST(test_s49_the_first_hello_asks_for_the_least)
{
    struct hello asked = expect_hello();

    ck_assert_uint_le(asked.sockets, least.sockets);
    ck_assert_uint_le(asked.ops, least.ops);
    ck_assert_uint_le(asked.send_window, least.send_window);
    ck_assert_uint_le(asked.queued_max, least.queued_max);
}
END_TEST

START_TEST(test_s49_a_second_socket_asks_for_more_and_goes_on)
{
    asock_socket *first = begin(), *second = fake_socket();
    asock_op *op = set_option(second);
    struct hello asked = expect_hello();

    ck_assert_uint_ge(asked.sockets, 2);
    ck_assert_uint_ge(asked.ops, 4 * asked.sockets);
    ck_assert(fake_is_silent()); /* it has no id yet */
    answer((struct hello){asked.sockets, asked.ops, asked.send_window, asked.queued_max}, NULL);
    ck_assert_uint_eq(fake_expect(VERB_OPEN)->socket, 2);
    fake_complete_free(fake_expect(VERB_SET_OPTION), 0, 0, 0, 2);
    ck_assert_int_eq(fake_end(op), ASOCK_SUCCESS);
    asock_op_unref(op);
    asock_socket_unref(second);
    asock_socket_unref(first);
}
END_TEST

START_TEST(test_s49_sockets_made_before_the_first_hello_are_asked_for_by_it)
{
    asock_socket *sockets[20];
    struct hello asked;

    for (int i = 0; i < 20; i++)
        sockets[i] = fake_socket();
    asked = expect_hello();
    ck_assert_uint_ge(asked.sockets, 20);
    for (int i = 0; i < 20; i++)
        asock_socket_unref(sockets[i]);
}
END_TEST

START_TEST(test_s49_a_refused_raise_ends_the_socket_that_needed_it_with_the_text)
{
    asock_socket *first = begin(), *second = fake_socket();
    asock_op *op = set_option(second), *other;

    expect_hello();
    answer(least, "the unit has too few sockets left");
    ck_assert_int_eq(fake_end(op), ASOCK_TOO_MANY_OPEN_SOCKETS);
    is_text(op, "the unit has too few sockets left");
    other = set_option(first); /* which is as well as before */
    fake_complete(fake_expect(VERB_SET_OPTION), 0, 0);
    ck_assert_int_eq(fake_end(other), ASOCK_SUCCESS);
    asock_op_unref(other);
    asock_op_unref(op);
    asock_socket_unref(second);
    /* The next one asks again: there may be room by now. */
    second = fake_socket();
    op = set_option(second);
    ck_assert_uint_ge(expect_hello().sockets, 2);
    answer((struct hello){2, 8, 64 * KIB, 64 * KIB}, "the unit has too few sockets left");
    ck_assert_uint_eq(fake_expect(VERB_OPEN)->socket, 2);
    fake_complete_free(fake_expect(VERB_SET_OPTION), 0, 0, 0, 2);
    ck_assert_int_eq(fake_end(op), ASOCK_SUCCESS);
    asock_op_unref(op);
    asock_socket_unref(second);
    asock_socket_unref(first);
}
END_TEST

/*
 * Sixteen ids, and ops for two of them: with more open sockets one that waits could keep another
 * from moving.
 */
START_TEST(test_s51_sockets_without_their_part_of_the_ops_are_not_used)
{
    asock_socket *all[3] = {begin(), fake_socket(), fake_socket()};
    asock_op *ops[3] = {NULL, set_option(all[1]), set_option(all[2])};

    expect_hello();
    answer((struct hello){16, 8, 64 * KIB, MIB}, "the user has too few operations left");
    ck_assert_int_eq(fake_end(ops[2]), ASOCK_TOO_MANY_OPEN_SOCKETS);
    ck_assert_uint_eq(fake_expect(VERB_OPEN)->socket, 2);
    fake_complete_free(fake_expect(VERB_SET_OPTION), 0, 0, 0, 2);
    ck_assert_int_eq(fake_end(ops[1]), ASOCK_SUCCESS);
    for (int i = 0; i < 3; i++) {
        asock_op_unref(ops[i]);
        asock_socket_unref(all[i]);
    }
}
END_TEST

/* The second socket's share was kept, and the first one's receives are not in the send's way. */
START_TEST(test_s51_both_sockets_move_where_receives_wait_and_only_sockets_were_granted)
{
    enum { COUNT = 12 };
    asock_socket *first = begin(), *second;
    asock_op *ops[COUNT], *send, *option;
    char data[COUNT], c = 'c';

    for (int i = 0; i < COUNT; i++) {
        ops[i] = fake_op(&data[i], 1);
        ck_assert_int_eq(asock_receive(first, ops[i]), 1);
    }
    while (fake_next()->verb == VERB_RECEIVE)
        ;
    ck_assert_uint_eq(fake.request.verb, VERB_HELLO);
    answer(least, "the user has too few operations left");
    second = fake_socket();
    option = set_option(second);
    expect_hello();
    answer((struct hello){2, 8, 64 * KIB, 64 * KIB}, "the user has too few operations left");
    ck_assert_uint_eq(fake_expect(VERB_OPEN)->socket, 2);
    fake_expect(VERB_SET_OPTION);
    send = fake_op(&c, 1);
    ck_assert_int_eq(asock_send(first, send), 1);
    fake_complete_free(fake_expect(VERB_SEND), 0, 1, 1, 1);
    ck_assert_int_eq(fake_end(send), ASOCK_SUCCESS);
    for (int i = 0; i < COUNT; i++)
        asock_op_unref(ops[i]);
    asock_op_unref(send);
    asock_op_unref(option);
    asock_socket_unref(second);
    asock_socket_unref(first);
}
END_TEST

START_TEST(test_s49_more_sockets_than_there_may_be_are_no_question)
{
    asock_socket *all[MOST_SOCKETS], *more;

    expect_hello();
    answer(least, NULL);
    for (int i = 0; i < MOST_SOCKETS; i++)
        all[i] = fake_socket();
    ck_assert_int_eq(asock_socket_new(fake.context, AF_UNSPEC, &more), -EMFILE);
    for (int i = 0; i < MOST_SOCKETS; i++)
        asock_socket_unref(all[i]);
}
END_TEST

static void listen_at(asock_socket *socket)
{
    struct sockaddr_in any = {.sin_family = AF_INET};
    asock_op *bind = fake_op(NULL, 0), *listen = fake_op(NULL, 0);

    ck_assert_int_eq(asock_op_set_endpoint(bind, (struct sockaddr *)&any, sizeof(any)), 0);
    ck_assert_int_eq(asock_bind(socket, bind), 1);
    ck_assert_int_eq(asock_listen(socket, listen, 8), 1);
    fake_complete_free(fake_expect(VERB_OPEN), 0, 0, 0, 1);
    fake_complete_free(fake_expect(VERB_BIND), 0, 0, 0, 1);
    fake_complete_free(fake_expect(VERB_LISTEN), 0, 0, 0, 1);
    ck_assert_int_eq(fake_end(listen), ASOCK_SUCCESS);
    asock_op_unref(bind);
    asock_op_unref(listen);
}

/*
 * All of them wait for a socket; whatever the larger grant was asked for, they go on with it, in
 * their order.
 */
START_TEST(test_s62_accepts_that_wait_for_a_socket_go_on_with_a_larger_grant)
{
    static const struct hello first = {3, 64, 64 * KIB, MIB}, more = {16, 64, 64 * KIB, MIB};
    asock_socket *all[3], *another;
    asock_op *accepts[2];

    fake.verbs = UINT64_MAX;
    expect_hello();
    answer(first, NULL);
    for (int i = 0; i < 3; i++)
        all[i] = fake_socket();
    for (int i = 0; i < 2; i++) {
        listen_at(all[i]);
        accepts[i] = fake_op(NULL, 0);
    }
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(asock_accept_multishot(all[i], accepts[i]), 1);
    expect_hello();
    answer(first, "the unit has too few sockets left");
    ck_assert(fake_is_silent());
    another = fake_socket();
    ck_assert_uint_ge(expect_hello().sockets, 4);
    answer(more, NULL);
    for (int i = 0; i < 2; i++) {
        const struct request *accept = fake_expect(VERB_ACCEPT);

        ck_assert_uint_eq(accept->socket, (unsigned int)i + 1);
        ck_assert_uint_ge(accept->accept.first, 4);
    }
    for (int i = 0; i < 2; i++) {
        ck_assert_int_lt(asock_op_get_error(accepts[i]), 0);
        asock_op_unref(accepts[i]);
    }
    asock_socket_unref(another);
    for (int i = 0; i < 3; i++)
        asock_socket_unref(all[i]);
}
END_TEST

/* Nothing else of this session needs a socket, and none of its sockets is closed. */
START_TEST(test_s62_an_accept_that_waits_for_a_socket_asks_again)
{
    static const struct hello first = {2, 64, 64 * KIB, MIB}, more = {4, 64, 64 * KIB, MIB};
    asock_socket *listener, *other;
    asock_op *accept;

    fake.verbs = UINT64_MAX;
    expect_hello();
    answer(first, NULL);
    listener = fake_socket();
    other = fake_socket();
    listen_at(listener);
    accept = fake_op(NULL, 0);
    ck_assert_int_eq(asock_accept_multishot(listener, accept), 1);
    for (int i = 0; i < 2; i++) {
        ck_assert_uint_gt(expect_hello().sockets, 2);
        answer(first, "the unit has too few sockets left");
        ck_assert(fake_is_silent());
        ahead_ms += 1000 << i;
        fake_process();
    }
    ck_assert_uint_gt(expect_hello().sockets, 2);
    answer(more, NULL);
    ck_assert_uint_eq(fake_expect(VERB_ACCEPT)->accept.first, 3);
    asock_op_unref(accept);
    asock_socket_unref(other);
    asock_socket_unref(listener);
}
END_TEST

/* Its id is taken until it is closed: another socket could only wait for it. */
START_TEST(test_s49_a_socket_that_the_daemon_refused_counts_until_it_is_closed)
{
    asock_socket *all[MOST_SOCKETS], *more;
    asock_op *op;

    expect_hello();
    answer(least, NULL);
    all[0] = fake_socket();
    op = set_option(all[0]);
    fake_complete(fake_expect(VERB_OPEN), ERR_NO_BUFFER_SPACE, 0);
    fake_complete(fake_expect(VERB_SET_OPTION), ERR_NOT_SOCKET, 0);
    ck_assert_int_eq(fake_end(op), ASOCK_NO_BUFFER_SPACE);
    for (int i = 1; i < MOST_SOCKETS; i++)
        all[i] = fake_socket();
    ck_assert_int_eq(asock_socket_new(fake.context, AF_UNSPEC, &more), -EMFILE);
    asock_socket_unref(all[0]);
    ck_assert_int_eq(asock_socket_new(fake.context, AF_UNSPEC, &more), 0);
    all[0] = more;
    for (int i = 0; i < MOST_SOCKETS; i++)
        asock_socket_unref(all[i]);
    asock_op_unref(op);
}
END_TEST

START_TEST(test_s49_what_the_program_asked_for_is_reserved_and_never_exceeded)
{
    asock_socket *all[3], *more;
    uint64_t value;
    struct hello asked;

    ck_assert_int_eq(asock_context_set_limit(fake.context, ASOCK_LIMIT_SOCKETS, 3), 0);
    ck_assert_int_eq(asock_context_set_limit(fake.context, ASOCK_LIMIT_OPS, 100), 0);
    asked = expect_hello();
    ck_assert_uint_eq(asked.sockets, 3);
    ck_assert_uint_eq(asked.ops, 100);
    answer((struct hello){3, 100, 64 * KIB, 64 * KIB}, NULL);
    ck_assert_int_eq(asock_context_get_limit(fake.context, ASOCK_LIMIT_SOCKETS, &value), 0);
    ck_assert_uint_eq(value, 3);
    ck_assert_int_eq(asock_context_get_limit(fake.context, ASOCK_LIMIT_QUEUED, &value), 0);
    ck_assert_uint_eq(value, MOST_QUEUED);
    for (int i = 0; i < 3; i++)
        all[i] = fake_socket();
    ck_assert_int_eq(asock_socket_new(fake.context, AF_UNSPEC, &more), -EMFILE);
    ck_assert(fake_is_silent());
    for (int i = 0; i < 3; i++)
        asock_socket_unref(all[i]);
}
END_TEST

/* Receives that the grant has no place for wait, ask once, and go on when one has ended. */
START_TEST(test_s49_ops_over_a_grant_that_stays_wait_and_ask_once)
{
    asock_socket *socket = begin();
    asock_op *ops[12];
    struct request first;
    char data[12];
    int left = 0;

    for (int i = 0; i < 12; i++) {
        ops[i] = fake_op(&data[i], 1);
        ck_assert_int_eq(asock_receive(socket, ops[i]), 1);
    }
    first = *fake_expect(VERB_RECEIVE);
    for (left = 1; fake_next()->verb == VERB_RECEIVE; left++)
        ;
    ck_assert_int_le(left, 8);
    ck_assert_uint_eq(fake.request.verb, VERB_HELLO);
    ck_assert_uint_ge(fake.request.hello.ops, 16);
    answer(least, "the user has too few operations left");
    ck_assert(fake_is_silent());
    {
        struct reply reply = {.kind = KIND_COMPLETION, .op = first.op, .socket = 1, .bytes = 1};

        reply.ops_freed = 1;
        fake_reply(&reply, "x", 1);
    }
    ck_assert_int_eq(fake_end(ops[0]), ASOCK_SUCCESS);
    fake_expect(VERB_RECEIVE);
    ck_assert(fake_is_silent());
    for (int i = 0; i < 12; i++)
        asock_op_unref(ops[i]);
    asock_socket_unref(socket);
}
END_TEST

START_TEST(test_s49_a_large_send_asks_for_a_larger_window)
{
    asock_socket *socket = begin();
    char *data = calloc(1, MIB);
    asock_op *op = fake_op(data, MIB);
    size_t sent = 0;
    bool is_asked = false;

    ck_assert_int_eq(asock_send(socket, op), 1);
    while (sent < 64 * KIB || !is_asked) {
        if (fake_next()->verb == VERB_SEND) {
            sent += fake.payload_len;
            continue;
        }
        ck_assert_uint_eq(fake.request.verb, VERB_HELLO);
        ck_assert_uint_eq(fake.request.hello.send_window, MIB);
        ck_assert_uint_ge(fake.request.hello.queued_max, MIB);
        is_asked = true;
    }
    ck_assert_uint_eq(sent, 64 * KIB);
    ck_assert(fake_is_silent());
    answer((struct hello){1, 8, MIB, MIB}, NULL);
    while (sent < MIB) {
        fake_expect(VERB_SEND);
        sent += fake.payload_len;
    }
    ck_assert(!fake.request.send.more);
    ck_assert(fake_is_silent());
    asock_op_unref(op);
    asock_socket_unref(socket);
    free(data);
}
END_TEST

static asock_op *connect_with(asock_socket *socket, void *data, size_t len)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(80)};
    asock_op *op = fake_op(data, len);

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(asock_op_set_endpoint(op, (struct sockaddr *)&addr, sizeof(addr)), 0);
    ck_assert_int_eq(asock_connect(socket, op), 1);
    return op;
}

START_TEST(test_s49_a_connect_whose_data_will_not_fit_fails_and_what_waits_for_it)
{
    static char data[100 * KIB];
    asock_socket *socket;
    asock_op *op, *send;

    expect_hello();
    answer(least, NULL);
    socket = fake_socket();
    op = connect_with(socket, data, sizeof(data));
    send = fake_op(data, 1);
    ck_assert_int_eq(asock_send(socket, send), 1);
    ck_assert_uint_ge(expect_hello().send_window, sizeof(data));
    answer(least, "the user has too little memory left");
    ck_assert_int_eq(fake_end(op), ASOCK_NO_BUFFER_SPACE);
    is_text(op, "the user has too little memory left");
    ck_assert_int_eq(fake_end(send), ASOCK_OPERATION_ABORTED);
    asock_op_unref(send);
    asock_op_unref(op);
    asock_socket_unref(socket);
}
END_TEST

/* The other socket's share is not for it, and may never be free. */
START_TEST(test_s49_a_connect_whose_data_fits_only_alone_fails_beside_another_socket)
{
    static const struct hello granted = {2, 64, MIB, 96 * KIB};
    static char data[90 * KIB];
    asock_socket *other, *socket;
    asock_op *op;

    expect_hello();
    answer(granted, NULL);
    other = fake_connected();
    socket = fake_socket();
    op = connect_with(socket, data, sizeof(data));
    ck_assert_uint_gt(expect_hello().queued_max, 96 * KIB);
    answer(granted, "the user has too little memory left");
    ck_assert_int_eq(fake_end(op), ASOCK_NO_BUFFER_SPACE);
    is_text(op, "the user has too little memory left");
    asock_op_unref(op);
    asock_socket_unref(socket);
    asock_socket_unref(other);
}
END_TEST

/* There may be more sockets, whose shares are theirs, and the daemon has no more. */
START_TEST(test_s49_a_connect_that_fits_only_with_the_shares_of_others_fails_also_alone)
{
    static const struct hello granted = {16, 64, MIB, 96 * KIB};
    static char data[60 * KIB];
    asock_socket *socket;
    asock_op *op;

    expect_hello();
    answer(granted, NULL);
    socket = fake_socket();
    op = connect_with(socket, data, sizeof(data));
    ck_assert_uint_gt(expect_hello().queued_max, 96 * KIB);
    answer(granted, "the user has too little memory left");
    ck_assert_int_eq(fake_end(op), ASOCK_NO_BUFFER_SPACE);
    is_text(op, "the user has too little memory left");
    asock_op_unref(op);
    asock_socket_unref(socket);
}
END_TEST

START_TEST(test_s49_a_datagram_that_will_not_fit_fails_and_the_next_one_goes)
{
    static const struct hello granted = {16, 64, MIB, 64 * KIB};
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(80)};
    static char data[60 * KIB];
    asock_op *ops[2];
    asock_socket *socket;

    expect_hello();
    answer(granted, NULL);
    ck_assert_int_eq(asock_socket_new_udp(fake.context, AF_INET, &socket), 0);
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < 2; i++) {
        ops[i] = fake_op(data, i == 0 ? sizeof(data) : 1000);
        ck_assert_int_eq(asock_op_set_endpoint(ops[i], (struct sockaddr *)&addr, sizeof(addr)), 0);
        ck_assert_int_eq(asock_send_to(socket, ops[i]), 1);
    }
    ck_assert_uint_gt(expect_hello().queued_max, 64 * KIB);
    answer(granted, "the user has too little memory left");
    ck_assert_int_eq(fake_end(ops[0]), ASOCK_NO_BUFFER_SPACE);
    is_text(ops[0], "the user has too little memory left");
    fake_expect(VERB_OPEN);
    fake_complete_free(fake_expect(VERB_SEND), 0, 1000, 1000, 2);
    ck_assert_int_eq(fake_end(ops[1]), ASOCK_SUCCESS);
    asock_op_unref(ops[0]);
    asock_op_unref(ops[1]);
    asock_socket_unref(socket);
}
END_TEST

START_TEST(test_s49_a_connect_whose_data_fits_after_a_raise_goes_out)
{
    static char data[100 * KIB];
    asock_socket *socket;
    asock_op *op;

    expect_hello();
    answer(least, NULL);
    socket = fake_socket();
    op = connect_with(socket, data, sizeof(data));
    expect_hello();
    answer((struct hello){1, 8, MIB, MIB}, NULL);
    fake_expect(VERB_OPEN);
    fake_complete_free(fake_expect(VERB_CONNECT), 0, sizeof(data), sizeof(data), 2);
    ck_assert_int_eq(fake_end(op), ASOCK_SUCCESS);
    asock_op_unref(op);
    asock_socket_unref(socket);
}
END_TEST

START_TEST(test_s49_a_session_that_is_refused_says_why)
{
    struct reply reply = {.kind = KIND_EVENT, .error = ERR_NO_BUFFER_SPACE, .body = BODY_EVENT};
    const char *why = "the user has reached its client limit";
    asock_op *op = fake_op(NULL, 0);
    asock_socket *socket;
    char text[100];

    ck_assert_int_eq(asock_sync(fake.context, op), 1);
    ck_assert_int_eq(asock_context_get_error_text(fake.context, text, sizeof(text)), 0);
    ck_assert_str_eq(text, "");
    expect_hello();
    reply.event = EVENT_SESSION_ENDED;
    fake_reply(&reply, why, strlen(why));
    ck_assert_int_eq(fake_end(op), ASOCK_CONNECTION_ABORTED);
    ck_assert_int_eq(asock_context_get_error_text(fake.context, NULL, 0), ASOCK_NO_BUFFER_SPACE);
    ck_assert_int_eq(asock_context_get_error_text(fake.context, text, 9), ASOCK_NO_BUFFER_SPACE);
    ck_assert_str_eq(text, "the user");
    ck_assert_int_eq(asock_context_get_error_text(fake.context, NULL, 1), -EINVAL);
    asock_context_get_error_text(fake.context, text, sizeof(text));
    ck_assert_str_eq(text, why);
    /* The call for everybody knows it too. */
    ck_assert_int_eq(asock_dial(fake.context, "127.0.0.1", "80", 1000, &socket), -ENOTCONN);
    ck_assert_int_eq(asock_context_get_last_error(fake.context, text, sizeof(text)),
                     ASOCK_NOT_CONNECTED);
    ck_assert_str_eq(text, why);
    asock_op_unref(op);
}
END_TEST
