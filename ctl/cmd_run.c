/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * run: a program gets a session of its own instead of the daemon's socket.
 * Happy path: connect, Hello, the descriptor goes into ASOCK_FD, exec: asockctl is gone.
 * Failures: the daemon does not answer, COMMAND cannot be run; nothing of it has run then.
 */
#include "ctl/ctl.h"
#include "ctl/session.h"
#include "ctl/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* As env(1), nohup(1) and the shell have it. */
enum { EXIT_OWN = 125, EXIT_CANNOT_RUN = 126, EXIT_NOT_FOUND = 127 };

/* What asockctl list shows, unless the program says another name. One that is not valid is not said. */
static int name_session(struct session *session, const struct settings *settings)
{
    const char *slash = strrchr(settings->args[0], '/');

    if (settings->name && asock_context_set_name(session->context, settings->name) < 0)
        return complain_usage("--name: at most 64 octets of UTF-8 without control characters");
    if (!settings->name)
        (void)asock_context_set_name(session->context, slash ? slash + 1 : settings->args[0]);
    return 0;
}

static int hand_on(struct session *session, const struct settings *settings)
{
    char number[16];
    int fd;

    if (session_detach(session, settings, &fd) < 0)
        return -1;
    snprintf(number, sizeof(number), "%d", fd);
    if (fcntl(fd, F_SETFD, 0) == 0 && setenv("ASOCK_FD", number, 1) == 0)
        return 0;
    complain("ASOCK_FD: %s", strerror(errno));
    return -1;
}

static int exec_command(char **args)
{
    int err;

    execvp(args[0], args);
    err = errno;
    fputs("asockctl: ", stderr);
    text_print_escaped(stderr, args[0], 0);
    fprintf(stderr, ": %s\n", strerror(err));
    return err == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
}

static int run_run(const struct settings *settings)
{
    struct session session;

    if (session_open_client(settings, &session) < 0)
        return EXIT_OWN;
    if (name_session(&session, settings) || hand_on(&session, settings) < 0) {
        session_close(&session);
        return EXIT_OWN;
    }
    session_close(&session);
    return exec_command(settings->args);
}

const struct command command_run = {
    .name = "run",
    .arguments = "-- COMMAND",
    .summary = "run COMMAND with a session of its own",
    .help =
        "Opens a session and runs COMMAND [ARGUMENT]..., which inherits it: ASOCK_FD names the descriptor, so COMMAND\n"
        "needs neither the network nor the daemon's socket. asockctl is gone then.\n\n"
        "  asockctl run -- bwrap --ro-bind / / --dev /dev --unshare-all PROGRAM\n\n"
        "One program can use the session. --timeout is for the daemon's answer.\n"
        "Exit status: COMMAND's; 125 asockctl failed, 126 COMMAND cannot be run, 127 there is none.\n",
    .options = TAKES_SOCKET | TAKES_NAME | TAKES_TIMEOUT,
    .failure = EXIT_OWN,
    .min_args = 1,
    .max_args = INT_MAX,
    .run = run_run,
};
