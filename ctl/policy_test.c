/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Happy path: the daemon, or files that it does not have, are asked for a verdict; then for the
 * verdicts that other facts would give, or for the restrictions of the session that is judged.
 * Failures: a client that cannot be, no daemon, files that are refused: nothing is found out.
 */
#include "ctl/json.h"
#include "ctl/policy.h"
#include "ctl/record.h"
#include "ctl/session.h"
#include "ctl/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_allowed(const struct record *record)
{
    return strcmp(record_text(record, "verdict"), "allow") == 0;
}

/* ---- the answer ---- */

static void print_where(const struct record *record)
{
    const char *file = record_text(record, "file");
    int64_t line = record_number(record, "line");

    if (record_number(record, "restriction")) {
        printf(" by restriction %" PRId64 " of the session", record_number(record, "restriction"));
        if (line)
            printf(", line %" PRId64, line);
    } else if (*file) {
        fputs(" by ", stdout);
        text_print_escaped(stdout, file, 0);
        printf(":%" PRId64, line);
    }
}

/* "deny by FILE:LINE: REASON", as much of it as there is. */
static void print_verdict(const struct record *record)
{
    const char *reason = record_text(record, "reason"), *lends = record_text(record, "lends");

    text_print_escaped(stdout, record_text(record, "verdict"), 0);
    print_where(record);
    if (record_number(record, "learned"))
        fputs(" (only because of learn mode)", stdout);
    if (strcmp(lends, "held") == 0 || strcmp(lends, "held given") == 0)
        fputs(" +lend", stdout);
    if (strcmp(lends, "given") == 0 || strcmp(lends, "held given") == 0)
        fputs(" +lend-given", stdout);
    if (strcmp(lends, "withheld") == 0)
        fputs(" (no lending: the session that shared its rights did not share the right to lend)",
              stdout);
    if (is_allowed(record) && strcmp(record_text(record, "about"), "name") == 0)
        fputs(" (this covers only the name; each address is checked once it is known)", stdout);
    if (*reason) {
        fputs(": ", stdout);
        text_print_escaped(stdout, reason, 0);
    }
    putchar('\n');
    if (*record_text(record, "problem")) {
        text_print_escaped(stdout, record_text(record, "problem"), 0);
        putchar('\n');
    }
}

/* The answer for the same client in another place ("also"). */
static void print_also(const struct record *record, const struct record *first)
{
    printf("%s %s", is_allowed(first) ? "but" : "also", is_allowed(record) ? "allowed" : "denied");
    print_where(record);
    fputs(" for ", stdout);
    text_print_escaped(stdout, record_text(record, "for"), 0);
    putchar('\n');
}

void policy_print_restriction(const struct record *row)
{
    printf("restriction %" PRId64, record_number(row, "restriction"));
    if (!record_number(row, "line")) {
        puts(": no rules");
        return;
    }
    printf(", line %" PRId64 ": ", record_number(row, "line"));
    text_print_escaped(stdout, record_text(row, "text"), 0);
    putchar('\n');
}

void policy_tell_sessions(const struct record *first)
{
    int64_t sessions = record_number(first, "sessions");

    if (sessions > 1)
        printf("this is the answer for session %" PRId64 "; the process has %" PRId64
               " sessions (use --id ID to ask about another one)\n",
               record_number(first, "session"), sessions);
}

static void print_all(const struct records *records)
{
    const struct record *first = &records->rows[0];

    print_verdict(first);
    policy_tell_sessions(first);
    for (size_t i = 1; i < records->count; i++) {
        const struct record *row = &records->rows[i];

        if (record_find(row, "for"))
            print_also(row, first);
        else
            policy_print_restriction(row);
    }
}

static int tell(const struct settings *settings, const struct records *records)
{
    const struct record *first = &records->rows[0];

    if (settings->json) {
        json_print_first(stdout, records, record_number(first, "session") ? "rules" : "also");
        putchar('\n');
    } else {
        print_all(records);
    }
    if (report_finish_output() != EXIT_SUCCESS)
        return EXIT_UNKNOWN;
    return is_allowed(first) ? EXIT_ALLOWED : EXIT_DENIED;
}

/* ---- the daemon is asked ---- */

static int ask_daemon(struct session *session, const struct settings *settings, struct question *q,
                      struct records *ret)
{
    if (session_command(session, settings, "judge", (const char *const *)q->args, ret) < 0 ||
        ret->count == 0)
        return -1;
    if (!record_find(&ret->rows[0], "session"))
        return policy_ask_all(session, settings, q, "also", "for", ret);
    if (record_number(&ret->rows[0], "restrictions") == 0)
        return 0;
    return policy_ask_all(session, settings, q, "restriction", "restriction", ret);
}

static int test_daemon(const struct settings *settings, struct question *q, struct records *ret)
{
    struct session session;
    int r;

    if (settings->client.id)
        question_add(q, "id", "%s", settings->client.id);
    if (policy_open(settings, &session) < 0)
        return -1;
    r = ask_daemon(&session, settings, q, ret);
    session_close(&session);
    return r;
}

/* ---- files are asked ---- */

/* "unknown" is a text where a number belongs. */
static void add_id(struct question *q, const char *name, const struct record *row,
                   const char *field)
{
    if (record_find(row, field) && !record_find(row, field)->text)
        question_add(q, name, "%" PRId64, record_number(row, field));
    else
        question_add(q, "unknown", "%s", name);
}

static int add_groups(struct question *q, const char *groups)
{
    if (strcmp(groups, "unknown") == 0) {
        question_add(q, "unknown", "groups");
        return 0;
    }
    while (*groups) {
        size_t len = strcspn(groups, ",");

        if (*groups < '0' || *groups > '9') {
            report_error("--id: the client of this session has too many groups");
            return -1;
        }
        question_add(q, "gid", "%.*s", (int)len, groups);
        groups += len + (groups[len] == ',');
    }
    return 0;
}

static int add_facts(struct question *q, const struct record *row)
{
    add_id(q, "uid", row, "uid");
    add_id(q, "gid", row, "gid");
    if (strcmp(record_text(row, "units"), "unknown") == 0)
        question_add(q, "unknown", "units");
    question_add(q, "unit", "%s", record_text(row, "unit"));
    question_add(q, "user_unit", "%s", record_text(row, "user_unit"));
    if (*record_text(row, "cgroup"))
        question_add(q, "cgroup", "%s", record_text(row, "cgroup"));
    else
        question_add(q, "unknown", "cgroup");
    question_add(q, "listener", "%s", record_text(row, "listener"));
    return add_groups(q, record_text(row, "groups"));
}

/* The rules of one restriction after the other. */
static void add_restrictions(struct question *q, const struct records *rows)
{
    char *text = NULL;
    size_t len;

    for (size_t i = 0; i < rows->count;) {
        int64_t number = record_number(&rows->rows[i], "restriction");
        FILE *file = report_need_memory(open_memstream(&text, &len));

        fputs("[Rules]\n", file);
        for (; i < rows->count && record_number(&rows->rows[i], "restriction") == number; i++)
            fprintf(file, "%s\n", record_text(&rows->rows[i], "text"));
        fclose(file);
        question_add(q, "restriction", "%s", text);
        free(text);
    }
}

static int add_session(const struct settings *settings, struct question *q)
{
    struct question about = {0};
    struct records rows = {0}, rules = {0};
    struct session session;
    char query[64];
    int r;

    if (session_open_control(settings, &session) < 0)
        return -1;
    snprintf(query, sizeof(query), "show %s", settings->client.id);
    question_add(&about, "id", "%s", settings->client.id);
    r = session_inspect(&session, settings, query, records_add, &rows) > 0 ? 0 : -1;
    if (r == 0 && !record_find(&rows.rows[0], "listener")) {
        report_error("--id: %s is not the id of a session", settings->client.id);
        r = -1;
    }
    if (r == 0)
        r = add_facts(q, &rows.rows[0]);
    if (r == 0)
        r = policy_ask_all(&session, settings, &about, "restriction", "restriction", &rules);
    if (r == 0)
        add_restrictions(q, &rules);
    session_close(&session);
    question_free(&about);
    records_free(&rules);
    records_free(&rows);
    return r;
}

static int test_files(const struct settings *settings, struct question *q, struct records *ret)
{
    if (settings->client.id && add_session(settings, q) < 0)
        return -1;
    return policy_judge_files(settings, q, ret);
}

/* Of files the daemon is asked nothing, but who the client of --id is. */
static int check_sockets(const struct settings *settings, bool is_of_files)
{
    bool has_no_id = !settings->client.id;

    if (is_of_files && settings->socket)
        return report_usage(
            "policy test: --socket cannot be combined with --policy or --config-dir");
    if (is_of_files && has_no_id && (settings->control || settings->timeout_ms >= 0))
        return report_usage(
            "policy test: with --policy or --config-dir, --control and --timeout require --id");
    return 0;
}

int policy_test(const struct settings *settings)
{
    bool is_of_files = settings->policy_count > 0 || settings->config_dir;
    struct records records = {0};
    struct question q = {0};
    int status = check_sockets(settings, is_of_files);

    if (status == 0)
        status = question_add_client(&q, &settings->client);
    if (status == 0)
        status = question_add_connect(&q, settings);
    if (status == 0) {
        int r = is_of_files ? test_files(settings, &q, &records)
                            : test_daemon(settings, &q, &records);

        status = r < 0 ? EXIT_UNKNOWN : tell(settings, &records);
    }
    records_free(&records);
    question_free(&q);
    return status;
}
