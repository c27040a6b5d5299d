/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: credentials and groups from the socket, a pidfd, then /proc by pid (identity/identity_proc.c), then
 * the pidfd once more: alive means that the pid still was that process's while /proc was read.
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

static int read_credentials(int fd, struct peer *peer)
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
    if (cred.uid == (uid_t)-1) /* the kernel's answer for a socket without a peer */
        return -ENOTCONN;
    peer->uid = cred.uid;
    peer->gid = cred.gid;
    peer->pid = cred.pid;
    return 0;
}

static int compare_ids(const void *a, const void *b)
{
    gid_t x = *(const gid_t *)a, y = *(const gid_t *)b;

    return (x > y) - (x < y);
}

static void forget_groups(struct peer *peer)
{
    peer->gids = mem_free(peer->gids);
    peer->gid_count = 0;
    peer->gids_known = false;
}

/* The kernel says how much room they take, and they are those of one moment: asked twice they are the same. */
static void read_groups(int fd, struct peer *peer)
{
    socklen_t len = 0;

    forget_groups(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, NULL, &len) == 0) {
        peer->gids_known = true;
        return;
    }
    if (errno != ERANGE || len > PEER_GIDS_MAX * sizeof(gid_t))
        return;
    peer->gids = mem_alloc(len);
    if (!peer->gids || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, peer->gids, &len) < 0) {
        forget_groups(peer);
        return;
    }
    peer->gid_count = (uint32_t)(len / sizeof(gid_t));
    peer->gids_known = true;
    qsort(peer->gids, peer->gid_count, sizeof(gid_t), compare_ids);
}

/* Under PrivateUsers=, or in a container, 65534 may be anybody; then it is not "nobody". */
static void drop_foreign_ids(struct peer *peer)
{
    bool has_group = peer->gid == OVERFLOW_ID;

    if (peer->uid == OVERFLOW_ID && !peer_proc_maps_all("/proc/self/uid_map"))
        peer->uid = PEER_ID_UNKNOWN;
    for (uint32_t i = 0; i < peer->gid_count; i++)
        has_group |= peer->gids[i] == OVERFLOW_ID;
    if (!has_group || peer_proc_maps_all("/proc/self/gid_map"))
        return;
    if (peer->gid == OVERFLOW_ID)
        peer->gid = PEER_ID_UNKNOWN;
    forget_groups(peer);
}

static void open_pidfd(int fd, struct peer *peer, uint64_t accepted)
{
    int pidfd = -1;
    socklen_t len = sizeof(pidfd);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len) == 0) {
        peer->pidfd = pidfd;
        peer->pidfd_source = PEER_PIDFD_SOCKET;
        return;
    }
    if (errno != ENOPROTOOPT || peer->pid <= 0)
        return;
    pidfd = (int)syscall(SYS_pidfd_open, peer->pid, 0);
    if (pidfd < 0)
        return;
    peer->pidfd = pidfd;
    peer->pidfd_source = PEER_PIDFD_OPENED;
    if (!peer_proc_fits(peer, accepted))
        peer_forget_process(peer);
}

int peer_read(int fd, struct peer *ret)
{
    uint64_t accepted = peer_proc_now();
    int r;

    memset(ret, 0, sizeof(*ret));
    ret->pidfd = -1;
    r = read_credentials(fd, ret);
    if (r < 0)
        return r;
    read_groups(fd, ret);
    drop_foreign_ids(ret);
    open_pidfd(fd, ret, accepted);
    peer_proc_read(ret);
    return 0;
}

int peer_read_process(pid_t pid, struct peer *ret)
{
    int r;

    memset(ret, 0, sizeof(*ret));
    ret->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (ret->pidfd < 0)
        return -errno;
    ret->pid = pid;
    ret->pidfd_source = PEER_PIDFD_OPENED;
    r = peer_proc_read_ids(ret);
    if (r == 0) {
        if (ret->gids)
            qsort(ret->gids, ret->gid_count, sizeof(gid_t), compare_ids);
        drop_foreign_ids(ret);
        peer_proc_read(ret);
        if (peer_is_alive(ret))
            return 0;
        r = -ESRCH;
    }
    peer_deinit(ret);
    return r;
}

void peer_forget_process(struct peer *peer)
{
    if (peer->pidfd >= 0)
        close(peer->pidfd);
    peer->pidfd = -1;
    peer->pidfd_source = PEER_PIDFD_NONE;
}

void peer_deinit(struct peer *peer)
{
    peer_forget_process(peer);
    peer->gids = mem_free(peer->gids);
}

void peer_drop_groups(struct peer *peer)
{
    if (peer->gid_count > PEER_GIDS_KEPT)
        peer->gids = mem_free(peer->gids);
}

/* Without the memory, or the socket, they are as before: known, and not here. */
void peer_read_groups(struct peer *peer, int fd)
{
    struct peer fresh = {.uid = peer->uid, .gid = peer->gid};

    if (!peer->gids_known || peer_has_groups(peer) || fd < 0)
        return;
    read_groups(fd, &fresh);
    peer->gids = fresh.gids;
}

bool peer_is_alive(const struct peer *peer)
{
    struct pollfd p = {.fd = peer->pidfd, .events = POLLIN};

    /* A pidfd is readable once its process has ended, reaped or not. */
    return peer->pidfd >= 0 && poll(&p, 1, 0) == 0;
}

const char *peer_pidfd_source_name(enum peer_pidfd_source source)
{
    switch (source) {
    case PEER_PIDFD_SOCKET:
        return "socket";
    case PEER_PIDFD_OPENED:
        return "pid";
    case PEER_PIDFD_NONE:
        break;
    }
    return "none";
}
