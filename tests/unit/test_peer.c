/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/peer.h"
#include "tests/lib/skip.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* A child that has connected to us, and lives until released. */
struct child {
    pid_t pid;
    int fd;      /* our end of its connection */
    int release; /* closing it lets the child end */
};

static int listen_abstract(struct sockaddr_un *addr, socklen_t *len)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    *addr = (struct sockaddr_un){.sun_family = AF_UNIX};
    *len = sizeof(addr->sun_family);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)addr, *len), 0); /* autobind */
    *len = sizeof(*addr);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)addr, len), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    return fd;
}

static void run_child(const struct sockaddr_un *addr, socklen_t len, int wait_fd,
                      void (*prepare)(void))
{
    int fd;
    char c;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (prepare)
        prepare();
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fd, (const struct sockaddr *)addr, len) < 0)
        _exit(1);
    _exit(read(wait_fd, &c, 1) == 0 ? 0 : 1);
}

static void child_start(struct child *child, void (*prepare)(void))
{
    struct sockaddr_un addr;
    socklen_t len;
    int lfd = listen_abstract(&addr, &len), gate[2];

    ck_assert_int_eq(pipe2(gate, O_CLOEXEC), 0);
    child->pid = fork();
    ck_assert_int_ge(child->pid, 0);
    if (child->pid == 0) {
        close(gate[1]);
        run_child(&addr, len, gate[0], prepare);
    }
    close(gate[0]);
    child->release = gate[1];
    child->fd = accept4(lfd, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(child->fd, 0);
    close(lfd);
}

static void child_end(struct child *child)
{
    int status = -1;

    close(child->release);
    ck_assert_int_eq(waitpid(child->pid, &status, 0), child->pid);
    ck_assert_int_eq(status, 0);
}

static void name_child(void)
{
    prctl(PR_SET_NAME, "peer \n child");
}

START_TEST(test_peer_living_child)
{
    struct child child;
    struct peer peer;

    child_start(&child, name_child);
    ck_assert_int_eq(peer_read(child.fd, &peer), 0);
    ck_assert_uint_eq(peer.uid, geteuid());
    ck_assert_uint_eq(peer.gid, getegid());
    ck_assert_int_eq(peer.pid, child.pid);
    ck_assert_int_ge(peer.pidfd, 0);
    ck_assert_int_ne(fcntl(peer.pidfd, F_GETFD) & FD_CLOEXEC, 0);
    ck_assert_int_ne(peer.pidfd_source, PEER_PIDFD_NONE);
    ck_assert(peer_is_alive(&peer));
    ck_assert_str_eq(peer.comm, "peer \n child");
    ck_assert_int_eq(peer.cgroup[0], '/');
    child_end(&child);
    ck_assert(!peer_is_alive(&peer));
    peer_deinit(&peer);
    peer_deinit(&peer);
    ck_assert_int_eq(peer.pidfd, -1);
    close(child.fd);
}
END_TEST

START_TEST(test_peer_of_dead_process_is_unknown)
{
    struct child child;
    struct peer peer;

    child_start(&child, NULL);
    child_end(&child);
    ck_assert_int_eq(peer_read(child.fd, &peer), 0);
    ck_assert_uint_eq(peer.uid, geteuid());
    ck_assert(!peer_is_alive(&peer));
    ck_assert_str_eq(peer.comm, "");
    ck_assert_str_eq(peer.cgroup, "");
    ck_assert_str_eq(peer.unit, "");
    ck_assert_str_eq(peer.user_unit, "");
    peer_deinit(&peer);
    close(child.fd);
}
END_TEST

START_TEST(test_peer_groups)
{
    static const gid_t gids[] = {7, 70, 700};
    int pair[2];
    struct peer peer;

    if (geteuid() != 0)
        TEST_SKIP("needs root to set groups");
    ck_assert_int_eq(setgroups(3, gids), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_int_eq(peer_read(pair[0], &peer), 0);
    ck_assert(peer.gids_known);
    ck_assert_uint_eq(peer.gid_count, 3);
    for (int i = 0; i < 3; i++)
        ck_assert_uint_eq(peer.gids[i], gids[i]);
    peer_deinit(&peer);
    close(pair[0]);
    close(pair[1]);
}
END_TEST

START_TEST(test_peer_too_many_groups_are_unknown)
{
    gid_t gids[PEER_GIDS_MAX + 1];
    int pair[2];
    struct peer peer;

    if (geteuid() != 0)
        TEST_SKIP("needs root to set groups");
    for (unsigned int i = 0; i < PEER_GIDS_MAX + 1; i++)
        gids[i] = 1000 + i;
    ck_assert_int_eq(setgroups(PEER_GIDS_MAX + 1, gids), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_int_eq(peer_read(pair[0], &peer), 0);
    ck_assert(!peer.gids_known);
    ck_assert_uint_eq(peer.gid_count, 0);
    peer_deinit(&peer);
    close(pair[0]);
    close(pair[1]);
}
END_TEST

/* What a kernel before 6.5 says to SO_PEERPIDFD. Only the low halves of both ints are looked at. */
static int deny_peerpidfd(void)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LOW(n) (offsetof(struct seccomp_data, args[n]))
#else
#define LOW(n) (offsetof(struct seccomp_data, args[n]) + 4)
#endif
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_getsockopt, 0, 5),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, LOW(1)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SOL_SOCKET, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, LOW(2)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SO_PEERPIDFD, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOPROTOOPT),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno : 0;
}

/* In a process of its own: the filter cannot be taken off again. 0: as it should be. */
static int check_fallback(int fd, pid_t pid)
{
    struct peer peer;

    if (deny_peerpidfd() < 0)
        return 2;
    if (peer_read(fd, &peer) < 0)
        return 3;
    if (peer.pidfd_source != PEER_PIDFD_OPENED || peer.pid != pid || !peer_is_alive(&peer))
        return 4;
    return peer.comm[0] && peer.cgroup[0] ? 0 : 5;
}

START_TEST(test_peer_without_so_peerpidfd)
{
    struct child child;
    int status = -1;
    pid_t pid;

    child_start(&child, NULL);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0)
        _exit(check_fallback(child.fd, child.pid));
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    child_end(&child);
    close(child.fd);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
        TEST_SKIP("no seccomp filters here");
    ck_assert_int_eq(status, 0);
}
END_TEST

START_TEST(test_peer_refuses_other_sockets)
{
    struct peer peer;
    int fd;

    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(peer_read(fd, &peer), -EAFNOSUPPORT);
    ck_assert_int_eq(peer.pidfd, -1);
    close(fd);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(peer_read(fd, &peer), -ENOTCONN);
    close(fd);
    fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(peer_read(fd, &peer), -ENOTSOCK);
    close(fd);
    ck_assert_int_eq(peer_read(-1, &peer), -EBADF);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("peer");
    TCase *tc = tcase_create("peer");
    SRunner *runner;
    int failed;

    tcase_add_test(tc, test_peer_living_child);
    tcase_add_test(tc, test_peer_of_dead_process_is_unknown);
    tcase_add_test(tc, test_peer_groups);
    tcase_add_test(tc, test_peer_too_many_groups_are_unknown);
    tcase_add_test(tc, test_peer_without_so_peerpidfd);
    tcase_add_test(tc, test_peer_refuses_other_sockets);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
