/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The context in a program: event loop, blocking wait, no copy, helpers, fork. */

#include "tests/lib/fixture.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* --------------------------------------------------------------------------------- event loop */

TEST_FIXTURE(fixture_setup, fixture_teardown);

START_TEST(test_loop_events_and_timeout_say_when_to_process)
{
    struct pair pair = new_pair(AF_INET);
    char byte;
    int called = 0;
    asock_op *op = new_op_with(&byte, 1);
    struct pollfd pollfd = {.fd = asock_context_get_fd(fixture.context)};

    ck_assert_int_eq(asock_op_set_callback(op, count_callback, &called), 0);
    ck_assert_int_eq(asock_context_get_events(fixture.context), POLLIN);
    ck_assert_int_eq(asock_context_get_timeout(fixture.context), -1);
    pending(asock_receive(pair.socket, op));
    /* Submitted, not written: the loop is asked to wait until it can write. */
    ck_assert_int_eq(asock_context_get_events(fixture.context), POLLIN | POLLOUT);
    pollfd.events = POLLIN | POLLOUT;
    ck_assert_int_eq(poll(&pollfd, 1, LIVENESS_MS), 1);
    ck_assert_int_eq(asock_context_process(fixture.context), 0);
    ck_assert_int_eq(asock_context_get_events(fixture.context), POLLIN);
    remote_write(pair.peer, "x", 1);
    pollfd.events = POLLIN;
    do {
        ck_assert_int_eq(poll(&pollfd, 1, LIVENESS_MS), 1);
    } while (asock_context_process(fixture.context) == 0);
    ck_assert_int_eq(called, 1);
    ck_assert_int_eq(pollfd.fd, asock_context_get_fd(fixture.context));
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

struct closing {
    asock_socket *socket;
    asock_op *close;
    int result;
};

static void close_in_callback(asock_op *op, void *userdata)
{
    struct closing *c = userdata;

    (void)op;
    private_daemon_freeze(fixture.daemon);
    c->result = asock_close(c->socket, c->close, 0);
    private_daemon_thaw(fixture.daemon);
}

/* The callback of a receive closes its socket; `behind`, if any, is a receive that waits then. */
static struct closing close_when_received(struct pair *pair, asock_op *behind)
{
    struct pollfd pollfd = {.fd = asock_context_get_fd(fixture.context), .events = POLLIN};
    struct closing c = {pair->socket, new_op(), -1};
    char byte;
    asock_op *op = new_op_with(&byte, 1);

    ck_assert_int_eq(asock_op_set_callback(op, close_in_callback, &c), 0);
    pending(asock_receive(pair->socket, op));
    if (behind)
        pending(asock_receive(pair->socket, behind));
    ck_assert_int_ge(asock_context_flush(fixture.context), 0);
    remote_write(pair->peer, "x", 1);
    while (c.result < 0) {
        ck_assert_int_eq(poll(&pollfd, 1, LIVENESS_MS), 1);
        ck_assert_int_ge(asock_context_process(fixture.context), 0);
    }
    asock_op_unref(op);
    return c;
}

/* CLOSE leaves behind the callback: no call, and no answer, has to be waited for. */
START_TEST(test_s42_close_without_pending_ops_is_complete_at_once_in_a_callback)
{
    struct pair pair = new_pair(AF_INET);
    struct closing c = close_when_received(&pair, NULL);

    ck_assert_int_eq(c.result, 0);
    ck_assert_int_eq(asock_op_get_error(c.close), ASOCK_SUCCESS);
    ck_assert_int_eq(remote_drain(pair.peer, NULL), REMOTE_FIN);
    asock_op_unref(c.close);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s42_close_with_a_pending_op_is_answered_in_a_callback)
{
    struct pair pair = new_pair(AF_INET);
    char byte;
    asock_op *behind = new_op_with(&byte, 1);
    struct closing c = close_when_received(&pair, behind);

    ck_assert_int_eq(c.result, 1);
    ck_assert(asock_op_is_pending(behind));
    expect(c.close, ASOCK_SUCCESS);
    ck_assert(!asock_op_is_pending(behind)); /* the close is the last one */
    expect(behind, ASOCK_OPERATION_ABORTED);
    ck_assert_int_eq(remote_drain(pair.peer, NULL), REMOTE_FIN);
    asock_op_unref(c.close);
    asock_op_unref(behind);
    pair_close(&pair);
}
END_TEST

START_TEST(test_loop_process_never_blocks)
{
    struct pair pair = new_pair(AF_INET);
    char byte;
    asock_op *op = new_op_with(&byte, 1);

    pending(asock_receive(pair.socket, op));
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(asock_context_process(fixture.context), 0);
    private_daemon_freeze(fixture.daemon);
    for (int i = 0; i < 10; i++)
        ck_assert_int_eq(asock_context_process(fixture.context), 0);
    private_daemon_thaw(fixture.daemon);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

static void process_inside(asock_op *op, void *userdata)
{
    int *result = userdata;

    (void)op;
    result[1] = asock_context_process(fixture.context);
    result[2] = asock_context_inspect(fixture.context, "stats", NULL, NULL, 0);
    result[0]++;
}

START_TEST(test_loop_process_inside_a_callback_is_refused)
{
    struct pair pair = new_pair(AF_INET);
    asock_op *op = new_op_with("x", 1);
    int result[3] = {0};

    ck_assert_int_eq(asock_op_set_callback(op, process_inside, result), 0);
    pending(asock_send(pair.socket, op));
    wait_count(&result[0], 1);
    ck_assert_int_eq(result[1], -EDEADLK);
    ck_assert(result[2] == -EDEADLK || result[2] == -EINVAL);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

/*
 * A timeout is the daemon's once the op has left, the library's before: it counts from submission.
 */
START_TEST(test_loop_timeout_of_an_op_that_never_left)
{
    struct pair pair = new_pair(AF_INET);
    static char data[8 * MIB];
    asock_op *large = new_op_with(data, sizeof(data)), *late = new_op_with(data, 1);
    int called = 0;

    private_daemon_freeze(fixture.daemon);
    pending(asock_send(pair.socket, large));
    ck_assert_int_eq(asock_op_set_timeout(late, 50), 0);
    ck_assert_int_eq(asock_op_set_callback(late, count_callback, &called), 0);
    pending(asock_send(pair.socket, late));
    ck_assert_int_ge(asock_context_get_timeout(fixture.context), 0);
    wait_count(&called, 1);
    ck_assert_int_eq(asock_op_get_error(late), ASOCK_TIMED_OUT);
    ck_assert_uint_eq(asock_op_get_bytes(late), 0);
    private_daemon_thaw(fixture.daemon);
    close_now(pair.socket, ASOCK_CLOSE_ABORT);
    ck_assert_int_eq(asock_op_wait(large, LIVENESS_MS), 0);
    asock_op_unref(large);
    asock_op_unref(late);
    pair_close(&pair);
}
END_TEST

/* ------------------------------------------------------------------------------------ no copy */

#define NO_COPY_LARGE (10 * MIB)

/* The daemon stands still; 64 submits on 8 sockets return; bytes changed afterwards are sent. */
START_TEST(test_no_copy_bytes_are_read_when_they_leave)
{
    struct pair pairs[8];
    char *large = calloc(1, NO_COPY_LARGE), small[63], *got = malloc(NO_COPY_LARGE);
    asock_op *ops[64];

    memset(small, 's', sizeof(small));
    for (size_t i = 0; i < 8; i++)
        pairs[i] = new_pair(AF_INET);
    private_daemon_freeze(fixture.daemon);
    for (size_t i = 0; i < 64; i++) {
        ops[i] = i == 0 ? new_op_with(large, NO_COPY_LARGE) : new_op_with(&small[i - 1], 1);
        pending(asock_send(pairs[i % 8].socket, ops[i]));
    }
    large[NO_COPY_LARGE - 1] = '!';
    private_daemon_thaw(fixture.daemon);
    remote_read(pairs[0].peer, got, NO_COPY_LARGE);
    ck_assert_int_eq(got[NO_COPY_LARGE - 1], '!');
    ck_assert_int_eq(got[0], 0);
    for (size_t i = 0; i < 8; i++) {
        remote_read(pairs[i].peer, got, i == 0 ? 7 : 8);
        ck_assert_int_eq(got[0], 's');
    }
    for (size_t i = 0; i < 64; i++) {
        expect_bytes(ops[i], ASOCK_SUCCESS, i == 0 ? NO_COPY_LARGE : 1);
        asock_op_unref(ops[i]);
    }
    for (size_t i = 0; i < 8; i++)
        pair_close(&pairs[i]);
    free(large);
    free(got);
}
END_TEST

/* ------------------------------------------------------------------------------------ helpers */

START_TEST(test_helpers_dial_send_receive)
{
    struct server *server = server_start(SERVER_ECHO, AF_INET, 0);
    size_t len = 2 * MIB, at = 0;
    char *data = malloc(len), *back = malloc(len);
    asock_socket *sock;

    pattern_fill(data, 0, len);
    ck_assert_int_eq(
        asock_dial(fixture.context, "localhost", server_service(server), LIVENESS_MS, &sock), 0);
    ck_assert_int_eq(asock_send_all(sock, data, 100, -1), 0);
    while (at < 100) {
        ssize_t n = asock_receive_some(sock, back + at, len - at, LIVENESS_MS);

        ck_assert_int_gt(n, 0);
        at += (size_t)n;
    }
    ck_assert_mem_eq(data, back, 100);
    ck_assert_int_eq(asock_receive_some(sock, back, 1, 20), -ETIMEDOUT);
    asock_socket_unref(sock);
    server_wait_ended(server, 1);
    server_stop(server);
    free(data);
    free(back);
}
END_TEST

START_TEST(test_helpers_tell_errors_as_negative_errno)
{
    struct sockaddr_storage addr, open;
    int reserved = remote_closed_port(AF_INET, &addr), listener = remote_listen(AF_INET, &open);
    asock_socket *sock = NULL;
    char service[8], buf[1];
    int peer;

    snprintf(service, sizeof(service), "%u", remote_port(&addr));
    ck_assert_int_eq(asock_dial(fixture.context, "127.0.0.1", service, -1, &sock), -ECONNREFUSED);
    ck_assert_ptr_null(sock);
    snprintf(service, sizeof(service), "%u", remote_port(&open));
    ck_assert_int_eq(asock_dial(fixture.context, "127.0.0.1", service, -1, &sock), 0);
    peer = remote_accept(listener);
    remote_finish(peer);
    ck_assert_int_eq(asock_receive_some(sock, buf, 1, -1), 0);
    ck_assert_int_eq(asock_send_all(sock, "x", 1, -1), 0);
    remote_read(peer, buf, 1);
    remote_reset(peer);
    asock_socket_unref(sock);
    close(listener);
    close(reserved);
}
END_TEST

START_TEST(test_helpers_tell_error_text_and_endpoints)
{
    static const char nothing[] = "[Rules]\nAllow=tcp 192.0.2.1 1\n";
    struct sockaddr_storage addr, got, own;
    int listener = remote_listen(AF_INET, &addr), peer;
    socklen_t len = sizeof(own);
    asock_socket *sock, *unused = new_socket(AF_INET);
    char service[8], text[600];

    snprintf(service, sizeof(service), "%u", remote_port(&addr));
    ck_assert_int_eq(asock_dial(fixture.context, "127.0.0.1", service, -1, &sock), 0);
    ck_assert_int_eq(asock_context_get_last_error(fixture.context, text, sizeof(text)), 0);
    ck_assert_str_eq(text, "");
    peer = remote_accept(listener);
    ck_assert_int_eq(asock_socket_get_remote(sock, &got), (int)remote_addr_len(&addr));
    ck_assert_mem_eq(&got, &addr, remote_addr_len(&addr));
    ck_assert_int_eq(getpeername(peer, (struct sockaddr *)&own, &len), 0);
    ck_assert_int_eq(asock_socket_get_local(sock, &got), (int)remote_addr_len(&own));
    ck_assert_mem_eq(&got, &own, remote_addr_len(&own));
    ck_assert_int_eq(asock_socket_get_remote(unused, &got), -ENODATA);
    asock_socket_unref(sock);
    /* No such name, and no daemon, are not the same. */
    ck_assert_int_eq(asock_error_errno(ASOCK_HOST_NOT_FOUND), ENXIO);
    ck_assert_int_eq(
        asock_context_restrict(fixture.context, nothing, sizeof(nothing) - 1, LIVENESS_MS, NULL, 0),
        0);
    ck_assert_int_eq(asock_dial(fixture.context, "127.0.0.1", service, -1, &sock), -EACCES);
    ck_assert_int_eq(asock_context_get_last_error(fixture.context, text, sizeof(text)),
                     ASOCK_ACCESS_DENIED);
    ck_assert_str_ne(text, "");
    asock_socket_unref(unused);
    close(peer);
    close(listener);
}
END_TEST

START_TEST(test_helpers_dial_times_out)
{
    struct sockaddr_storage addr;
    struct black_hole hole;
    asock_socket *sock;
    char service[8];

    remote_black_hole(&hole, &addr);
    snprintf(service, sizeof(service), "%u", remote_port(&addr));
    ck_assert_int_eq(asock_dial(fixture.context, "127.0.0.1", service, 50, &sock), -ETIMEDOUT);
    remote_black_hole_close(&hole);
}
END_TEST

/* --------------------------------------------------------------------------------------- fork */

/* In the child only unref works, and it sends nothing. Returns the number of wrong answers. */
static int child_calls(struct pair *pair, asock_op *op)
{
    asock_socket *sock;
    asock_op *other;
    uint64_t limit;
    int wrong = 0;

    wrong += asock_context_process(fixture.context) != -ECHILD;
    wrong += asock_context_flush(fixture.context) != -ECHILD;
    wrong += asock_context_get_limit(fixture.context, ASOCK_LIMIT_OPS, &limit) != -ECHILD;
    wrong += asock_context_start_dispatcher(fixture.context) != -ECHILD;
    wrong += asock_socket_new(fixture.context, AF_INET, &sock) != -ECHILD;
    wrong += asock_op_new(fixture.context, &other) != -ECHILD;
    wrong += asock_op_set_timeout(op, 1) != -ECHILD;
    wrong += asock_send(pair->socket, op) != -ECHILD;
    wrong += asock_receive(pair->socket, op) != -ECHILD;
    wrong += asock_close(pair->socket, op, 0) != -ECHILD;
    wrong += asock_sync(fixture.context, op) != -ECHILD;
    wrong += asock_cancel(op) != -ECHILD;
    wrong += asock_op_wait(op, 0) != -ECHILD;
    asock_op_unref(op);
    asock_socket_unref(pair->socket);
    asock_context_unref(fixture.context);
    return wrong;
}

START_TEST(test_fork_child_releases_and_disturbs_nothing)
{
    struct pair pair = new_pair(AF_INET);
    asock_op *op = new_op_with("data", 4);
    int status;
    pid_t pid;
    char buf[4];

    /* Queued, not written: the child has a copy of the queue and must not write it. */
    pending(asock_send(pair.socket, op));
    pid = fork();
    if (pid == 0)
        _exit(child_calls(&pair, op));
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    expect_bytes(op, ASOCK_SUCCESS, 4);
    remote_read(pair.peer, buf, 4);
    ck_assert_mem_eq(buf, "data", 4);
    ck_assert(remote_nothing_to_read(pair.peer));
    send_now(pair.socket, "more", 4);
    remote_read(pair.peer, buf, 4);
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST
