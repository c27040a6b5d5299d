/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/mirror.h"
#include "ctl/ctl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

_Static_assert(PATH_MAX == 4096, "mirror_resolve() says so");

/* As many as the kernel follows. */
#define LINKS_MAX 40

/* ---- what is to be ---- */

static size_t parent_len(const char *path)
{
    return (size_t)(strrchr(path, '/') - path);
}

static bool is_in(const char *path, const char *dir)
{
    size_t len = parent_len(path);

    return strlen(dir) == len && memcmp(path, dir, len) == 0;
}

static bool is_own(const struct mirror *mirror, const char *path)
{
    for (unsigned int i = 0; i < mirror->own_count; i++)
        if (strcmp(mirror->own[i], path) == 0)
            return true;
    return false;
}

static bool is_changed(const struct mirror *mirror, const char *path)
{
    for (unsigned int i = 0; i < mirror->change_count; i++)
        if (strcmp(mirror->changes[i].path, path) == 0)
            return true;
    return false;
}

static void add_own(struct mirror *mirror, const char *path, size_t len)
{
    char *dir = report_need_memory(strndup(path, len)), **own;

    if (is_own(mirror, dir)) {
        free(dir);
        return;
    }
    own = report_need_memory(realloc(mirror->own, (mirror->own_count + 1) * sizeof(*own)));
    mirror->own = own;
    own[mirror->own_count++] = dir;
}

void mirror_change(struct mirror *mirror, const char *path, const char *source)
{
    struct mirror_change *changes = mirror->changes;

    if (is_changed(mirror, path))
        return;
    changes = report_need_memory(realloc(changes, (mirror->change_count + 1) * sizeof(*changes)));
    mirror->changes = changes;
    changes[mirror->change_count++] = (struct mirror_change){report_need_memory(strdup(path)),
                                                             source};
    for (const char *p = strchr(path + 1, '/'); p; p = strchr(p + 1, '/'))
        add_own(mirror, path, (size_t)(p - path));
}

void mirror_free(struct mirror *mirror)
{
    for (unsigned int i = 0; i < mirror->own_count; i++)
        free(mirror->own[i]);
    for (unsigned int i = 0; i < mirror->change_count; i++)
        free(mirror->changes[i].path);
    free(mirror->own);
    free(mirror->changes);
    *mirror = (struct mirror){0};
}

/* What is there may be a link to something that is not there yet, and comes. false: it is none. */
static bool follow_link(char path[static PATH_MAX])
{
    char target[PATH_MAX];
    ssize_t n = readlink(path, target, sizeof(target) - 1);
    const char *slash = strrchr(path, '/');
    size_t keep = n > 0 && target[0] != '/' && slash ? (size_t)(slash + 1 - path) : 0;

    if (n <= 0 || keep + (size_t)n >= PATH_MAX)
        return false;
    memcpy(path + keep, target, (size_t)n);
    path[keep + (size_t)n] = 0;
    return true;
}

/*
 * Moves the last part of head to the front of tail. false: it is one that leads nowhere, or the
 * only one.
 */
static bool move_part(char head[static PATH_MAX], char tail[static PATH_MAX])
{
    char *slash = strrchr(head, '/');
    size_t len = slash ? strlen(slash) : 0, tail_len = strlen(tail);

    /*
     * A relative path's directory is there, as asockctl is; "..", where nothing is, leads nowhere.
     */
    if (!slash || strcmp(slash, "/..") == 0 || strcmp(slash, "/.") == 0 ||
        len + tail_len >= PATH_MAX)
        return false;
    if (len > 1) {
        memmove(tail + len, tail, tail_len + 1);
        memcpy(tail, slash, len);
    }
    slash[slash == head] = 0;
    return true;
}

bool mirror_resolve(const char *path, char ret[static PATH_MAX])
{
    char head[PATH_MAX], tail[PATH_MAX] = "";
    size_t len = strlen(path);
    int links = 0;

    if (len == 0 || len >= sizeof(head)) {
        errno = len == 0 ? ENOENT : ENAMETOOLONG;
        return false;
    }
    memcpy(head, path, len + 1);
    while (!realpath(head, ret)) {
        if (errno != ENOENT)
            return false;
        if (links++ < LINKS_MAX && follow_link(head))
            continue;
        if (links > LINKS_MAX || !move_part(head, tail)) {
            errno = ENOENT;
            return false;
        }
        links = 0;
    }
    len = strcmp(ret, "/") == 0 ? 0 : strlen(ret);
    if (len + strlen(tail) >= PATH_MAX) {
        errno = ENAMETOOLONG;
        return false;
    }
    strcpy(ret + len, tail);
    return true;
}

/* ---- making it ---- */

/* In both of their names; NULL: it is too long. */
static const char *join(const char *dir, const char *name, char ret[static PATH_MAX])
{
    int n = snprintf(ret, PATH_MAX, "%s/%s", dir, name);

    return n > 0 && n < PATH_MAX ? ret : NULL;
}

static int bind_file(const char *from, const char *to)
{
    int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0)
        return -errno;
    close(fd);
    return mount(from, to, NULL, MS_BIND, NULL) < 0 ? -errno : 0;
}

static int bind_directory(const char *from, const char *to)
{
    if (mkdir(to, 0700) < 0)
        return -errno;
    return mount(from, to, NULL, MS_BIND | MS_REC, NULL) < 0 ? -errno : 0;
}

static int copy_link(const char *from, const char *to)
{
    char target[PATH_MAX];
    ssize_t n = readlink(from, target, sizeof(target) - 1);

    if (n < 0)
        return -errno;
    target[n] = 0;
    return symlink(target, to) < 0 ? -errno : 0;
}

/*
 * One that cannot be had, or has gone since, is left out; no more mounts, or no memory, is an
 * error.
 */
static int take_entry(const char *from, const char *to)
{
    struct stat st;
    int r;

    if (lstat(from, &st) < 0)
        return 0;
    if (S_ISLNK(st.st_mode))
        r = copy_link(from, to);
    else if (S_ISDIR(st.st_mode))
        r = bind_directory(from, to);
    else
        r = bind_file(from, to);
    if (r == 0)
        return 0;
    (void)remove(to);
    return r == -ENOSPC || r == -ENOMEM ? r : 0;
}

/*
 * What is written there is lost in the end: no loss where files do not last anyway, or are for one
 * program.
 */
static bool does_not_last(const char *dir, const struct stat *st)
{
    struct statfs fs;

    if (st->st_mode & S_ISVTX || strcmp(dir, "/run") == 0 || strncmp(dir, "/run/", 5) == 0)
        return true;
    return statfs(dir, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

static mode_t mode_of(const char *dir)
{
    struct stat st;

    if (stat(dir, &st) < 0 || access(dir, W_OK) < 0 || !does_not_last(dir, &st))
        return 0555;
    return (st.st_mode & 07777) | 0700;
}

static int make_directory(const struct mirror *mirror, const char *dir, const char *to);

static int make_own(const struct mirror *mirror, const char *dir, const char *to)
{
    char there[PATH_MAX];
    int r = 0;

    for (unsigned int i = 0; i < mirror->own_count && r == 0; i++) {
        const char *own = mirror->own[i];

        if (!is_in(own, dir) || is_changed(mirror, own))
            continue;
        r = join(to, strrchr(own, '/') + 1, there) ? make_directory(mirror, own, there)
                                                   : -ENAMETOOLONG;
    }
    for (unsigned int i = 0; i < mirror->change_count && r == 0; i++) {
        const struct mirror_change *change = &mirror->changes[i];

        if (is_in(change->path, dir) && change->source)
            r = join(to, strrchr(change->path, '/') + 1, there) ? bind_file(change->source, there)
                                                                : -ENAMETOOLONG;
    }
    return r;
}

static int take_entries(const struct mirror *mirror, DIR *list, const char *dir, const char *to)
{
    char from[PATH_MAX], there[PATH_MAX];
    const struct dirent *entry;

    while ((entry = readdir(list))) {
        int r;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            !join(dir, entry->d_name, from) || !join(to, entry->d_name, there) ||
            is_own(mirror, from) || is_changed(mirror, from))
            continue;
        r = take_entry(from, there);
        if (r < 0)
            return r;
    }
    return 0;
}

/*
 * One that is not there does not come. Of one that cannot be listed nothing is known but what is
 * needed.
 */
static int make_directory(const struct mirror *mirror, const char *dir, const char *to)
{
    struct stat st;
    DIR *list;
    int r;

    if (lstat(dir, &st) < 0 || !S_ISDIR(st.st_mode))
        return 0;
    r = mkdir(to, 0700) < 0 ? -errno : make_own(mirror, dir, to);
    list = opendir(dir);

    if (r == 0 && list)
        r = take_entries(mirror, list, dir, to);
    if (list)
        closedir(list);
    if (r == 0 && chmod(to, mode_of(dir)) < 0)
        r = -errno;
    return r;
}

int mirror_make(const struct mirror *mirror, const char *stage)
{
    char to[PATH_MAX];
    int r = 0;

    for (unsigned int i = 0; i < mirror->own_count && r == 0; i++)
        if (parent_len(mirror->own[i]) == 0)
            r = join(stage, mirror->own[i] + 1, to) ? make_directory(mirror, mirror->own[i], to)
                                                    : -ENAMETOOLONG;
    for (unsigned int i = 0; i < mirror->own_count && r == 0; i++)
        if (parent_len(mirror->own[i]) == 0 && join(stage, mirror->own[i] + 1, to) &&
            access(to, F_OK) == 0 && mount(to, mirror->own[i], NULL, MS_BIND | MS_REC, NULL) < 0)
            r = -errno;
    return r;
}
