/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/rows.h"

static const struct column columns[] = {
    COLUMNS_OF_CLIENT,
    {"command", "COMMAND", "command", NULL, NULL, 'l', CELL_PLAIN, SHOWN_ON_REQUEST},
    {"session", "SESSION", "session", NULL, NULL, 'r', CELL_PLAIN, SHOWN_ON_REQUEST},
    {"listener", "LISTENER", "listener", NULL, NULL, 'l', CELL_PLAIN, SHOWN_ON_REQUEST},
    {"socket", "SOCKET", "socket", NULL, NULL, 'r', CELL_PLAIN, SHOWN_ON_REQUEST},
    {"state", "STATE", "state", NULL, NULL, 'l', CELL_PLAIN, SHOWN},
    {"policy", "POLICY", "denied", NULL, NULL, 'l', CELL_DENIED, SHOWN_IF_ANY},
    {"local", "LOCAL", "local", NULL, NULL, 'l', CELL_PLAIN, SHOWN_ON_REQUEST},
    {"remote", "REMOTE", "remote", NULL, NULL, 'l', CELL_PLAIN, SHOWN_ON_REQUEST},
    {"host", "HOST", "host", NULL, NULL, 'l', CELL_PLAIN, SHOWN_ON_REQUEST},
    {"port", "PORT", "port", NULL, NULL, 'r', CELL_PLAIN, SHOWN_ON_REQUEST},
    {"to", "TO", "to", NULL, NULL, 'l', CELL_PLAIN, SHOWN},
    {"ops", "OPS", "ops", NULL, NULL, 'r', CELL_PLAIN, SHOWN_ON_REQUEST},
    {"queued", "QUEUED", "queued", NULL, NULL, 'r', CELL_SIZE, SHOWN_IF_ANY},
    {"in", "IN", "bytes_in", NULL, NULL, 'r', CELL_SIZE, SHOWN},
    {"out", "OUT", "bytes_out", NULL, NULL, 'r', CELL_SIZE, SHOWN},
    {"age", "AGE", "age_ms", NULL, NULL, 'r', CELL_AGE, SHOWN},
    {"name", "NAME", "name", NULL, NULL, 'l', CELL_NAME, SHOWN_ON_REQUEST},
};

const struct rows_view rows_of_list = {columns, sizeof(columns) / sizeof(columns[0]), NULL};

static int run_list(const struct settings *settings)
{
    return rows_run(&rows_of_list, settings, "list", ROWS_NOTE);
}

const struct command command_list = {
    .name = "list",
    .arguments = "[COLUMN=PATTERN]...",
    .summary = "list the network sockets of asockd's clients",
    .help =
        "Lists the network sockets of asockd's clients; with filters, those that match all of them:\n"
        "  asockctl list user=bob 'to=*.example.com:443' 'in>1M'\n\n"
        "\"asockctl show\" takes the ID. PID, USER and UNIT identify the client. TO is the name that the client\n"
        "asked for, or the address. IN and OUT are bytes received and sent. AGE is in seconds. POLICY\n"
        "is shown if the current policy would deny a connection. \"--columns all\" prints every column.\n"
        "On a client socket, the list is empty, because asockctl sees only its own session.\n",
    .options = INSPECTOR_OPTIONS | TAKES_ROWS,
    .max_args = ROWS_FILTERS_MAX,
    .run = run_list,
};
