/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * run: a command gets a session of its own instead of the daemon's socket.
 * Happy path: connect, Hello, FILE restricts the session; then all processes of COMMAND share it
 * (run_shared.c), or a proxy uses it for them (proxy.c), or (--fd) its descriptor goes into
 * ASOCK_FD, exec: asockctl is gone.
 * Failures: it is the control socket, FILE cannot be read or is wrong, the daemon does not answer,
 * COMMAND cannot be run; nothing of it has run then.
 */
#include "ctl/child.h"
#include "ctl/confine.h"
#include "ctl/ctl.h"
#include "ctl/proxy.h"
#include "ctl/published.h"
#include "ctl/restrict.h"
#include "ctl/run_shared.h"
#include "ctl/run_transparent.h"

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
    report_error("ASOCK_FD: %s", strerror(errno));
    return -1;
}

/* Passes the session to one program (--fd). */
static int run_one(struct session *session, const struct settings *settings)
{
    int r = hand_on(session, settings);

    session_close(session);
    if (r == 0 && settings->confine) {
        r = confine();
        if (r < 0)
            report_error("--confine: %s; COMMAND was not run", strerror(-r));
    }
    return r < 0 ? EXIT_OWN : child_exec(settings->args);
}

static int run_run(const struct settings *settings)
{
    struct session session;
    int status;

    bool is_for_one = settings->fd || settings->confine;

    if (settings->confine && (settings->proxy || settings->transparent))
        return report_usage("run: --confine cannot be combined with --proxy or --transparent"),
               EXIT_OWN;
    if (settings->proxy + settings->transparent + settings->fd > 1)
        return report_usage("run: --proxy, --transparent and --fd cannot be combined"), EXIT_OWN;
    if (settings->any_user && !settings->proxy)
        return report_usage("run: --any-user requires --proxy"), EXIT_OWN;
    if (settings->sandbox && !settings->transparent)
        return report_usage("run: --sandbox requires --transparent"), EXIT_OWN;
    if (settings->publish_count > 0 && !settings->transparent)
        return report_usage(
                   "--publish requires --transparent, which runs COMMAND in a separate network"),
               EXIT_OWN;
    if (published_check(settings))
        return EXIT_OWN;
    if (settings->transparent)
        return restrict_refuse_control(settings) < 0 ? EXIT_OWN : run_transparent(settings);
    if (settings->proxy)
        return restrict_refuse_control(settings) < 0 ? EXIT_OWN : proxy_run_command(settings);
    if (restrict_refuse_control(settings) < 0 || session_open_client(settings, &session) < 0)
        return EXIT_OWN;
    if (!is_for_one)
        session_want_few(&session); /* it opens none itself */
    if (restrict_name_session(&session, settings, settings->args[0]) ||
        restrict_session(&session, settings) < 0) {
        session_close(&session);
        return EXIT_OWN;
    }
    if (is_for_one)
        return run_one(&session, settings);
    status = run_shared(&session, settings);
    session_close(&session);
    return status;
}

const struct command command_run = {
    .name = "run",
    .arguments = "-- COMMAND",
    .summary = "run COMMAND in a separate session, which can have fewer rights",
    .help =
        "Opens a session and runs COMMAND [ARGUMENT]... with its rights. In the environment of COMMAND,\n"
        "ASOCK_SOCKET is the path of a socket with these rights. Every process that COMMAND starts can use it,\n"
        "if it runs as your user. ASOCK_SHARE is the directory of the socket, to bind into a sandbox. With\n"
        "--policy, both the [Rules] in FILE (asockd.policy(5)) and your own policy must allow a connection.\n"
        "asockctl forwards signals to COMMAND, and exits when COMMAND exits. The rights are revoked when\n"
        "asockctl exits.\n\n"
        "  asockctl run --policy FILE -- sh -c 'exec bwrap --ro-bind / / --tmpfs /run --dev /dev \\\n"
        "      --ro-bind \"$ASOCK_SHARE\" \"$ASOCK_SHARE\" --unshare-all PROGRAM'\n\n"
        "This restricts the session, not COMMAND: keep asockd's own sockets, in /run, out of the sandbox.\n\n"
        "--fd passes the session to a single program, as the descriptor in ASOCK_FD. COMMAND replaces asockctl.\n\n"
        "  asockctl run --fd --policy FILE -- bwrap --ro-bind / / --tmpfs /run --dev /dev --unshare-all PROGRAM\n\n"
        "--confine does the same, and permanently prevents COMMAND from connecting, binding and listening with\n"
        "any socket. COMMAND can use a socket that asockd lends (+lend in a rule), but cannot connect it to\n"
        "another address.\n\n"
        "--proxy is for programs that can use a proxy. asockctl provides a proxy on 127.0.0.1, and sets ALL_PROXY,\n"
        "HTTP_PROXY, HTTPS_PROXY and similar variables. Only your processes and those of root can use it, unless\n"
        "you use --any-user.\n\n"
        "--transparent is for all other programs. COMMAND runs in a network namespace whose connections all go\n"
        "through asockd, which also resolves names. --sandbox adds bubblewrap: the system is read-only, /tmp\n"
        "is empty, and only the current directory is writable. --publish 8080:80 makes COMMAND's port 80\n"
        "reachable on port 8080 of this host.\n\n"
        "--timeout limits the time to wait for each of asockd's answers.\n\n"
        "Exit status: that of COMMAND, or 128 + n if signal n killed it; 125 asockctl failed, 126 COMMAND could\n"
        "not be executed, 127 COMMAND was not found.\n",
    .options = TAKES_SOCKET | TAKES_POLICY | TAKES_NAME | TAKES_TIMEOUT | TAKES_PROXY |
               TAKES_ANY_USER | TAKES_TRANSPARENT | TAKES_SANDBOX | TAKES_FD | TAKES_PUBLISH,
    .failure = EXIT_OWN,
    .min_args = 1,
    .max_args = INT_MAX,
    .run = run_run,
};
