/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/names/userdb.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/conf.h"

/*
 * A line of /etc/group with many members; a longer one is a failure, not a group that is not there.
 */
#define ENTRY_MAX (256u * 1024u)

/* 1: it was a number. (uid_t)-1 is no user. */
static int parse_number(const char *name, uint32_t *ret)
{
    uint64_t number;
    int r = asock_conf_number(name, 0, UINT32_MAX - 1, &number);

    if (r == -EINVAL)
        return 0;
    if (r < 0 || (name[0] == '0' && name[1]))
        return -EINVAL;
    *ret = (uint32_t)number;
    return 1;
}

static int find_user(FILE *file, char *buf, const char *name, uid_t *ret)
{
    struct passwd entry, *found;
    int r;

    while ((r = fgetpwent_r(file, &entry, buf, ENTRY_MAX, &found)) == 0) {
        if (strcmp(found->pw_name, name) != 0)
            continue;
        *ret = found->pw_uid;
        return 0;
    }
    return -r;
}

static int find_group(FILE *file, char *buf, const char *name, gid_t *ret)
{
    struct group entry, *found;
    int r;

    while ((r = fgetgrent_r(file, &entry, buf, ENTRY_MAX, &found)) == 0) {
        if (strcmp(found->gr_name, name) != 0)
            continue;
        *ret = found->gr_gid;
        return 0;
    }
    return -r;
}

static int find(const char *text, const char *path,
                int (*find_in)(FILE *file, char *buf, const char *name, uint32_t *ret),
                uint32_t *ret)
{
    int r = parse_number(text, ret);
    char *buf;
    FILE *file;

    if (r != 0)
        return r < 0 ? r : 0;
    file = fopen(path, "re");
    if (!file)
        return -errno;
    buf = mem_alloc(ENTRY_MAX);
    r = buf ? find_in(file, buf, text, ret) : -ENOMEM;
    mem_free(buf);
    fclose(file);
    return r;
}

int userdb_find_user(const char *text, uid_t *ret)
{
    return find(text, "/etc/passwd", find_user, ret);
}

int userdb_find_group(const char *text, gid_t *ret)
{
    return find(text, "/etc/group", find_group, ret);
}

static int read_users(FILE *file, char *buf,
                      void (*callback)(void *data, const char *name, uid_t uid), void *data)
{
    struct passwd entry, *found;
    int r;

    while ((r = fgetpwent_r(file, &entry, buf, ENTRY_MAX, &found)) == 0)
        callback(data, found->pw_name, found->pw_uid);
    return r == ENOENT ? 0 : -r;
}

int userdb_each_user(const char *path, void (*callback)(void *data, const char *name, uid_t uid),
                     void *data)
{
    FILE *file = fopen(path, "re");
    char *buf;
    int r;

    if (!file)
        return -errno;
    buf = mem_alloc(ENTRY_MAX);
    r = buf ? read_users(file, buf, callback, data) : -ENOMEM;
    mem_free(buf);
    fclose(file);
    return r;
}
