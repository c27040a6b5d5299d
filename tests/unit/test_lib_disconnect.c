/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What may leave while the daemon ends a connection (S73), and what must not reach the next one. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "tests/lib/suite.h"
#include "tests/unit/fake_daemon.h"

#define RECEIVES 40
#define WINDOW 65536u

TEST_FIXTURE_TIMEOUT(fake_setup, fake_teardown, 120);

static asock_op *connect_op(void)
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(80)};
    asock_op *op = fake_op(NULL, 0);

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(asock_op_set_endpoint(op, (struct sockaddr *)&addr, sizeof(addr)), 0);
    return op;
}

static asock_socket *datagram_socket(void)
{
    asock_socket *socket;

    fake.verbs = UINT64_MAX;
    fake_welcome(0, 16, 0, 0);
    ck_assert_int_eq(asock_socket_new_udp(fake.context, AF_INET, &socket), 0);
    return socket;
}

/* More than may leave. Returns how many have left; the last one is fake.request. */
static int receive_many(asock_socket *socket, asock_op **ops, char *bytes)
{
    int count;

    for (int i = 0; i < RECEIVES; i++) {
        ops[i] = fake_op(bytes + i, 1);
        ck_assert_int_eq(asock_receive(socket, ops[i]), 1);
    }
    count = fake_drop(RECEIVES + 1);
    ck_assert_int_lt(count, RECEIVES);
    ck_assert_uint_eq(fake.request.verb, VERB_RECEIVE);
    return count;
}

static void forget(asock_op **ops, int count)
{
    for (int i = 0; i < count; i++)
        asock_op_unref(ops[i]);
}

/* The connect leaves: else nothing on this socket could ever leave again. */
START_TEST(test_s66_a_connect_of_datagrams_passes_receives_that_wait)
{
    asock_socket *socket = datagram_socket();
    asock_op *ops[RECEIVES], *connect = connect_op();
    char bytes[RECEIVES], byte = 'd';
    asock_op *send = fake_op(&byte, 1);

    receive_many(socket, ops, bytes);
    ck_assert_int_eq(asock_connect(socket, connect), 1);
    ck_assert_int_eq(asock_send(socket, send), 1);
    fake_complete(fake_expect(VERB_CONNECT), 0, 0);
    fake_complete_free(fake_expect(VERB_SEND), 0, 1, 1, 1);
    ck_assert_int_eq(fake_end(connect), ASOCK_SUCCESS);
    ck_assert_int_eq(fake_end(send), ASOCK_SUCCESS);
    forget(ops, RECEIVES);
    asock_op_unref(connect);
    asock_op_unref(send);
    asock_socket_unref(socket);
}
END_TEST

/*
 * The daemon ends the receives that it has, and then the connection. What waits here is read about
 * in two steps: it must not leave in between. If the connection stays, it leaves then.
 */
START_LOOP_TEST(test_s73_a_late_receive_does_not_reach_the_next_connection, 0, 2)
{
    asock_socket *socket = datagram_socket();
    asock_op *ops[RECEIVES], *connect = connect_op(), *disconnect = fake_op(NULL, 0);
    struct request last, end;
    char bytes[RECEIVES], byte;
    asock_op *next = fake_op(&byte, 1);
    int left;

    ck_assert_int_eq(asock_connect(socket, connect), 1);
    fake_expect(VERB_OPEN);
    fake_complete_free(fake_expect(VERB_CONNECT), 0, 0, 0, 2);
    ck_assert_int_eq(fake_end(connect), ASOCK_SUCCESS);
    left = receive_many(socket, ops, bytes);
    last = fake.request;
    ck_assert_int_eq(asock_disconnect(socket, disconnect), 1);
    end = *fake_expect(VERB_DISCONNECT);
    fake_complete(&last, ERR_OPERATION_ABORTED, 0);
    ck_assert_int_eq(fake_end(ops[left - 1]), ASOCK_OPERATION_ABORTED);
    ck_assert(fake_is_silent());
    fake_complete_free(&end, _i ? ERR_TIMED_OUT : 0, 0, 0, 0);
    ck_assert_int_eq(fake_end(disconnect), _i ? ASOCK_TIMED_OUT : ASOCK_SUCCESS);
    for (int i = left; i < RECEIVES; i++)
        ck_assert_int_eq(asock_op_is_pending(ops[i]), _i);
    if (!_i)
        ck_assert_int_eq(asock_receive(socket, next), 1);
    fake_expect(VERB_RECEIVE);
    forget(ops, RECEIVES);
    asock_op_unref(connect);
    asock_op_unref(disconnect);
    asock_op_unref(next);
    asock_socket_unref(socket);
}
END_TEST

/*
 * Receives of a stream, more than may leave. Those from `first` on have left behind the
 * disconnects, in the places of those before, which the daemon has ended; from `left` on they wait.
 */
struct late {
    asock_socket *socket;
    asock_op *ops[RECEIVES], *disconnects[2];
    struct request sent[RECEIVES], ends[2];
    char bytes[RECEIVES];
    int first, left, count; /* count: of the disconnects */
};

static int take_receives(struct late *l, int from)
{
    while (from < RECEIVES && fake_drop(1))
        l->sent[from++] = fake.request;
    return from;
}

static void make_late(struct late *l, int count, unsigned int timeout_ms)
{
    fake.verbs = UINT64_MAX;
    fake_welcome(0, 16, 0, 0);
    l->socket = fake_connected();
    l->count = count;
    for (int i = 0; i < RECEIVES; i++) {
        l->ops[i] = fake_op(l->bytes + i, 1);
        ck_assert_int_eq(asock_receive(l->socket, l->ops[i]), 1);
    }
    l->first = take_receives(l, 0);
    for (int i = 0; i < count; i++) {
        l->disconnects[i] = fake_op(NULL, 0);
        ck_assert_int_eq(asock_op_set_timeout(l->disconnects[i], timeout_ms), 0);
        ck_assert_int_eq(asock_disconnect(l->socket, l->disconnects[i]), 1);
        l->ends[i] = *fake_expect(VERB_DISCONNECT);
    }
    for (int i = 0; i < l->first; i++)
        fake_complete_free(&l->sent[i], ERR_OPERATION_ABORTED, 0, 0, 1);
    ck_assert_int_eq(fake_end(l->ops[l->first - 1]), ASOCK_OPERATION_ABORTED);
    l->left = take_receives(l, l->first);
    ck_assert_int_gt(l->left, l->first);
    ck_assert_int_lt(l->left, RECEIVES);
}

static void forget_late(struct late *l)
{
    forget(l->ops, RECEIVES);
    forget(l->disconnects, l->count);
    asock_socket_unref(l->socket);
}

/*
 * A stream's receive leaves in between, because the peer may read only when it is read, and finds
 * the socket without a connection. It was of the one that has ended: the disconnect comes last.
 */
START_LOOP_TEST(test_s73_a_late_receive_of_a_stream_ends_before_its_disconnect, 0, 2)
{
    struct late l;

    make_late(&l, 1, 0);
    fake_complete_free(&l.ends[0], 0, 0, 0, 0);
    ck_assert_int_eq(fake_end(l.ops[l.left]), ASOCK_OPERATION_ABORTED); /* it waited */
    if (_i)
        shutdown(fake.fd, SHUT_RDWR);
    for (int i = l.first; i < l.left; i++) {
        ck_assert(_i || asock_op_is_pending(l.disconnects[0]));
        if (!_i)
            fake_complete_free(&l.sent[i], ERR_NOT_CONNECTED, 0, 0, 1);
        ck_assert_int_eq(fake_end(l.ops[i]),
                         _i ? ASOCK_CONNECTION_ABORTED : ASOCK_OPERATION_ABORTED);
    }
    ck_assert(!asock_op_is_pending(l.disconnects[0]));
    ck_assert_int_eq(asock_op_get_error(l.disconnects[0]), ASOCK_SUCCESS);
    forget_late(&l);
}
END_TEST

/*
 * Of a broken daemon: it says that it has ended the connection twice, and has not ended the receive
 * of either. What it says ends the session, or all ops end with that.
 */
START_TEST(test_s73_a_late_receive_of_two_disconnects)
{
    struct late l;

    make_late(&l, 2, 0);
    for (int i = 0; i < 2; i++)
        fake_complete_free(&l.ends[i], 0, 0, 0, 0);
    fake_process();
    shutdown(fake.fd, SHUT_RDWR);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(fake_end(l.disconnects[i]), ASOCK_SUCCESS);
    forget_late(&l);
}
END_TEST

/* It has a time-out, or is cancelled: a daemon that answers no more does not hold it endlessly. */
START_LOOP_TEST(test_s57_a_disconnect_behind_a_late_receive_has_its_time, 0, 3)
{
    struct late l;

    ck_assert_int_eq(asock_context_set_grace_ms(fake.context, 2000), 0);
    make_late(&l, 1, _i == 0 ? 60000 : 0);
    if (_i == 1)
        ck_assert_int_eq(asock_cancel(l.disconnects[0]), 0);
    fake_complete_free(&l.ends[0], 0, 0, 0, 0);
    fake_process();
    ck_assert(asock_op_is_pending(l.disconnects[0]));
    if (_i == 2)
        ck_assert_int_eq(asock_cancel(l.disconnects[0]), 0);
    ck_assert_int_eq(asock_op_wait(l.disconnects[0], 30000), 0);
    ck_assert_int_eq(asock_op_get_error(l.disconnects[0]), ASOCK_SUCCESS);
    forget_late(&l);
}
END_TEST

/* A connection with a send of which half has left, and what is to come behind it. */
struct half {
    asock_socket *socket;
    asock_op *send;
    struct request piece;
    char *data;
};

static struct half half_sent(void)
{
    struct half half;

    fake.verbs = UINT64_MAX;
    fake_welcome(0, 0, WINDOW, 0);
    half.data = calloc(2, WINDOW);
    half.socket = fake_connected();
    half.send = fake_op(half.data, 2 * (size_t)WINDOW);
    ck_assert_int_eq(asock_send(half.socket, half.send), 1);
    half.piece = *fake_expect(VERB_SEND);
    ck_assert(half.piece.send.more);
    ck_assert(fake_is_silent());
    return half;
}

/* A send that times out in the library. */
static void cut(const struct half *half)
{
    char data[4] = "late";
    asock_op *late = fake_op(data, sizeof(data));

    ck_assert_int_eq(asock_op_set_timeout(late, 1), 0);
    ck_assert_int_eq(asock_send(half->socket, late), 1);
    ck_assert_int_eq(fake_end(late), ASOCK_TIMED_OUT);
    asock_op_unref(late);
}

static void forget_half(struct half *half)
{
    asock_op_unref(half->send);
    asock_socket_unref(half->socket);
    fake.context = asock_context_unref(fake.context);
    free(half->data);
}

/* What was to be sent behind the first one cuts nothing of what that ends. */
START_TEST(test_s73_a_second_disconnect_does_not_pass_the_first)
{
    struct half half = half_sent();
    asock_op *first = fake_op(NULL, 0), *second = fake_op(NULL, 0);

    ck_assert_int_eq(asock_disconnect(half.socket, first), 1);
    cut(&half);
    ck_assert_int_eq(asock_disconnect(half.socket, second), 1);
    ck_assert_int_eq(fake_end(second), ASOCK_ALREADY_IN_PROGRESS);
    ck_assert(fake_is_silent());
    fake_room(asock_socket_get_id(half.socket), WINDOW);
    ck_assert(!fake_expect(VERB_SEND)->send.more);
    ck_assert(!fake_expect(VERB_DISCONNECT)->disconnect.abort);
    fake_complete_free(&half.piece, 0, 2 * (uint64_t)WINDOW, WINDOW, 1);
    fake_complete_free(&fake.request, 0, 0, 0, 0);
    ck_assert_int_eq(fake_end(half.send), ASOCK_SUCCESS);
    ck_assert_int_eq(fake_end(first), ASOCK_SUCCESS);
    asock_op_unref(first);
    asock_op_unref(second);
    forget_half(&half);
}
END_TEST

/* Nor does what waits in front of the cut. */
START_TEST(test_s73_a_cut_stream_sends_nothing_behind_its_disconnect)
{
    struct half half = half_sent();
    asock_op *shut = fake_op(NULL, 0), *disconnect = fake_op(NULL, 0);
    struct request end;

    ck_assert_int_eq(asock_shutdown(half.socket, shut, ASOCK_SHUTDOWN_SEND), 1);
    cut(&half);
    ck_assert_int_eq(asock_disconnect(half.socket, disconnect), 1);
    end = *fake_expect(VERB_DISCONNECT);
    ck_assert(end.disconnect.abort);
    fake_complete_free(&half.piece, ERR_OPERATION_ABORTED, 0, WINDOW, 1);
    ck_assert_int_eq(fake_end(half.send), ASOCK_OPERATION_ABORTED);
    ck_assert(fake_expect(VERB_SEND)->send.abandon);
    ck_assert(fake_is_silent());
    fake_complete_free(&end, ERR_CONNECTION_RESET, 0, 0, 0);
    ck_assert_int_eq(fake_end(disconnect), ASOCK_CONNECTION_RESET);
    ck_assert_int_eq(asock_op_get_error(shut), ASOCK_OPERATION_ABORTED);
    ck_assert(fake_is_silent());
    asock_op_unref(shut);
    asock_op_unref(disconnect);
    forget_half(&half);
}
END_TEST

/* What was submitted behind the disconnect and the next connect is of that. */
START_TEST(test_s73_receive_behind_disconnect_and_connect)
{
    asock_socket *socket = datagram_socket();
    asock_op *connect = connect_op(), *again = connect_op(), *disconnect = fake_op(NULL, 0);
    char byte = 'x';
    asock_op *receive = fake_op(&byte, 1);
    struct request end, second;

    ck_assert_int_eq(asock_connect(socket, connect), 1);
    fake_expect(VERB_OPEN);
    fake_complete_free(fake_expect(VERB_CONNECT), 0, 0, 0, 2);
    ck_assert_int_eq(fake_end(connect), ASOCK_SUCCESS);
    ck_assert_int_eq(asock_disconnect(socket, disconnect), 1);
    ck_assert_int_eq(asock_connect(socket, again), 1);
    ck_assert_int_eq(asock_receive(socket, receive), 1);
    end = *fake_expect(VERB_DISCONNECT);
    second = *fake_expect(VERB_CONNECT);
    fake_complete_free(&end, 0, 0, 0, 0);
    ck_assert_int_eq(fake_end(disconnect), ASOCK_SUCCESS);
    fake_complete_free(&second, 0, 0, 0, 1);
    ck_assert_int_eq(fake_end(again), ASOCK_SUCCESS);
    ck_assert(asock_op_is_pending(receive));
    asock_op_unref(connect);
    asock_op_unref(again);
    asock_op_unref(disconnect);
    asock_op_unref(receive);
    asock_socket_unref(socket);
}
END_TEST

/* A disconnect of a stream that waits in the daemon, and a second one that is refused. */
START_TEST(test_s73_a_refused_second_disconnect_holds_no_receive)
{
    asock_op *ops[RECEIVES], *first = fake_op(NULL, 0), *second = fake_op(NULL, 0);
    char bytes[RECEIVES], *data = calloc(2, WINDOW);
    asock_op *send = fake_op(data, WINDOW), *late = fake_op(data, 10);
    struct request piece, one, two, receive;
    asock_socket *socket;

    fake.verbs = UINT64_MAX;
    fake_welcome(0, 16, WINDOW, 0);
    socket = fake_connected();
    ck_assert_int_eq(asock_send(socket, send), 1);
    piece = *fake_expect(VERB_SEND);
    ck_assert(!piece.send.more);
    receive_many(socket, ops, bytes);
    receive = fake.request;
    ck_assert_int_eq(asock_disconnect(socket, first), 1);
    one = *fake_expect(VERB_DISCONNECT);
    ck_assert(!one.disconnect.abort);
    ck_assert_int_eq(asock_op_set_timeout(late, 1), 0);
    ck_assert_int_eq(asock_send(socket, late), 1);
    ck_assert_int_eq(fake_end(late), ASOCK_TIMED_OUT);
    ck_assert_int_eq(asock_disconnect(socket, second), 1);
    two = *fake_expect(VERB_DISCONNECT);
    fake_complete_free(&two, ERR_ALREADY_IN_PROGRESS, 0, 0, 0);
    ck_assert_int_eq(fake_end(second), ASOCK_ALREADY_IN_PROGRESS);
    /* The peer answers: one receive ends, and the next one must leave. */
    fake_complete_free(&receive, 0, 0, 0, 1);
    fake_process();
    fake_expect(VERB_RECEIVE);
    (void)piece;
    (void)one;
    forget(ops, RECEIVES);
    asock_op_unref(first);
    asock_op_unref(second);
    asock_op_unref(send);
    asock_op_unref(late);
    asock_socket_unref(socket);
    fake.context = asock_context_unref(fake.context);
    free(data);
}
END_TEST

/* Sends of the next connection, whose connect has left before the disconnect is answered. */
START_TEST(test_s73_sends_behind_the_next_connect_stay)
{
    asock_op *disconnect = fake_op(NULL, 0), *again = connect_op();
    char *data = calloc(2, WINDOW);
    asock_op *first = fake_op(data, 2 * (size_t)WINDOW), *second = fake_op(data, 10);
    struct request end, connect;
    asock_socket *socket;

    fake.verbs = UINT64_MAX;
    fake_welcome(0, 0, WINDOW, 0);
    socket = fake_connected();
    ck_assert_int_eq(asock_disconnect(socket, disconnect), 1);
    ck_assert_int_eq(asock_connect(socket, again), 1);
    ck_assert_int_eq(asock_send(socket, first), 1);
    ck_assert_int_eq(asock_send(socket, second), 1);
    end = *fake_expect(VERB_DISCONNECT);
    connect = *fake_expect(VERB_CONNECT);
    ck_assert(fake_expect(VERB_SEND)->send.more);
    fake_complete_free(&end, 0, 0, 0, 0);
    ck_assert_int_eq(fake_end(disconnect), ASOCK_SUCCESS);
    fake_complete_free(&connect, 0, 0, 0, 1);
    ck_assert_int_eq(fake_end(again), ASOCK_SUCCESS);
    ck_assert(asock_op_is_pending(first));
    ck_assert(asock_op_is_pending(second));
    asock_op_unref(first);
    asock_op_unref(second);
    asock_op_unref(disconnect);
    asock_op_unref(again);
    asock_socket_unref(socket);
    fake.context = asock_context_unref(fake.context);
    free(data);
}
END_TEST
