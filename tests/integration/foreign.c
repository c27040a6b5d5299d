/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The library in programs that others have built: their event loops, their sandboxes. */

#include "tests/lib/fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

TEST_FIXTURE(fixture_setup_nothing, fixture_teardown);

/* ---- event loops ---- */

/* No descriptor is free; returns how many may be open again. */
static struct rlimit use_up_descriptors(void)
{
    struct rlimit before, none;
    int lowest = dup(0);

    ck_assert_int_ge(lowest, 0);
    close(lowest);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = (rlim_t)lowest;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    return before;
}

START_TEST(test_loop_keeps_the_descriptor_when_the_daemon_is_lost)
{
    struct private_daemon_options options = {0};
    struct private_daemon *lost;
    struct epoll_event event = {.events = EPOLLIN}, got;
    struct rlimit before;
    int loop = epoll_create1(EPOLL_CLOEXEC), fd;
    struct pair pair;
    pid_t child;

    fixture_start(NULL);
    fixture.context = new_context();
    pair = new_pair(AF_INET);
    fd = asock_context_get_fd(fixture.context);
    ck_assert_int_eq(epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event), 0);
    child = fork(); /* it has the connection open too */
    if (child == 0)
        for (;;)
            pause();
    before = use_up_descriptors();
    kill(fixture.daemon->pid, SIGKILL);
    while (asock_context_get_error(fixture.context) == 0) {
        ck_assert_int_eq(epoll_wait(loop, &got, 1, LIVENESS_MS), 1);
        ck_assert_int_ge(asock_context_process(fixture.context), 0);
    }
    /* It is quiet now, and still there. */
    ck_assert_int_eq(epoll_wait(loop, &got, 1, 0), 0);
    ck_assert_int_eq(asock_context_get_events(fixture.context), 0);
    ck_assert_int_eq(asock_context_get_timeout(fixture.context), -1);
    ck_assert_int_eq(asock_context_get_fd(fixture.context), fd);
    ck_assert_int_eq(epoll_ctl(loop, EPOLL_CTL_MOD, fd, &event), 0);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    /* With another session it has news again. */
    private_daemon_wait(fixture.daemon);
    lost = fixture.daemon;
    options.dir = lost->dir;
    fixture_start(&options);
    ck_assert_int_eq(asock_context_reconnect(fixture.context), 0);
    ck_assert_int_eq(asock_context_get_fd(fixture.context), fd);
    ck_assert_int_eq(asock_context_flush(fixture.context), 0);
    ck_assert_int_eq(asock_context_get_events(fixture.context), POLLIN);
    ck_assert_int_eq(epoll_wait(loop, &got, 1, LIVENESS_MS), 1);
    close(loop);
    pair_close(&pair);
    fixture_release_context();
    fixture.daemon = private_daemon_stop(fixture.daemon);
    private_daemon_release(lost);
}
END_TEST

static void look_at_signals(asock_op *op, void *userdata)
{
    (void)op;
    pthread_sigmask(SIG_SETMASK, NULL, userdata);
}

START_TEST(test_dispatcher_blocks_signals_but_not_faults)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    asock_op *op;
    sigset_t set;

    sigemptyset(&set);
    fixture_start(NULL);
    fixture.context = new_context();
    ck_assert_int_eq(asock_context_start_dispatcher(fixture.context), 0);
    op = new_op();
    ck_assert_int_eq(asock_op_set_callback(op, look_at_signals, &set), 0);
    pending(asock_sync(fixture.context, op));
    while (asock_op_is_pending(op))
        ck_assert_int_eq(asock_op_wait(op, LIVENESS_MS), 0);
    ck_assert_int_eq(asock_context_stop_dispatcher(fixture.context), 0);
    ck_assert(sigismember(&set, SIGINT) && sigismember(&set, SIGTERM) &&
              sigismember(&set, SIGCHLD));
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        ck_assert_msg(!sigismember(&set, faults[i]), "signal %d", faults[i]);
    asock_op_unref(op);
}
END_TEST

/* ---- sandboxes ---- */

#define DENIED(number)                                                                             \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, 1),                                           \
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)

/* What sandboxes of others forbid; sendmsg, recvmsg, read, write and poll stay. */
static int forbid(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        DENIED(SYS_socket),
        DENIED(SYS_connect),
        DENIED(SYS_bind),
        DENIED(SYS_listen),
        DENIED(SYS_accept4),
        DENIED(SYS_getpeername),
        DENIED(SYS_getsockname),
        DENIED(SYS_getsockopt),
        DENIED(SYS_setsockopt),
        DENIED(SYS_shutdown),
        DENIED(SYS_sendto),
        DENIED(SYS_recvfrom),
        DENIED(SYS_sendmmsg),
        DENIED(SYS_recvmmsg),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno : 0;
}

/* In the sandbox; 0, or the line that went wrong. */
static int talk(const char *service)
{
    asock_context *context;
    asock_socket *socket;
    asock_buffer *buffer;
    char buf[4];

    if (forbid() < 0)
        return 77;
    if (asock_context_new(NULL, &context) < 0)
        return 1;
    if (asock_dial(context, "127.0.0.1", service, LIVENESS_MS, &socket) < 0)
        return 2;
    if (asock_send_all(socket, "ping", 4, LIVENESS_MS) < 0)
        return 3;
    if (asock_receive_some(socket, buf, 4, LIVENESS_MS) != 4 || memcmp(buf, "ping", 4) != 0)
        return 4;
    if (asock_buffer_new(context, 4096, LIVENESS_MS, &buffer) < 0)
        return 5;
    if (asock_context_start_dispatcher(context) < 0)
        return 6;
    if (asock_send_all(socket, "pong", 4, LIVENESS_MS) < 0)
        return 7;
    asock_buffer_unref(buffer);
    asock_socket_unref(socket);
    asock_context_unref(context);
    return 0;
}

/* Its first line; the server may begin after the program. */
static void read_line(int fd, char *line, size_t size)
{
    size_t len = 0;

    while (len + 1 < size && read(fd, line + len, 1) == 1 && line[len] != '\n')
        len++;
    line[len] = '\0';
}

START_TEST(test_sandboxed_program_uses_the_session_that_it_inherits)
{
    struct server *server;
    asock_context *launcher;
    char number[16], service[16];
    int fd, status, to_program[2];
    pid_t pid;

    fixture_start(NULL);
    launcher = new_context();
    ck_assert_int_eq(asock_context_detach_fd(launcher, LIVENESS_MS, &fd), 0);
    asock_context_unref(launcher);
    ck_assert_int_eq(pipe2(to_program, O_CLOEXEC), 0);
    /* Before the server's thread: a lock that this holds would stay locked in the child. */
    pid = fork();
    if (pid == 0) {
        close(to_program[1]);
        read_line(to_program[0], service, sizeof(service));
        snprintf(number, sizeof(number), "%d", fd);
        setenv("ASOCK_FD", number, 1);
        fcntl(fd, F_SETFD, 0); /* as exec would have left it */
        _exit(talk(service));
    }
    close(fd);
    close(to_program[0]);
    server = server_start(SERVER_ECHO, AF_INET, 0);
    dprintf(to_program[1], "%s\n", server_service(server));
    close(to_program[1]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    server_stop(server);
    if (WEXITSTATUS(status) == 77)
        TEST_SKIP("no system call filters here");
    ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST
