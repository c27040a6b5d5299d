/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where listening sockets come from: the service manager, or a directory of our own.
 * Failures of the latter: another daemon (it holds the lock, or somebody answers at the path) is
 * left alone; a socket at which no program listens was left behind by one that died, and is
 * replaced; anything else at the path is not ours to remove.
 */
#include "daemon/server/listener.h"

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
#include "daemon/server/store.h"

#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>
#endif

#define PATH_BYTES LISTENER_PATH_BYTES
/* Who may come to a socket by hand is the directory's matter, unless it is a group's. */
#define MODE_DEFAULT 0666
#define MODE_OF_GROUP 0660

static int fail(const char *path, int r)
{
    log_error("asockd: %s: %s", path, strerror(-r));
    return r;
}

/* What is to become of one socket. */
struct place {
    enum listener_kind kind;
    const char *name, *path;
    mode_t mode;
    bool has_group;
    gid_t group;
};

bool listener_name_is_valid(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789-_";
    /* The last two are what sd_listen_fds_with_names(3) calls sockets without a name. */
    static const char *const reserved[] = {"control", "unknown", "stored"};
    size_t len = strspn(name, allowed);

    if (len == 0 || len > LISTENER_NAME_MAX || name[len] != '\0')
        return false;
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++) {
        if (strcmp(name, reserved[i]) == 0)
            return false;
    }
    return true;
}

static int make_directory(const char *path)
{
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        return fail(path, -errno);
    return 0;
}

/* Who may write there could put a socket of his own in place of ours, under its name. */
static int check_directory(const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return fail(path, -errno);
    if ((st.st_uid == 0 || st.st_uid == geteuid()) && !(st.st_mode & (S_IWGRP | S_IWOTH)))
        return 0;
    log_error(
        "asockd: %s: other users may write there; it must belong to root or the daemon's user, and only its owner may write to it (chown, chmod go-w)",
        path);
    return -EPERM;
}

/* Held until the daemon ends, however it ends. */
static int lock_directory(struct listeners *ls, const char *dir)
{
    char path[PATH_BYTES + 32];
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

/* Who called listen(2), which the kernel keeps with the socket. */
static bool is_init(int fd)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 && cred.pid == 1;
}

/*
 * 1: somebody listens there, *ret_is_init: the service manager; 0: a socket that was left behind;
 * -errno.
 */
static int probe(const struct sockaddr_un *addr, bool *ret_is_init)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int r;

    if (fd < 0)
        return -errno;
    r = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 1;
    *ret_is_init = r > 0 && is_init(fd);
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
    bool is_init_there = false;
    struct stat st;
    int r;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : fail(path, -errno);
    if (!S_ISSOCK(st.st_mode)) {
        log_error("asockd: %s: exists and is not a socket", path);
        return -EEXIST;
    }
    r = probe(addr, &is_init_there);
    if (r > 0) {
        log_error(
            "asockd: %s: %s", path,
            is_init_there
                ? "the service manager is listening here, for a daemon that it starts; use that one, stop "
                  "it (systemctl stop asockd.socket asockd-control.socket), or choose another "
                  "directory (--runtime-dir)"
                : "another program is listening here; stop it, or choose another directory "
                  "(--runtime-dir)");
        return -EADDRINUSE;
    }
    if (r < 0 || unlink(path) < 0)
        return fail(path, r < 0 ? r : -errno);
    return 0;
}

static int bind_with_mode(int fd, const struct sockaddr_un *addr, mode_t mode)
{
    /*
     * From its first moment with the right mode; nothing else runs yet that the mask could touch.
     */
    mode_t mask = umask(0777 & ~mode);
    int r = bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;

    umask(mask);
    return r;
}

/* No client is let in before it is the group's. No other user can write to the directory. */
static int give_to_group(const struct place *place)
{
    if (lchown(place->path, (uid_t)-1, place->group) < 0 || chmod(place->path, place->mode) < 0)
        return -errno;
    return 0;
}

static int make_socket(const struct sockaddr_un *addr, const struct place *place, int *ret)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int r;

    if (fd < 0)
        return fail(addr->sun_path, -errno);
    r = bind_with_mode(fd, addr, place->has_group ? place->mode & 0700 : place->mode);
    if (r == 0) {
        if (place->has_group)
            r = give_to_group(place);
        if (r == 0 && listen(fd, LISTENER_BACKLOG) < 0)
            r = -errno;
        if (r < 0)
            unlink(addr->sun_path);
    }
    if (r < 0) {
        close(fd);
        return fail(addr->sun_path, r);
    }
    *ret = fd;
    return 0;
}

static int bind_one(struct listeners *ls, const struct place *place)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    const char *path = place->path;
    int r, fd = -1;

    if (strlen(path) >= sizeof(addr.sun_path))
        return fail(path, -ENAMETOOLONG);
    strcpy(addr.sun_path, path);
    r = clear_path(&addr);
    if (r < 0)
        return r;
    r = make_socket(&addr, place, &fd);
    if (r < 0)
        return r;
    r = listeners_add(ls, place->kind, place->name, fd, path);
    if (r < 0) {
        close(fd);
        unlink(path);
        return fail(path, r);
    }
    return 0;
}

static int bind_clients(struct listeners *ls, const char *dir, const struct listener_spec *spec)
{
    char own[PATH_BYTES + LISTENER_NAME_MAX + 2], path[sizeof(own) + sizeof(LISTENER_SOCKET)];
    struct place place = {
        .kind = LISTENER_CLIENT,
        .name = spec->name,
        .path = path,
        .mode = spec->has_group ? MODE_OF_GROUP : MODE_DEFAULT,
        .has_group = spec->has_group,
        .group = spec->group,
    };
    int r;

    if (spec->has_mode)
        place.mode = spec->mode;
    if (spec->directory[0])
        strcpy(own, spec->directory);
    else
        snprintf(own, sizeof(own), "%s/%s", dir, spec->name);
    r = make_directory(own);
    if (r == 0)
        r = check_directory(own);
    if (r < 0)
        return r;
    snprintf(path, sizeof(path), "%s/" LISTENER_SOCKET, own);
    return bind_one(ls, &place);
}

int listeners_bind(struct listeners *ls, const char *dir, const struct listener_spec *specs,
                   unsigned int count)
{
    static const struct listener_spec only = {.name = "default"};
    char path[PATH_BYTES + 64];
    int r;

    if (strlen(dir) >= PATH_BYTES)
        return fail(dir, -ENAMETOOLONG);
    r = make_directory(dir);
    if (r == 0)
        r = check_directory(dir);
    if (r == 0)
        r = lock_directory(ls, dir);
    if (count == 0)
        specs = &only;
    for (unsigned int i = 0; r == 0 && i < (count ? count : 1); i++)
        r = bind_clients(ls, dir, &specs[i]);
    if (r < 0)
        return r;
    snprintf(path, sizeof(path), "%s/control.sock", dir);
    return bind_one(ls, &(struct place){LISTENER_CONTROL, "control", path, .mode = 0600});
}

#ifdef HAVE_SYSTEMD
static int take_one(struct listeners *ls, int fd, const char *name)
{
    enum listener_kind kind = strcmp(name, "control") == 0 ? LISTENER_CONTROL : LISTENER_CLIENT;
    int r;

    if (kind == LISTENER_CLIENT && !listener_name_is_valid(name)) {
        log_error(
            "asockd: descriptor %d from the service manager: \"%s\" is not a valid listener name; "
            "set FileDescriptorName= in its socket unit",
            fd, name);
        return -EINVAL;
    }
    r = sd_is_socket_unix(fd, SOCK_STREAM, 1, NULL, 0);
    if (r == 0)
        r = -ENOTSOCK;
    if (r < 0) {
        log_error(
            "asockd: descriptor %d (%s) from the service manager is not a listening Unix stream "
            "socket",
            fd, name);
        return r;
    }
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        return fail(name, -errno);
    r = listeners_add(ls, kind, name, fd, NULL);
    if (r == -EEXIST)
        log_error("asockd: the service manager passed two sockets named %s", name);
    else if (r < 0)
        return fail(name, r);
    return r;
}

/* A listener that is configured and not there would be missed later, by those who are to use it. */
static int check_spec(const struct listeners *ls, const struct listener_spec *spec)
{
    bool is_there = false;

    list_for_each (&ls->list, it) {
        if (strcmp(container_of(it, struct listener, node)->name, spec->name) == 0)
            is_there = true;
    }
    if (!is_there) {
        log_error(
            "asockd: listener %s is configured, but the service manager did not pass a socket of that name; start its socket unit",
            spec->name);
        return -ENOENT;
    }
    if (spec->directory[0] || spec->has_mode || spec->has_group) {
        log_error(
            "asockd: listener %s: its socket comes from the service manager: set directory, mode and group in its socket unit",
            spec->name);
        return -EINVAL;
    }
    return 0;
}

int listeners_take_activated(struct listeners *ls, const struct listener_spec *specs,
                             unsigned int count, struct store *store)
{
    char **names = NULL;
    int fds, stored = 0, r = 0;

    fds = sd_listen_fds_with_names(1, &names);
    if (fds < 0)
        return fail("LISTEN_FDS", fds);
    for (int i = 0; i < fds; i++) {
        if (strcmp(names[i], STORE_NAME) == 0) {
            store_find(store, SD_LISTEN_FDS_START + i);
            stored++;
        } else if (r == 0) {
            r = take_one(ls, SD_LISTEN_FDS_START + i, names[i]);
        }
        free(names[i]);
    }
    free(names);
    fds -= stored;
    for (unsigned int i = 0; fds > 0 && r == 0 && i < count; i++)
        r = check_spec(ls, &specs[i]);
    return r < 0 ? r : fds;
}
#else
int listeners_take_activated(struct listeners *ls, const struct listener_spec *specs,
                             unsigned int count, struct store *store)
{
    (void)ls;
    (void)specs;
    (void)count;
    (void)store;
    return 0;
}
#endif
