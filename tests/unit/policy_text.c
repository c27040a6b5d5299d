/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/unit/policy_text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int policy_text_add(struct policy *policy, const char *path, const char *text, size_t len,
                    char error[static POLICY_ERROR_MAX])
{
    struct conf_reader reader;
    int r = policy->file_count == POLICY_FILES_MAX ? -E2BIG : 0;

    if (r == 0)
        r = asock_conf_open_text(&reader, path, text, len);
    if (r < 0)
        return r;
    r = policy_file_parse(&reader, POLICY_FILE, POLICY_RULES_MAX,
                          &policy->files[policy->file_count]);
    if (r == 0)
        policy->file_count++;
    snprintf(error, POLICY_ERROR_MAX, "%s", reader.error);
    asock_conf_close(&reader);
    return r;
}

struct policy_view *policy_text_view(const char *const *texts, size_t count,
                                     const struct identity *identity)
{
    struct policy *policy = policy_new(POLICY_DENY);
    char error[POLICY_ERROR_MAX] = "no memory", name[] = "p";
    struct policy_view *view = NULL;
    int r = policy ? 0 : -ENOMEM;

    for (size_t i = 0; i < count && r == 0; i++) {
        r = policy_text_add(policy, name, texts[i], strlen(texts[i]), error);
        name[0]++;
    }
    if (r == 0)
        view = policy_view_new(policy, identity, "default");
    policy_unref(policy);
    if (view)
        return view;
    fprintf(stderr, "%s\n", error);
    abort();
}

bool policy_text_address(const char *text, struct sockaddr_storage *ret)
{
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ret;
    struct sockaddr_in *in = (struct sockaddr_in *)ret;
    char copy[64];
    char *scope;

    memset(ret, 0, sizeof(*ret));
    snprintf(copy, sizeof(copy), "%s", text);
    scope = strchr(copy, '%');
    if (scope)
        *scope++ = '\0';
    if (inet_pton(AF_INET, copy, &in->sin_addr) == 1) {
        in->sin_family = AF_INET;
        return true;
    }
    in6->sin6_family = AF_INET6;
    in6->sin6_scope_id = scope ? (uint32_t)strtoul(scope, NULL, 10) : 0;
    return inet_pton(AF_INET6, copy, &in6->sin6_addr) == 1;
}

struct policy_answer policy_text_ask(const struct policy_view *view, const char *host,
                                     const char *address, uint16_t port)
{
    return policy_text_ask_of(view, POLICY_TCP, host, address, port);
}

struct policy_answer policy_text_ask_of(const struct policy_view *view,
                                        enum policy_protocol protocol, const char *host,
                                        const char *address, uint16_t port)
{
    struct policy_question question = {.protocol = protocol, .host = host, .port = port};
    struct sockaddr_storage addr;

    if (address) {
        if (!policy_text_address(address, &addr))
            abort();
        question.addr = (const struct sockaddr *)&addr;
    }
    return policy_judge(view, &question);
}

const char *policy_text_answer(const struct policy_answer *answer, char *buf, size_t len)
{
    const char *verdict = answer->is_learned ? "learn" : answer->is_allowed ? "allow" : "deny";

    if (answer->file)
        snprintf(buf, len, "%s %s:%u", verdict, answer->file, answer->line);
    else
        snprintf(buf, len, "%s", verdict);
    return buf;
}
