/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Two passes over the file: the user's own lines, and then those of others, each of which takes
 * away the ranges that it touches. A line that newuidmap(1) would skip is skipped here too.
 */
#include "gateway/subordinate.h"

#include <fcntl.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/subuid.h"

#define LINE_MAX_BYTES 1024
#define NAME_MAX_BYTES 256

/* A pipe in its place must not be waited for. NULL: it cannot be read. */
static FILE *open_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "r");

    if (fd >= 0 && !file)
        close(fd);
    return file;
}

/* Of /etc/passwd alone: another source of names could be slow. */
static bool find_name(const char *passwd, uid_t user, char ret[static NAME_MAX_BYTES])
{
    FILE *file = open_file(passwd);
    const struct passwd *entry;
    bool is_found = false;

    while (file && !is_found && (entry = fgetpwent(file)))
        if (entry->pw_uid == user && strlen(entry->pw_name) < NAME_MAX_BYTES) {
            memcpy(ret, entry->pw_name, strlen(entry->pw_name) + 1);
            is_found = true;
        }
    if (file)
        fclose(file);
    return is_found;
}

static bool is_users(const char *name, const char *own_name, uid_t user)
{
    uint64_t number;

    return (own_name && strcmp(name, own_name) == 0) ||
           (asock_subuid_read_number(name, &number) && number == user);
}

static void remove_touched(struct subordinate *subordinate, const struct subuid_range *range)
{
    unsigned int kept = 0;

    for (unsigned int i = 0; i < subordinate->count; i++)
        if (subordinate->ranges[i].first > range->last ||
            subordinate->ranges[i].last < range->first)
            subordinate->ranges[kept++] = subordinate->ranges[i];
    subordinate->count = kept;
}

static void read_pass(struct subordinate *subordinate, FILE *file, bool of_user,
                      const char *own_name, uid_t user)
{
    char line[LINE_MAX_BYTES];
    struct subuid_range range;

    while (fgets(line, sizeof(line), file)) {
        line[strcspn(line, "\n")] = '\0';
        if (!asock_subuid_read_line(line, &range) ||
            is_users(range.owner, own_name, user) != of_user)
            continue;
        if (!of_user)
            remove_touched(subordinate, &range);
        else if (subordinate->count < SUBORDINATE_RANGES_MAX)
            subordinate->ranges[subordinate->count++] = (struct id_range){range.first, range.last};
    }
}

void subordinate_read(struct subordinate *ret, uid_t user, const char *subuid, const char *passwd)
{
    char name[NAME_MAX_BYTES];
    bool has_name = find_name(passwd, user, name);
    FILE *file = open_file(subuid);

    *ret = (struct subordinate){0};
    if (!file)
        return;
    read_pass(ret, file, true, has_name ? name : NULL, user);
    rewind(file);
    read_pass(ret, file, false, has_name ? name : NULL, user);
    if (ferror(file))
        ret->count = 0;
    fclose(file);
}

bool subordinate_has(const struct subordinate *subordinate, uid_t id)
{
    for (unsigned int i = 0; i < subordinate->count; i++)
        if (id >= subordinate->ranges[i].first && id <= subordinate->ranges[i].last)
            return true;
    return false;
}
