/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/rows.h"

static const struct column columns[] = {
    {"last", "LAST", "last", NULL, NULL, 'r', CELL_TIME, SHOWN},
    {"first", "FIRST", "first", NULL, NULL, 'r', CELL_TIME, SHOWN_ON_REQUEST},
    {"count", "COUNT", "count", NULL, NULL, 'r', CELL_PLAIN, SHOWN},
    {"pid", "PID", "pid", NULL, NULL, 'r', CELL_PLAIN, SHOWN_ON_REQUEST},
    {"user", "USER", "user", NULL, NULL, 'l', CELL_PLAIN, SHOWN},
    {"uid", "UID", "uid", NULL, NULL, 'r', CELL_PLAIN, SHOWN_ON_REQUEST},
    {"unit", "UNIT/COMMAND", "unit", "command", NULL, 'l', CELL_PLAIN, SHOWN},
    {"user_unit", "USER_UNIT", "user_unit", NULL, NULL, 'l', CELL_PLAIN, SHOWN_ON_REQUEST},
    {"command", "COMMAND", "command", NULL, NULL, 'l', CELL_PLAIN, SHOWN_ON_REQUEST},
    {"listener", "LISTENER", "listener", NULL, NULL, 'l', CELL_PLAIN, SHOWN_ON_REQUEST},
    {"verb", "VERB", "verb", NULL, NULL, 'l', CELL_PLAIN, SHOWN_ON_REQUEST},
    {"host", "HOST", "host", NULL, NULL, 'l', CELL_PLAIN, SHOWN_ON_REQUEST},
    {"remote", "ADDRESS", "remote", NULL, NULL, 'l', CELL_PLAIN, SHOWN_ON_REQUEST},
    {"local", "LOCAL", "local", NULL, NULL, 'l', CELL_PLAIN, SHOWN_IF_ANY},
    {"port", "PORT", "port", NULL, NULL, 'r', CELL_PLAIN, SHOWN_ON_REQUEST},
    {"to", "TO", "to", NULL, NULL, 'l', CELL_PLAIN, SHOWN},
    {"rule", "RULE/REASON", "rule", "reason", NULL, 'l', CELL_PLAIN, SHOWN},
    {"reason", "REASON", "reason", NULL, NULL, 'l', CELL_PLAIN, SHOWN_ON_REQUEST},
    {"dropped", "DROPPED", "dropped", NULL, NULL, 'r', CELL_PLAIN, SHOWN_IF_ANY},
};

static const struct rows_view view = {columns, sizeof(columns) / sizeof(columns[0]), "last"};

static int run_denied(const struct settings *settings)
{
    return rows_run(&view, settings, "denials", NULL);
}

const struct command command_denied = {
    .name = "denied",
    .arguments = "[COLUMN=PATTERN]...",
    .summary = "list what the policy denied in the last hour, and by which rule",
    .help =
        "Lists what the policy denied in the last hour: connect requests, names, local addresses, and peers\n"
        "of listeners. The latest denial comes last. With filters, lists those that match all of them:\n"
        "  asockctl denied unit=foo.service 'to=*:443'\n\n"
        "COUNT is the number of denials. RULE is the file and line of the rule, or the reason that the client\n"
        "got. \"--columns all\" prints every column. Uses the control socket.\n",
    .options = TAKES_CONTROL | TAKES_JSON | TAKES_TIMEOUT | TAKES_ROWS,
    .max_args = ROWS_FILTERS_MAX,
    .run = run_denied,
};
