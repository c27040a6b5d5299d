/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ASOCK_TESTS_PRIVATE_DAEMON_H
#define ASOCK_TESTS_PRIVATE_DAEMON_H

/*
 * The built asockd, in a directory of its own, as another user than the test where the test may
 * change users. It says it is ready through NOTIFY_SOCKET (or, built without systemd, by being
 * connectable).
 *
 * Whatever happens to the test, a guard process ends the daemon, prints what it logged unless it
 * was stopped cleanly, and removes the directory.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

struct private_daemon {
    pid_t pid;
    uid_t uid; /* the daemon's */
    int pidfd;
    int guard;         /* closing it is the sign for the guard */
    size_t baseline;   /* descriptors of the daemon at rest; fixture_start() counts them */
    char dir[64];      /* --runtime-dir */
    char client[108];  /* the client listener's path */
    char control[108]; /* the control listener's path */
};

struct private_daemon_options {
    const char *const *args; /* besides --runtime-dir, NULL-terminated; NULL: --allow-any alone */
    rlim_t nofile;           /* RLIMIT_NOFILE, soft and hard; 0: as it is */
    const char *dir;         /* of another private daemon, which is to be released after this one */
};

/* Fails the test when the daemon does not come up. options may be NULL. */
struct private_daemon *private_daemon_start(const struct private_daemon_options *options);

/*
 * Waits until it has as many descriptors as at the start (what a test leaves behind is a failure of
 * that test), stops it with SIGTERM and asserts exit status 0. Returns NULL.
 */
struct private_daemon *private_daemon_stop(struct private_daemon *daemon);

/* Waits for its end and returns the wait status; the daemon is to be released with _release. */
int private_daemon_wait(struct private_daemon *daemon);
struct private_daemon *private_daemon_release(struct private_daemon *daemon);

/* Runs another asockd to its end and returns its exit status; what it prints goes to output. */
int private_daemon_run(const char *const *args, char *output, size_t size);

/* What it has logged so far, at most size - 1 bytes. */
size_t private_daemon_log(struct private_daemon *daemon, char *buf, size_t size);

size_t private_daemon_fds(struct private_daemon *daemon);
/* Waits until it has count descriptors. */
void private_daemon_wait_fds(struct private_daemon *daemon, size_t count);
/* Lowers its RLIMIT_NOFILE while it runs. */
void private_daemon_limit_fds(struct private_daemon *daemon, rlim_t limit);
/* A field of /proc/PID/status in KiB: "VmHWM", "VmRSS". */
long private_daemon_memory(struct private_daemon *daemon, const char *field);
/* Stops it with SIGSTOP, and returns only once it stands still. */
void private_daemon_freeze(struct private_daemon *daemon);
void private_daemon_thaw(struct private_daemon *daemon);

/* Descriptors open in a process; 0: only root may look. */
size_t count_fds(pid_t pid);
/* ASOCK_TEST_BUILDDIR and ASOCK_TEST_SRCDIR, or the working directory. */
const char *test_builddir(void);
const char *test_srcdir(void);
bool test_sanitized(void);

#endif
