/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Sockets that are lent, through the library (S68 to S71). What it means is on the wire:
 * tests/protocol/test_lend.py and test_lend_end.py.
 */

#include "tests/lib/fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static char policy[] = "/tmp/asock-lend-XXXXXX";

/* 127.0.0.1 may be lent and given, ::1 may not. */
static void setup(void)
{
    static const char text[] = "[Rules]\nAllow=tcp 127.0.0.1 * +loopback +lend +lend-given\n"
                               "Allow=tcp ::1 * +loopback\n";
    const char *args[] = {"--policy", policy, NULL};
    struct private_daemon_options options = {.args = args};
    int fd;

    fixture_setup_nothing();
    fd = mkstemp(policy);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    fchmod(fd, 0644);
    close(fd);
    fixture_start(&options);
    fixture.context = new_context();
    pump_add(fixture.context);
}

static void teardown(void)
{
    unlink(policy);
    fixture_teardown();
}

/* A connect with these flags has ended; the peer, if it came to one. */
struct lent {
    asock_socket *socket;
    asock_op *op;
    int peer;
};

static struct lent lend(asock_context *context, int family, unsigned int flags, int error)
{
    struct sockaddr_storage addr;
    int listener = remote_listen(family, &addr);
    struct lent lent = {
        .socket = new_socket_of(context, family), .op = new_op_of(context), .peer = -1};

    ck_assert_int_eq(asock_op_set_endpoint(lent.op, (const struct sockaddr *)&addr, sizeof(addr)),
                     0);
    ck_assert_int_eq(asock_op_set_flags(lent.op, flags), 0);
    submitted(asock_connect(lent.socket, lent.op));
    expect(lent.op, error);
    if (error == ASOCK_SUCCESS)
        lent.peer = remote_accept(listener);
    else
        ck_assert(remote_nobody_waits(listener));
    close(listener);
    return lent;
}

static void let_go(struct lent *lent)
{
    asock_op_unref(lent->op);
    asock_socket_unref(lent->socket);
    if (lent->peer >= 0)
        close(lent->peer);
}

/* Also of a socket that does not block. */
static ssize_t receive_soon(int fd, char *buf, size_t len)
{
    ck_assert_int_eq(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, LIVENESS_MS), 1);
    return recv(fd, buf, len, 0);
}

static void exchange(int one, int other)
{
    char buf[8];

    ck_assert_int_eq(send(one, "there", 5, MSG_NOSIGNAL), 5);
    ck_assert_int_eq(receive_soon(other, buf, sizeof(buf)), 5);
    ck_assert_int_eq(send(other, "back", 4, MSG_NOSIGNAL), 4);
    ck_assert_int_eq(receive_soon(one, buf, sizeof(buf)), 4);
}

TEST_FIXTURE(setup, teardown);

START_TEST(test_s68_held_and_given_sockets_are_the_programs)
{
    static const unsigned int kinds[] = {ASOCK_LEND, ASOCK_LEND_GIVEN, ASOCK_LEND_IF_ALLOWED};

    for (size_t i = 0; i < 3; i++) {
        struct lent lent = lend(fixture.context, AF_INET, kinds[i], ASOCK_SUCCESS);
        int fd = asock_op_take_fd(lent.op);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
        ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
        ck_assert_int_eq(asock_op_take_fd(lent.op), -ENODATA); /* once */
        exchange(fd, lent.peer);
        close(fd);
        let_go(&lent);
    }
}
END_TEST

START_TEST(test_s68_denied_and_if_allowed)
{
    struct lent held = lend(fixture.context, AF_INET6, ASOCK_LEND, ASOCK_ACCESS_DENIED);
    struct lent given = lend(fixture.context, AF_INET6, ASOCK_LEND_GIVEN, ASOCK_ACCESS_DENIED);
    struct lent any = lend(fixture.context, AF_INET6, ASOCK_LEND_IF_ALLOWED, ASOCK_SUCCESS);
    char buf[8];

    ck_assert_ptr_nonnull(strstr(asock_op_get_text(held.op), "+lend"));
    ck_assert_int_eq(asock_op_take_fd(held.op), -ENODATA);
    ck_assert_int_eq(asock_op_take_fd(any.op), -ENODATA);
    send_now(any.socket, "by it", 5);
    ck_assert_int_eq(receive_soon(any.peer, buf, sizeof(buf)), 5);
    let_go(&held);
    let_go(&given);
    let_go(&any);
}
END_TEST

START_TEST(test_s68_one_that_nobody_takes_is_closed)
{
    struct lent lent = lend(fixture.context, AF_INET, ASOCK_LEND_GIVEN, ASOCK_SUCCESS);
    char byte;

    asock_op_unref(lent.op);
    ck_assert_int_eq(receive_soon(lent.peer, &byte, 1), 0);
    asock_socket_unref(lent.socket);
    close(lent.peer);
}
END_TEST

START_TEST(test_s68_wrong_flags_and_data)
{
    struct sockaddr_storage addr;
    int listener = remote_listen(AF_INET, &addr);
    asock_socket *socket = new_socket(AF_INET);
    asock_op *op = new_connect_op(&addr);
    char data[4] = "data";

    ck_assert_int_eq(asock_op_set_flags(op, ASOCK_LEND | ASOCK_LEND_GIVEN), -EINVAL);
    ck_assert_int_eq(asock_op_set_flags(op, ASOCK_LEND_IF_ALLOWED | ASOCK_LEND_GIVEN), -EINVAL);
    ck_assert_int_eq(asock_op_set_flags(op, 64), -EINVAL);
    ck_assert_int_eq(asock_op_take_fd(op), -EINPROGRESS); /* never submitted */
    ck_assert_int_eq(asock_op_set_flags(op, ASOCK_LEND), 0);
    ck_assert_int_eq(asock_op_set_buffer(op, data, sizeof(data)), 0);
    submitted(asock_connect(socket, op));
    expect(op, ASOCK_INVALID_ARGUMENT);
    ck_assert(remote_nobody_waits(listener));
    asock_op_unref(op);
    asock_socket_unref(socket);
    close(listener);
}
END_TEST

/* Whose is whose, when many come in one read. */
START_TEST(test_s68_many_at_once)
{
    enum { COUNT = 40 };
    struct sockaddr_storage addr, local;
    int listener = remote_listen(AF_INET, &addr);
    asock_socket *sockets[COUNT];
    asock_op *ops[COUNT];

    for (int i = 0; i < COUNT; i++) {
        sockets[i] = new_socket(AF_INET);
        ops[i] = new_connect_op(&addr);
        ck_assert_int_eq(asock_op_set_flags(ops[i], i % 2 ? ASOCK_LEND : ASOCK_LEND_GIVEN), 0);
        submitted(asock_connect(sockets[i], ops[i]));
    }
    for (int i = 0; i < COUNT; i++) {
        struct sockaddr_in own = {0};
        socklen_t len = sizeof(own);
        int fd;

        expect(ops[i], ASOCK_SUCCESS);
        fd = asock_op_take_fd(ops[i]);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&own, &len), 0);
        ck_assert_int_gt(asock_op_get_local(ops[i], &local), 0);
        ck_assert_int_eq(own.sin_port, ((struct sockaddr_in *)&local)->sin_port);
        close(fd);
        asock_op_unref(ops[i]);
        asock_socket_unref(sockets[i]);
    }
    close(listener);
}
END_TEST

/* The kernel drops a descriptor for which the program has no number left. */
START_TEST(test_s68_without_a_descriptor_left_it_fails)
{
    struct sockaddr_storage addr;
    int listener = remote_listen(AF_INET, &addr), lowest;
    struct lent lent = {.socket = new_socket(AF_INET), .op = new_connect_op(&addr)}, next;
    struct rlimit before, none;

    sync_with_daemon();
    ck_assert_int_eq(asock_op_set_flags(lent.op, ASOCK_LEND), 0);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    lowest = dup(listener);
    close(lowest);
    none = before;
    none.rlim_cur = (rlim_t)lowest;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    submitted(asock_connect(lent.socket, lent.op));
    expect(lent.op, ASOCK_TOO_MANY_OPEN_SOCKETS);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    ck_assert_ptr_nonnull(asock_op_get_text(lent.op));
    lent.peer = remote_accept(listener);
    close(listener);
    next = lend(fixture.context, AF_INET, ASOCK_LEND, ASOCK_SUCCESS); /* the session lives on */
    let_go(&next);
    let_go(&lent);
}
END_TEST

START_TEST(test_s69_ops_on_a_lent_socket_are_invalid)
{
    struct lent lent = lend(fixture.context, AF_INET, ASOCK_LEND, ASOCK_SUCCESS);
    asock_op *op = new_op_with("x", 1);
    int64_t value;

    submitted(asock_send(lent.socket, op));
    expect_bytes(op, ASOCK_INVALID_ARGUMENT, 0);
    submitted(asock_shutdown(lent.socket, op, ASOCK_SHUTDOWN_SEND));
    expect(op, ASOCK_INVALID_ARGUMENT);
    submitted(asock_await_hangup(lent.socket, op));
    expect(op, ASOCK_INVALID_ARGUMENT);
    submitted(asock_get_option(lent.socket, op, ASOCK_OPTION_NO_DELAY));
    expect(op, ASOCK_SUCCESS);
    ck_assert_int_eq(asock_op_get_value(op, &value), 0);
    ck_assert_int_eq(value, 1);
    asock_op_unref(op);
    let_go(&lent);
}
END_TEST

START_TEST(test_s70_close_sends_fin_and_ends_it)
{
    struct lent lent = lend(fixture.context, AF_INET, ASOCK_LEND, ASOCK_SUCCESS);
    int fd = asock_op_take_fd(lent.op);
    char buf[8];

    ck_assert_int_eq(send(fd, "last", 4, MSG_NOSIGNAL), 4);
    close_now(lent.socket, LIVENESS_MS); /* the peer's kernel has acknowledged it */
    ck_assert_int_eq(receive_soon(lent.peer, buf, sizeof(buf)), 4);
    ck_assert_int_eq(receive_soon(lent.peer, buf, sizeof(buf)), 0);
    close(fd);
    let_go(&lent);
}
END_TEST

START_TEST(test_s70_dial_fd_is_the_programs_alone)
{
    struct sockaddr_storage addr;
    int listener = remote_listen(AF_INET, &addr), fd = -1, peer;
    asock_context *other = new_context();
    char service[8], byte;

    snprintf(service, sizeof(service), "%u", remote_port(&addr));
    ck_assert_int_eq(asock_dial_fd(other, "127.0.0.1", service, LIVENESS_MS, 2, &fd), -EINVAL);
    ck_assert_int_eq(asock_dial_fd(other, "127.0.0.1", service, LIVENESS_MS, 0, NULL), -EINVAL);
    ck_assert_int_eq(asock_dial_fd(other, "::1", service, LIVENESS_MS, 0, &fd), -EACCES);
    ck_assert_int_eq(fd, -1);
    ck_assert_int_eq(asock_dial_fd(other, "127.0.0.1", service, LIVENESS_MS, 0, &fd), 0);
    ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
    asock_context_unref(other); /* nothing of it is left there */
    sync_with_daemon();
    peer = remote_accept(listener);
    exchange(fd, peer);
    close(fd);
    ck_assert_int_eq(receive_soon(peer, &byte, 1), 0); /* close() means close */
    close(peer);
    ck_assert_int_eq(
        asock_dial_fd(fixture.context, "127.0.0.1", service, LIVENESS_MS, ASOCK_DIAL_BLOCKING, &fd),
        0);
    ck_assert(!(fcntl(fd, F_GETFL) & O_NONBLOCK));
    close(fd);
    close(listener);
}
END_TEST

/* Not one that is silently without a descriptor. */
START_TEST(test_s68_an_accept_lends_nothing)
{
    static const unsigned int kinds[] = {ASOCK_LEND, ASOCK_LEND_GIVEN, ASOCK_LEND_IF_ALLOWED};
    asock_socket *socket = new_socket(AF_INET);

    for (size_t i = 0; i < 3; i++) {
        asock_op *op = new_op();

        ck_assert_int_eq(asock_op_set_flags(op, kinds[i]), 0);
        submitted(asock_accept(socket, op));
        expect(op, ASOCK_OPERATION_NOT_SUPPORTED);
        ck_assert_int_eq(asock_op_take_fd(op), -ENODATA);
        asock_op_unref(op);
    }
    asock_socket_unref(socket);
}
END_TEST

START_TEST(test_s71_who_joins_may_lend_if_the_sharer_says_so)
{
    for (int may = 0; may <= 1; may++) {
        asock_op *op = new_op();
        asock_context *sharee;
        struct lent lent;
        char path[256];

        ck_assert_int_eq(asock_op_set_flags(op, may ? ASOCK_LEND : 0), 0);
        pending(asock_share(fixture.context, op));
        expect(op, ASOCK_SUCCESS);
        snprintf(path, sizeof(path), "%s/asock.sock", asock_op_get_directory(op));
        ck_assert_int_eq(asock_context_new(path, &sharee), 0);
        pump_add(sharee);
        lent = lend(sharee, AF_INET, ASOCK_LEND, may ? ASOCK_SUCCESS : ASOCK_ACCESS_DENIED);
        let_go(&lent);
        pump_remove(sharee);
        asock_context_unref(sharee);
        asock_op_unref(op);
    }
}
END_TEST
