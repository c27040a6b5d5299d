/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * policy test: what policy says of a connect that nobody makes. policy check: asockd's own linter.
 * policy learned: rules for what learn mode let pass.
 */
#include "ctl/ctl.h"
#include "ctl/idn.h"
#include "ctl/json.h"
#include "ctl/record.h"
#include "ctl/session.h"
#include "ctl/text.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* As grep(1) has it: what could not be found out is no denial. */
enum { EXIT_ALLOWED = 0, EXIT_DENIED = 1, EXIT_UNKNOWN = 2 };

static const char *text_of(const struct record *record, const char *name)
{
    const struct asock_field *field = record_find(record, name);

    return field && field->text ? field->text : "";
}

static int64_t number_of(const struct record *record, const char *name)
{
    const struct asock_field *field = record_find(record, name);

    return field && !field->text ? field->number : 0;
}

/* ---- test ---- */

#define QUESTION_MAX 127 /* the library takes no more */

struct question {
    char *args[QUESTION_MAX + 1];
    size_t count;
};

static void add(struct question *q, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void add(struct question *q, const char *name, const char *format, ...)
{
    char value[1100];
    va_list args;

    va_start(args, format);
    vsnprintf(value, sizeof(value), format, args);
    va_end(args);
    if (q->count < QUESTION_MAX && asprintf(&q->args[q->count], "%s=%s", name, value) < 0)
        q->args[q->count] = need_memory(NULL);
    q->count += q->count < QUESTION_MAX;
}

static void free_question(struct question *q)
{
    for (size_t i = 0; i < q->count; i++)
        free(q->args[i]);
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
        add(q, "gid", "%u", (unsigned int)groups[i]);
}

static int add_user(struct question *q, const char *text)
{
    const struct passwd *user = getpwnam(text);
    unsigned int uid;

    if (!user && parse_number(text, &uid) == 0) {
        add(q, "uid", "%u", uid);
        user = getpwuid(uid);
    } else if (user) {
        add(q, "uid", "%u", (unsigned int)user->pw_uid);
    } else {
        return complain_usage("--user: no such user");
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
        return complain_usage("--group: no such group");
    add(q, "gid", "%u", gid);
    return 0;
}

static void add_text(struct question *q, const char *name, const char *text)
{
    if (text)
        add(q, name, "%s", text);
}

static int add_client(struct question *q, const struct client *client)
{
    int status = client->user ? add_user(q, client->user) : 0;

    for (int i = 0; !status && i < client->group_count; i++)
        status = add_group(q, client->groups[i]);
    add_text(q, "unit", client->unit);
    add_text(q, "user_unit", client->user_unit);
    add_text(q, "cgroup", client->cgroup);
    add_text(q, "listener", client->listener ? client->listener : "default");
    add_text(q, "address", client->address);
    return status;
}

/* args: test PROTOCOL HOST PORT */
static int make_question(const struct settings *settings, struct question *q)
{
    char *host;
    int status;

    if (settings->arg_count != 4)
        return complain_usage("usage: asockctl policy test [OPTION]... tcp HOST PORT");
    status = add_client(q, &settings->client);
    if (status)
        return status;
    if (idn_to_ascii(settings->args[2], &host) < 0)
        return EXIT_UNKNOWN;
    add(q, "protocol", "%s", settings->args[1]);
    add(q, "host", "%s", host);
    add(q, "service", "%s", settings->args[3]);
    free(host);
    return 0;
}

static bool is_allowed(const struct record *record)
{
    return strcmp(text_of(record, "verdict"), "allow") == 0;
}

/* "deny by FILE:LINE: REASON", as much of it as there is. */
static void print_verdict(const struct record *record)
{
    const char *file = text_of(record, "file"), *reason = text_of(record, "reason");

    text_print_escaped(stdout, text_of(record, "verdict"), 0);
    if (*file) {
        fputs(" by ", stdout);
        text_print_escaped(stdout, file, 0);
        printf(":%" PRId64, number_of(record, "line"));
    }
    if (number_of(record, "learned"))
        fputs(" (learn mode alone lets it pass)", stdout);
    if (is_allowed(record) && strcmp(text_of(record, "about"), "name") == 0)
        fputs(" (the name; its addresses are judged when they are known)", stdout);
    if (*reason) {
        fputs(": ", stdout);
        text_print_escaped(stdout, reason, 0);
    }
    putchar('\n');
}

static int tell_verdict(const struct settings *settings, const struct records *records)
{
    const struct record *record = &records->rows[0];

    if (settings->json) {
        json_print_record(stdout, record);
        putchar('\n');
    } else {
        print_verdict(record);
    }
    if (finish_output() != EXIT_SUCCESS)
        return EXIT_UNKNOWN;
    return is_allowed(record) ? EXIT_ALLOWED : EXIT_DENIED;
}

static int run_test(const struct settings *settings)
{
    struct records records = {0};
    struct question q = {0};
    struct session session;
    int status = make_question(settings, &q);

    if (status == 0 && session_open_control(settings, &session) < 0)
        status = EXIT_UNKNOWN;
    else if (status == 0) {
        status = EXIT_UNKNOWN;
        if (session_command(&session, settings, "judge", (const char *const *)q.args, &records) ==
                0 &&
            records.count > 0)
            status = tell_verdict(settings, &records);
        session_close(&session);
    }
    records_free(&records);
    free_question(&q);
    return status;
}

/* ---- check ---- */

static int run_check(const struct settings *settings)
{
    const char *named = getenv("ASOCKD"), *program = named && *named ? named : SBINDIR "/asockd";
    char **args = need_memory(calloc((size_t)settings->arg_count + 2, sizeof(char *)));

    args[0] = (char *)(uintptr_t) "asockd";
    args[1] = (char *)(uintptr_t) "--check";
    for (int i = 1; i < settings->arg_count; i++)
        args[i + 1] = settings->args[i];
    execv(program, args);
    complain("%s: %s", program, strerror(errno));
    free(args);
    return EXIT_FAILURE;
}

/* ---- learned ---- */

static void print_time(int64_t seconds)
{
    time_t when = (time_t)seconds;
    struct tm tm;
    char text[32];

    if (gmtime_r(&when, &tm) && strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%SZ", &tm) > 0)
        fputs(text, stdout);
}

static void print_rule(const struct record *row)
{
    fputs("# ", stdout);
    if (record_find(row, "uid"))
        printf("uid %" PRId64 ", ", number_of(row, "uid"));
    printf("%" PRId64 " times, ", number_of(row, "count"));
    print_time(number_of(row, "first"));
    fputs(" to ", stdout);
    print_time(number_of(row, "last"));
    fputs("\nAllow=", stdout);
    text_print_escaped(stdout, text_of(row, "rule"), 0);
    putchar('\n');
}

static bool is_first_of_file(const struct records *records, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (strcmp(text_of(&records->rows[i], "file"), text_of(&records->rows[at], "file")) == 0)
            return false;
    return true;
}

/* A block for each file, in the order in which they were first needed. */
static void print_rules(const struct records *records)
{
    for (size_t i = 0; i < records->count; i++) {
        const char *file = text_of(&records->rows[i], "file");

        if (!record_find(&records->rows[i], "rule") || !is_first_of_file(records, i))
            continue;
        printf("%s# for [Rules] of ", i > 0 ? "\n" : "");
        text_print_escaped(stdout, file, 0);
        putchar('\n');
        for (size_t j = i; j < records->count; j++)
            if (strcmp(text_of(&records->rows[j], "file"), file) == 0 &&
                record_find(&records->rows[j], "rule"))
                print_rule(&records->rows[j]);
    }
}

static void tell_dropped(const struct records *records)
{
    for (size_t i = 0; i < records->count; i++) {
        int64_t dropped = number_of(&records->rows[i], "dropped");

        if (dropped > 0)
            complain("%" PRId64 " further connects found no room in the daemon's list: there are "
                     "more rules than these",
                     dropped);
    }
}

static int run_learned(const struct settings *settings)
{
    struct records records = {0};
    struct session session;
    int status = EXIT_FAILURE;

    if (settings->arg_count != 1)
        return complain_usage("usage: asockctl policy learned [OPTION]...");
    if (session_open_control(settings, &session) < 0)
        return EXIT_FAILURE;
    if (session_inspect(&session, settings, "learned", records_add, &records) >= 0) {
        if (settings->json)
            json_print_records(stdout, &records);
        else
            print_rules(&records);
        status = finish_output();
        if (!settings->json)
            tell_dropped(&records);
    }
    records_free(&records);
    session_close(&session);
    return status;
}

static int run_policy(const struct settings *settings)
{
    const char *what = settings->args[0];

    if (strcmp(what, "test") == 0)
        return run_test(settings);
    if (strcmp(what, "check") == 0)
        return run_check(settings);
    if (strcmp(what, "learned") == 0)
        return run_learned(settings);
    return complain_usage("policy: test, check or learned");
}

const struct command command_policy = {
    .name = "policy",
    .arguments = "test|check|learned",
    .summary = "what policy says, and what it would have to say",
    .help =
        "policy test tcp HOST PORT  what policy says of that connect by the client of --user and the like, and the\n"
        "                           rule that decides; nothing is connected, and nobody is asked for HOST.\n"
        "                           Exit status: 0 allowed, 1 denied, 2 could not be found out\n"
        "policy check [FILE]...     look for mistakes in policy files, or in all the daemon reads, as \"asockd --check\"\n"
        "policy learned             rules that would have admitted what learn mode let pass\n"
        "Test and learned speak to the control socket.\n",
    .options = TAKES_CONTROL | TAKES_JSON | TAKES_TIMEOUT | TAKES_CLIENT,
    .min_args = 1,
    .max_args = INT_MAX,
    .run = run_policy,
};
