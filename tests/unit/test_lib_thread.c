/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The dispatcher thread, with the daemon played by a thread of the test. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/lib/suite.h"
#include "tests/unit/fake_daemon.h"

/*
 * Answers every request with success until the connection ends; a receive of NEVER bytes when it is
 * cancelled.
 */
#define NEVER 77
static pthread_t server;

static void answer(const struct request *request)
{
    static uint64_t never;
    struct reply reply = {.kind = KIND_COMPLETION, .op = request->op, .socket = request->socket};

    if (request->verb == VERB_HELLO) {
        reply = (struct reply){.kind = KIND_WELCOME, .body = BODY_WELCOME};
        reply.welcome = (struct welcome){.version = 1,
                                         .sockets = 64,
                                         .ops = 256,
                                         .socket_ops = 128,
                                         .send_window = 1 << 20,
                                         .queued_max = 1 << 22,
                                         .payload_max = FRAME_PAYLOAD_MAX,
                                         .head_max = FRAME_HEAD_MAX};
        fake_reply(&reply, NULL, 0);
        return;
    }
    if (request->verb == VERB_CANCEL) {
        fake_reply(&reply, NULL, 0);
        if (request->cancel.target != never)
            return;
        reply.op = never;
        reply.error = ERR_OPERATION_ABORTED;
    }
    if (request->verb == VERB_RECEIVE && request->receive.length == NEVER) {
        never = request->op;
        return;
    }
    if (request->flags & REQUEST_ERRORS_ONLY || (request->verb == VERB_SEND && request->send.more))
        return;
    reply.ops_freed = request->verb == VERB_CLOSE ? 0 : 1;
    reply.send_freed = fake.payload_len;
    if (request->verb == VERB_SEND || request->verb == VERB_CONNECT)
        reply.bytes = fake.payload_len;
    fake_reply(&reply, NULL, 0);
}

static void *serve(void *unused)
{
    struct pollfd fd = {.fd = fake.fd, .events = POLLIN};
    char c;

    (void)unused;
    for (;;) {
        while (fake_take())
            answer(&fake.request);
        poll(&fd, 1, -1);
        if (recv(fake.fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
            return NULL;
    }
}

static asock_context *context;

static void thread_setup(void)
{
    fake_setup();
    context = fake.context;
    fake.context = NULL; /* the server thread has nothing to do with it */
    pthread_create(&server, NULL, serve, NULL);
    ck_assert_int_eq(asock_context_start_dispatcher(context), 0);
}

static void thread_teardown(void)
{
    context = asock_context_unref(context);
    pthread_join(server, NULL);
    fake_teardown();
}

static asock_op *new_op(asock_callback callback, void *userdata)
{
    static char data[10];
    asock_op *op;

    ck_assert_int_eq(asock_op_new(context, &op), 0);
    ck_assert_int_eq(asock_op_set_buffer(op, data, sizeof(data)), 0);
    ck_assert_int_eq(asock_op_set_callback(op, callback, userdata), 0);
    ck_assert_int_eq(asock_op_set_host(op, "a", "1"), 0);
    return op;
}

static asock_socket *new_socket(void)
{
    asock_socket *socket;

    ck_assert_int_eq(asock_socket_new(context, AF_INET, &socket), 0);
    return socket;
}

TEST_FIXTURE_TIMEOUT(thread_setup, thread_teardown, 120);

START_TEST(test_s9_wait_from_other_threads)
{
    asock_socket *socket = new_socket();
    asock_op *op = new_op(NULL, NULL);

    ck_assert_int_eq(asock_context_process(context), -EBUSY);
    ck_assert_int_eq(asock_context_start_dispatcher(context), -EBUSY);
    ck_assert_int_ge(asock_connect(socket, op), 0);
    ck_assert_int_eq(asock_op_wait(op, -1), 0);
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(asock_send(socket, op), 1);
        ck_assert_int_eq(asock_op_wait(op, -1), 0);
        ck_assert_int_eq(asock_op_get_error(op), ASOCK_SUCCESS);
    }
    asock_op_unref(op);
    asock_socket_unref(socket);
}
END_TEST

static int order[1000], in_order;

static void note_order(asock_op *op, void *userdata)
{
    (void)op;
    order[in_order++] = (int)(intptr_t)userdata;
}

START_TEST(test_callbacks_come_in_order_of_completion)
{
    asock_socket *socket = new_socket();
    asock_op *connect = new_op(NULL, NULL), *ops[200];

    ck_assert_int_eq(asock_connect(socket, connect), 1);
    for (intptr_t i = 0; i < 200; i++) {
        ops[i] = new_op(note_order, (void *)i);
        ck_assert_int_eq(asock_send(socket, ops[i]), 1);
    }
    for (int i = 0; i < 200; i++)
        ck_assert_int_eq(asock_op_wait(ops[i], -1), 0);
    ck_assert_int_eq(asock_context_stop_dispatcher(context), 0);
    ck_assert_int_eq(asock_context_stop_dispatcher(context), -ENOENT);
    asock_context_process(context);
    ck_assert_int_eq(in_order, 200);
    for (int i = 0; i < 200; i++) {
        ck_assert_int_eq(order[i], i);
        asock_op_unref(ops[i]);
    }
    asock_op_unref(connect);
    asock_socket_unref(socket);
}
END_TEST

struct inside {
    asock_socket *socket;
    asock_op *other; /* pending, until it is cancelled */
    char never[NEVER];
    sem_t done, go;
    int failures;
};

static void check_inside(asock_op *op, void *userdata)
{
    struct inside *inside = userdata;
    sigset_t blocked;

    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    inside->failures += !sigismember(&blocked, SIGTERM) || !sigismember(&blocked, SIGINT);
    inside->failures += asock_op_wait(inside->other, -1) != -EDEADLK;
    inside->failures += asock_op_wait(op, -1) != 0;
    inside->failures += asock_context_stop_dispatcher(context) != -EDEADLK;
    inside->failures += asock_receive_some(inside->socket, NULL, 0, -1) != -EDEADLK;
    inside->failures += asock_context_inspect(context, "list", NULL, NULL, -1) != -EINVAL;
    asock_cancel(inside->other);
    sem_post(&inside->done);
}

START_TEST(test_inside_a_callback_of_the_dispatcher)
{
    struct inside inside = {.socket = new_socket()};
    asock_op *op = new_op(check_inside, &inside);

    sem_init(&inside.done, 0, 0);
    inside.other = new_op(NULL, NULL);
    ck_assert_int_eq(asock_sync(context, inside.other), 1);
    ck_assert_int_eq(asock_op_wait(inside.other, -1), 0);
    ck_assert_int_eq(asock_op_set_buffer(inside.other, inside.never, sizeof(inside.never)), 0);
    ck_assert_int_eq(asock_receive(inside.socket, inside.other), 1);
    ck_assert_int_eq(asock_connect(inside.socket, op), 1);
    sem_wait(&inside.done);
    ck_assert_int_eq(inside.failures, 0);
    ck_assert_int_eq(asock_op_wait(inside.other, -1), 0);
    ck_assert_int_eq(asock_op_get_error(inside.other), ASOCK_OPERATION_ABORTED);
    asock_op_unref(op);
    asock_op_unref(inside.other);
    asock_socket_unref(inside.socket);
    sem_destroy(&inside.done);
}
END_TEST

static void release_context(asock_op *op, void *userdata)
{
    struct inside *inside = userdata;

    asock_op_unref(op);
    asock_socket_unref(inside->socket);
    asock_context_unref(context);
    context = NULL;
    sem_post(&inside->done);
}

START_TEST(test_s6_the_last_reference_goes_in_the_dispatcher)
{
    struct inside inside = {.socket = new_socket()};
    asock_op *op = new_op(release_context, &inside);

    sem_init(&inside.done, 0, 0);
    ck_assert_int_eq(asock_connect(inside.socket, op), 1);
    sem_wait(&inside.done);
    pthread_join(server, NULL); /* the connection has ended */
    pthread_create(&server, NULL, serve, NULL);
    sem_destroy(&inside.done);
}
END_TEST

static void release_and_refer_again(asock_op *op, void *userdata)
{
    struct inside *inside = userdata;
    asock_context *same = context;

    asock_op_unref(op);
    asock_socket_unref(inside->socket);
    asock_context_unref(context);
    context = asock_context_ref(same);
    sem_post(&inside->done);
    sem_wait(&inside->go);
}

/* The thread that runs this callback ends by itself: nobody may join it. */
START_TEST(test_s6_a_context_that_has_ended_is_referred_to_again)
{
    static struct inside inside; /* the callback waits there when the test has ended */
    asock_op *op = new_op(release_and_refer_again, &inside);

    inside.socket = new_socket();
    sem_init(&inside.done, 0, 0);
    sem_init(&inside.go, 0, 0);
    ck_assert_int_eq(asock_connect(inside.socket, op), 1);
    sem_wait(&inside.done);
    ck_assert_int_eq(asock_context_stop_dispatcher(context), -ENOENT);
    ck_assert_int_eq(asock_context_start_dispatcher(context), -ESHUTDOWN);
    sem_post(&inside.go);
    context = asock_context_unref(context);
    pthread_join(server, NULL);
    pthread_create(&server, NULL, serve, NULL);
}
END_TEST

static void note_nothing(asock_op *op, void *userdata)
{
    (void)op;
    (void)userdata;
}

/* Several threads use one context at once. */
static void *hammer(void *data)
{
    unsigned int seed = (unsigned int)(uintptr_t)data;
    asock_socket *socket = new_socket();
    asock_op *ops[8];

    for (int i = 0; i < 8; i++)
        ops[i] = new_op(i % 2 ? note_nothing : NULL, NULL);
    asock_connect(socket, ops[0]);
    for (int i = 0; i < 300; i++) {
        asock_op *op = ops[rand_r(&seed) % 8];
        int r = rand_r(&seed) % 3 ? asock_send(socket, op) : asock_receive(socket, op);

        if (r < 0 && r != -EBUSY)
            return (void *)1;
        if (rand_r(&seed) % 10 == 0)
            asock_cancel(op);
        if (rand_r(&seed) % 5 == 0 && r >= 0 && asock_op_wait(op, -1) < 0)
            return (void *)1;
    }
    for (int i = 0; i < 8; i++)
        asock_op_unref(ops[i]);
    asock_socket_unref(socket);
    return NULL;
}

START_TEST(test_many_threads)
{
    pthread_t threads[4];
    void *failed;

    for (uintptr_t i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, hammer, (void *)(i + 1));
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], &failed);
        ck_assert_ptr_null(failed);
    }
}
END_TEST

START_TEST(test_the_end_while_others_wait)
{
    asock_socket *socket = new_socket();
    asock_op *op = new_op(NULL, NULL);

    ck_assert_int_eq(asock_connect(socket, op), 1);
    ck_assert_int_eq(asock_op_wait(op, -1), 0);
    shutdown(fake.fd, SHUT_RDWR);
    ck_assert_int_ge(asock_receive(socket, op), 0);
    ck_assert_int_eq(asock_op_wait(op, -1), 0);
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_CONNECTION_ABORTED);
    asock_op_unref(op);
    asock_socket_unref(socket);
}
END_TEST
