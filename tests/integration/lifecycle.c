/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The daemon's start and stop, its loss (S46), policy's one answer, and lack of descriptors. */

#include "tests/lib/fixture.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void start(void)
{
    fixture_start(NULL);
    fixture.context = new_context();
    pump_add(fixture.context);
}

static void assert_clean_exit(void)
{
    int status = private_daemon_wait(fixture.daemon);

    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "wait status 0x%x",
                  (unsigned int)status);
    fixture.daemon = private_daemon_release(fixture.daemon);
}

/* -------------------------------------------------------------------------------------- stop */

/* Ops pending of every kind; the signal ends them, the daemon exits with 0, the peer is told. */
static void stop_by(int signal)
{
    static char data[16 * MIB];
    struct pair half, idle;
    asock_op *ops[3];
    char byte;

    start();
    half = new_pair_small(AF_INET);
    idle = new_pair(AF_INET6);
    ops[0] = send_without_reader(half.socket, data, sizeof(data));
    ops[1] = new_op_with(&byte, 1);
    pending(asock_receive(idle.socket, ops[1]));
    ops[2] = new_op_with("after", 5);
    pending(asock_send(half.socket, ops[2]));
    sync_with_daemon();
    kill(fixture.daemon->pid, signal);
    for (size_t i = 0; i < 3; i++) {
        expect(ops[i], ASOCK_CONNECTION_ABORTED);
        asock_op_unref(ops[i]);
    }
    ck_assert_int_eq(asock_context_get_error(fixture.context), ASOCK_CONNECTION_ABORTED);
    ck_assert_int_eq(remote_drain(half.peer, NULL), REMOTE_RST);
    ck_assert_int_eq(remote_drain(idle.peer, NULL), REMOTE_FIN);
    pair_close(&half);
    pair_close(&idle);
    assert_clean_exit();
}

START_TEST(test_sigterm_ends_ops_and_the_daemon)
{
    stop_by(SIGTERM);
}
END_TEST

START_TEST(test_sigint_ends_ops_and_the_daemon)
{
    stop_by(SIGINT);
}
END_TEST

/* A peer that never closes, and a client that does not read, hold up no stop. */
START_TEST(test_stop_waits_for_nobody)
{
    struct pair pair;
    static char data[16 * MIB];
    asock_op *op;

    start();
    pair = new_pair_small(AF_INET);
    /* What the daemon answers is not read, what it sends is not taken. */
    op = send_without_reader(pair.socket, data, sizeof(data));
    flush();
    pump_remove(fixture.context);
    kill(fixture.daemon->pid, SIGTERM);
    assert_clean_exit();
    asock_op_unref(op);
    pair_close(&pair);
}
END_TEST

START_TEST(test_stop_removes_the_sockets)
{
    char client[108], control[108];
    struct stat st;

    start();
    memcpy(client, fixture.daemon->client, sizeof(client));
    memcpy(control, fixture.daemon->control, sizeof(control));
    ck_assert_int_eq(stat(client, &st), 0);
    ck_assert_int_eq(stat(control, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0600);
    kill(fixture.daemon->pid, SIGTERM);
    ck_assert_int_eq(private_daemon_wait(fixture.daemon), 0);
    ck_assert_int_lt(stat(client, &st), 0);
    ck_assert_int_lt(stat(control, &st), 0);
    fixture.daemon = private_daemon_release(fixture.daemon);
}
END_TEST

/* ------------------------------------------------------------------------------------- start */

START_TEST(test_second_daemon_says_so_and_leaves_the_first_alone)
{
    const char *args[] = {"--runtime-dir", NULL, "--allow-any", NULL};
    char output[4096];
    struct pair pair;
    char buf[4];
    int status;

    start();
    pair = new_pair(AF_INET);
    args[1] = fixture.daemon->dir;
    status = private_daemon_run(args, output, sizeof(output));
    ck_assert_msg(status != 0, "a second asockd ran: %s", output);
    ck_assert_msg(strstr(output, fixture.daemon->dir) != NULL, "it said: %s", output);
    send_now(pair.socket, "fine", 4);
    remote_read(pair.peer, buf, 4);
    pair_close(&pair);
    pair = new_pair(AF_INET);
    pair_close(&pair);
    asock_context *another = new_context();
    sync_of(another);
    asock_context_unref(another);
}
END_TEST

START_TEST(test_stale_socket_is_replaced)
{
    struct private_daemon_options options = {0};
    struct private_daemon *first;
    struct stat st;

    start();
    first = fixture.daemon;
    pump_remove(fixture.context);
    asock_context_unref(fixture.context);
    kill(first->pid, SIGKILL);
    private_daemon_wait(first);
    ck_assert_int_eq(stat(first->client, &st), 0);
    options.dir = first->dir;
    fixture_start(&options);
    fixture.context = new_context();
    sync_with_daemon();
    asock_context_unref(fixture.context);
    fixture.context = NULL;
    fixture.daemon = private_daemon_stop(fixture.daemon);
    private_daemon_release(first);
}
END_TEST

static int run(const char *argument, char *output, size_t size)
{
    const char *args[] = {argument, NULL};

    return private_daemon_run(args, output, size);
}

START_TEST(test_command_line_answers)
{
    char output[8192];

    ck_assert_int_eq(run("--version", output, sizeof(output)), 0);
    ck_assert_ptr_nonnull(strstr(output, asock_version()));
    ck_assert_int_eq(run("--help", output, sizeof(output)), 0);
    ck_assert_ptr_nonnull(strstr(output, "--runtime-dir"));
    ck_assert_ptr_nonnull(strstr(output, "--allow-any"));
    ck_assert_int_ne(run("--nonsense", output, sizeof(output)), 0);
    ck_assert_ptr_nonnull(strstr(output, "nonsense"));
    ck_assert_int_ne(run("superfluous", output, sizeof(output)), 0);
}
END_TEST

START_TEST(test_descriptor_limit_is_raised_to_the_hard_limit)
{
    char path[64], line[256];
    long soft = -1, hard = -2;
    FILE *file;

    start();
    snprintf(path, sizeof(path), "/proc/%d/limits", fixture.daemon->pid);
    file = fopen(path, "re");
    while (fgets(line, sizeof(line), file))
        sscanf(line, "Max open files %ld %ld", &soft, &hard);
    fclose(file);
    ck_assert_int_eq(soft, hard);
}
END_TEST

/* ------------------------------------------------------------------------------------ policy */

/* ACCESS_DENIED, and nobody hears of it: not a packet has left. */
START_TEST(test_s24_without_allow_any_everything_is_denied)
{
    static const char *const args[] = {NULL};
    struct private_daemon_options options = {.args = args};
    static const int families[] = {AF_INET, AF_INET6};

    fixture_start(&options);
    fixture.context = new_context();
    pump_add(fixture.context);
    for (size_t i = 0; i < 2; i++) {
        struct sockaddr_storage addr;
        int listener = remote_listen(families[i], &addr);
        asock_socket *sock = new_socket(families[i]);
        asock_op *op = new_connect_op(&addr);
        char service[8];

        submitted(asock_connect(sock, op));
        expect(op, ASOCK_ACCESS_DENIED);
        snprintf(service, sizeof(service), "%u", remote_port(&addr));
        ck_assert_int_eq(asock_op_set_host(op, i == 0 ? "127.0.0.1" : "::1", service), 0);
        submitted(asock_connect(sock, op));
        expect(op, ASOCK_ACCESS_DENIED);
        ck_assert_int_eq(asock_op_set_host(op, "localhost", service), 0);
        submitted(asock_connect(sock, op));
        expect(op, ASOCK_ACCESS_DENIED);
        ck_assert(remote_nobody_waits(listener));
        /* Behind a failed connect, as always. */
        ck_assert_int_eq(asock_op_set_buffer(op, service, 1), 0);
        submitted(asock_send(sock, op));
        expect_bytes(op, ASOCK_OPERATION_ABORTED, 0);
        asock_op_unref(op);
        asock_socket_unref(sock);
        close(listener);
    }
}
END_TEST

/* -------------------------------------------------------------------------------------- loss */

static void lose_daemon(void)
{
    kill(fixture.daemon->pid, SIGKILL);
    private_daemon_wait(fixture.daemon);
}

/* A daemon at the same place; the caller releases the lost one when that has ended. */
static struct private_daemon *replace_daemon(void)
{
    struct private_daemon *lost = fixture.daemon;
    struct private_daemon_options options = {.dir = lost->dir};

    fixture_start(&options);
    return lost;
}

START_TEST(test_s46_loss_ends_ops_and_everything_later)
{
    struct pair pair;
    asock_socket *sock;
    asock_op *op;
    char buf[4];

    start();
    pair = new_pair(AF_INET);
    op = new_op_with(buf, 4);
    pending(asock_receive(pair.socket, op));
    sync_with_daemon();
    lose_daemon();
    expect_bytes(op, ASOCK_CONNECTION_ABORTED, 0);
    ck_assert_int_eq(asock_context_get_error(fixture.context), ASOCK_CONNECTION_ABORTED);
    submitted(asock_send(pair.socket, op));
    expect_bytes(op, ASOCK_CONNECTION_ABORTED, 0);
    submitted(asock_sync(fixture.context, op));
    expect(op, ASOCK_CONNECTION_ABORTED);
    submitted(asock_close(pair.socket, op, 0));
    ck_assert_int_eq(asock_op_wait(op, LIVENESS_MS), 0);
    ck_assert_int_eq(asock_socket_new(fixture.context, AF_INET, &sock), -ENOTCONN);
    asock_op_unref(op);
    pair_close(&pair);
    fixture.daemon = private_daemon_release(fixture.daemon);
}
END_TEST

START_TEST(test_s46_reconnects_on_request_alone)
{
    struct private_daemon *lost;
    struct pair pair, fresh;
    asock_op *op;
    char buf[4];

    start();
    pair = new_pair(AF_INET);
    op = new_op_with("data", 4);
    lose_daemon();
    submitted(asock_send(pair.socket, op));
    expect(op, ASOCK_CONNECTION_ABORTED);
    ck_assert_int_eq(asock_context_reconnect(fixture.context), -ECONNREFUSED);
    lost = replace_daemon();
    /* Not behind the program's back: nothing connects before it is asked to. */
    submitted(asock_sync(fixture.context, op));
    expect(op, ASOCK_CONNECTION_ABORTED);
    pump_turn(-1, 0, 0);
    ck_assert_int_eq(asock_context_reconnect(fixture.context), 0);
    ck_assert_int_eq(asock_context_get_error(fixture.context), 0);
    ck_assert_int_eq(asock_context_reconnect(fixture.context), -EBUSY);
    fresh = new_pair(AF_INET);
    send_now(fresh.socket, "new!", 4);
    remote_read(fresh.peer, buf, 4);
    ck_assert_mem_eq(buf, "new!", 4);
    /* Old sockets stay dead, also where the new session uses their ids. */
    submitted(asock_send(pair.socket, op));
    expect_bytes(op, ASOCK_CONNECTION_ABORTED, 0);
    pair_close(&pair);
    send_now(fresh.socket, "more", 4);
    remote_read(fresh.peer, buf, 4);
    ck_assert_mem_eq(buf, "more", 4);
    pair_close(&fresh);
    asock_op_unref(op);
    pump_remove(fixture.context);
    fixture.context = asock_context_unref(fixture.context);
    fixture.daemon = private_daemon_stop(fixture.daemon);
    private_daemon_release(lost);
}
END_TEST

START_TEST(test_s46_reconnect_waits_for_callbacks)
{
    struct private_daemon *lost;
    struct pair pair;
    int called = 0;
    asock_op *op;
    char buf[4];

    start();
    pair = new_pair(AF_INET);
    op = new_op_with(buf, 4);
    ck_assert_int_eq(asock_op_set_callback(op, count_callback, &called), 0);
    pending(asock_receive(pair.socket, op));
    sync_with_daemon();
    pump_remove(fixture.context); /* the callback waits until we want it */
    lose_daemon();
    lost = replace_daemon();
    expect(op, ASOCK_CONNECTION_ABORTED);
    ck_assert_int_eq(asock_context_reconnect(fixture.context), -EBUSY);
    pump_add(fixture.context);
    wait_count(&called, 1);
    ck_assert_int_eq(asock_context_reconnect(fixture.context), 0);
    sync_with_daemon();
    asock_op_unref(op);
    pair_close(&pair);
    pump_remove(fixture.context);
    fixture.context = asock_context_unref(fixture.context);
    fixture.daemon = private_daemon_stop(fixture.daemon);
    private_daemon_release(lost);
}
END_TEST

/* ------------------------------------------------------------------------ lack of descriptors */

#define FEW_DESCRIPTORS 96
#define MANY_CLIENTS 120

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

/* Opens clients; returns how many were served. The others were told why not. */
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
 * The limit is lowered behind the daemon's back, so that accept itself fails. Counted in turns of the
 * loop and in failures of accept, it does not spin; the control listener still answers.
 */
START_TEST(test_accept_without_descriptors_does_not_spin)
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
    /* One for each who was turned away, and one more to see that nobody else waits. */
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
    asock_socket *socks[MANY_CLIENTS];
    asock_op *op;
    size_t connected = 0, refused = 0, fds;

    fixture_start(&options);
    fixture.context = new_context();
    pump_add(fixture.context);
    sync_with_daemon();
    fds = private_daemon_fds(fixture.daemon);
    op = new_connect_op(server_addr(server));
    for (size_t i = 0; i < MANY_CLIENTS; i++) {
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
    for (size_t i = 0; i < MANY_CLIENTS; i++)
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

static const TTest **const tests[] = {
    &test_sigterm_ends_ops_and_the_daemon,
    &test_sigint_ends_ops_and_the_daemon,
    &test_stop_waits_for_nobody,
    &test_stop_removes_the_sockets,
    &test_second_daemon_says_so_and_leaves_the_first_alone,
    &test_stale_socket_is_replaced,
    &test_command_line_answers,
    &test_descriptor_limit_is_raised_to_the_hard_limit,
    &test_s24_without_allow_any_everything_is_denied,
    &test_s46_loss_ends_ops_and_everything_later,
    &test_s46_reconnects_on_request_alone,
    &test_s46_reconnect_waits_for_callbacks,
    &test_s49_clients_over_the_limit_are_told,
    &test_accept_without_descriptors_does_not_spin,
    &test_s49_sockets_without_descriptors_are_too_many,
};

int main(void)
{
    return RUN_SUITE("lifecycle", fixture_setup_nothing, tests);
}
