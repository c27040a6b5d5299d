/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* policy show: the files in force, and the rules in the order in which they are looked at. */
#include "base/text.h"
#include "ctl/json.h"
#include "ctl/policy.h"
#include "ctl/record.h"
#include "ctl/session.h"
#include "ctl/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void print_count(const char *before, int64_t n, const char *what)
{
    printf("%s%" PRId64 " %s%s", before, n, what, text_plural((uint64_t)n));
}

static void print_head(const struct record *row)
{
    if (record_find(row, "loaded")) {
        printf("# policy loaded ");
        policy_print_time(record_number(row, "loaded"));
        print_count(": ", record_number(row, "files"), "file");
        print_count(", ", record_number(row, "rules"), "rule");
        putchar('\n');
    }
    if (record_number(row, "invalid"))
        printf("# the policy is invalid, so everything is denied\n");
    if (*record_text(row, "problem")) {
        fputs("# ", stdout);
        text_print_escaped(stdout, record_text(row, "problem"), 0);
        putchar('\n');
    }
    if (record_find(row, "session"))
        printf("# session %" PRId64 ", restrictions: %" PRId64 "\n", record_number(row, "session"),
               record_number(row, "restrictions"));
    policy_tell_sessions(row);
}

/* The daemon keeps what it has read; whoever edits a file has to reload. */
static void print_file(const struct record *row)
{
    const char *path = record_text(row, "file");
    struct stat st;

    fputs("\n# ", stdout);
    text_print_escaped(stdout, path, 0);
    if (record_number(row, "modified")) {
        fputs(", modified ", stdout);
        policy_print_time(record_number(row, "modified"));
    }
    if (strcmp(record_text(row, "applies"), "unknown") == 0)
        fputs(": it is not known whether this file applies, so everything is denied", stdout);
    if (path[0] == '/' && stat(path, &st) == 0 && st.st_mtime != record_number(row, "modified"))
        fputs(" (changed since then; run asockctl reload to apply the change)", stdout);
    else if (path[0] == '/' && stat(path, &st) < 0 && errno == ENOENT)
        fputs(" (removed since then; run asockctl reload to apply the change)", stdout);
    putchar('\n');
}

static void print_row(const struct record *row)
{
    const char *kind = record_text(row, "kind");

    if (strcmp(kind, "policy") == 0) {
        print_head(row);
    } else if (strcmp(kind, "file") == 0) {
        print_file(row);
    } else if (strcmp(kind, "restriction") == 0) {
        policy_print_restriction(row);
    } else {
        if (record_number(row, "line"))
            printf("%5" PRId64 "  ", record_number(row, "line"));
        else
            fputs("       ", stdout);
        text_print_escaped(stdout, record_text(row, "text"), 0);
        putchar('\n');
    }
}

static bool is_unchanged(const struct records *before, const struct records *after)
{
    return before->count > 0 && after->count > 0 &&
           record_number(&before->rows[0], "generation") ==
               record_number(&after->rows[0], "generation");
}

/* The daemon may reload between two rows. */
static int read_rows(struct session *session, const struct settings *settings, struct question *q,
                     struct records *ret)
{
    struct records after = {0};
    int r = policy_ask_all(session, settings, q, "row", "kind", ret);

    if (r < 0)
        return -1;
    question_add(q, "row", "0");
    r = session_command(session, settings, "judge", (const char *const *)q->args, &after);
    if (r == 0 && !is_unchanged(ret, &after)) {
        report_error("the policy was reloaded in the meantime; run the command again");
        r = -1;
    }
    records_free(&after);
    return r;
}

static int show(const struct settings *settings, struct question *q)
{
    struct records records = {0};
    struct session session;
    int status = EXIT_FAILURE;

    if (policy_open(settings, &session) < 0)
        return EXIT_FAILURE;
    if (read_rows(&session, settings, q, &records) == 0) {
        if (settings->json)
            json_print_records(stdout, &records);
        else
            for (size_t i = 0; i < records.count; i++)
                print_row(&records.rows[i]);
        status = report_finish_output();
    }
    records_free(&records);
    session_close(&session);
    return status;
}

int policy_show(const struct settings *settings)
{
    struct question q = {0};
    int status;

    if (settings->arg_count != 1)
        return report_usage(
            "usage: asockctl policy show [--id ID | --pid PID | --user USER ...] [--json]");
    status = question_add_client(&q, &settings->client);
    if (status == 0) {
        if (settings->client.id)
            question_add(&q, "id", "%s", settings->client.id);
        status = show(settings, &q);
    }
    question_free(&q);
    return status;
}
