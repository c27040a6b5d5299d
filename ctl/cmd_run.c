/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * run: a program gets a session of its own instead of the daemon's socket.
 * Happy path: connect, Hello, FILE restricts the session, the descriptor goes into ASOCK_FD, exec: asockctl is
 * gone.
 * Failures: it is the control socket, FILE cannot be read or is wrong, the daemon does not answer, COMMAND
 * cannot be run; nothing of it has run then.
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

/* What a frame takes; the daemon itself takes less. */
#define POLICY_MAX (256u * 1024u)
#define TEXT_MAX 513

/* "asockctl: FILE", for the caller to go on. */
static void name_file(const struct settings *settings)
{
    fputs("asockctl: ", stderr);
    text_print_escaped(stderr, settings->policy, 0);
}

static int complain_of_file(const struct settings *settings, const char *what)
{
    name_file(settings);
    fprintf(stderr, ": %s\n", what);
    return -1;
}

/* All of it; it is the caller's to free. */
static int read_policy(const struct settings *settings, char **ret, size_t *ret_len)
{
    FILE *file = fopen(settings->policy, "re");
    char *text;

    if (!file)
        return complain_of_file(settings, strerror(errno));
    text = need_memory(malloc(POLICY_MAX + 1));
    errno = 0;
    *ret_len = fread(text, 1, POLICY_MAX + 1, file);
    if (ferror(file) || *ret_len > POLICY_MAX) {
        complain_of_file(settings, errno ? strerror(errno) : "larger than 256 KiB");
        fclose(file);
        free(text);
        return -1;
    }
    fclose(file);
    *ret = text;
    return 0;
}

/* "line 7: what is wrong" becomes FILE:7: what is wrong. */
static int complain_of_rules(const struct settings *settings, const char *text)
{
    unsigned int line;
    int at = 0;

    name_file(settings);
    if (sscanf(text, "line %u:%n", &line, &at) == 1 && at > 0)
        fprintf(stderr, ":%u:", line);
    else
        fputs(": ", stderr);
    text_print_escaped(stderr, text + at, 0);
    fputc('\n', stderr);
    return -1;
}

static int restrict_session(struct session *session, const struct settings *settings)
{
    char text[TEXT_MAX], *rules = NULL;
    size_t len = 0;
    int r;

    if (!settings->policy)
        return 0;
    if (read_policy(settings, &rules, &len) < 0)
        return -1;
    r = session_restrict(session, settings, rules, len, text, sizeof(text));
    free(rules);
    return r > 0 ? complain_of_rules(settings, text) : r;
}

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

/*
 * Whoever has a connection to the control socket sees and ends everything: no program is given that by
 * mistake. It is known by its name, which is always that.
 */
static int refuse_control(const struct settings *settings)
{
    const char *path = settings->socket, *slash;

    if (!path && !getenv("ASOCK_FD"))
        path = getenv("ASOCK_SOCKET");
    slash = path ? strrchr(path, '/') : NULL;
    if (!path || strcmp(slash ? slash + 1 : path, "control.sock") != 0)
        return 0;
    complain("run hands on a client's socket: that is the control socket");
    return -1;
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

    if (refuse_control(settings) < 0 || session_open_client(settings, &session) < 0)
        return EXIT_OWN;
    if (name_session(&session, settings) || restrict_session(&session, settings) < 0 ||
        hand_on(&session, settings) < 0) {
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
        "FILE has [Rules] of asockd.policy(5): what they do not allow is denied to COMMAND, beside what is\n"
        "denied to you. One program can use the session. --timeout is for the daemon's answer.\n"
        "Exit status: COMMAND's; 125 asockctl failed, 126 COMMAND cannot be run, 127 there is none.\n",
    .options = TAKES_SOCKET | TAKES_POLICY | TAKES_NAME | TAKES_TIMEOUT,
    .failure = EXIT_OWN,
    .min_args = 1,
    .max_args = INT_MAX,
    .run = run_run,
};
