/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Policies and questions on standard input, answers on standard output, for tests in other
 * languages:
 *
 *     file NAME       what follows, up to a line ".", is one more file; answer: "ok", or why not
 *     restrict        what follows, up to a line ".", narrows it; likewise
 *     ask PROTOCOL HOST ADDRESS PORT
 *                     "-" for none; answer: "allow FILE:LINE", "deny FILE:LINE", "deny", "learn …"
 *     reset           no file, no restriction; no answer
 *
 * The client is uid 0 with nothing else known but its groups.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/identity/identity.h"
#include "tests/unit/policy_text.h"

struct probe {
    struct policy *policy;
    struct policy_view *view;
    struct identity identity;
};

static void *must(void *p)
{
    if (!p)
        abort();
    return p;
}

static void reset(struct probe *p)
{
    policy_view_free(p->view);
    policy_unref(p->policy);
    p->policy = must(policy_new(POLICY_DENY));
    p->view = must(policy_view_new(p->policy, &p->identity, "default"));
}

static char *read_text(size_t *ret_len)
{
    char *text = NULL, line[4096];
    FILE *out = must(open_memstream(&text, ret_len));

    while (fgets(line, sizeof(line), stdin) && strcmp(line, ".\n") != 0)
        fputs(line, out);
    fclose(out);
    return text;
}

static void take_text(struct probe *p, const char *name)
{
    char error[POLICY_ERROR_MAX] = "too much of it";
    size_t len;
    char *text = read_text(&len);
    int r;

    if (name) {
        r = policy_text_add(p->policy, name, text, len, error);
        policy_view_replace(p->view, p->policy, &p->identity, "default");
    } else {
        r = policy_view_restrict(p->view, text, len, error);
    }
    puts(r == 0 ? "ok" : error);
    free(text);
}

static const char *optional(const char *text)
{
    return strcmp(text, "-") == 0 ? NULL : text;
}

static void answer(const struct probe *p, char *line)
{
    char protocol[8], host[512], address[128], buf[1024];
    struct policy_answer answer;
    unsigned int port;

    if (sscanf(line, "ask %7s %511s %127s %u", protocol, host, address, &port) != 4)
        abort();
    answer = policy_text_ask_of(p->view, strcmp(protocol, "udp") == 0 ? POLICY_UDP : POLICY_TCP,
                                optional(host), optional(address), (uint16_t)port);
    puts(policy_text_answer(&answer, buf, sizeof(buf)));
}

int main(void)
{
    struct probe p = {.identity = {.pidfd = -1, .gids_known = true}};
    char line[4096];

    reset(&p);
    while (fgets(line, sizeof(line), stdin)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "file ", 5) == 0)
            take_text(&p, line + 5);
        else if (strcmp(line, "restrict") == 0)
            take_text(&p, NULL);
        else if (strcmp(line, "reset") == 0)
            reset(&p);
        else
            answer(&p, line);
        fflush(stdout);
    }
    policy_view_free(p.view);
    policy_unref(p.policy);
    return 0;
}
