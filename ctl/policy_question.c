/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/idn.h"
#include "ctl/policy.h"
#include "ctl/record.h"
#include "ctl/session.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWERS_MAX 300000u /* more than a policy has lines */

void question_add(struct question *q, const char *name, const char *format, ...)
{
    char *value;
    va_list args;
    int n;

    if (q->count == QUESTION_MAX)
        return;
    va_start(args, format);
    n = vasprintf(&value, format, args);
    va_end(args);
    if (n < 0 || asprintf(&q->args[q->count], "%s=%s", name, value) < 0)
        report_need_memory(NULL);
    free(value);
    q->count++;
}

void question_free(struct question *q)
{
    while (q->count > 0)
        free(q->args[--q->count]);
}

static int parse_number(const char *text, unsigned int *ret)
{
    unsigned long long n;
    char *end;

    errno = 0;
    n = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || n >= UINT_MAX)
        return -EINVAL;
    *ret = (unsigned int)n;
    return 0;
}

/* What initgroups(3) would give it. */
static void add_groups_of(struct question *q, const struct passwd *user)
{
    gid_t groups[CLIENT_GROUPS_MAX];
    int count = CLIENT_GROUPS_MAX;

    (void)getgrouplist(user->pw_name, user->pw_gid, groups, &count);
    for (int i = 0; i < count && i < CLIENT_GROUPS_MAX; i++)
        question_add(q, "gid", "%u", (unsigned int)groups[i]);
}

static int add_user(struct question *q, const char *text)
{
    const struct passwd *user = getpwnam(text);
    unsigned int uid;

    if (!user && parse_number(text, &uid) == 0) {
        question_add(q, "uid", "%u", uid);
        user = getpwuid(uid);
    } else if (user) {
        question_add(q, "uid", "%u", (unsigned int)user->pw_uid);
    } else {
        return report_usage("--user: there is no user \"%s\"", text);
    }
    if (user)
        add_groups_of(q, user);
    return 0;
}

static int add_group(struct question *q, const char *text)
{
    const struct group *group = getgrnam(text);
    unsigned int gid;

    if (group)
        gid = group->gr_gid;
    else if (parse_number(text, &gid) < 0)
        return report_usage("--group: there is no group \"%s\"", text);
    question_add(q, "gid", "%u", gid);
    return 0;
}

static void add_text(struct question *q, const char *name, const char *text)
{
    if (text)
        question_add(q, name, "%s", text);
}

bool question_has_client(const struct client *client)
{
    return client->id || client->pid || client->user || client->unit || client->user_unit ||
           client->cgroup || client->listener || client->group_count > 0;
}

int question_add_client(struct question *q, const struct client *client)
{
    int status = client->user ? add_user(q, client->user) : 0;
    unsigned int pid;

    for (int i = 0; !status && i < client->group_count; i++)
        status = add_group(q, client->groups[i]);
    if (client->id && (!*client->id || client->id[strspn(client->id, "0123456789")]))
        return report_usage("--id: \"%s\" is not the id of a session", client->id);
    if (client->pid && (parse_number(client->pid, &pid) < 0 || pid == 0))
        return report_usage("--pid: \"%s\" is not a process ID", client->pid);
    add_text(q, "pid", client->pid);
    add_text(q, "unit", client->unit);
    add_text(q, "user_unit", client->user_unit);
    add_text(q, "cgroup", client->cgroup);
    add_text(q, "listener", client->listener);
    return status;
}

static int add_listen(struct question *q, const struct settings *settings)
{
    if (settings->arg_count != 3 || settings->listen_count != 1)
        return report_usage(
            "usage: asockctl policy test [OPTION]... --listen tcp|udp ADDRESS PORT");
    add_text(q, "verb", "listen");
    add_text(q, "address", settings->client.address);
    add_text(q, "protocol", settings->listen[0]);
    add_text(q, "host", settings->args[1]);
    add_text(q, "service", settings->args[2]);
    return 0;
}

int question_add_connect(struct question *q, const struct settings *settings)
{
    char *host;

    if (settings->listen_count > 0)
        return add_listen(q, settings);

    if (settings->arg_count != 4)
        return report_usage("usage: asockctl policy test [OPTION]... tcp|udp HOST PORT");
    if (idn_to_ascii(settings->args[2], &host) < 0)
        return EXIT_UNKNOWN;
    add_text(q, "address", settings->client.address);
    add_text(q, "protocol", settings->args[1]);
    add_text(q, "host", host);
    add_text(q, "service", settings->args[3]);
    free(host);
    return 0;
}

int policy_open(const struct settings *settings, struct session *ret)
{
    if (question_has_client(&settings->client) && !settings->socket)
        return session_open_control(settings, ret);
    return session_open_inspector(settings, ret);
}

int policy_ask_all(struct session *session, const struct settings *settings, struct question *q,
                   const char *name, const char *needs, struct records *ret)
{
    size_t at = q->count;

    for (unsigned int i = 0; i < ANSWERS_MAX; i++) {
        size_t before = ret->count;
        int r;

        question_add(q, name, "%u", i);
        r = session_command(session, settings, "judge", (const char *const *)q->args, ret);
        if (q->count > at)
            free(q->args[--q->count]);
        q->args[q->count] = NULL;
        if (r < 0)
            return -1;
        if (ret->count == before || !record_find(&ret->rows[ret->count - 1], needs)) {
            records_cut(ret, before);
            return 0;
        }
    }
    return 0;
}
