/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The examples do what their heads say; their process has no network where root may take it away.
 */

#include "tests/lib/fixture.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct program {
    pid_t pid;
    int output;
};

/* Runs examples/NAME HOST PORT TEXT. errors: its standard error is the output instead. */
static struct program start(const char *name, const struct sockaddr_storage *addr, const char *text,
                            bool errors)
{
    struct program program;
    char path[4096], port[8];
    int fds[2];

    snprintf(path, sizeof(path), "%s/examples/%s", test_builddir(), name);
    snprintf(port, sizeof(port), "%u", remote_port(addr));
    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    program.pid = fork();
    if (program.pid == 0) {
        setenv("ASOCK_SOCKET", fixture.daemon->client, 1);
        dup2(fds[1], errors ? STDERR_FILENO : STDOUT_FILENO);
        if (geteuid() == 0)
            unshare(CLONE_NEWNET);
        execl(path, name, addr->ss_family == AF_INET ? "127.0.0.1" : "::1", port, text,
              (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    program.output = fds[0];
    return program;
}

static int finish(struct program *program, char *output, size_t size)
{
    size_t len = 0;
    int status;

    for (;;) {
        ssize_t n;

        wait_fd(program->output, POLLIN);
        n = read(program->output, output + len, size - 1 - len);
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    output[len] = '\0';
    close(program->output);
    ck_assert_int_eq(waitpid(program->pid, &status, 0), program->pid);
    ck_assert_msg(WIFEXITED(status), "wait status 0x%x", (unsigned int)status);
    return WEXITSTATUS(status);
}

/* A client that sends a line and prints what comes, until the end of stream. */
static void run_client(const char *name, int family)
{
    struct sockaddr_storage addr;
    int listener = remote_listen(family, &addr), peer;
    struct program program = start(name, &addr, "a question", false);
    size_t len = 100 * KIB;
    char request[11], *answer = malloc(len), *output = malloc(len + 2);

    for (size_t i = 0; i < len; i++)
        answer[i] = (char)('a' + pattern_at(i) % 26);
    peer = remote_accept(listener);
    remote_read(peer, request, sizeof(request));
    ck_assert_mem_eq(request, "a question\n", sizeof(request));
    remote_write(peer, answer, 1);
    remote_write(peer, answer + 1, 99);
    /* No more than what the pipe and the kernel's buffers hold: the output is not read yet. */
    remote_write(peer, answer + 100, len - 100);
    remote_finish(peer);
    ck_assert_int_eq(finish(&program, output, len + 2), 0);
    ck_assert_uint_eq(strlen(output), len);
    ck_assert_mem_eq(output, answer, len);
    ck_assert_int_eq(remote_drain(peer, NULL), REMOTE_FIN);
    close(peer);
    close(listener);
    free(answer);
    free(output);
}

static void refuse_client(const char *name)
{
    struct sockaddr_storage addr;
    int reserved = remote_closed_port(AF_INET, &addr);
    struct program program = start(name, &addr, "a question", true);
    char output[4096];

    ck_assert_int_eq(finish(&program, output, sizeof(output)), 1);
    ck_assert_msg(strcasestr(output, "refused") != NULL, "it said: %s", output);
    close(reserved);
}

TEST_FIXTURE(fixture_setup_daemon, fixture_teardown);

static struct sockaddr_storage loopback(int family, uint16_t port)
{
    struct sockaddr_storage addr = {.ss_family = (sa_family_t)family};
    struct sockaddr_in6 *in6 = (void *)&addr;

    in6->sin6_port = htons(port); /* at the same place in both */
    if (family == AF_INET)
        ((struct sockaddr_in *)(void *)&addr)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else
        in6->sin6_addr = in6addr_loopback;
    return addr;
}

/* It serves several at a time, but for the one in begin and end style, and ends by itself. */
static void run_server(const char *name, int family, unsigned int together)
{
    enum { CONNECTIONS = 4 };
    struct sockaddr_storage addr = {.ss_family = (sa_family_t)family};
    struct program program = start(name, &addr, "4", false);
    char line[64], buf[5], output[16];
    unsigned int port = 0;
    int peers[CONNECTIONS];
    ssize_t n;

    wait_fd(program.output, POLLIN);
    n = read(program.output, line, sizeof(line) - 1);
    ck_assert_int_gt(n, 0);
    line[n] = '\0';
    ck_assert_int_eq(sscanf(line, "listening on %*s port %u", &port), 1);
    addr = loopback(family, (uint16_t)port);
    for (unsigned int i = 0; i < CONNECTIONS; i += together) {
        for (unsigned int k = i; k < i + together; k++)
            peers[k] = remote_dial(&addr);
        for (unsigned int k = i + together; k-- > i;) {
            remote_write(peers[k], "hello", 5);
            remote_read(peers[k], buf, 5);
            ck_assert_mem_eq(buf, "hello", 5);
            remote_finish(peers[k]);
            ck_assert_int_eq(remote_drain(peers[k], NULL), REMOTE_FIN);
            close(peers[k]);
        }
    }
    ck_assert_int_eq(finish(&program, output, sizeof(output)), 0);
}

START_TEST(test_example_echo_servers)
{
    run_server("async_echo_server", AF_INET, 4);
    run_server("async_echo_server", AF_INET6, 2);
    run_server("libev_echo_server", AF_INET, 4);
    run_server("begin_end_echo_server", AF_INET6, 1);
}
END_TEST

START_TEST(test_example_async_client)
{
    run_client("async_client", AF_INET);
    run_client("async_client", AF_INET6);
    refuse_client("async_client");
}
END_TEST

START_TEST(test_example_begin_end_client)
{
    run_client("begin_end_client", AF_INET);
    run_client("begin_end_client", AF_INET6);
    refuse_client("begin_end_client");
}
END_TEST

START_TEST(test_example_libev_client)
{
    run_client("libev_client", AF_INET);
    run_client("libev_client", AF_INET6);
    refuse_client("libev_client");
}
END_TEST

START_TEST(test_example_op_pool)
{
    struct sockaddr_storage addr;
    int listener = remote_listen(AF_INET, &addr), peer;
    struct program program = start("op_pool", &addr, "of text", false);
    unsigned long bytes, received;
    char output[256], *lines = calloc(1, 64 * KIB), *at = lines;
    uint64_t len = 0;
    ssize_t n;

    peer = remote_accept(listener);
    do {
        wait_fd(peer, POLLIN);
        n = recv(peer, lines + len, 64 * KIB - 1 - len, 0);
        ck_assert_int_ge(n, 0);
        len += (uint64_t)n;
    } while (n > 0);
    /* In order, each with its number. */
    for (int i = 0; i < 100; i++) {
        char *end = strchr(at, '\n');

        ck_assert_ptr_nonnull(end);
        *end = '\0';
        ck_assert_ptr_nonnull(strstr(at, "of text"));
        ck_assert_int_eq(strtol(at + strcspn(at, "0123456789"), NULL, 10) - i,
                         strtol(lines + strcspn(lines, "0123456789"), NULL, 10));
        at = end + 1;
    }
    ck_assert_int_eq(*at, '\0');
    remote_write(peer, "thanks", 6);
    remote_finish(peer);
    ck_assert_int_eq(finish(&program, output, sizeof(output)), 0);
    ck_assert_int_eq(
        sscanf(output, "sent 100 lines, %lu bytes; received %lu bytes", &bytes, &received), 2);
    ck_assert_uint_eq(bytes, len);
    ck_assert_uint_eq(received, 6);
    close(peer);
    close(listener);
    free(lines);
}
END_TEST

START_TEST(test_examples_say_how_they_are_used)
{
    static const char *const names[] = {"async_client", "begin_end_client", "libev_client",
                                        "op_pool"};

    for (size_t i = 0; i < 4; i++) {
        char path[4096];
        int status;
        pid_t pid;

        snprintf(path, sizeof(path), "%s/examples/%s", test_builddir(), names[i]);
        pid = fork();
        if (pid == 0) {
            close(STDERR_FILENO);
            execl(path, names[i], (char *)NULL);
            _exit(127);
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFEXITED(status));
        ck_assert_int_eq(WEXITSTATUS(status), 2);
    }
}
END_TEST
