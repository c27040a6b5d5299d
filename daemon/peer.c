/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: credentials and groups from the socket, a pidfd, then /proc by pid, then the pidfd
 * once more: alive means that the pid still was that process's while /proc was read.
 * Failures: without a pidfd, or with a dead one, all that came from /proc is dropped.
 */
#include "daemon/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef HAVE_SYSTEMD
#include <systemd/sd-login.h>
#endif

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77 /* Linux 6.5 */
#endif

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

static void read_groups(int fd, struct peer *peer)
{
    socklen_t len = sizeof(peer->gids);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, peer->gids, &len) < 0)
        return;
    peer->gid_count = (uint32_t)(len / sizeof(gid_t));
    peer->gids_known = true;
}

static void open_pidfd(int fd, struct peer *peer)
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
}

/* Reads a whole small file of /proc; false, and out is empty, when that fails or it is too long. */
static bool read_proc(pid_t pid, const char *name, char *out, size_t cap)
{
    char path[64];
    size_t n = 0;
    ssize_t k = -1;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd >= 0) {
        while (n < cap && (k = read(fd, out + n, cap - n)) > 0)
            n += (size_t)k;
        close(fd);
    }
    if (k != 0 || n == cap)
        n = 0;
    out[n] = '\0';
    return n > 0;
}

static void read_comm(struct peer *peer)
{
    char text[PEER_COMM_MAX + 1]; /* the kernel adds a newline */

    if (!read_proc(peer->pid, "comm", text, sizeof(text)))
        return;
    /* Only the last newline is the kernel's; a name may well have one of its own. */
    text[strlen(text) - 1] = '\0';
    memcpy(peer->comm, text, sizeof(peer->comm));
}

/* The "0::" line of /proc/PID/cgroup. With v1 hierarchies mounted there are others. */
static void read_cgroup(struct peer *peer)
{
    char text[4096], *line = text, *end;

    if (!read_proc(peer->pid, "cgroup", text, sizeof(text)))
        return;
    for (; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        *end = '\0';
        if (strncmp(line, "0::", 3) != 0)
            continue;
        if (strlen(line + 3) < sizeof(peer->cgroup))
            strcpy(peer->cgroup, line + 3);
        return;
    }
}

#ifdef HAVE_SYSTEMD
static void take(char *to, size_t cap, int r, char *text)
{
    if (r < 0)
        return;
    if (strlen(text) < cap)
        strcpy(to, text);
    free(text);
}

static void read_units(struct peer *peer)
{
    char *text = NULL;
    int r;

    r = sd_pid_get_unit(peer->pid, &text);
    take(peer->unit, sizeof(peer->unit), r, text);
    r = sd_pid_get_user_unit(peer->pid, &text);
    take(peer->user_unit, sizeof(peer->user_unit), r, text);
    r = sd_pid_get_cgroup(peer->pid, &text);
    take(peer->cgroup, sizeof(peer->cgroup), r, text);
}
#else
static void read_units(struct peer *peer)
{
}
#endif

static void read_process(struct peer *peer)
{
    if (peer->pidfd < 0 || peer->pid <= 0)
        return;
    read_comm(peer);
    read_units(peer);
    if (!peer->cgroup[0])
        read_cgroup(peer);
    if (peer_is_alive(peer))
        return;
    /* Whose pid it was meanwhile nobody can say. */
    peer->unit[0] = peer->user_unit[0] = peer->cgroup[0] = peer->comm[0] = '\0';
}

int peer_read(int fd, struct peer *ret)
{
    int r;

    memset(ret, 0, sizeof(*ret));
    ret->pidfd = -1;
    r = read_credentials(fd, ret);
    if (r < 0)
        return r;
    read_groups(fd, ret);
    open_pidfd(fd, ret);
    read_process(ret);
    return 0;
}

void peer_deinit(struct peer *peer)
{
    if (peer->pidfd >= 0)
        close(peer->pidfd);
    peer->pidfd = -1;
    peer->pidfd_source = PEER_PIDFD_NONE;
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
