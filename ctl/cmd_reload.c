/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* reload: the daemon reads its configuration and its policy again. */
#include "ctl/ctl.h"
#include "ctl/json.h"
#include "ctl/record.h"
#include "ctl/session.h"
#include "ctl/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static int64_t number(const struct record *record, const char *name)
{
    const struct asock_field *field = record_find(record, name);

    return field && !field->text ? field->number : 0;
}

static void tell_problem(const struct record *record)
{
    const struct asock_field *problem = record_find(record, "problem");

    if (!problem || !problem->text || !problem->text[0])
        return;
    fputs("asockctl: ", stderr);
    text_print_escaped(stderr, problem->text, 0);
    fputc('\n', stderr);
}

/* Nothing where there is nothing to say: it is for scripts and for systemctl reload. */
static void tell(const struct record *record)
{
    int64_t cancelled = number(record, "cancelled"), denied = number(record, "denied");
    int64_t closed = number(record, "closed");

    if (cancelled)
        printf("%" PRId64 " %s in progress ended, because the policy no longer allows %s\n",
               cancelled, cancelled == 1 ? "connect request" : "connect requests",
               cancelled == 1 ? "it" : "them");
    if (closed)
        printf("%" PRId64 " %s ended\n", closed, closed == 1 ? "connection" : "connections");
    if (denied)
        printf("%" PRId64
               " %s no longer allowed: asockctl list shows %s, asockctl reload --close ends %s\n",
               denied, denied == 1 ? "connection is" : "connections are",
               denied == 1 ? "it" : "them", denied == 1 ? "it" : "them");
    if (*record_text(record, "restart")) {
        fputs("settings that changed but take effect only after a restart: ", stdout);
        text_print_escaped(stdout, record_text(record, "restart"), 0);
        putchar('\n');
    }
    tell_problem(record);
}

static int run_reload(const struct settings *settings)
{
    const char *const args[] = {settings->close ? "close" : NULL, NULL};
    struct records records = {0};
    struct session session;
    int status = EXIT_FAILURE, r = session_open_control(settings, &session);

    if (r < 0)
        return -r;
    r = session_command(&session, settings, "reload", args, &records);
    if (r < 0) {
        status = -r;
    } else if (records.count > 0) {
        if (settings->json) {
            json_print_record(stdout, &records.rows[0]);
            putchar('\n');
        } else {
            tell(&records.rows[0]);
        }
        status = report_finish_output();
    }
    records_free(&records);
    session_close(&session);
    return status;
}

const struct command command_reload = {
    .name = "reload",
    .arguments = "",
    .summary = "reload the configuration and the policy",
    .help =
        "Makes asockd reread asockd.conf and its policy. If a file has an error, asockd keeps its current\n"
        "configuration, and asockctl prints the file and line. Connect requests in progress are checked\n"
        "against the new policy. Connections stay open; --close ends those that the new policy denies.\n"
        "Uses the control socket.\n",
    .options = TAKES_CONTROL | TAKES_JSON | TAKES_TIMEOUT | TAKES_CLOSE,
    .run = run_reload,
};
