/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * policy learned prints rules for what learn mode has allowed. The other policy commands have
 * their own files.
 */
#include "base/text.h"
#include "ctl/policy.h"
#include "ctl/json.h"
#include "ctl/record.h"
#include "ctl/session.h"
#include "ctl/text.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- learned ---- */

void policy_print_time(int64_t seconds)
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
        printf("uid %" PRId64 ", ", record_number(row, "uid"));
    printf("%" PRId64 " time%s, ", record_number(row, "count"),
           text_plural((uint64_t)record_number(row, "count")));
    policy_print_time(record_number(row, "first"));
    fputs(" to ", stdout);
    policy_print_time(record_number(row, "last"));
    fputs("\nAllow=", stdout);
    text_print_escaped(stdout, record_text(row, "rule"), 0);
    putchar('\n');
}

static bool is_first_of_file(const struct records *records, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (strcmp(record_text(&records->rows[i], "file"),
                   record_text(&records->rows[at], "file")) == 0)
            return false;
    return true;
}

/* A block for each file, in the order in which they were first needed. */
static void print_rules(const struct records *records)
{
    for (size_t i = 0; i < records->count; i++) {
        const char *file = record_text(&records->rows[i], "file");

        if (!record_find(&records->rows[i], "rule") || !is_first_of_file(records, i))
            continue;
        printf("%s# add to [Rules] in ", i > 0 ? "\n" : "");
        text_print_escaped(stdout, file, 0);
        putchar('\n');
        for (size_t j = i; j < records->count; j++)
            if (strcmp(record_text(&records->rows[j], "file"), file) == 0 &&
                record_find(&records->rows[j], "rule"))
                print_rule(&records->rows[j]);
    }
}

static void tell_dropped(const struct records *records)
{
    for (size_t i = 0; i < records->count; i++) {
        int64_t dropped = record_number(&records->rows[i], "dropped");

        if (dropped > 0)
            report_error(
                "%" PRId64
                " further connect requests were not recorded, because the daemon's list was full",
                dropped);
    }
}

static int run_learned(const struct settings *settings)
{
    struct records records = {0};
    struct session session;
    int status = EXIT_FAILURE;

    if (settings->arg_count != 1)
        return report_usage("usage: asockctl policy learned [OPTION]...");
    if (session_open_control(settings, &session) < 0)
        return EXIT_FAILURE;
    if (session_inspect(&session, settings, "learned", records_add, &records) >= 0) {
        if (settings->json)
            json_print_records(stdout, &records);
        else
            print_rules(&records);
        status = report_finish_output();
        if (!settings->json)
            tell_dropped(&records);
    }
    records_free(&records);
    session_close(&session);
    return status;
}

enum {
    SHOW_OPTIONS = TAKES_SOCKET | TAKES_CONTROL | TAKES_JSON | TAKES_TIMEOUT | TAKES_CLIENT |
                   TAKES_GROUP,
    FILE_OPTIONS = TAKES_POLICY | TAKES_POLICIES | TAKES_CONFIG_DIR,
};

static const struct subcommand subcommands[] = {
    {"test", SHOW_OPTIONS | FILE_OPTIONS | TAKES_ADDRESS | TAKES_LISTEN, policy_test},
    {"show", SHOW_OPTIONS, policy_show},
    {"check", FILE_OPTIONS | TAKES_JSON, policy_check},
    {"learned", TAKES_CONTROL | TAKES_JSON | TAKES_TIMEOUT, run_learned},
    {0},
};

const struct command command_policy = {
    .name = "policy",
    .arguments = "test|show|check|learned",
    .summary = "ask about the policy, print it, or check it",
    .help =
        "policy test tcp|udp HOST PORT\n"
        "    Prints whether the policy allows the client described by --user and similar options to\n"
        "    connect to HOST, and which rule decides. Does not connect, and does not resolve HOST.\n"
        "    Exit status: 0 allowed, 1 denied, 2 could not be determined.\n"
        "policy test --listen tcp|udp ADDRESS PORT\n"
        "    Prints whether the client may listen there; with --address, whether that peer may connect.\n"
        "policy show\n"
        "    Prints the files in force and their rules; for a client, those that apply to it.\n"
        "policy check [FILE]...\n"
        "    Checks these policy files, or all files that asockd reads, for mistakes.\n"
        "policy learned\n"
        "    Prints rules for the connect requests that were allowed only because of learn mode.\n\n"
        "\"test\" and \"show\" accept the options that describe a client. \"test\" also accepts --address and\n"
        "--listen. \"test\" and \"check\" accept --policy and --config-dir.\n\n"
        "These commands use the control socket. On a client socket, for example in a restricted session,\n"
        "\"test\" and \"show\" can only ask about the session itself, including its restrictions.\n",
    .options = SHOW_OPTIONS | FILE_OPTIONS | TAKES_ADDRESS | TAKES_LISTEN,
    .min_args = 1,
    .max_args = INT_MAX,
    .subcommands = subcommands,
};
