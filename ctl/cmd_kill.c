/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* kill: ends sockets and sessions by their ids. */
#include "ctl/ctl.h"
#include "ctl/session.h"

#include <stdlib.h>
#include <string.h>

/* Before anything is ended: a wrong word among the ids ends nothing. */
static int check_ids(const struct settings *settings)
{
    for (int i = 0; i < settings->arg_count; i++) {
        const char *text = settings->args[i];

        if (!*text || text[strspn(text, "0123456789")])
            return complain_usage("\"%s\" is not an ID of asockctl list", text);
    }
    return 0;
}

static int run_kill(const struct settings *settings)
{
    struct session session;
    int status = check_ids(settings);

    if (status)
        return status;
    if (session_open_control(settings, &session) < 0)
        return EXIT_FAILURE;
    for (int i = 0; i < settings->arg_count; i++)
        if (session_control(&session, settings, "kill", settings->args[i]) < 0)
            status = EXIT_FAILURE;
    session_close(&session);
    return status;
}

const struct command command_kill = {
    .name = "kill",
    .arguments = "ID...",
    .summary = "end sockets or sessions",
    .help =
        "Ends the sockets, or sessions, with these IDs of \"asockctl list\": the peer gets a reset, the\n"
        "client ASOCK_CONNECTION_ABORTED. Speaks to the control socket.\n",
    .options = TAKES_CONTROL | TAKES_TIMEOUT,
    .min_args = 1,
    .max_args = 1024,
    .run = run_kill,
};
