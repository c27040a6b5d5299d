/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * run: a program gets a session of its own instead of the daemon's socket.
 * Happy path: connect, Hello, FILE restricts the session, the descriptor goes into ASOCK_FD, exec: asockctl is
 * gone.
 * Failures: it is the control socket, FILE cannot be read or is wrong, the daemon does not answer, COMMAND
 * cannot be run; nothing of it has run then.
 */
#include "ctl/ctl.h"
#include "ctl/proxy.h"
#include "ctl/restrict.h"
#include "ctl/run_transparent.h"
#include "ctl/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

int exec_command(char **args)
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

    if (settings->proxy && settings->transparent)
        return complain_usage("run takes either --proxy or --transparent"), EXIT_OWN;
    if (settings->sandbox && !settings->transparent)
        return complain_usage("run takes --sandbox with --transparent only"), EXIT_OWN;
    if (settings->transparent)
        return refuse_control(settings) < 0 ? EXIT_OWN : run_transparent(settings);
    if (settings->proxy)
        return refuse_control(settings) < 0 ? EXIT_OWN : proxy_run_command(settings);
    if (refuse_control(settings) < 0 || session_open_client(settings, &session) < 0)
        return EXIT_OWN;
    if (name_session(&session, settings, settings->args[0]) ||
        restrict_session(&session, settings) < 0 || hand_on(&session, settings) < 0) {
        session_close(&session);
        return EXIT_OWN;
    }
    session_close(&session);
    return exec_command(settings->args);
}

const struct command command_run = {
    .name = "run",
    .arguments = "-- COMMAND",
    .summary = "run COMMAND with a session of its own, which may do less",
    .help =
        "Opens a session and runs COMMAND [ARGUMENT]..., which inherits it: ASOCK_FD names the descriptor, so COMMAND\n"
        "needs neither the network nor the daemon's socket. asockctl is gone then.\n\n"
        "  asockctl run --policy FILE -- bwrap --ro-bind / / --tmpfs /run --dev /dev --unshare-all PROGRAM\n\n"
        "It is the session that is restricted: keep the daemon's sockets, in /run, out of the sandbox.\n"
        "FILE contains [Rules] of asockd.policy(5). COMMAND may reach only what they and your own policy\n"
        "allow. One program can use the session. --timeout is for the daemon's answer.\n"
        "--proxy is for programs that know proxies: asockctl stays, proxies on 127.0.0.1, sets ALL_PROXY, HTTP_PROXY,\n"
        "HTTPS_PROXY and their like, passes on signals, and ends with COMMAND.\n"
        "--transparent is for any program: COMMAND has a network of its own, every connection of which goes through\n"
        "asockd, and every name of which is asockd's to resolve; asockctl stays as with --proxy. --sandbox adds\n"
        "bubblewrap: a read-only system, a /tmp of its own, this directory to write to.\n"
        "Exit status: COMMAND's; 125 asockctl failed, 126 COMMAND cannot be run, 127 there is none.\n",
    .options = TAKES_SOCKET | TAKES_POLICY | TAKES_NAME | TAKES_TIMEOUT | TAKES_PROXY |
               TAKES_TRANSPARENT | TAKES_SANDBOX,
    .failure = EXIT_OWN,
    .min_args = 1,
    .max_args = INT_MAX,
    .run = run_run,
};
