/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Peers whose ids, numbers and control groups are not what they are elsewhere. */
#include "daemon/identity/identity.h"
#include "daemon/identity/identity_proc.h"
#include "tests/lib/skip.h"
#include "tests/lib/suite.h"
#include "tests/unit/child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534u
#define NEED_ROOT                                                                                  \
    do {                                                                                           \
        if (geteuid() != 0)                                                                        \
            TEST_SKIP("needs root");                                                               \
    } while (0)

/* In the way of pid numbers there are two kinds of kernels; see test_identity.c. */
static bool has_peerpidfd(void)
{
    struct identity identity;
    int pair[2];
    bool r;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_int_eq(identity_read(pair[0], &identity), 0);
    r = identity.pidfd_source == IDENTITY_PIDFD_SOCKET;
    identity_deinit(&identity);
    close(pair[0]);
    close(pair[1]);
    return r;
}

static void check_nothing_of_proc(const struct identity *identity)
{
    ck_assert_str_eq(identity->comm, "");
    ck_assert_str_eq(identity->cgroup, "");
    ck_assert_str_eq(identity->unit, "");
    ck_assert_str_eq(identity->user_unit, "");
    ck_assert(!identity->units_known);
}

/* ---- ids ---- */

static void become_other(void *data)
{
    uid_t uid = (uid_t)(uintptr_t)data;

    if (setgid(uid) < 0 || setuid(uid) < 0)
        _exit(9);
}

static void become_nobody(void *data, int fd)
{
    (void)fd;
    become_other((void *)(uintptr_t)NOBODY);
    (void)data;
}

/* Without SO_PEERPIDFD another process may have the number by now. */
START_TEST(test_identity_that_has_changed_its_user)
{
    struct child child;
    struct identity identity;

    NEED_ROOT;
    child_start(&child, &(struct plan){.after = become_nobody});
    ck_assert_int_eq(identity_read(child.fd, &identity), 0);
    ck_assert_uint_eq(identity.uid, 0);
    if (has_peerpidfd()) {
        ck_assert_str_ne(identity.cgroup, "");
    } else {
        check_nothing_of_proc(&identity);
        ck_assert_int_eq(identity.pidfd, -1);
        ck_assert_int_eq(identity.pidfd_source, IDENTITY_PIDFD_NONE);
    }
    identity_deinit(&identity);
    child_end(&child);
    close(child.fd);
}
END_TEST

/* A process of that very number; -errno. */
static pid_t fork_with_number(pid_t pid)
{
    struct clone_args args = {
        .exit_signal = SIGCHLD, .set_tid = (uint64_t)(uintptr_t)&pid, .set_tid_size = 1};
    long r = syscall(SYS_clone3, &args, sizeof(args));

    return r < 0 ? -errno : (pid_t)r;
}

static pid_t take_number(pid_t pid, uid_t uid)
{
    int ready[2];
    pid_t r;
    char c;

    ck_assert_int_eq(pipe2(ready, O_CLOEXEC), 0);
    r = fork_with_number(pid);
    if (r == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (setgid(uid) < 0 || setuid(uid) < 0 || write(ready[1], "", 1) != 1)
            _exit(9);
        pause();
    }
    close(ready[1]);
    if (r > 0)
        ck_assert_int_eq(read(ready[0], &c, 1), 1);
    close(ready[0]);
    return r;
}

/* The peer has ended, and its number is another user's now. */
START_TEST(test_identity_whose_number_is_used_again)
{
    struct child child;
    struct identity identity;
    pid_t other;

    NEED_ROOT;
    child_start(&child, NULL);
    child_end(&child);
    other = take_number(child.pid, NOBODY);
    if (other == -EINVAL || other == -ENOSYS || other == -EPERM)
        TEST_SKIP("no process can be given a number here");
    ck_assert_int_eq(other, child.pid);
    ck_assert_int_eq(identity_read(child.fd, &identity), 0);
    ck_assert_uint_eq(identity.uid, 0);
    ck_assert_int_eq(identity.pid, child.pid);
    ck_assert(!identity_is_alive(&identity));
    check_nothing_of_proc(&identity);
    identity_deinit(&identity);
    close(child.fd);
    ck_assert_int_eq(kill(other, SIGKILL), 0);
    ck_assert_int_eq(waitpid(other, NULL, 0), other);
}
END_TEST

/* What began behind the accept cannot have connected before it. */
START_TEST(test_identity_began_before_it_was_accepted)
{
    struct child child;
    struct identity identity = {0};

    child_start(&child, NULL);
    identity.pid = child.pid;
    identity.uid = geteuid();
    identity.pidfd = (int)syscall(SYS_pidfd_open, child.pid, 0);
    ck_assert_int_ge(identity.pidfd, 0);
    ck_assert(identity_proc_fits(&identity, identity_proc_now()));
    ck_assert(!identity_proc_fits(&identity, 0));
    identity.uid++;
    ck_assert(!identity_proc_fits(&identity, identity_proc_now()));
    identity_deinit(&identity);
    child_end(&child);
    close(child.fd);
}
END_TEST

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

/* We see 65534 then, but so we do of everybody else. */
START_TEST(test_identity_of_another_user_namespace)
{
    struct child root, user;
    struct identity identity;

    NEED_ROOT;
    child_start(&root, NULL);
    child_start(&user, &(struct plan){.before = become_other, .data = (void *)(uintptr_t)1000});
    if (unshare(CLONE_NEWUSER) < 0)
        TEST_SKIP("no user namespaces here");
    write_file("/proc/self/setgroups", "deny");
    write_file("/proc/self/uid_map", "0 0 1");
    write_file("/proc/self/gid_map", "0 0 1");
    ck_assert_int_eq(identity_read(root.fd, &identity), 0);
    ck_assert_uint_eq(identity.uid, 0);
    ck_assert_uint_eq(identity.gid, 0);
    identity_deinit(&identity);
    ck_assert_int_eq(identity_read(user.fd, &identity), 0);
    ck_assert_uint_eq(identity.uid, IDENTITY_ID_UNKNOWN);
    ck_assert_uint_eq(identity.gid, IDENTITY_ID_UNKNOWN);
    ck_assert(!identity.gids_known);
    identity_deinit(&identity);
}
END_TEST

START_TEST(test_identity_nobody_is_somebody)
{
    struct child child;
    struct identity identity;

    NEED_ROOT;
    child_start(&child, &(struct plan){.before = become_other, .data = (void *)(uintptr_t)NOBODY});
    ck_assert_int_eq(identity_read(child.fd, &identity), 0);
    ck_assert_uint_eq(identity.uid, NOBODY);
    ck_assert_uint_eq(identity.gid, NOBODY);
    ck_assert_str_ne(identity.cgroup, "");
    identity_deinit(&identity);
    child_end(&child);
    close(child.fd);
}
END_TEST

/* ---- pid namespaces, /proc ---- */

static int wait_for(pid_t pid)
{
    int status = -1;

    return pid < 0 || waitpid(pid, &status, 0) != pid ? -1 : status;
}

/*
 * No process can be started in that namespace after its first process has ended: not by this one
 * either.
 */
static int run_in_pid_namespace(void (*fn)(void *), void *data)
{
    pid_t pid;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (unshare(CLONE_NEWPID) < 0)
        return 9;
    pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        fn(data);
        _exit(0);
    }
    return wait_for(pid) == 0 ? 0 : 8;
}

/* Runs fn as the first process of a new pid namespace; /proc stays the old one's. */
static void in_pid_namespace(void (*fn)(void *), void *data)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(run_in_pid_namespace(fn, data));
    ck_assert_int_eq(wait_for(pid), 0);
}

static void read_from_outside(void *data)
{
    struct child *child = data;
    struct identity identity;

    if (identity_read(child->fd, &identity) < 0 || identity.pid != 0 || identity.uid != 0)
        _exit(1);
    if (identity.comm[0] || identity.cgroup[0] || identity.units_known)
        _exit(2);
    if (identity.pidfd_source == IDENTITY_PIDFD_OPENED)
        _exit(3);
    identity_deinit(&identity);
}

START_TEST(test_identity_of_another_pid_namespace)
{
    struct child child;

    NEED_ROOT;
    child_start(&child, NULL);
    in_pid_namespace(read_from_outside, &child);
    child_end(&child);
    close(child.fd);
}
END_TEST

static void read_inside(void *data)
{
    struct child child;
    struct identity identity;

    (void)data;
    child_start(&child, NULL);
    if (identity_read(child.fd, &identity) < 0 || identity.pid != child.pid)
        _exit(1);
    if (identity.comm[0] || identity.cgroup[0] || identity.units_known)
        _exit(2);
    identity_deinit(&identity);
    child_end(&child);
}

/* There is a process of that number in /proc, and it is another one. */
START_TEST(test_identity_proc_of_another_pid_namespace)
{
    NEED_ROOT;
    ck_assert_int_eq(access("/proc/2/comm", F_OK), 0);
    in_pid_namespace(read_inside, NULL);
}
END_TEST

START_TEST(test_identity_that_proc_hides)
{
    struct child child;
    struct identity identity;

    NEED_ROOT;
    child_start(&child, NULL);
    ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
    ck_assert_int_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    if (mount("proc", "/proc", "proc", 0, "hidepid=2") < 0)
        TEST_SKIP("no /proc of its own");
    become_other((void *)(uintptr_t)NOBODY);
    ck_assert_int_eq(identity_read(child.fd, &identity), 0);
    ck_assert_uint_eq(identity.uid, 0);
    ck_assert_int_eq(identity.pid, child.pid);
    check_nothing_of_proc(&identity);
    ck_assert_int_ne(identity.pidfd_source, IDENTITY_PIDFD_OPENED);
    identity_deinit(&identity);
    close(child.release);
    close(child.fd);
}
END_TEST

/* ---- control groups ---- */

/* Of the name of the test and its process: no two are in each other's way. */
static bool make_group(struct cgroup *group, const char *name)
{
    char text[128];

    snprintf(text, sizeof(text), "%s-%d", name, (int)getpid());
    return geteuid() == 0 && cgroup_make(group, text);
}

static void check_cgroup(struct cgroup *group, const char *expected)
{
    struct child child;
    struct identity identity;

    child_start(&child, &(struct plan){.before = cgroup_enter, .data = group});
    ck_assert_int_eq(identity_read(child.fd, &identity), 0);
    ck_assert_str_eq(identity.cgroup, expected);
    ck_assert_str_ne(identity.comm, "");
    if (!expected[0])
        ck_assert(!identity.units_known);
    identity_deinit(&identity);
    child_end(&child);
    close(child.fd);
}

START_TEST(test_identity_cgroup_of_odd_name)
{
    struct cgroup group;

    if (!make_group(&group, "asock 0::x\t\x1b[1m\"\\\xff..\r"))
        TEST_SKIP("no control groups here");
    check_cgroup(&group, group.path);
    cgroup_deepen(&group, "0::");
    check_cgroup(&group, group.path);
    cgroup_remove(&group, 2);
}
END_TEST

/* What /proc says of one that was removed below its zombies. */
START_TEST(test_identity_cgroup_that_looks_removed)
{
    struct cgroup group;

    if (!make_group(&group, "asock-test"))
        TEST_SKIP("no control groups here");
    cgroup_deepen(&group, "x (deleted)");
    check_cgroup(&group, "");
    cgroup_remove(&group, 2);
}
END_TEST

START_TEST(test_identity_cgroup_too_long)
{
    char name[] = "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn";
    struct cgroup group;
    unsigned int levels = 1;

    if (!make_group(&group, "asock-test"))
        TEST_SKIP("no control groups here");
    for (; strlen(group.path) + sizeof(name) < IDENTITY_CGROUP_MAX; levels++)
        cgroup_deepen(&group, name);
    check_cgroup(&group, group.path);
    cgroup_deepen(&group, name);
    check_cgroup(&group, "");
    cgroup_remove(&group, levels + 1);
}
END_TEST

START_TEST(test_identity_outside_of_our_cgroup_namespace)
{
    struct cgroup group, other;
    struct child above, beside, below;
    struct identity identity;

    if (!make_group(&group, "asock-test"))
        TEST_SKIP("no control groups here");
    ck_assert(make_group(&other, "asock-other"));
    child_start(&above, NULL);
    child_start(&beside, &(struct plan){.before = cgroup_enter, .data = &other});
    cgroup_enter(&group);
    ck_assert_int_eq(unshare(CLONE_NEWCGROUP), 0);
    child_start(&below, NULL);

    ck_assert_int_eq(identity_read(below.fd, &identity), 0);
    ck_assert_str_eq(identity.cgroup, "/");
    identity_deinit(&identity);
    ck_assert_int_eq(identity_read(above.fd, &identity), 0);
    ck_assert_str_eq(identity.cgroup, "");
    ck_assert(!identity.units_known);
    identity_deinit(&identity);
    ck_assert_int_eq(identity_read(beside.fd, &identity), 0);
    ck_assert_str_eq(identity.cgroup, "");
    ck_assert(!identity.units_known);
    identity_deinit(&identity);

    child_end(&below);
    child_end(&beside);
    child_end(&above);
    *strrchr(other.dir, '/') = '\0';
    cgroup_enter(&other); /* out of the group, to be able to remove it */
    *strchr(other.dir, '\0') = '/';
    cgroup_remove(&other, 1);
    cgroup_remove(&group, 1);
}
END_TEST
