/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The daemon runs out of descriptors (S49). */

#include "tests/lib/fixture.h"

#include <unistd.h>

#define FEW_DESCRIPTORS 96
#define MANY_CLIENTS 120
#define LEAST_SOCKETS 16 /* that are always granted: more than there are descriptors for */

static int error_after_sync(asock_context *context)
{
    asock_op *op = new_op_of(context);
    int error;

    submitted(asock_sync(context, op));
    ck_assert_int_eq(asock_op_wait(op, LIVENESS_MS), 0);
    error = asock_op_get_error(op);
    asock_op_unref(op);
    if (error == ASOCK_SUCCESS)
        return 0;
    ck_assert_int_eq(error, ASOCK_CONNECTION_ABORTED);
    return asock_context_get_error(context);
}

/* Opens clients; returns how many were served. The others got the reason as an error. */
static size_t open_clients(asock_context **clients, size_t count)
{
    size_t served = 0;

    for (size_t i = 0; i < count; i++) {
        int error;

        clients[i] = new_context();
        error = error_after_sync(clients[i]);
        ck_assert_msg(error == 0 || error == ASOCK_NO_BUFFER_SPACE, "client %zu: %s", i,
                      asock_error_name(error));
        served += error == 0;
    }
    return served;
}

static void close_clients(asock_context **clients, size_t count)
{
    for (size_t i = 0; i < count; i++)
        asock_context_unref(clients[i]);
}

TEST_FIXTURE(fixture_setup_nothing, fixture_teardown);

START_TEST(test_s49_clients_over_the_limit_are_told)
{
    struct private_daemon_options options = {.nofile = FEW_DESCRIPTORS};
    asock_context *clients[MANY_CLIENTS];
    size_t served;

    fixture_start(&options);
    served = open_clients(clients, MANY_CLIENTS);
    ck_assert_uint_gt(served, 0);
    ck_assert_uint_lt(served, MANY_CLIENTS);
    ck_assert_uint_le(private_daemon_fds(fixture.daemon), FEW_DESCRIPTORS);
    close_clients(clients, MANY_CLIENTS);
    private_daemon_wait_fds(fixture.daemon, fixture.daemon->baseline);
    ck_assert_uint_eq(open_clients(clients, 1), 1);
    close_clients(clients, 1);
}
END_TEST

/*
 * The limit is lowered behind the daemon's back, so that accept itself fails. Counted in turns of
 * the loop and in failures of accept, it does not spin; the control listener still answers.
 */
START_TEST(test_s49_accept_without_descriptors_does_not_spin)
{
    asock_context *clients[MANY_CLIENTS], *control;
    int64_t before;
    size_t served;

    fixture_start(NULL);
    private_daemon_limit_fds(fixture.daemon, fixture.daemon->baseline + 10);
    served = open_clients(clients, MANY_CLIENTS);
    ck_assert_uint_gt(served, 0);
    ck_assert_uint_lt(served, MANY_CLIENTS);
    control = new_control();
    ck_assert_int_eq(error_after_sync(control), 0);
    /* One for each client that was rejected, and one more to see that no other one waits. */
    ck_assert_int_le(inspect_number(control, "stats", "accept_stalls"), 2 * MANY_CLIENTS + 2);
    ck_assert_int_ge(inspect_number(control, "stats", "accept_stalls"), MANY_CLIENTS - served);
    before = inspect_number(control, "stats", "turns");
    ck_assert_int_ge(before, 0);
    pump_turn(-1, 0, 500);
    ck_assert_int_lt(inspect_number(control, "stats", "turns") - before, 50);
    close_clients(clients, MANY_CLIENTS);
    asock_context_unref(control);
    ck_assert_uint_eq(open_clients(clients, 1), 1);
    close_clients(clients, 1);
}
END_TEST

START_TEST(test_s49_sockets_without_descriptors_are_too_many)
{
    struct private_daemon_options options = {.nofile = FEW_DESCRIPTORS};
    struct server *server = server_start(SERVER_ECHO, AF_INET, 0);
    asock_socket *socks[LEAST_SOCKETS];
    asock_op *op;
    size_t connected = 0, refused = 0, fds;

    fixture_start(&options);
    fixture.context = new_context();
    pump_add(fixture.context);
    sync_with_daemon();
    fds = private_daemon_fds(fixture.daemon);
    op = new_connect_op(server_addr(server));
    for (size_t i = 0; i < LEAST_SOCKETS; i++) {
        socks[i] = new_socket(AF_INET);
        submitted(asock_connect(socks[i], op));
        ck_assert_int_eq(asock_op_wait(op, LIVENESS_MS), 0);
        if (asock_op_get_error(op) == ASOCK_SUCCESS) {
            connected++;
        } else {
            ck_assert_int_eq(asock_op_get_error(op), ASOCK_TOO_MANY_OPEN_SOCKETS);
            refused++;
        }
    }
    ck_assert_uint_gt(connected, 0);
    ck_assert_uint_gt(refused, 0);
    for (size_t i = 0; i < LEAST_SOCKETS; i++)
        asock_socket_unref(socks[i]);
    flush();
    private_daemon_wait_fds(fixture.daemon, fds);
    /* The session lives on, and has its room back. */
    asock_socket *sock = new_connected(fixture.context, server_addr(server));
    asock_socket_unref(sock);
    asock_op_unref(op);
    server_wait_ended(server, (unsigned int)connected + 1);
    server_stop(server);
}
END_TEST
