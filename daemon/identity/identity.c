/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: credentials and groups from the socket, a pidfd, then /proc by pid
 * (identity/identity_proc.c), then the pidfd once more: alive means that the pid still was that
 * process's while /proc was read.
 * Failures: without a pidfd, with a dead one, or with one that may be of another process, all that
 * came from /proc is dropped.
 */
#include "daemon/identity/identity.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/alloc.h"
#include "daemon/identity/identity_proc.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

/* What the kernel puts in place of an id that our user namespace has no number for. */
#define OVERFLOW_ID 65534u

static int read_credentials(int fd, struct identity *identity)
{
    struct ucred cred;
    int domain = 0;
    socklen_t len = sizeof(domain);

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0)
        return -errno;
    if (domain != AF_UNIX)
        return -EAFNOSUPPORT;
    len = sizeof(cred);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return -errno;
    if (cred.uid == (uid_t)-1) /* the kernel's answer for a socket without a client */
        return -ENOTCONN;
    identity->uid = cred.uid;
    identity->gid = cred.gid;
    identity->pid = cred.pid;
    return 0;
}

static int compare_ids(const void *a, const void *b)
{
    gid_t x = *(const gid_t *)a, y = *(const gid_t *)b;

    return (x > y) - (x < y);
}

static void forget_groups(struct identity *identity)
{
    identity->gids = mem_free(identity->gids);
    identity->gid_count = 0;
    identity->gids_known = false;
}

/*
 * The kernel says how much room they take, and they are those of one moment: asked twice they are
 * the same.
 */
static void read_groups(int fd, struct identity *identity)
{
    socklen_t len = 0;

    forget_groups(identity);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) == 0) {
        identity->gids_known = true;
        return;
    }
    if (errno != ERANGE || len > IDENTITY_GIDS_MAX * sizeof(gid_t))
        return;
    identity->gids = mem_alloc(len);
    if (!identity->gids || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, identity->gids, &len) < 0) {
        forget_groups(identity);
        return;
    }
    identity->gid_count = (uint32_t)(len / sizeof(gid_t));
    identity->gids_known = true;
    qsort(identity->gids, identity->gid_count, sizeof(gid_t), compare_ids);
}

/* Under PrivateUsers=, or in a container, 65534 may be anybody; then it is not "nobody". */
static void drop_foreign_ids(struct identity *identity)
{
    bool has_group = identity->gid == OVERFLOW_ID;

    if (identity->uid == OVERFLOW_ID && !identity_proc_maps_all("/proc/self/uid_map"))
        identity->uid = IDENTITY_ID_UNKNOWN;
    for (uint32_t i = 0; i < identity->gid_count; i++)
        has_group |= identity->gids[i] == OVERFLOW_ID;
    if (!has_group || identity_proc_maps_all("/proc/self/gid_map"))
        return;
    if (identity->gid == OVERFLOW_ID)
        identity->gid = IDENTITY_ID_UNKNOWN;
    forget_groups(identity);
}

static void open_pidfd(int fd, struct identity *identity, uint64_t accepted)
{
    int pidfd = -1;
    socklen_t len = sizeof(pidfd);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len) == 0) {
        identity->pidfd = pidfd;
        identity->pidfd_source = IDENTITY_PIDFD_SOCKET;
        return;
    }
    if (errno != ENOPROTOOPT || identity->pid <= 0)
        return;
    pidfd = (int)syscall(SYS_pidfd_open, identity->pid, 0);
    if (pidfd < 0)
        return;
    identity->pidfd = pidfd;
    identity->pidfd_source = IDENTITY_PIDFD_OPENED;
    if (!identity_proc_fits(identity, accepted))
        identity_forget_process(identity);
}

int identity_read_user(int fd, struct identity *ret)
{
    int r;

    memset(ret, 0, sizeof(*ret));
    ret->pidfd = -1;
    r = read_credentials(fd, ret);
    if (r == 0)
        drop_foreign_ids(ret);
    return r;
}

int identity_read(int fd, struct identity *ret)
{
    return identity_read_since(fd, identity_proc_now(), ret);
}

int identity_read_since(int fd, uint64_t accepted, struct identity *ret)
{
    int r;

    memset(ret, 0, sizeof(*ret));
    ret->pidfd = -1;
    r = read_credentials(fd, ret);
    if (r < 0)
        return r;
    read_groups(fd, ret);
    drop_foreign_ids(ret);
    open_pidfd(fd, ret, accepted);
    identity_proc_read(ret);
    return 0;
}

int identity_read_process(pid_t pid, struct identity *ret)
{
    int r;

    memset(ret, 0, sizeof(*ret));
    ret->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (ret->pidfd < 0)
        return -errno;
    ret->pid = pid;
    ret->pidfd_source = IDENTITY_PIDFD_OPENED;
    r = identity_proc_read_ids(ret);
    if (r == 0) {
        if (ret->gids)
            qsort(ret->gids, ret->gid_count, sizeof(gid_t), compare_ids);
        drop_foreign_ids(ret);
        identity_proc_read(ret);
        if (identity_is_alive(ret))
            return 0;
        r = -ESRCH;
    }
    identity_deinit(ret);
    return r;
}

void identity_forget_process(struct identity *identity)
{
    if (identity->pidfd >= 0)
        close(identity->pidfd);
    identity->pidfd = -1;
    identity->pidfd_source = IDENTITY_PIDFD_NONE;
}

void identity_deinit(struct identity *identity)
{
    identity_forget_process(identity);
    identity->gids = mem_free(identity->gids);
}

void identity_drop_groups(struct identity *identity)
{
    if (identity->gid_count > IDENTITY_GIDS_KEPT)
        identity->gids = mem_free(identity->gids);
}

/* Without the memory, or the socket, they are as before: known, and not here. */
void identity_read_groups(struct identity *identity, int fd)
{
    struct identity fresh = {.uid = identity->uid, .gid = identity->gid};

    if (!identity->gids_known || identity_has_groups(identity) || fd < 0)
        return;
    read_groups(fd, &fresh);
    identity->gids = fresh.gids;
}

bool identity_is_alive(const struct identity *identity)
{
    struct pollfd p = {.fd = identity->pidfd, .events = POLLIN};

    /* A pidfd is readable once its process has ended, reaped or not. */
    return identity->pidfd >= 0 && poll(&p, 1, 0) == 0;
}

const char *identity_pidfd_source_name(enum identity_pidfd_source source)
{
    switch (source) {
    case IDENTITY_PIDFD_SOCKET:
        return "socket";
    case IDENTITY_PIDFD_OPENED:
        return "pid";
    case IDENTITY_PIDFD_NONE:
        break;
    }
    return "none";
}
