/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Mounts of "asockctl run --transparent". Files are written in a tmpfs that stands on /proc for a while: a directory that
 * is always there, and gets the command's own /proc in the end.
 */
#include "ctl/ctl.h"
#include "ctl/inside.h"

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
#define EMPTY STAGE "/empty"

/* Whom the C library asks for names before it asks a name server: they know another network's. */
static const char *const resolvers[] = {
    "/run/nscd/socket",
    "/var/run/nscd/socket",
    "/run/systemd/resolve/io.systemd.Resolve",
    "/run/avahi-daemon/socket",
};

static int fail(struct network_problem *why, const char *what, int err)
{
    *why = (struct network_problem){what, err};
    return -1;
}

/* The lines of /etc/hosts that are about the host itself. Other names are asked for, so that policy sees them. */
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
    FILE *resolv = fopen(STAGE "/resolv.conf", "we"), *empty = fopen(EMPTY, "we");
    int r = own && resolv && empty ? 0 : -1;

    if (r == 0) {
        fputs("127.0.0.1 localhost\n::1 localhost\n", own);
        if (hosts)
            copy_own_lines(hosts, own);
        fputs("nameserver " NETWORK_NAME_SERVER "\nsearch .\n", resolv);
    }
    if (hosts)
        fclose(hosts);
    if (empty && fclose(empty) < 0)
        r = -1;
    if (own && fclose(own) < 0)
        r = -1;
    if (resolv && fclose(resolv) < 0)
        r = -1;
    return r;
}

/* What is not there needs no cover. */
static int cover(const char *path, const char *by)
{
    return access(path, F_OK) == 0 ? mount(by, path, NULL, MS_BIND, NULL) : 0;
}

static int cover_directory(const char *path)
{
    if (access(path, F_OK) < 0)
        return 0;
    return mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_RDONLY, "mode=755");
}

static bool is_only_sockets(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    bool result = dir != NULL;

    while (dir && (entry = readdir(dir))) {
        struct stat st;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        result &= fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                  S_ISSOCK(st.st_mode);
    }
    if (dir)
        closedir(dir);
    return result;
}

/*
 * The directory, if nothing else is in it: a socket that is covered itself comes back when the daemon makes it again.
 */
static int hide_socket(const char *socket)
{
    char path[PATH_MAX], control[PATH_MAX], *slash;

    if (!realpath(socket, path))
        return errno == ENOENT ? 0 : -1;
    slash = strrchr(path, '/');
    *slash = 0;
    /* A daemon of one's own has it in the directory above. */
    if (snprintf(control, sizeof(control), "%s/../control.sock", path) < (int)sizeof(control) &&
        cover(control, EMPTY) < 0)
        return -1;
    if (path[0] && is_only_sockets(path))
        return cover_directory(path);
    *slash = '/';
    return cover(path, EMPTY);
}

static int cover_all(const char *socket, struct network_problem *why)
{
    if (write_files() < 0)
        return fail(why, "write files for the command", errno);
    if (mount(STAGE "/resolv.conf", "/etc/resolv.conf", NULL, MS_BIND, NULL) < 0)
        return fail(why, "replace /etc/resolv.conf (it has to exist; an empty file will do)",
                    errno);
    if (cover("/etc/hosts", STAGE "/hosts") < 0)
        return fail(why, "replace /etc/hosts", errno);
    for (size_t i = 0; i < sizeof(resolvers) / sizeof(resolvers[0]); i++)
        if (cover(resolvers[i], EMPTY) < 0)
            return fail(why, "hide the sockets of the host's name services", errno);
    if (hide_socket(socket) < 0 || cover_directory("/run/asockd") < 0)
        return fail(why, "hide asockd's socket", errno);
    return 0;
}

int mounts_make(const char *socket, struct network_problem *why)
{
    /* What is mounted here stays here. */
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return fail(why, "make mounts private", errno);
    if (mount("tmpfs", STAGE, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755") < 0)
        return fail(why, "mount a tmpfs", errno);
    if (cover_all(socket, why) < 0)
        return -1;
    if (umount2(STAGE, MNT_DETACH) < 0)
        return fail(why, "unmount a tmpfs", errno);
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        return fail(why, "mount /proc for the command's processes", errno);
    return 0;
}
