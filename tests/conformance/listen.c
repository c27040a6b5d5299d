/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Listeners through the library (S61, S62). */

#include "tests/lib/fixture.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

TEST_FIXTURE(fixture_setup, fixture_teardown);

static struct sockaddr_storage loopback(int family)
{
    struct sockaddr_storage addr = {.ss_family = (sa_family_t)family};
    struct sockaddr_in6 *in6 = (void *)&addr;

    if (family == AF_INET)
        ((struct sockaddr_in *)(void *)&addr)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else
        in6->sin6_addr = in6addr_loopback;
    return addr;
}

static void bind_now(asock_socket *socket, const struct sockaddr_storage *addr, int error)
{
    asock_op *op = new_op();

    ck_assert_int_eq(
        asock_op_set_endpoint(op, (const struct sockaddr *)addr, sizeof(struct sockaddr_in6)), 0);
    submitted(asock_bind(socket, op));
    expect(op, error);
    asock_op_unref(op);
}

static void listen_now(asock_socket *socket, int backlog, int error)
{
    asock_op *op = new_op();

    submitted(asock_listen(socket, op, backlog));
    expect(op, error);
    asock_op_unref(op);
}

/* A listener, and where it can be reached. */
static asock_socket *new_listener(int family, struct sockaddr_storage *ret)
{
    asock_socket *listener = new_socket(family);
    struct sockaddr_storage addr = loopback(family);

    bind_now(listener, &addr, ASOCK_SUCCESS);
    listen_now(listener, 0, ASOCK_SUCCESS);
    ck_assert_int_gt(asock_socket_get_local(listener, ret), 0);
    return listener;
}

/* Both ways. */
static void talk(asock_socket *socket, int peer)
{
    char buf[5];

    send_now(socket, "hello", 5);
    remote_read(peer, buf, 5);
    ck_assert_mem_eq(buf, "hello", 5);
    remote_write(peer, "world", 5);
    receive_now(socket, buf, 5);
    ck_assert_mem_eq(buf, "world", 5);
}

static const int families[] = {AF_INET, AF_INET6};

START_LOOP_TEST(test_s61_bind_tells_where, 0, 2)
{
    asock_socket *socket = new_socket(families[_i]), *second = new_socket(families[_i]);
    struct sockaddr_storage addr = loopback(families[_i]), local;
    asock_op *op = new_op();

    ck_assert_int_eq(asock_bind(socket, op), -EINVAL); /* where to? */
    ck_assert_int_eq(
        asock_op_set_endpoint(op, (const struct sockaddr *)&addr, sizeof(struct sockaddr_in6)), 0);
    submitted(asock_bind(socket, op));
    expect(op, ASOCK_SUCCESS);
    ck_assert_int_eq(asock_op_get_operation(op), ASOCK_OPERATION_BIND);
    ck_assert_int_gt(asock_op_get_local(op, &local), 0);
    ck_assert_uint_ne(remote_port(&local), 0);
    ck_assert_int_eq(asock_op_get_remote(op, &addr), -ENODATA);
    listen_now(socket, 1, ASOCK_SUCCESS);
    bind_now(second, &local, ASOCK_ADDRESS_ALREADY_IN_USE);
    bind_now(socket, &local, ASOCK_INVALID_ARGUMENT);
    asock_op_unref(op);
    asock_socket_unref(socket);
    asock_socket_unref(second);
}
END_TEST

START_LOOP_TEST(test_s62_accept_with_callback, 0, 2)
{
    struct sockaddr_storage where, remote, local;
    asock_socket *listener = new_listener(families[_i], &where), *socket;
    asock_op *op = new_op();
    int called = 0, peer;

    asock_op_set_callback(op, count_callback, &called);
    pending(asock_accept(listener, op));
    sync_with_daemon();
    ck_assert_int_eq(called, 0);
    ck_assert_ptr_null(asock_op_take_socket(op));
    peer = remote_dial(&where);
    wait_count(&called, 1);
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_SUCCESS);
    socket = asock_op_take_socket(op);
    ck_assert_ptr_nonnull(socket);
    ck_assert_ptr_null(asock_op_take_socket(op));
    ck_assert_int_gt(asock_op_get_remote(op, &remote), 0);
    ck_assert_int_gt(asock_socket_get_local(socket, &local), 0);
    ck_assert_uint_eq(remote_port(&local), remote_port(&where));
    talk(socket, peer);
    close_now(socket, 0);
    asock_socket_unref(socket);
    asock_op_unref(op);
    asock_socket_unref(listener);
    close(peer);
}
END_TEST

START_TEST(test_s62_pending_accepts_are_served_in_order)
{
    enum { COUNT = 40 }; /* more than a session begins with */
    struct sockaddr_storage where, remote, mine;
    socklen_t len;
    asock_socket *listener = new_listener(AF_INET, &where), *socket;
    asock_op *ops[COUNT];
    int peers[COUNT];

    for (int i = 0; i < COUNT; i++) {
        ops[i] = new_op();
        pending(asock_accept(listener, ops[i]));
    }
    sync_with_daemon();
    for (int i = 0; i < COUNT; i++)
        peers[i] = remote_dial(&where);
    for (int i = 0; i < COUNT; i++) {
        expect(ops[i], ASOCK_SUCCESS);
        ck_assert_int_gt(asock_op_get_remote(ops[i], &remote), 0);
        len = sizeof(mine);
        ck_assert_int_eq(getsockname(peers[i], (struct sockaddr *)&mine, &len), 0);
        ck_assert_uint_eq(remote_port(&remote), remote_port(&mine));
        socket = asock_op_take_socket(ops[i]);
        talk(socket, peers[i]);
        asock_socket_unref(socket);
        asock_op_unref(ops[i]);
        close(peers[i]);
    }
    asock_socket_unref(listener);
}
END_TEST

START_TEST(test_s62_begin_and_end)
{
    struct sockaddr_storage where;
    asock_socket *listener = new_listener(AF_INET, &where), *socket;
    asock_op *op;
    int peer;

    ck_assert_int_eq(asock_begin_accept(listener, NULL, NULL, &op), 1);
    peer = remote_dial(&where);
    ck_assert_int_eq(asock_end_accept(op, &socket), ASOCK_SUCCESS);
    talk(socket, peer);
    asock_socket_unref(socket);
    close(peer);
    ck_assert_int_eq(asock_begin_accept(listener, NULL, NULL, &op), 1);
    close_now(listener, 0);
    ck_assert_int_eq(asock_end_accept(op, &socket), ASOCK_OPERATION_ABORTED);
    ck_assert_ptr_null(socket);
    ck_assert_int_eq(asock_begin_accept(listener, NULL, NULL, &op), 1);
    ck_assert_int_eq(asock_end_accept(op, &socket), ASOCK_NOT_SOCKET);
    asock_socket_unref(listener);
}
END_TEST

START_TEST(test_s62_accept_ends_early)
{
    struct sockaddr_storage where;
    asock_socket *listener = new_listener(AF_INET, &where), *unbound = new_socket(AF_INET);
    asock_op *op = new_op(), *second = new_op();

    pending(asock_accept(listener, op));
    ck_assert_int_eq(asock_accept(listener, op), -EBUSY);
    ck_assert_int_eq(asock_cancel(op), 0);
    expect(op, ASOCK_OPERATION_ABORTED);
    ck_assert_ptr_null(asock_op_take_socket(op));
    ck_assert_int_eq(asock_op_set_timeout(op, 1), 0);
    pending(asock_accept(listener, op));
    expect(op, ASOCK_TIMED_OUT);
    ck_assert_int_eq(asock_op_set_timeout(op, 0), 0);
    submitted(asock_accept(unbound, op));
    expect(op, ASOCK_INVALID_ARGUMENT);
    ck_assert_str_eq(asock_op_get_text(op), "the socket is not listening");
    listen_now(unbound, 0, ASOCK_INVALID_ARGUMENT);
    ck_assert_int_eq(asock_listen(unbound, op, -1), -EINVAL);
    pending(asock_accept(listener, op));
    pending(asock_accept(listener, second));
    close_now(listener, 0);
    expect(op, ASOCK_OPERATION_ABORTED);
    expect(second, ASOCK_OPERATION_ABORTED);
    asock_op_unref(op);
    asock_op_unref(second);
    asock_socket_unref(unbound);
    asock_socket_unref(listener);
}
END_TEST

/* Submitted again, or let go: what was accepted is closed. */
START_TEST(test_s62_a_socket_that_nobody_takes_is_closed)
{
    struct sockaddr_storage where;
    asock_socket *listener = new_listener(AF_INET, &where);
    asock_op *op = new_op();
    int first, second;
    char byte;

    pending(asock_accept(listener, op));
    first = remote_dial(&where);
    expect(op, ASOCK_SUCCESS);
    pending(asock_accept(listener, op));
    wait_fd(first, POLLIN);
    ck_assert_int_eq(read(first, &byte, 1), 0);
    second = remote_dial(&where);
    expect(op, ASOCK_SUCCESS);
    asock_op_unref(op);
    wait_fd(second, POLLIN);
    ck_assert_int_eq(read(second, &byte, 1), 0);
    asock_socket_unref(listener);
    close(first);
    close(second);
}
END_TEST

START_TEST(test_s62_the_end_of_the_session_ends_accepts)
{
    struct sockaddr_storage where;
    asock_socket *listener = new_listener(AF_INET, &where);
    asock_op *op = new_op();

    pending(asock_accept(listener, op));
    sync_with_daemon();
    kill(fixture.daemon->pid, SIGKILL);
    private_daemon_wait(fixture.daemon);
    expect(op, ASOCK_CONNECTION_ABORTED);
    ck_assert_ptr_null(asock_op_take_socket(op));
    asock_op_unref(op);
    asock_socket_unref(listener);
    fixture.daemon = private_daemon_release(fixture.daemon);
}
END_TEST

/* ---- multishot ---- */

struct shots {
    asock_socket *listener, *sockets[8];
    int count, ended, error; /* error: of the last callback */
    bool drops, stops;       /* what it does with the next socket, or connection */
};

static void on_shot(asock_op *op, void *userdata)
{
    struct shots *shots = userdata;
    struct sockaddr_storage remote, of_socket;

    if (!(asock_op_get_result_flags(op) & ASOCK_MORE)) {
        shots->error = asock_op_get_error(op);
        ck_assert_ptr_null(asock_op_take_socket(op));
        shots->ended++;
        return;
    }
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_SUCCESS);
    ck_assert_int_eq(shots->ended, 0);
    if (shots->drops) {
        shots->count++;
        return;
    }
    ck_assert_int_gt(asock_op_get_remote(op, &remote), 0);
    shots->sockets[shots->count] = asock_op_take_socket(op);
    ck_assert_ptr_nonnull(shots->sockets[shots->count]);
    ck_assert_ptr_null(asock_op_take_socket(op));
    ck_assert_int_gt(asock_socket_get_remote(shots->sockets[shots->count], &of_socket), 0);
    ck_assert_uint_eq(remote_port(&remote), remote_port(&of_socket));
    shots->count++;
    if (shots->stops)
        ck_assert_int_eq(asock_cancel(op), 0);
}

static asock_op *start_shots(struct shots *shots)
{
    asock_op *op = new_op();

    asock_op_set_callback(op, on_shot, shots);
    pending(asock_accept_multishot(shots->listener, op));
    return op;
}

START_LOOP_TEST(test_s62_multishot_accepts_until_it_is_cancelled, 0, 2)
{
    struct sockaddr_storage where;
    struct shots shots = {.listener = new_listener(families[_i], &where)};
    asock_op *op = start_shots(&shots);
    int peers[4];

    ck_assert_int_eq(asock_accept_multishot(shots.listener, op), -EBUSY);
    for (int i = 0; i < 4; i++) {
        peers[i] = remote_dial(&where);
        wait_count(&shots.count, i + 1);
        ck_assert(asock_op_is_pending(op));
    }
    for (int i = 0; i < 4; i++) {
        talk(shots.sockets[i], peers[i]);
        asock_socket_unref(shots.sockets[i]);
        close(peers[i]);
    }
    ck_assert_int_eq(asock_cancel(op), 0);
    wait_count(&shots.ended, 1);
    ck_assert_int_eq(shots.error, ASOCK_OPERATION_ABORTED);
    asock_op_unref(op);
    asock_socket_unref(shots.listener);
}
END_TEST

START_TEST(test_s62_multishot_closes_what_nobody_takes)
{
    struct sockaddr_storage where;
    struct shots shots = {.listener = new_listener(AF_INET, &where), .drops = true};
    asock_op *op = start_shots(&shots);
    int peer = remote_dial(&where);

    ck_assert_int_eq(remote_drain(peer, NULL), REMOTE_FIN);
    shots.drops = false;
    shots.stops = true; /* and within its own callback */
    close(peer);
    peer = remote_dial(&where);
    wait_count(&shots.ended, 1);
    ck_assert_int_eq(shots.error, ASOCK_OPERATION_ABORTED);
    talk(shots.sockets[1], peer);
    asock_socket_unref(shots.sockets[1]);
    asock_op_unref(op);
    asock_socket_unref(shots.listener);
    close(peer);
}
END_TEST

START_TEST(test_s62_multishot_ends_with_its_listener_and_its_time)
{
    struct sockaddr_storage where;
    struct shots shots = {.listener = new_listener(AF_INET, &where)};
    asock_op *op = start_shots(&shots), *close_op = new_op();
    int peer = remote_dial(&where);

    wait_count(&shots.count, 1);
    asock_socket_unref(shots.sockets[0]);
    close(peer);
    submitted(asock_close(shots.listener, close_op, 0));
    expect(close_op, ASOCK_SUCCESS);
    wait_count(&shots.ended, 1);
    ck_assert_int_eq(shots.error, ASOCK_OPERATION_ABORTED);
    submitted(asock_accept_multishot(shots.listener, op));
    wait_count(&shots.ended, asock_op_get_error(op) == -EINPROGRESS ? 2 : 1);
    ck_assert_int_eq(asock_op_get_error(op), ASOCK_NOT_SOCKET);
    asock_socket_unref(shots.listener);
    shots = (struct shots){.listener = new_listener(AF_INET, &where)};
    ck_assert_int_eq(asock_op_set_timeout(op, 50), 0);
    pending(asock_accept_multishot(shots.listener, op));
    wait_count(&shots.ended, 1);
    ck_assert_int_eq(shots.error, ASOCK_TIMED_OUT);
    asock_op_unref(op);
    asock_op_unref(close_op);
    asock_socket_unref(shots.listener);
}
END_TEST

START_TEST(test_s62_multishot_without_a_callback)
{
    struct sockaddr_storage where;
    asock_socket *listener = new_listener(AF_INET, &where), *socket = NULL;
    asock_op *op = new_op();
    int peers[3];

    ck_assert_int_eq(asock_accept_next(op, 0, &socket), -EINVAL);
    pending(asock_accept_multishot(listener, op));
    ck_assert_int_eq(asock_accept_next(op, 0, NULL), -EINVAL);
    ck_assert_int_eq(asock_accept_next(op, 0, &socket), -ETIMEDOUT);
    for (int i = 0; i < 3; i++)
        peers[i] = remote_dial(&where);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(asock_accept_next(op, LIVENESS_MS, &socket), 1);
        talk(socket, peers[i]);
        asock_socket_unref(socket);
    }
    /* The third one is there already when the listener goes, and nobody asks for it. */
    ck_assert_int_eq(asock_accept_next(op, LIVENESS_MS, &socket), 1);
    asock_socket_unref(socket);
    close_now(listener, 0);
    ck_assert_int_eq(asock_accept_next(op, LIVENESS_MS, &socket), 0);
    expect(op, ASOCK_OPERATION_ABORTED);
    asock_op_unref(op);
    asock_socket_unref(listener);
    for (int i = 0; i < 3; i++)
        close(peers[i]);
}
END_TEST

START_TEST(test_s62_multishot_that_is_let_go_closes_what_was_not_asked_for)
{
    struct sockaddr_storage where;
    asock_socket *listener = new_listener(AF_INET, &where);
    asock_op *op = new_op(), *option = new_op();
    int peer = remote_dial(&where);

    pending(asock_accept_multishot(listener, op));
    sync_with_daemon();
    sync_with_daemon();
    close_now(listener, 0);
    expect(op, ASOCK_OPERATION_ABORTED);
    asock_op_unref(op);
    ck_assert_int_eq(remote_drain(peer, NULL), REMOTE_FIN);
    asock_op_unref(option);
    asock_socket_unref(listener);
    close(peer);
}
END_TEST

/* All sockets are in use: it waits, its listener does not, and one that is closed makes room. */
START_TEST(test_s62_multishot_waits_for_a_socket)
{
    struct sockaddr_storage where;
    struct shots shots = {0};
    asock_op *op, *option = new_op();
    int peers[4];

    ck_assert_int_eq(asock_context_set_limit(fixture.context, ASOCK_LIMIT_SOCKETS, 3), 0);
    shots.listener = new_listener(AF_INET, &where);
    op = start_shots(&shots);
    for (int i = 0; i < 4; i++)
        peers[i] = remote_dial(&where);
    wait_count(&shots.count, 2);
    submitted(asock_get_option(shots.listener, option, ASOCK_OPTION_REUSE_ADDRESS));
    expect(option, ASOCK_SUCCESS);
    ck_assert_int_eq(shots.count, 2);
    for (int i = 0; i < 2; i++) {
        talk(shots.sockets[i], peers[i]);
        asock_socket_unref(shots.sockets[i]);
        wait_count(&shots.count, i + 3);
    }
    ck_assert_int_eq(shots.ended, 0);
    ck_assert_int_eq(asock_cancel(op), 0); /* it waits again */
    wait_count(&shots.ended, 1);
    ck_assert_int_eq(shots.error, ASOCK_OPERATION_ABORTED);
    for (int i = 0; i < 4; i++) {
        if (i >= 2)
            asock_socket_unref(shots.sockets[i]);
        close(peers[i]);
    }
    asock_op_unref(op);
    asock_op_unref(option);
    asock_socket_unref(shots.listener);
}
END_TEST

/* Two that wait for one socket: nobody spins, and both end. */
START_TEST(test_s62_multishots_that_wait_end_with_the_session)
{
    struct sockaddr_storage where[2];
    struct shots shots[2] = {{0}};
    asock_op *ops[2];

    ck_assert_int_eq(asock_context_set_limit(fixture.context, ASOCK_LIMIT_SOCKETS, 2), 0);
    for (int i = 0; i < 2; i++)
        shots[i].listener = new_listener(AF_INET, &where[i]);
    for (int i = 0; i < 2; i++)
        ops[i] = start_shots(&shots[i]);
    sync_with_daemon();
    kill(fixture.daemon->pid, SIGKILL);
    private_daemon_wait(fixture.daemon);
    for (int i = 0; i < 2; i++) {
        wait_count(&shots[i].ended, 1);
        ck_assert_int_eq(shots[i].error, ASOCK_CONNECTION_ABORTED);
        asock_op_unref(ops[i]);
        asock_socket_unref(shots[i].listener);
    }
    fixture.daemon = private_daemon_release(fixture.daemon);
}
END_TEST

/* Nothing but the listener could be closed: that would wait without end. */
START_TEST(test_s62_multishot_without_any_room_ends)
{
    struct sockaddr_storage where;
    struct shots shots = {0};
    asock_op *op;

    ck_assert_int_eq(asock_context_set_limit(fixture.context, ASOCK_LIMIT_SOCKETS, 1), 0);
    shots.listener = new_listener(AF_INET, &where);
    op = start_shots(&shots);
    wait_count(&shots.ended, 1);
    ck_assert_int_eq(shots.error, ASOCK_TOO_MANY_OPEN_SOCKETS);
    asock_op_unref(op);
    asock_socket_unref(shots.listener);
}
END_TEST
