/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/identity/identity.h"
#include "tests/lib/skip.h"
#include "tests/lib/suite.h"
#include "tests/unit/child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* How this kernel, or the filter of no-peerpidfd, has it. */
static enum identity_pidfd_source expected_source(void)
{
    int pair[2], pidfd = -1;
    socklen_t len = sizeof(pidfd);
    bool has_it;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    has_it = getsockopt(pair[0], SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len) == 0;
    if (has_it)
        close(pidfd);
    close(pair[0]);
    close(pair[1]);
    ck_assert(!has_it || !getenv("ASOCK_TEST_PEERPIDFD"));
    return has_it ? IDENTITY_PIDFD_SOCKET : IDENTITY_PIDFD_OPENED;
}

static void check_unknown(const struct identity *identity)
{
    ck_assert_str_eq(identity->comm, "");
    ck_assert_str_eq(identity->cgroup, "");
    ck_assert_str_eq(identity->unit, "");
    ck_assert_str_eq(identity->user_unit, "");
    ck_assert(!identity->units_known);
}

static void name_child(void *data)
{
    (void)data;
    prctl(PR_SET_NAME, "client \n child");
}

START_TEST(test_identity_living_child)
{
    struct child child;
    struct identity identity;

    child_start(&child, &(struct plan){.before = name_child});
    ck_assert_int_eq(identity_read(child.fd, &identity), 0);
    ck_assert_uint_eq(identity.uid, geteuid());
    ck_assert_uint_eq(identity.gid, getegid());
    ck_assert_int_eq(identity.pid, child.pid);
    ck_assert_int_ge(identity.pidfd, 0);
    ck_assert_int_ne(fcntl(identity.pidfd, F_GETFD) & FD_CLOEXEC, 0);
    ck_assert_int_eq(identity.pidfd_source, expected_source());
    ck_assert(identity_is_alive(&identity));
    ck_assert_str_eq(identity.comm, "client \n child");
    ck_assert_int_eq(identity.cgroup[0], '/');
    child_end(&child);
    ck_assert(!identity_is_alive(&identity));
    identity_deinit(&identity);
    identity_deinit(&identity);
    ck_assert_int_eq(identity.pidfd, -1);
    close(child.fd);
}
END_TEST

START_TEST(test_identity_of_dead_process_is_unknown)
{
    struct child child;
    struct identity identity;

    child_start(&child, NULL);
    child_end(&child);
    ck_assert_int_eq(identity_read(child.fd, &identity), 0);
    ck_assert_uint_eq(identity.uid, geteuid());
    ck_assert(!identity_is_alive(&identity));
    check_unknown(&identity);
    identity_deinit(&identity);
    close(child.fd);
}
END_TEST

/* It still is in a control group, as far as /proc is concerned. */
START_TEST(test_identity_of_zombie_is_unknown)
{
    struct child child;
    struct identity identity;

    child_start(&child, NULL);
    child_finish(&child);
    ck_assert_int_eq(identity_read(child.fd, &identity), 0);
    ck_assert(!identity_is_alive(&identity));
    check_unknown(&identity);
    identity_deinit(&identity);
    ck_assert_int_eq(waitpid(child.pid, NULL, 0), child.pid);
    close(child.fd);
}
END_TEST

static void *live_on(void *data)
{
    (void)data;
    pause();
    return NULL;
}

/* The rest of the group goes where its leader, a zombie, does not. */
static void end_leader(void *data)
{
    pthread_t thread;

    (void)data;
    if (pthread_create(&thread, NULL, live_on, NULL) != 0)
        _exit(8);
}

static bool is_zombie(pid_t pid)
{
    char path[64], line[256] = "";
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    f = fopen(path, "re");
    ck_assert_ptr_nonnull(f);
    ck_assert_ptr_nonnull(fgets(line, sizeof(line), f));
    fclose(f);
    return strstr(line, ") Z ") != NULL;
}

static void leave_thread(void *data, int fd)
{
    (void)data;
    if (write(fd, "", 1) != 1)
        _exit(7);
    syscall(SYS_exit, 0); /* this thread alone */
}

START_TEST(test_identity_whose_leader_has_ended_has_no_groups)
{
    struct child child;
    struct identity identity;

    child_start(&child, &(struct plan){.before = end_leader, .after = leave_thread});
    while (!is_zombie(child.pid))
        usleep(1000);
    ck_assert_int_eq(identity_read(child.fd, &identity), 0);
    ck_assert(identity_is_alive(&identity));
    ck_assert_str_eq(identity.cgroup, "");
    ck_assert(!identity.units_known);
    identity_deinit(&identity);
    ck_assert_int_eq(kill(child.pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(child.pid, NULL, 0), child.pid);
    close(child.release);
    close(child.fd);
}
END_TEST

/* Paths that have been opened, one after another, since it was emptied. */
static char opened[4096];

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    size_t len = strlen(opened);

    snprintf(opened + len, sizeof(opened) - len, "%s\n", path);
    return __real_open(path, flags);
}

/* For the file of the whole process the kernel goes through all threads: 10 ms for 30,000. */
START_TEST(test_s52_an_identity_takes_no_longer_if_a_process_has_many_threads)
{
    struct child child;
    struct identity identity;
    char whole[64], first[64];

    child_start(&child, NULL);
    opened[0] = '\0';
    ck_assert_int_eq(identity_read(child.fd, &identity), 0);
    snprintf(whole, sizeof(whole), "/proc/%d/stat\n", (int)child.pid);
    snprintf(first, sizeof(first), "/proc/%d/task/%d/stat\n", (int)child.pid, (int)child.pid);
    ck_assert_ptr_nonnull(strstr(opened, first));
    ck_assert_ptr_null(strstr(opened, whole));
    identity_deinit(&identity);
    child_end(&child);
    close(child.fd);
}
END_TEST

START_TEST(test_identity_groups)
{
    static const gid_t gids[] = {7, 70, 700};
    int pair[2];
    struct identity identity;

    if (geteuid() != 0)
        TEST_SKIP("needs root to set groups");
    ck_assert_int_eq(setgroups(3, gids), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_int_eq(identity_read(pair[0], &identity), 0);
    ck_assert(identity.gids_known);
    ck_assert_uint_eq(identity.gid_count, 3);
    for (int i = 0; i < 3; i++)
        ck_assert_uint_eq(identity.gids[i], gids[i]);
    identity_deinit(&identity);
    close(pair[0]);
    close(pair[1]);
}
END_TEST

/* As many as the kernel lets a process have, which user 1000 may hold in any order. */
START_TEST(test_identity_all_groups)
{
    gid_t *gids = malloc(IDENTITY_GIDS_MAX * sizeof(*gids));
    int pair[2];
    struct identity identity;

    if (geteuid() != 0)
        TEST_SKIP("needs root to set groups");
    ck_assert_ptr_nonnull(gids);
    for (unsigned int i = 0; i < IDENTITY_GIDS_MAX; i++)
        gids[i] = 1000 + IDENTITY_GIDS_MAX - i;
    ck_assert_int_eq(setgroups(IDENTITY_GIDS_MAX, gids), 0);
    free(gids);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_int_eq(identity_read(pair[0], &identity), 0);
    ck_assert(identity_has_groups(&identity));
    ck_assert_uint_eq(identity.gid_count, IDENTITY_GIDS_MAX);
    for (unsigned int i = 0; i < IDENTITY_GIDS_MAX; i++)
        ck_assert_uint_eq(identity.gids[i], 1001 + i);
    /* They are not kept, but there when they are needed. */
    identity_drop_groups(&identity);
    ck_assert(identity.gids_known);
    ck_assert(!identity_has_groups(&identity));
    identity_read_groups(&identity, -1);
    ck_assert(!identity_has_groups(&identity));
    identity_read_groups(&identity, pair[0]);
    ck_assert(identity_has_groups(&identity));
    ck_assert_uint_eq(identity.gids[IDENTITY_GIDS_MAX - 1], 1000 + IDENTITY_GIDS_MAX);
    identity_deinit(&identity);
    identity_deinit(&identity);
    close(pair[0]);
    close(pair[1]);
}
END_TEST

START_TEST(test_identity_refuses_other_sockets)
{
    struct identity identity;
    int fd;

    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(identity_read(fd, &identity), -EAFNOSUPPORT);
    ck_assert_int_eq(identity.pidfd, -1);
    close(fd);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(identity_read(fd, &identity), -ENOTCONN);
    close(fd);
    fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(identity_read(fd, &identity), -ENOTSOCK);
    close(fd);
    ck_assert_int_eq(identity_read(-1, &identity), -EBADF);
}
END_TEST
