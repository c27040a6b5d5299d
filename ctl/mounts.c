/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mounts of "asockctl run --transparent". Files are written in a tmpfs that stands on /proc for a
 * while: a directory that is always there, and gets the command's own /proc in the end.
 */
#include "ctl/ctl.h"
#include "ctl/inside.h"
#include "ctl/mirror.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define STAGE "/proc"
#define LISTENER_SOCKET "asock.sock"
#define CONTROL_SOCKET_NAME "control.sock"
#define LOCK_NAME "asockd.lock"
#define RUNTIME_LEVELS 2 /* DIR/share/NUMBER */

/*
 * asockd's own, and whom the C library asks for names before it asks a name server: they know
 * another network's.
 */
static const char *const hidden[] = {
    "/run/asockd",
    "/run/nscd",
    "/var/run/nscd",
    "/run/systemd/resolve/io.systemd.Resolve",
    "/run/systemd/resolve/io.systemd.Resolve.Monitor",
    "/run/avahi-daemon",
};

static int fail(struct network_problem *why, const char *what, int err)
{
    *why = (struct network_problem){what, err};
    return -1;
}

/*
 * The lines of /etc/hosts that are about the host itself. Other names are asked for, so that policy
 * sees them.
 */
static void copy_own_lines(FILE *from, FILE *to)
{
    char *line = NULL;
    size_t size = 0;

    while (getline(&line, &size, from) > 0) {
        struct in6_addr in6;
        struct in_addr in;
        char address[INET6_ADDRSTRLEN + 1];

        if (sscanf(line, " %46s", address) != 1)
            continue;
        if ((inet_pton(AF_INET, address, &in) == 1 && ntohl(in.s_addr) >> 24 == IN_LOOPBACKNET) ||
            (inet_pton(AF_INET6, address, &in6) == 1 && IN6_IS_ADDR_LOOPBACK(&in6)))
            fputs(line, to);
    }
    free(line);
}

static int write_files(void)
{
    FILE *hosts = fopen("/etc/hosts", "re"), *own = fopen(STAGE "/hosts", "we");
    FILE *resolv = fopen(STAGE "/resolv.conf", "we");
    int r = own && resolv ? 0 : -1;

    if (r == 0) {
        fputs("127.0.0.1 localhost\n::1 localhost\n", own);
        if (hosts)
            copy_own_lines(hosts, own);
        fputs("nameserver " NETWORK_NAME_SERVER "\nsearch .\n", resolv);
    }
    if (hosts)
        fclose(hosts);
    if (own && fclose(own) < 0)
        r = -1;
    if (resolv && fclose(resolv) < 0)
        r = -1;
    return r;
}

/* ---- what must not be found ---- */

static bool join(const char *dir, const char *name, char ret[static PATH_MAX])
{
    return snprintf(ret, PATH_MAX, "%s/%s", dir, name) < PATH_MAX;
}

static bool is_socket(const char *dir, const char *name)
{
    char path[PATH_MAX];
    struct stat st;

    return join(dir, name, path) && lstat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

/* Or a daemon's lock; and of directories of such, so many levels of them. */
static bool is_only_sockets(const char *path, unsigned int levels)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    bool result = dir != NULL;

    while (dir && result && (entry = readdir(dir))) {
        char inner[PATH_MAX];

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            strcmp(entry->d_name, LOCK_NAME) == 0 || is_socket(path, entry->d_name))
            continue;
        result = levels > 0 && entry->d_type != DT_LNK && join(path, entry->d_name, inner) &&
                 is_only_sockets(inner, levels - 1);
    }
    if (dir)
        closedir(dir);
    return result;
}

static void hide_in(struct mirror *mirror, const char *dir, const char *name)
{
    char path[PATH_MAX];

    if (join(dir, name, path))
        mirror_change(mirror, path, NULL);
}

/*
 * The control socket, listeners of sessions, and each listener's directory, as systemd's units and
 * asockd's defaults have them. A directory without a socket may be that of a listener which comes
 * later: it is hidden if nothing else is in it.
 */
static void hide_runtime(struct mirror *mirror, const char *dir)
{
    DIR *list = opendir(dir);
    const struct dirent *entry;
    char path[PATH_MAX];

    hide_in(mirror, dir, CONTROL_SOCKET_NAME);
    hide_in(mirror, dir, "share");
    hide_in(mirror, dir, LISTENER_SOCKET);
    hide_in(mirror, dir, LOCK_NAME);
    while (list && (entry = readdir(list))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            !join(dir, entry->d_name, path))
            continue;
        if (entry->d_type != DT_LNK && is_only_sockets(path, 0))
            mirror_change(mirror, path, NULL);
        else if (is_socket(path, LISTENER_SOCKET))
            hide_in(mirror, path, LISTENER_SOCKET);
    }
    if (list)
        closedir(list);
}

/*
 * The directories of "/" itself are not replaced, so one of the daemon's own could be made again
 * there.
 */
static bool can_come_back(const char *socket)
{
    char top[PATH_MAX];
    struct stat st, root;
    const char *end = strchr(socket + 1, '/');

    if (!end)
        return true;
    memcpy(top, socket, (size_t)(end - socket));
    top[end - socket] = 0;
    return strcmp(top, "/run") != 0 && strcmp(top, "/tmp") != 0 &&
           is_only_sockets(top, RUNTIME_LEVELS) && stat(top, &st) == 0 && stat("/", &root) == 0 &&
           st.st_dev == root.st_dev;
}

/* Of the shapes DIR/asock.sock, DIR/NAME/asock.sock and DIR/share/NUMBER/asock.sock. */
static void hide_daemon(struct mirror *mirror, char *path)
{
    char *slash = strrchr(path, '/');

    mirror_change(mirror, path, NULL);
    *slash = 0;
    if (strchr(path + 1, '/') && is_only_sockets(path, 0))
        mirror_change(mirror, path, NULL);
    if (is_socket(path, CONTROL_SOCKET_NAME))
        hide_runtime(mirror, path);
    slash = strrchr(path, '/');
    if (slash == path)
        return;
    *slash = 0;
    if (is_socket(path, CONTROL_SOCKET_NAME))
        hide_runtime(mirror, path);
    slash = strrchr(path, '/');
    if (slash == path || strcmp(slash, "/share") != 0)
        return;
    *slash = 0;
    hide_runtime(mirror, path);
}

/* One that is not there does not come either. */
static void hide_path(struct mirror *mirror, const char *path)
{
    char real[PATH_MAX];

    if (mirror_resolve(path, real) && (strncmp(real, "/run/", 5) == 0 || access(real, F_OK) == 0))
        mirror_change(mirror, real, NULL);
}

/* ---- the command's own files ---- */

/*
 * A host that has another network now replaces them. Where the command may make files in /etc
 * itself, that is of more use to it, and these are covered as they are.
 */
static int replace_file(struct mirror *mirror, const char *path, const char *by)
{
    char real[PATH_MAX];

    if (access("/etc", W_OK) < 0)
        mirror_change(mirror, path, by);
    else if (mirror_resolve(path, real) && strncmp(real, "/run/", 5) == 0)
        mirror_change(mirror, real, by);
    else if (access(path, F_OK) == 0 || errno != ENOENT)
        return mount(by, path, NULL, MS_BIND, NULL);
    else
        return -1;
    return 0;
}

static int hide_all(struct mirror *mirror, const char *socket, struct network_problem *why)
{
    char path[PATH_MAX];

    for (size_t i = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++)
        hide_path(mirror, hidden[i]);
    if (!mirror_resolve(socket, path))
        return fail(why, "find asockd's socket to hide it", errno);
    if (can_come_back(path))
        return fail(why,
                    "hide asockd's socket, because it is in / or in a directory directly "
                    "below / (move it below /run)",
                    0);
    hide_daemon(mirror, path);
    return 0;
}

static int cover_all(struct mirror *mirror, const char *socket, struct network_problem *why)
{
    int r;

    if (write_files() < 0 || mkdir(STAGE "/tree", 0700) < 0)
        return fail(why, "write files for the command", errno);
    if (replace_file(mirror, "/etc/resolv.conf", STAGE "/resolv.conf") < 0)
        return fail(why, "replace /etc/resolv.conf (it must exist; an empty file is enough)",
                    errno);
    if (replace_file(mirror, "/etc/hosts", STAGE "/hosts") < 0 && errno != ENOENT)
        return fail(why, "replace /etc/hosts", errno);
    if (hide_all(mirror, socket, why) < 0)
        return -1;
    r = mirror_make(mirror, STAGE "/tree");
    return r < 0 ? fail(why, "replace directories to hide asockd's socket", -r) : 0;
}

/* ---- directories that are open ---- */

/* By the same name; where there is none, something harmless. */
static int enter_descriptor(int fd)
{
    char link[32], path[PATH_MAX];
    int flags = fcntl(fd, F_GETFL) & (O_PATH | O_NOFOLLOW), again;
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = 0;
    again = open(path, O_DIRECTORY | O_CLOEXEC | flags);
    if (again < 0)
        again = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (again < 0 || dup2(again, fd) < 0)
        return -1;
    return close(again);
}

/*
 * The directory that this process is in, and those that it has inherited open, are still what was
 * there before: from them ".." and names lead past everything that is hidden.
 */
static int enter_again(void)
{
    char path[PATH_MAX];
    const struct dirent *entry;
    DIR *list;
    int r = 0;

    if ((!getcwd(path, sizeof(path)) || chdir(path) < 0) && chdir("/") < 0)
        return -1;
    list = opendir("/proc/self/fd");
    if (!list)
        return -1;
    while (r == 0 && (entry = readdir(list))) {
        int fd = atoi(entry->d_name);
        struct stat st;

        if (entry->d_name[0] != '.' && fd != dirfd(list) && fstat(fd, &st) == 0 &&
            S_ISDIR(st.st_mode))
            r = enter_descriptor(fd);
    }
    closedir(list);
    return r;
}

int mounts_make(const char *socket, struct network_problem *why)
{
    struct mirror mirror = {0};
    int r;

    /* What is mounted here stays here. */
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return fail(why, "make mounts private", errno);
    if (mount("tmpfs", STAGE, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755") < 0)
        return fail(why, "mount a tmpfs", errno);
    r = cover_all(&mirror, socket, why);
    mirror_free(&mirror);
    if (r < 0)
        return -1;
    if (umount2(STAGE, MNT_DETACH) < 0)
        return fail(why, "unmount a tmpfs", errno);
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        return fail(why, "mount /proc for the command's processes", errno);
    if (enter_again() < 0)
        return fail(why, "open the current directory again", errno);
    return 0;
}
