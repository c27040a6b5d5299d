/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A session that restricts itself, through the library (S56). */

#include "tests/lib/fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define refused(call, error) ck_assert_int_eq((call), -(error))

static char text[513];

static int restrict_to(asock_context *context, const char *rules)
{
    return asock_context_restrict(context, rules, strlen(rules), LIVENESS_MS, text, sizeof(text));
}

static int restrict_to_port(asock_context *context, const struct sockaddr_storage *addr)
{
    char rules[100];

    snprintf(rules, sizeof(rules), "[Rules]\nAllow=tcp 127.0.0.1 %u +loopback\n",
             remote_port(addr));
    return restrict_to(context, rules);
}

static void expect_connect(asock_context *context, const struct sockaddr_storage *addr, int error)
{
    asock_socket *socket = new_socket_of(context, AF_INET);
    asock_op *op = new_op_of(context);

    ck_assert_int_eq(asock_op_set_endpoint(op, (const struct sockaddr *)addr, sizeof(*addr)), 0);
    submitted(asock_connect(socket, op));
    expect(op, error);
    ck_assert(error == 0 || asock_op_get_text(op));
    asock_op_unref(op);
    asock_socket_unref(socket);
}

TEST_FIXTURE(fixture_setup, fixture_teardown);

START_TEST(test_s56_outside_is_denied)
{
    struct sockaddr_storage inside, outside;
    int a = remote_listen(AF_INET, &inside), b = remote_listen(AF_INET, &outside);

    expect_connect(fixture.context, &outside, ASOCK_SUCCESS);
    close(remote_accept(b));
    ck_assert_int_eq(restrict_to_port(fixture.context, &inside), 0);
    ck_assert_str_eq(text, "");
    expect_connect(fixture.context, &outside, ASOCK_ACCESS_DENIED);
    ck_assert(remote_nobody_waits(b));
    expect_connect(fixture.context, &inside, ASOCK_SUCCESS);
    close(remote_accept(a));
    /* The other one's rules take away what was left. */
    ck_assert_int_eq(restrict_to_port(fixture.context, &outside), 0);
    expect_connect(fixture.context, &outside, ASOCK_ACCESS_DENIED);
    expect_connect(fixture.context, &inside, ASOCK_ACCESS_DENIED);
    close(a);
    close(b);
}
END_TEST

/*
 * Whoever has it: a launcher restricts, and says its Hello before and after; the program says
 * another.
 */
START_TEST(test_s56_goes_with_the_connection)
{
    asock_context *launcher = new_context(), *program;
    struct sockaddr_storage inside, outside;
    int a = remote_listen(AF_INET, &inside), b = remote_listen(AF_INET, &outside), fd;
    uint64_t sockets;

    ck_assert_int_eq(asock_context_set_name(launcher, "launcher"), 0);
    ck_assert_int_eq(restrict_to_port(launcher, &inside), 0);
    ck_assert_int_eq(asock_context_set_name(launcher, "renamed"), 0);
    ck_assert_int_eq(asock_context_detach_fd(launcher, LIVENESS_MS, &fd), 0);
    asock_context_unref(launcher);
    ck_assert_int_eq(asock_context_new_fd(fd, &program), 0);
    ck_assert_int_eq(asock_context_set_limit(program, ASOCK_LIMIT_SOCKETS, 33), 0);
    ck_assert_int_eq(asock_context_set_name(program, "program"), 0);
    expect_connect(program, &outside, ASOCK_ACCESS_DENIED);
    expect_connect(program, &inside, ASOCK_SUCCESS);
    close(remote_accept(a));
    ck_assert_int_eq(asock_context_get_limit(program, ASOCK_LIMIT_SOCKETS, &sockets), 0);
    ck_assert_uint_eq(sockets, 33);
    /* The launcher's own rights are what they were. */
    expect_connect(fixture.context, &outside, ASOCK_SUCCESS);
    close(remote_accept(b));
    asock_context_unref(program);
    close(a);
    close(b);
}
END_TEST

START_TEST(test_s56_connections_go_on)
{
    struct pair pair = new_pair(AF_INET);
    char byte;

    ck_assert_int_eq(restrict_to(fixture.context, "[Rules]\n"), 0);
    send_now(pair.socket, "x", 1);
    ck_assert_int_eq(recv(pair.peer, &byte, 1, 0), 1);
    pair_close(&pair);
}
END_TEST

START_TEST(test_s56_wrong_rules_are_told)
{
    static const char wrong[] = "[Rules]\nAllow=tcp 127.0.0.1 1 +everything\n";
    struct sockaddr_storage addr;
    int listener = remote_listen(AF_INET, &addr);
    char small[5] = "....";

    refused(restrict_to(fixture.context, wrong), EINVAL);
    ck_assert_msg(strncmp(text, "line 2: ", 8) == 0, "text is %s", text);
    refused(asock_context_restrict(fixture.context, wrong, strlen(wrong), LIVENESS_MS, small,
                                   sizeof(small)),
            EINVAL);
    ck_assert_str_eq(small, "line");
    refused(asock_context_restrict(fixture.context, wrong, strlen(wrong), LIVENESS_MS, NULL, 0),
            EINVAL);
    expect_connect(fixture.context, &addr, ASOCK_SUCCESS);
    close(remote_accept(listener));
    close(listener);
}
END_TEST

START_TEST(test_s56_there_are_only_so_many)
{
    struct sockaddr_storage addr;
    int listener = remote_listen(AF_INET, &addr);

    for (int i = 0; i < 16; i++)
        ck_assert_int_eq(restrict_to_port(fixture.context, &addr), 0);
    refused(restrict_to_port(fixture.context, &addr), ENOBUFS);
    expect_connect(fixture.context, &addr, ASOCK_SUCCESS);
    close(remote_accept(listener));
    close(listener);
}
END_TEST

START_TEST(test_s56_misuse)
{
    asock_context *control = new_control();
    static char large[256 * 1024 + 1];
    int fd = -1;

    refused(asock_context_restrict(NULL, "", 0, 0, NULL, 0), EINVAL);
    refused(asock_context_restrict(fixture.context, NULL, 1, 0, NULL, 0), EINVAL);
    refused(asock_context_restrict(fixture.context, "", 0, 0, NULL, 1), EINVAL);
    refused(asock_context_restrict(fixture.context, large, sizeof(large), 0, NULL, 0), EMSGSIZE);
    refused(restrict_to(control, "[Rules]\n"), EOPNOTSUPP);
    asock_context_unref(control);
    /* Frozen: whether the restriction arrived is unknown, so the session must not be passed on. */
    private_daemon_freeze(fixture.daemon);
    refused(asock_context_restrict(fixture.context, "[Rules]\n", 8, 10, NULL, 0), ETIMEDOUT);
    refused(asock_context_detach_fd(fixture.context, 0, &fd), EBUSY);
    private_daemon_thaw(fixture.daemon);
    sync_with_daemon();
    refused(asock_context_detach_fd(fixture.context, 0, &fd), EBUSY);
}
END_TEST
