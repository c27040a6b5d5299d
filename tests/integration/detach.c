/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A session that a launcher opens and another program goes on with: asock_context_detach_fd(),
 * ASOCK_FD.
 */

#include "tests/lib/fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define refused(call, error) ck_assert_int_eq((call), -(error))

static int detach(asock_context *context)
{
    int fd = -1;

    ck_assert_int_eq(asock_context_detach_fd(context, LIVENESS_MS, &fd), 0);
    ck_assert_int_ge(fd, 3);
    ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    return fd;
}

/* As exec would have left it. */
static void inherit(int fd)
{
    char number[16];

    snprintf(number, sizeof(number), "%d", fd);
    ck_assert_int_eq(setenv("ASOCK_FD", number, 1), 0);
    ck_assert_int_eq(fcntl(fd, F_SETFD, 0), 0);
}

TEST_FIXTURE(fixture_setup_daemon, fixture_teardown);

START_TEST(test_detached_session_goes_on)
{
    asock_context *launcher = new_context(), *program, *second;
    uint64_t sockets;
    char name[32];
    struct pair pair;
    int fd;

    ck_assert_int_eq(asock_context_set_name(launcher, "launcher"), 0);
    ck_assert_int_eq(asock_context_set_limit(launcher, ASOCK_LIMIT_SOCKETS, 20), 0);
    fd = detach(launcher);
    asock_context_unref(launcher);
    inherit(fd);
    ck_assert_int_eq(asock_context_new(NULL, &program), 0);
    ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
    ck_assert_int_eq(asock_context_set_name(program, "program"), 0);
    ck_assert_int_eq(asock_context_set_limit(program, ASOCK_LIMIT_SOCKETS, 30), 0);
    /* It serves one context. */
    refused(asock_context_new(NULL, &second), EBUSY);
    pair = new_pair_of(program, AF_INET);
    ck_assert_int_eq(asock_context_get_limit(program, ASOCK_LIMIT_SOCKETS, &sockets), 0);
    ck_assert_uint_eq(sockets, 30);
    ck_assert(inspect_text(program, "show", "name", name, sizeof(name)));
    ck_assert_str_eq(name, "program");
    refused(asock_context_reconnect(program), EOPNOTSUPP);
    pair_close(&pair);
    asock_context_unref(program);
    /* The descriptor went with the context. */
    refused(asock_context_new(NULL, &second), EBADF);
}
END_TEST

/* What the launcher said about itself stays where the program says nothing. */
START_TEST(test_detached_session_keeps_its_name)
{
    asock_context *launcher = new_context(), *program;
    char name[32];

    /* Three Hellos: each has its welcome, and none of them is left to the program. */
    ck_assert_int_eq(asock_context_set_name(launcher, "one"), 0);
    ck_assert_int_eq(asock_context_flush(launcher), 0);
    ck_assert_int_eq(asock_context_set_name(launcher, "two"), 0);
    ck_assert_int_eq(asock_context_flush(launcher), 0);
    ck_assert_int_eq(asock_context_set_name(launcher, "three"), 0);
    ck_assert_int_eq(asock_context_new_fd(detach(launcher), &program), 0);
    asock_context_unref(launcher);
    ck_assert(inspect_text(program, "show", "name", name, sizeof(name)));
    ck_assert_str_eq(name, "three");
    asock_context_unref(program);
}
END_TEST

START_TEST(test_detached_context_is_as_after_a_loss)
{
    asock_context *launcher = new_context();
    int fd = detach(launcher), again;

    ck_assert_int_eq(asock_context_get_error(launcher), ASOCK_OPERATION_ABORTED);
    ck_assert_int_eq(asock_context_get_events(launcher), 0);
    refused(asock_context_detach_fd(launcher, 0, &again), ECONNABORTED);
    ck_assert_int_eq(asock_context_reconnect(launcher), 0);
    sync_of(launcher);
    asock_context_unref(launcher);
    ck_assert_int_eq(close(fd), 0);
}
END_TEST

START_TEST(test_misuse_detach)
{
    asock_context *context = new_context();
    asock_socket *socket;
    int fd = -7;

    refused(asock_context_detach_fd(NULL, 0, &fd), EINVAL);
    refused(asock_context_detach_fd(context, 0, NULL), EINVAL);
    ck_assert_int_eq(asock_context_start_dispatcher(context), 0);
    refused(asock_context_detach_fd(context, 0, &fd), EBUSY);
    ck_assert_int_eq(asock_context_stop_dispatcher(context), 0);
    socket = new_socket_of(context, AF_INET);
    refused(asock_context_detach_fd(context, 0, &fd), EBUSY);
    asock_socket_unref(socket);
    /* Behind an op the daemon takes no second Hello. */
    sync_of(context);
    refused(asock_context_detach_fd(context, 0, &fd), EBUSY);
    sync_of(context);
    asock_context_unref(context);
    ck_assert_int_eq(fd, -7);
}
END_TEST

/* A daemon that says nothing, and one that goes. */
START_TEST(test_detach_without_an_answer)
{
    asock_context *context;
    int pair[2], fd = -7;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_int_eq(asock_context_new_fd(pair[0], &context), 0);
    refused(asock_context_detach_fd(context, 0, &fd), ETIMEDOUT);
    refused(asock_context_detach_fd(context, 10, &fd), ETIMEDOUT);
    close(pair[1]);
    refused(asock_context_detach_fd(context, LIVENESS_MS, &fd), ECONNABORTED);
    asock_context_unref(context);
    ck_assert_int_eq(fd, -7);
}
END_TEST

static void expect_inherited(const char *value, int error)
{
    asock_context *untouched = (asock_context *)(uintptr_t)1, *context = untouched;

    ck_assert_int_eq(setenv("ASOCK_FD", value, 1), 0);
    ck_assert_msg(asock_context_new(NULL, &context) == -error, "ASOCK_FD=%s", value);
    ck_assert_ptr_eq(context, untouched);
}

static void expect_inherited_fd(int fd, int error)
{
    char number[16];

    snprintf(number, sizeof(number), "%d", fd);
    expect_inherited(number, error);
}

START_TEST(test_misuse_inherited)
{
    static const char *const nonsense[] = {
        "x", "-1", "+3", " 3", "3 ", "3x", "0x3", "2147483648", "99999999999999999999"};
    int pair[2], datagrams[2], file = open("/dev/null", O_RDWR);
    int inet = socket(AF_INET, SOCK_STREAM, 0), lonely = socket(AF_UNIX, SOCK_STREAM, 0);
    asock_context *context;

    /* ASOCK_FD is the first to be asked, and what is wrong with it is not passed over. */
    setenv("ASOCK_SOCKET", fixture.daemon->client, 1);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, datagrams), 0);
    for (size_t i = 0; i < sizeof(nonsense) / sizeof(nonsense[0]); i++)
        expect_inherited(nonsense[i], EINVAL);
    expect_inherited("987654", EBADF);
    expect_inherited_fd(file, EINVAL);
    expect_inherited_fd(inet, EINVAL);
    expect_inherited_fd(lonely, EINVAL);
    expect_inherited_fd(datagrams[0], EINVAL);
    ck_assert_int_eq(fcntl(pair[0], F_SETFD, FD_CLOEXEC), 0);
    expect_inherited_fd(pair[0], EBUSY);
    /* An empty value is none, and a path that the program names goes before. */
    setenv("ASOCK_FD", "", 1);
    ck_assert_int_eq(asock_context_new(NULL, &context), 0);
    sync_of(context);
    asock_context_unref(context);
    setenv("ASOCK_FD", "x", 1);
    ck_assert_int_eq(asock_context_new(fixture.daemon->client, &context), 0);
    sync_of(context);
    asock_context_unref(context);
    /* What was refused is the program's still. */
    ck_assert_int_eq(fcntl(file, F_GETFD), 0);
    ck_assert_int_eq(close(file) + close(inet) + close(lonely), 0);
    ck_assert_int_eq(close(datagrams[0]) + close(datagrams[1]), 0);
    ck_assert_int_eq(close(pair[0]) + close(pair[1]), 0);
}
END_TEST
