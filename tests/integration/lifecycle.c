/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The daemon's start and stop. */

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

/*
 * Ops pending of every kind; the signal ends them, the daemon exits with 0, the peer sees the end.
 */
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
    /* The library asks for more while the send finds limits; each answer lets more of it leave. */
    for (int i = 0; i < 8; i++)
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

TEST_FIXTURE(fixture_setup_nothing, fixture_teardown);

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
    fixture_release_context();
    kill(first->pid, SIGKILL);
    private_daemon_wait(first);
    ck_assert_int_eq(stat(first->client, &st), 0);
    options.dir = first->dir;
    fixture_start(&options);
    fixture.context = new_context();
    sync_with_daemon();
    fixture_release_context();
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
