/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/rows.h"

static const struct column columns[] = {
    COLUMNS_OF_CLIENT,
    {"user_unit", "USER_UNIT", "user_unit", NULL, NULL, 'l', CELL_PLAIN, SHOWN_ON_REQUEST},
    {"command", "COMMAND", "command", NULL, NULL, 'l', CELL_PLAIN, SHOWN_ON_REQUEST},
    {"listener", "LISTENER", "listener", NULL, NULL, 'l', CELL_PLAIN, SHOWN},
    {"state", "STATE", "state", NULL, NULL, 'l', CELL_PLAIN, SHOWN_ON_REQUEST},
    {"restrictions", "RESTRICTED", "restrictions", NULL, NULL, 'r', CELL_PLAIN, SHOWN_IF_ANY},
    {"sharer", "SHARER", "sharer", NULL, NULL, 'r', CELL_PLAIN, SHOWN_IF_ANY},
    {"sockets", "SOCKETS", "sockets", NULL, "limit_sockets", 'r', CELL_PLAIN, SHOWN},
    {"ops", "OPS", "ops", NULL, "limit_ops", 'r', CELL_PLAIN, SHOWN_ON_REQUEST},
    {"queued", "QUEUED", "queued", NULL, "limit_queued", 'r', CELL_SIZE, SHOWN},
    {"shared", "SHARED", "shared", NULL, "limit_shared", 'r', CELL_SIZE, SHOWN_ON_REQUEST},
    {"buffers", "BUFFERS", "buffers", NULL, "limit_buffers", 'r', CELL_PLAIN, SHOWN_ON_REQUEST},
    {"done", "DONE", "ops_done", NULL, NULL, 'r', CELL_PLAIN, SHOWN_ON_REQUEST},
    {"in", "IN", "bytes_in", NULL, NULL, 'r', CELL_SIZE, SHOWN_ON_REQUEST},
    {"out", "OUT", "bytes_out", NULL, NULL, 'r', CELL_SIZE, SHOWN_ON_REQUEST},
    {"age", "AGE", "age_ms", NULL, NULL, 'r', CELL_AGE, SHOWN},
    {"name", "NAME", "name", NULL, NULL, 'l', CELL_NAME, SHOWN_ON_REQUEST},
};

const struct rows_view rows_of_sessions = {columns, sizeof(columns) / sizeof(columns[0]), NULL};

static int run_sessions(const struct settings *settings)
{
    return rows_run(&rows_of_sessions, settings, "sessions", ROWS_NOTE);
}

const struct command command_sessions = {
    .name = "sessions",
    .arguments = "[COLUMN=PATTERN]...",
    .summary = "list the sessions, that is, the clients' connections to asockd",
    .help =
        "Lists the sessions of asockd's clients; with filters, those that match all of them:\n"
        "  asockctl sessions unit=foo.service 'sockets>10'\n\n"
        "\"asockctl show\" and \"asockctl kill\" take the ID. PID, USER and UNIT identify the client. RESTRICTED\n"
        "is the number of times that the session restricted itself. SHARER is the session whose shared\n"
        "listener the client connected to. SOCKETS and QUEUED (bytes waiting to be sent) are shown as\n"
        "used/reserved. AGE is in seconds.\n"
        "\"--columns all\" prints every column.\n",
    .options = INSPECTOR_OPTIONS | TAKES_ROWS,
    .max_args = ROWS_FILTERS_MAX,
    .run = run_sessions,
};
