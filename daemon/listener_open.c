/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where listening sockets come from: the service manager, or a directory of our own.
 * Failures of the latter: another daemon (it holds the lock, or somebody answers at the path) is left
 * alone; a socket that nobody answers at was left behind by one that died, and is replaced; anything
 * else at the path is not ours to remove.
 */
#include "daemon/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#define PATH_OCTETS sizeof(((struct sockaddr_un *)0)->sun_path)

static int fail(const char *path, int r)
{
    log_error("asockd: %s: %s", path, strerror(-r));
    return r;
}

static int make_directory(const char *path)
{
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        return fail(path, -errno);
    return 0;
}

/* Held until the daemon ends, however it ends. */
static int lock_directory(struct listeners *ls, const char *dir)
{
    char path[PATH_OCTETS + 32];
    int fd;

    snprintf(path, sizeof(path), "%s/asockd.lock", dir);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0600);
    if (fd < 0)
        return fail(path, -errno);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int r = errno == EWOULDBLOCK ? -EADDRINUSE : -errno;

        close(fd);
        if (r != -EADDRINUSE)
            return fail(path, r);
        log_error("asockd: %s: another asockd is running in this directory", dir);
        return r;
    }
    ls->lock_fd = fd;
    return 0;
}

/* 1: somebody listens there; 0: a socket that was left behind; -errno. */
static int probe(const struct sockaddr_un *addr)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int r;

    if (fd < 0)
        return -errno;
    r = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 1;
    close(fd);
    switch (r) {
    case 1:
    case -EAGAIN: /* its backlog is full */
    case -EPROTOTYPE:
        return 1;
    case -ECONNREFUSED:
        return 0;
    default:
        return r;
    }
}

/* Makes way for our socket, if it is ours to make. */
static int clear_path(const struct sockaddr_un *addr)
{
    const char *path = addr->sun_path;
    struct stat st;
    int r;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : fail(path, -errno);
    if (!S_ISSOCK(st.st_mode)) {
        log_error("asockd: %s: exists and is no socket", path);
        return -EEXIST;
    }
    r = probe(addr);
    if (r > 0) {
        log_error("asockd: %s: another program listens here", path);
        return -EADDRINUSE;
    }
    if (r < 0 || unlink(path) < 0)
        return fail(path, r < 0 ? r : -errno);
    return 0;
}

static int bind_with_mode(int fd, const struct sockaddr_un *addr, mode_t mode)
{
    /* From its first moment with the right mode; nothing else runs yet that the mask could touch. */
    mode_t mask = umask(0777 & ~mode);
    int r = bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;

    umask(mask);
    return r;
}

static int make_socket(const struct sockaddr_un *addr, mode_t mode, int *ret)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int r;

    if (fd < 0)
        return fail(addr->sun_path, -errno);
    r = bind_with_mode(fd, addr, mode);
    if (r == 0 && listen(fd, LISTENER_BACKLOG) < 0)
        r = -errno;
    if (r < 0) {
        close(fd);
        return fail(addr->sun_path, r);
    }
    *ret = fd;
    return 0;
}

static int bind_one(struct listeners *ls, enum listener_kind kind, const char *name,
                    const char *path, mode_t mode)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int r, fd = -1;

    if (strlen(path) >= sizeof(addr.sun_path))
        return fail(path, -ENAMETOOLONG);
    strcpy(addr.sun_path, path);
    r = clear_path(&addr);
    if (r < 0)
        return r;
    r = make_socket(&addr, mode, &fd);
    if (r < 0)
        return r;
    r = listeners_add(ls, kind, name, fd, path);
    if (r < 0) {
        close(fd);
        unlink(path);
        return fail(path, r);
    }
    return 0;
}

int listeners_bind(struct listeners *ls, const char *dir)
{
    char clients[PATH_OCTETS + 32], path[PATH_OCTETS + 64];
    int r;

    if (strlen(dir) >= PATH_OCTETS)
        return fail(dir, -ENAMETOOLONG);
    snprintf(clients, sizeof(clients), "%s/default", dir);
    r = make_directory(dir);
    if (r == 0)
        r = lock_directory(ls, dir);
    if (r == 0)
        r = make_directory(clients);
    if (r < 0)
        return r;
    /* Who may come this far is the directory's matter; what they may reach is the policy's. */
    snprintf(path, sizeof(path), "%s/asock.sock", clients);
    r = bind_one(ls, LISTENER_CLIENT, "default", path, 0666);
    if (r < 0)
        return r;
    snprintf(path, sizeof(path), "%s/control.sock", dir);
    return bind_one(ls, LISTENER_CONTROL, "control", path, 0600);
}

#ifdef HAVE_SYSTEMD
static int take_one(struct listeners *ls, int fd, const char *name)
{
    enum listener_kind kind = strcmp(name, "control") == 0 ? LISTENER_CONTROL : LISTENER_CLIENT;
    int r;

    r = sd_is_socket_unix(fd, SOCK_STREAM, 1, NULL, 0);
    if (r == 0)
        r = -ENOTSOCK;
    if (r < 0) {
        log_error("asockd: descriptor %d (%s) of the service manager is no listening Unix stream "
                  "socket",
                  fd, name);
        return r;
    }
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        return fail(name, -errno);
    r = listeners_add(ls, kind, name, fd, NULL);
    return r < 0 ? fail(name, r) : 0;
}

int listeners_take_activated(struct listeners *ls)
{
    char **names = NULL;
    int count, r = 0;

    count = sd_listen_fds_with_names(1, &names);
    if (count < 0)
        return fail("LISTEN_FDS", count);
    for (int i = 0; i < count; i++) {
        if (r == 0)
            r = take_one(ls, SD_LISTEN_FDS_START + i, names[i]);
        free(names[i]);
    }
    free(names);
    return r < 0 ? r : count;
}
#else
int listeners_take_activated(struct listeners *ls)
{
    (void)ls;
    return 0;
}
#endif
