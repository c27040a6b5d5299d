/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl/restrict.h"
#include "ctl/session.h"
#include "ctl/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    text = report_need_memory(malloc(POLICY_MAX + 1));
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

int restrict_session(struct session *session, const struct settings *settings)
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

/*
 * What asockctl list shows, unless the program says another name. One that is not valid is not
 * said.
 */
int restrict_name_session(struct session *session, const struct settings *settings,
                          const char *fallback)
{
    const char *slash = strrchr(fallback, '/');

    if (settings->name && asock_context_set_name(session->context, settings->name) < 0)
        return report_usage(
            "--name: the name must have at most 64 bytes of UTF-8 and no control characters");
    if (!settings->name)
        (void)asock_context_set_name(session->context, slash ? slash + 1 : fallback);
    return 0;
}

/*
 * Whoever has a connection to the control socket sees and ends everything: no program is given that
 * by mistake. It is known by its name, which is always that.
 */
int restrict_refuse_control(const struct settings *settings)
{
    const char *path = settings->socket, *slash;

    if (!path && !session_environment("ASOCK_FD"))
        path = session_environment("ASOCK_SOCKET");
    slash = path ? strrchr(path, '/') : NULL;
    if (!path || strcmp(slash ? slash + 1 : path, "control.sock") != 0)
        return 0;
    report_error(
        "%s is the control socket, which must not be passed to a command; use a client socket",
        path);
    return -1;
}
