/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rules of ops, sockets and contexts as objects. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/suite.h"
#include "tests/unit/fake_daemon.h"

static char byte;

TEST_FIXTURE_TIMEOUT(fake_setup, fake_teardown, 120);

/*
 * The listener is closed before anything of it has left; the accept waits for a place that the
 * session has not.
 */
START_TEST(test_s62_a_close_ends_an_accept_that_waits_for_a_place)
{
    struct sockaddr_in any = {.sin_family = AF_INET};
    asock_socket *sockets[2];
    asock_op *bind = fake_op(NULL, 0), *listen = fake_op(NULL, 0), *accept = fake_op(NULL, 0);

    fake.verbs = UINT64_MAX;
    fake_welcome(2, 0, 0, 0);
    for (int i = 0; i < 2; i++)
        sockets[i] = fake_socket();
    ck_assert_int_eq(asock_op_set_endpoint(bind, (struct sockaddr *)&any, sizeof(any)), 0);
    ck_assert_int_eq(asock_bind(sockets[0], bind), 1);
    ck_assert_int_eq(asock_listen(sockets[0], listen, 8), 1);
    ck_assert_int_eq(asock_accept_multishot(sockets[0], accept), 1);
    ck_assert_int_ge(asock_close(sockets[0], NULL, 0), 0);
    ck_assert_int_eq(fake_end(accept), ASOCK_OPERATION_ABORTED);
    asock_op_unref(bind);
    asock_op_unref(listen);
    asock_op_unref(accept);
    for (int i = 0; i < 2; i++)
        asock_socket_unref(sockets[i]);
}
END_TEST

START_TEST(test_arguments)
{
    struct iovec list[2] = {{&byte, SSIZE_MAX}, {&byte, 1}};
    struct sockaddr_storage addr = {.ss_family = AF_UNIX};
    asock_context *context;
    asock_socket *socket = fake_socket();
    asock_op *op;

    ck_assert_int_lt(asock_context_new_fd(-1, &context), 0);
    ck_assert_int_eq(asock_context_new_fd(0, NULL), -EINVAL);
    ck_assert_int_eq(asock_context_new("/nonexistent/socket", &context), -ENOENT);
    ck_assert_int_eq(asock_op_new(NULL, &op), -EINVAL);
    ck_assert_int_eq(asock_op_new(fake.context, &op), 0);
    ck_assert_int_eq(asock_op_set_buffer(op, NULL, 1), -EINVAL);
    ck_assert_int_eq(asock_op_set_buffers(op, NULL, 1), -EINVAL);
    ck_assert_int_eq(asock_op_set_buffers(op, list, 2), -EINVAL);
    ck_assert_int_eq(asock_op_set_flags(op, 0x100), -EINVAL);
    ck_assert_int_eq(asock_op_set_endpoint(op, (struct sockaddr *)&addr, sizeof(addr)),
                     -EAFNOSUPPORT);
    addr.ss_family = AF_INET;
    ck_assert_int_eq(asock_op_set_endpoint(op, (struct sockaddr *)&addr, 4), -EINVAL);
    ck_assert_int_eq(asock_op_set_host(op, "", "80"), -EINVAL);
    ck_assert_int_eq(asock_op_set_host(op, "a\nb", "80"), -EINVAL);
    ck_assert_int_eq(asock_op_set_host(op, "a", NULL), -EINVAL);
    ck_assert_int_eq(asock_context_set_name(fake.context, "a\tb"), -EINVAL);
    ck_assert_int_eq(asock_connect(socket, op), -EINVAL);
    ck_assert_int_eq(asock_send(socket, op), -EINVAL);
    ck_assert_int_eq(asock_receive(NULL, op), -EINVAL);
    ck_assert_int_eq(asock_shutdown(socket, op, (enum asock_how)0), -EINVAL);
    ck_assert_int_eq(asock_close(socket, op, -2), -EINVAL);
    ck_assert_int_eq(asock_op_wait(op, -1), -EINVAL);
    ck_assert_int_eq(asock_cancel(op), -ENOENT);
    ck_assert_int_eq(asock_op_get_error(op), -EINPROGRESS);
    ck_assert_int_eq(asock_op_get_operation(op), ASOCK_OPERATION_NONE);
    ck_assert_int_eq(asock_socket_new(fake.context, AF_UNIX, &socket), -EAFNOSUPPORT);
    ck_assert_ptr_null(asock_op_unref(op));
    ck_assert_ptr_null(asock_op_unref(NULL));
    ck_assert_ptr_null(asock_socket_unref(NULL));
    ck_assert_ptr_null(asock_context_unref(NULL));
    asock_socket_unref(socket);
}
END_TEST

START_TEST(test_ops_of_another_context_are_refused)
{
    asock_context *other;
    asock_socket *socket = fake_socket();
    asock_op *op;
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    ck_assert_int_eq(asock_context_new_fd(fds[0], &other), 0);
    ck_assert_int_eq(asock_op_new(other, &op), 0);
    ck_assert_int_eq(asock_op_set_buffer(op, &byte, 1), 0);
    ck_assert_int_eq(asock_send(socket, op), -EINVAL);
    asock_op_unref(op);
    asock_context_unref(other);
    close(fds[1]);
    asock_socket_unref(socket);
}
END_TEST

START_TEST(test_s4_an_op_in_flight_is_not_changed)
{
    asock_socket *socket;
    asock_op *op = fake_op(&byte, 1);
    struct sockaddr_in addr = {.sin_family = AF_INET};

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    ck_assert_int_eq(asock_receive(socket, op), 1);
    ck_assert(asock_op_is_pending(op));
    ck_assert_int_eq(asock_receive(socket, op), -EBUSY);
    ck_assert_int_eq(asock_sync(fake.context, op), -EBUSY);
    ck_assert_int_eq(asock_op_set_buffer(op, &byte, 1), -EBUSY);
    ck_assert_int_eq(asock_op_set_buffers(op, NULL, 0), -EBUSY);
    ck_assert_int_eq(asock_op_set_callback(op, NULL, NULL), -EBUSY);
    ck_assert_int_eq(asock_op_set_timeout(op, 1), -EBUSY);
    ck_assert_int_eq(asock_op_set_flags(op, 0), -EBUSY);
    ck_assert_int_eq(asock_op_set_host(op, "a", "1"), -EBUSY);
    ck_assert_int_eq(asock_op_set_endpoint(op, (struct sockaddr *)&addr, sizeof(addr)), -EBUSY);
    fake_complete(fake_expect(VERB_RECEIVE), ERR_SUCCESS, 0);
    ck_assert_int_eq(fake_end(op), ASOCK_SUCCESS);
    asock_op_unref(op);
    asock_socket_unref(socket);
}
END_TEST

struct again {
    asock_socket *socket;
    int runs, limit;
};

static void submit_again(asock_op *op, void *userdata)
{
    struct again *again = userdata;

    ck_assert(!asock_op_is_pending(op));
    ck_assert_ptr_eq(asock_op_get_socket(op), again->socket);
    ck_assert_int_eq(asock_context_process(fake.context), -EDEADLK);
    if (++again->runs < again->limit)
        ck_assert_int_eq(asock_receive(again->socket, op), 1);
}

START_TEST(test_s6_an_op_is_submitted_again_in_its_callback)
{
    struct again again = {.limit = 3};
    asock_op *op = fake_op(&byte, 1);

    fake_welcome(0, 0, 0, 0);
    again.socket = fake_connected();
    ck_assert_int_eq(asock_op_set_callback(op, submit_again, &again), 0);
    ck_assert_int_eq(asock_receive(again.socket, op), 1);
    for (int i = 1; i <= 3; i++) {
        fake_complete(fake_expect(VERB_RECEIVE), ERR_SUCCESS, 0);
        fake_process();
        ck_assert_int_eq(again.runs, i);
    }
    ck_assert(!asock_op_is_pending(op));
    asock_op_unref(op);
    asock_socket_unref(again.socket);
}
END_TEST

static void release_all(asock_op *op, void *userdata)
{
    struct again *again = userdata;

    again->runs++;
    asock_op_unref(op);
    asock_socket_unref(again->socket);
    fake.context = asock_context_unref(fake.context);
    /* The op outlives all that until here. */
    ck_assert_ptr_eq(asock_op_get_userdata(op), again);
}

START_TEST(test_s6_everything_is_released_in_a_callback)
{
    struct again again = {0};
    asock_op *op = fake_op(&byte, 1), *other = fake_op(&byte, 1);
    asock_context *context = fake.context;

    fake_welcome(0, 0, 0, 0);
    again.socket = fake_connected();
    asock_op_set_callback(op, release_all, &again);
    asock_op_set_callback(other, release_all, &again);
    ck_assert_int_eq(asock_receive(again.socket, op), 1);
    ck_assert_int_eq(asock_receive(again.socket, other), 1);
    asock_op_unref(other); /* in flight; its callback never runs: the context goes first */
    fake_complete(fake_expect(VERB_RECEIVE), ERR_SUCCESS, 0);
    ck_assert_int_eq(asock_context_process(context), 1);
    ck_assert_int_eq(again.runs, 1);
}
END_TEST

struct keeper {
    asock_op *op;
    asock_socket *socket;
    asock_context *context;
};

static void keep_all(asock_op *op, void *userdata)
{
    struct keeper *keeper = userdata;

    keeper->op = asock_op_ref(op);
    keeper->socket = asock_socket_ref(asock_op_get_socket(op));
}

START_TEST(test_s6_a_callback_takes_the_only_references)
{
    struct keeper keeper = {0};
    asock_op *op = fake_op(&byte, 1);
    asock_socket *socket;

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    asock_op_set_callback(op, keep_all, &keeper);
    ck_assert_int_eq(asock_receive(socket, op), 1);
    asock_op_unref(op);
    asock_socket_unref(socket);
    fake_complete(fake_expect(VERB_RECEIVE), ERR_SUCCESS, 0);
    fake_process();
    ck_assert_ptr_eq(keeper.op, op);
    ck_assert_int_eq(asock_op_get_error(keeper.op), ASOCK_SUCCESS);
    ck_assert_uint_ne(asock_socket_get_id(keeper.socket), 0); /* not closed */
    ck_assert_int_eq(asock_op_set_callback(keeper.op, NULL, NULL), 0);
    ck_assert_int_eq(asock_receive(keeper.socket, keeper.op), 1);
    fake_complete(fake_expect(VERB_RECEIVE), ERR_SUCCESS, 0);
    ck_assert_int_eq(fake_end(keeper.op), ASOCK_SUCCESS);
    asock_op_unref(keeper.op);
    asock_socket_unref(keeper.socket);
    fake_expect(VERB_CLOSE);
}
END_TEST

static void release_and_keep(asock_op *op, void *userdata)
{
    struct keeper *keeper = userdata;
    asock_context *context = fake.context;

    fake.context = asock_context_unref(fake.context);
    keep_all(op, keeper);
    keeper->context = asock_context_ref(context);
}

START_TEST(test_s6_a_callback_that_released_everything_keeps_it)
{
    struct keeper keeper = {0};
    asock_op *op = fake_op(&byte, 1);
    asock_context *context = fake.context;
    asock_socket *socket;

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    asock_op_set_callback(op, release_and_keep, &keeper);
    ck_assert_int_eq(asock_receive(socket, op), 1);
    asock_op_unref(op);
    asock_socket_unref(socket);
    fake_complete(fake_expect(VERB_RECEIVE), ERR_SUCCESS, 0);
    ck_assert_int_eq(asock_context_process(context), 1);
    ck_assert_int_eq(asock_op_get_error(keeper.op), ASOCK_SUCCESS);
    ck_assert_int_eq(asock_socket_new(keeper.context, AF_INET, &socket), -ENOTCONN);
    asock_op_unref(keeper.op);
    asock_context_unref(keeper.context);
    asock_socket_unref(keeper.socket);
}
END_TEST

START_TEST(test_s5_releasing_an_op_in_flight_is_deferred)
{
    struct again again = {.limit = 0};
    asock_op *op = fake_op(&byte, 1);

    fake_welcome(0, 0, 0, 0);
    again.socket = fake_connected();
    asock_op_set_callback(op, submit_again, &again);
    ck_assert_int_eq(asock_receive(again.socket, op), 1);
    asock_op_unref(op);
    fake_complete(fake_expect(VERB_RECEIVE), ERR_SUCCESS, 0);
    fake_process();
    ck_assert_int_eq(again.runs, 1);
    asock_socket_unref(again.socket);
}
END_TEST

START_TEST(test_the_last_reference_of_a_socket_closes_it)
{
    asock_socket *socket;
    asock_op *op = fake_op(&byte, 1);
    struct request receive;

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    ck_assert_int_eq(asock_receive(socket, op), 1);
    receive = *fake_expect(VERB_RECEIVE);
    asock_socket_unref(socket); /* the op holds it */
    ck_assert(fake_is_silent());
    fake_complete(&receive, ERR_SUCCESS, 0);
    ck_assert_int_eq(fake_end(op), ASOCK_SUCCESS);
    ck_assert(!fake_expect(VERB_CLOSE)->close.abort);
    ck_assert_ptr_eq(asock_op_get_socket(op), socket);
    ck_assert_uint_eq(asock_socket_get_id(socket), 0);
    fake_complete(&fake.request, ERR_SUCCESS, 0);
    fake_process();
    asock_op_unref(op);
}
END_TEST

START_TEST(test_s9_wait_runs_no_callback_and_the_op_stays_busy_until_it_has_run)
{
    struct again again = {.limit = 0};
    asock_op *op = fake_op(&byte, 1);

    fake_welcome(0, 0, 0, 0);
    again.socket = fake_connected();
    asock_op_set_callback(op, submit_again, &again);
    ck_assert_int_eq(asock_receive(again.socket, op), 1);
    ck_assert_int_eq(asock_op_wait(op, 0), -ETIMEDOUT);
    fake_complete(fake_expect(VERB_RECEIVE), ERR_SUCCESS, 0);
    ck_assert_int_eq(asock_op_wait(op, -1), 0);
    ck_assert_int_eq(again.runs, 0);
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_SUCCESS);
    ck_assert(asock_op_is_pending(op));
    ck_assert_int_eq(asock_receive(again.socket, op), -EBUSY);
    ck_assert_int_eq(asock_context_get_timeout(fake.context), 0);
    fake_process();
    ck_assert_int_eq(again.runs, 1);
    ck_assert(!asock_op_is_pending(op));
    asock_op_unref(op);
    asock_socket_unref(again.socket);
}
END_TEST

static void wait_inside(asock_op *op, void *userdata)
{
    asock_op *other = userdata;

    (void)op;
    ck_assert_int_eq(asock_op_wait(other, -1), 0);
    ck_assert_int_eq(asock_op_get_error(other), ASOCK_SUCCESS);
}

START_TEST(test_waiting_in_a_callback_of_process)
{
    asock_socket *socket;
    asock_op *op = fake_op(&byte, 1), *other = fake_op(&byte, 1);
    struct request first;

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    asock_op_set_callback(op, wait_inside, other);
    ck_assert_int_eq(asock_receive(socket, op), 1);
    ck_assert_int_eq(asock_receive(socket, other), 1);
    first = *fake_expect(VERB_RECEIVE);
    fake_complete(&first, ERR_SUCCESS, 0);
    fake_complete(fake_expect(VERB_RECEIVE), ERR_SUCCESS, 0);
    fake_process();
    ck_assert_int_eq(asock_op_get_error(other), ASOCK_SUCCESS);
    asock_op_unref(op);
    asock_op_unref(other);
    asock_socket_unref(socket);
}
END_TEST

START_TEST(test_s1_known_results_are_told_at_once)
{
    struct again again = {.limit = 0};
    asock_op *close = fake_op(NULL, 0), *op = fake_op(&byte, 1);

    fake_welcome(0, 0, 0, 0);
    again.socket = fake_connected();
    ck_assert_int_eq(asock_close(again.socket, close, 0), 1);
    fake_complete(fake_expect(VERB_CLOSE), ERR_SUCCESS, 0);
    ck_assert_int_eq(fake_end(close), ASOCK_SUCCESS);
    asock_op_set_callback(op, submit_again, &again);
    ck_assert_int_eq(asock_receive(again.socket, op), 0);
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_NOT_SOCKET);
    ck_assert_int_eq(asock_close(again.socket, op, 0), 0);
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_NOT_SOCKET);
    ck_assert_int_eq(asock_op_get_operation(op), ASOCK_OPERATION_CLOSE);
    fake_process();
    ck_assert_int_eq(again.runs, 0);
    /* A send never; nor anything when asked so. */
    ck_assert_int_eq(asock_send(again.socket, op), 1);
    fake_process();
    ck_assert_int_eq(again.runs, 1);
    asock_context_set_always_pending(fake.context, true);
    ck_assert_int_eq(asock_receive(again.socket, op), 1);
    fake_process();
    ck_assert_int_eq(again.runs, 2);
    asock_op_unref(close);
    asock_op_unref(op);
    asock_socket_unref(again.socket);
}
END_TEST

START_TEST(test_s10_end_gives_the_result_once)
{
    asock_socket *socket;
    asock_op *op;
    uint64_t bytes = 99;

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    ck_assert_int_eq(asock_begin_receive(socket, &byte, 1, NULL, NULL, &op), 1);
    fake_complete_free(fake_expect(VERB_RECEIVE), ERR_CONNECTION_RESET, 0, 0, 1);
    asock_op_ref(op);
    ck_assert_int_eq(asock_end(op, &bytes), ASOCK_CONNECTION_RESET);
    ck_assert_uint_eq(bytes, 0);
    ck_assert_int_eq(asock_end(op, &bytes), -EINVAL);
    asock_op_unref(op);
    ck_assert_int_eq(asock_begin_send(socket, NULL, 1, NULL, NULL, &op), -EINVAL);
    ck_assert_ptr_null(op);
    /* Known at once, but never told so. */
    asock_context_unref(asock_context_ref(fake.context));
    close(fake.fd);
    fake.fd = -1;
    fake_process();
    ck_assert_int_eq(asock_begin_receive(socket, &byte, 1, NULL, NULL, &op), 1);
    ck_assert_int_eq(asock_end(op, NULL), ASOCK_CONNECTION_ABORTED);
    asock_socket_unref(socket);
}
END_TEST

START_TEST(test_helpers_time_out_and_leave_no_buffer_in_use)
{
    asock_socket *socket;
    int status;

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    if (fork() == 0) {
        /* The daemon's end: it keeps the deadline. */
        struct pollfd fd = {.fd = fake.fd, .events = POLLIN};

        fake.context = NULL;
        poll(&fd, 1, -1);
        if (!fake_take() || fake.request.verb != VERB_RECEIVE || fake.request.timeout_ms == 0)
            _exit(1);
        poll(NULL, 0, (int)fake.request.timeout_ms);
        fake_complete_free(&fake.request, ERR_TIMED_OUT, 0, 0, 1);
        _exit(0);
    }
    ck_assert_int_eq(asock_receive_some(socket, &byte, 1, 5), -ETIMEDOUT);
    wait(&status);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(asock_context_get_error(fake.context), 0);
    asock_socket_unref(socket);
}
END_TEST

START_TEST(test_in_the_child_of_a_fork_nothing_works)
{
    asock_socket *socket, *another;
    asock_op *op = fake_op(&byte, 1);
    int status = -1;
    pid_t pid;

    fake_welcome(0, 0, 0, 0);
    socket = fake_connected();
    pid = fork();
    if (pid == 0) {
        bool ok = asock_receive(socket, op) == -ECHILD &&
                  asock_context_flush(fake.context) == -ECHILD &&
                  asock_socket_new(fake.context, AF_INET, &another) == -ECHILD &&
                  asock_op_get_error(op) == -ECHILD && asock_context_get_fd(fake.context) == -1 &&
                  asock_context_get_events(fake.context) == 0 &&
                  asock_context_get_timeout(fake.context) == -1;
        int fd = fcntl(fake.fd, F_GETFD) >= 0 ? fake.fd : -1;

        asock_op_unref(op);
        asock_socket_unref(socket);
        asock_context_unref(fake.context);
        _exit(ok && fd >= 0 ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    ck_assert_int_eq(status, 0);
    ck_assert(fake_is_silent());
    /* The parent's work on. */
    ck_assert_int_eq(asock_receive(socket, op), 1);
    fake_complete(fake_expect(VERB_RECEIVE), ERR_SUCCESS, 0);
    ck_assert_int_eq(fake_end(op), ASOCK_SUCCESS);
    asock_op_unref(op);
    asock_socket_unref(socket);
}
END_TEST

START_TEST(test_reconnect)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    asock_context *context;
    asock_socket *old, *new;
    asock_op *op;

    snprintf(addr.sun_path, sizeof(addr.sun_path), "/tmp/asock-test-%d", (int)getpid());
    unlink(addr.sun_path);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
    ck_assert_int_eq(listen(listener, 5), 0);
    ck_assert_int_eq(asock_context_new(addr.sun_path, &context), 0);
    ck_assert_int_eq(asock_context_reconnect(context), -EBUSY);
    ck_assert_int_eq(asock_socket_new(context, AF_INET, &old), 0);
    close(accept(listener, NULL, NULL));
    ck_assert_int_eq(asock_op_new(context, &op), 0);
    ck_assert_int_eq(asock_sync(context, op), 1);
    ck_assert_int_eq(asock_op_wait(op, 10000), 0);
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_CONNECTION_ABORTED);
    ck_assert_int_eq(asock_context_reconnect(context), 0);
    ck_assert_int_eq(asock_context_get_error(context), 0);
    ck_assert_int_eq(asock_op_set_buffer(op, &byte, 1), 0);
    ck_assert_int_eq(asock_receive(old, op), 0);
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_CONNECTION_ABORTED);
    ck_assert_int_eq(asock_socket_new(context, AF_INET, &new), 0);
    ck_assert_int_eq(asock_receive(new, op), 1);
    ck_assert_int_eq(asock_context_flush(context), 0);
    asock_socket_unref(old);
    asock_socket_unref(new);
    asock_op_unref(op);
    asock_context_unref(context);
    close(listener);
    unlink(addr.sun_path);
}
END_TEST

/* A listener whose queue is full: nothing to poll for, so there is a bound. */
START_TEST(test_a_full_queue_of_connections_is_waited_for)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    asock_context *first, *second, *third;

    snprintf(addr.sun_path, sizeof(addr.sun_path), "/tmp/asock-test-%d", (int)getpid());
    unlink(addr.sun_path);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
    ck_assert_int_eq(listen(listener, 0), 0);
    ck_assert_int_eq(asock_context_new(addr.sun_path, &first), 0);
    ck_assert_int_eq(asock_context_new(addr.sun_path, &second), -EAGAIN);
    close(accept(listener, NULL, NULL));
    ck_assert_int_eq(asock_context_new(addr.sun_path, &third), 0);
    asock_context_unref(first);
    asock_context_unref(third);
    close(listener);
    unlink(addr.sun_path);
}
END_TEST

/* It lends no buffer, so a daemon that says nothing cannot hold it up. */
START_TEST(test_dial_to_a_daemon_that_hangs)
{
    asock_socket *socket = NULL;

    ck_assert_int_eq(asock_dial(fake.context, "host", "80", 20, &socket), -ETIMEDOUT);
    ck_assert_ptr_null(socket);
}
END_TEST

START_TEST(test_names_of_errors)
{
    ck_assert_str_eq(asock_error_name(ASOCK_CONNECTION_REFUSED), "ConnectionRefused");
    ck_assert_str_eq(asock_strerror(ASOCK_SUCCESS), "success");
    ck_assert_ptr_nonnull(asock_strerror(-1));
    ck_assert_ptr_nonnull(asock_error_name(INT_MAX));
    ck_assert_int_eq(asock_error_errno(ASOCK_TIMED_OUT), ETIMEDOUT);
    ck_assert_ptr_nonnull(asock_version());
}
END_TEST
