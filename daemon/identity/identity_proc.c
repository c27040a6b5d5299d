/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: the pidfd's number in this /proc is the pid; control groups, units, control groups
 * once more; the pidfd's process lives, so all of it was said about that process.
 * Failures: /proc is of another pid namespace, or hides the process; the process moved meanwhile,
 * is a zombie or has ended; its control group is outside of our cgroup namespace, removed, or too
 * long. Then the facts concerned stay unknown.
 */
#include "daemon/identity/identity_proc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "daemon/identity/identity.h"

#ifdef HAVE_SYSTEMD
#include <systemd/sd-login.h>
#endif

/* A path in each of the v1 hierarchies, and the one of the unified hierarchy. */
#define CGROUPS_MAX 8192u
#define STATUS_MAX 1024u /* the ids stand at its beginning */
#define STAT_MAX 1024u
#define PROCESS_GROUPS_MAX 1024u

/* ---- files ---- */

/* Fills out from the beginning of a file; its bytes, or -errno. The last byte is NUL. */
static ssize_t read_start(const char *path, char *out, size_t cap)
{
    size_t n = 0;
    ssize_t k;
    int fd;

    out[0] = '\0';
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return -errno;
    while ((k = read(fd, out + n, cap - 1 - n)) > 0)
        n += (size_t)k;
    k = k < 0 ? -errno : (ssize_t)n;
    close(fd);
    out[k < 0 ? 0 : n] = '\0';
    return k;
}

static ssize_t read_of_process(const struct identity *identity, const char *name, char *out,
                               size_t cap)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)identity->pid, name);
    return read_start(path, out, cap);
}

/* False, and out is empty, also when the file is longer than that. */
static bool read_whole(const struct identity *identity, const char *name, char *out, size_t cap)
{
    ssize_t n = read_of_process(identity, name, out, cap);

    if (n > 0 && (size_t)n < cap - 1)
        return true;
    out[0] = '\0';
    return false;
}

/*
 * The pid is a number of our pid namespace, the directories of /proc are of the one it was mounted
 * in. That, and whether the pidfd is of the process that the number means, is what this tells.
 */
static bool is_in_proc(const struct identity *identity)
{
    char path[64], text[512];
    const char *line;

    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", identity->pidfd);
    if (read_start(path, text, sizeof(text)) <= 0)
        return false;
    line = strstr(text, "\nPid:");
    return line && strtol(line + strlen("\nPid:"), NULL, 10) == identity->pid;
}

/* ---- /proc/PID/task/PID/stat and status ---- */

struct process_stat {
    char state;
    uint64_t started;
};

/*
 * Of the first thread alone: for the file of the whole process the kernel adds up all of its
 * threads, which takes 10 ms if there are 30,000. State and start are the same. The name in
 * parentheses may hold anything, parentheses too; behind the last one there are none.
 */
static bool read_stat(const struct identity *identity, struct process_stat *ret)
{
    char text[STAT_MAX], name[32], *at;

    snprintf(name, sizeof(name), "task/%d/stat", (int)identity->pid);
    if (read_of_process(identity, name, text, sizeof(text)) <= 0)
        return false;
    at = strrchr(text, ')');
    if (!at || at[1] != ' ' || !at[2])
        return false;
    at += 2;
    ret->state = *at;
    for (unsigned int field = 3; field < 22; field++) {
        at = strchr(at, ' ');
        if (!at)
            return false;
        at++;
    }
    ret->started = strtoull(at, NULL, 10);
    return true;
}

/* Any of its ids: a process may change some between connect(2) and now, and be the same. */
static bool has_uid(const struct identity *identity)
{
    unsigned int ids[4];
    char text[STATUS_MAX];
    const char *line;

    if (read_of_process(identity, "status", text, sizeof(text)) <= 0)
        return false;
    line = strstr(text, "\nUid:"); /* a newline of the name above it is escaped */
    if (!line || sscanf(line, "\nUid: %u %u %u %u", &ids[0], &ids[1], &ids[2], &ids[3]) != 4)
        return false;
    for (size_t i = 0; i < 4; i++) {
        if (ids[i] == identity->uid)
            return true;
    }
    return false;
}

/* "Groups:" and what follows; too many for the text, or for the memory, are unknown. */
static void take_groups(struct identity *identity, const char *line)
{
    char *end;

    if (!strchr(line, '\n'))
        return;
    identity->gids = mem_alloc(PROCESS_GROUPS_MAX * sizeof(*identity->gids));
    if (!identity->gids)
        return;
    for (; identity->gid_count < PROCESS_GROUPS_MAX; line = end) {
        line += strspn(line, " \t");
        if (*line == '\n')
            break;
        identity->gids[identity->gid_count++] = (gid_t)strtoul(line, &end, 10);
    }
    identity->gids_known = *line == '\n';
    if (identity->gids_known && identity->gid_count > 0)
        return;
    identity->gids = mem_free(identity->gids);
    identity->gid_count = 0;
}

int identity_proc_read_ids(struct identity *identity)
{
    const char *uid, *gid, *groups;
    char text[CGROUPS_MAX];

    if (!is_in_proc(identity) || read_of_process(identity, "status", text, sizeof(text)) <= 0)
        return -ESRCH;
    uid = strstr(text, "\nUid:");
    gid = strstr(text, "\nGid:");
    groups = strstr(text, "\nGroups:");
    if (!uid || !gid || !groups || sscanf(uid, "\nUid: %*u %u", &identity->uid) != 1 ||
        sscanf(gid, "\nGid: %*u %u", &identity->gid) != 1)
        return -EIO;
    take_groups(identity, groups + strlen("\nGroups:"));
    return 0;
}

uint64_t identity_proc_now(void)
{
    uint64_t per_second = (uint64_t)sysconf(_SC_CLK_TCK);
    struct timespec now = {0};

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (uint64_t)now.tv_sec * per_second +
           (uint64_t)now.tv_nsec / (UINT64_C(1000000000) / per_second);
}

bool identity_proc_fits(const struct identity *identity, uint64_t when)
{
    struct process_stat stat;

    return is_in_proc(identity) && read_stat(identity, &stat) && stat.started <= when &&
           has_uid(identity);
}

bool identity_proc_maps_all(const char *map)
{
    unsigned int inside, outside, count;
    char text[128];

    return read_start(map, text, sizeof(text)) > 0 &&
           sscanf(text, "%u %u %u", &inside, &outside, &count) == 3 && inside == 0 &&
           count == IDENTITY_ID_UNKNOWN;
}

/* ---- what it is ---- */

static void read_comm(struct identity *identity)
{
    char text[IDENTITY_COMM_MAX + 2] = ""; /* the kernel adds a newline */

    if (!read_whole(identity, "comm", text, sizeof(text)))
        return;
    /* Only the last newline is the kernel's; a name may well have one of its own. */
    text[strlen(text) - 1] = '\0';
    memcpy(identity->comm, text, sizeof(identity->comm));
}

/* The path of the "0::" line. With v1 hierarchies mounted there are others above it. */
static void find_cgroup(struct identity *identity, const char *text)
{
    static const char removed[] = " (deleted)"; /* a zombie in a group that was removed */
    const char *path, *end;
    size_t len;

    path = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
    end = path ? strchr(path + 1, '\n') : NULL;
    if (!end)
        return;
    path = strchr(path, '/');
    if (!path || path > end)
        return;
    len = (size_t)(end - path);
    if (len >= sizeof(identity->cgroup))
        return;
    if (len >= strlen(removed) && memcmp(end - strlen(removed), removed, strlen(removed)) == 0)
        return;
    /* Outside of our cgroup namespace: "/../x" is no place that a rule could mean. */
    if (strncmp(path, "/..", 3) == 0 && (path[3] == '/' || path[3] == '\n'))
        return;
    memcpy(identity->cgroup, path, len);
}

#ifdef HAVE_SYSTEMD
/* r: of the call that made text. False: not known. */
static bool take(char to[static IDENTITY_UNIT_MAX], int r, char *text)
{
    if (r == -ENODATA)
        return true; /* none */
    if (r < 0)
        return false;
    if (strlen(text) < IDENTITY_UNIT_MAX)
        strcpy(to, text);
    free(text);
    return to[0] != '\0';
}

static void read_units(struct identity *identity)
{
    char *text = NULL;
    int r = sd_pid_get_unit(identity->pid, &text);

    identity->units_known = take(identity->unit, r, text);
    text = NULL;
    r = sd_pid_get_user_unit(identity->pid, &text);
    identity->units_known = take(identity->user_unit, r, text) && identity->units_known;
    if (!identity->units_known)
        identity->unit[0] = identity->user_unit[0] = '\0';
}
#else
static void read_units(struct identity *identity)
{
    (void)identity;
}
#endif

static void forget_groups(struct identity *identity)
{
    identity->units_known = false;
    identity->unit[0] = identity->user_unit[0] = identity->cgroup[0] = '\0';
}

/*
 * The units are derived from the control groups, which take several reads: these belong together
 * only if the process stayed.
 */
static void read_groups(struct identity *identity)
{
    char before[CGROUPS_MAX], after[CGROUPS_MAX];

    if (!read_whole(identity, "cgroup", before, sizeof(before)))
        return;
    find_cgroup(identity, before);
    if (identity->cgroup[0])
        read_units(identity);
    if (!read_whole(identity, "cgroup", after, sizeof(after)) || strcmp(before, after) != 0)
        forget_groups(identity);
}

void identity_proc_read(struct identity *identity)
{
    struct process_stat stat;

    if (identity->pidfd < 0 || identity->pid <= 0 || !is_in_proc(identity))
        return;
    read_comm(identity);
    read_groups(identity);
    /*
     * A thread group whose first thread has ended lives on, but its leader's groups do not move
     * with it.
     */
    if (!read_stat(identity, &stat) || strchr("ZXx", stat.state))
        forget_groups(identity);
    if (identity_is_alive(identity))
        return;
    /* The pid may have belonged to another process meanwhile. */
    forget_groups(identity);
    identity->comm[0] = '\0';
}
