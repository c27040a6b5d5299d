/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/identity/identity.h"
#include "fuzz/fuzz.h"
#include "tests/unit/policy_text.h"

#include <errno.h>
#include <string.h>

/*
 * A policy file, a line "?", and questions, one per line: a host or "-", an address or "-", a port.
 * A file that is accepted judges the questions. A special address is allowed only by its flag, and
 * an address that cannot be connected to by nothing. Each answer names a line that can have decided
 * so. The same text again, as a restriction, never allows more.
 */
#define QUESTIONS_MAX 32

static const struct identity peers[] = {
    {.pidfd = -1,
     .gids_known = true,
     .units_known = true,
     .unit = "a.service",
     .cgroup = "/a.slice/a.service"},
    {.pidfd = -1,
     .uid = 1000,
     .gid = 1000,
     .gids_known = true,
     .gid_count = 1,
     .gids = (gid_t[]){50},
     .units_known = true,
     .unit = "user@1000.service",
     .user_unit = "b.service",
     .cgroup = "/user.slice/user-1000.slice/user@1000.service/b.service"},
    {.pidfd = -1, .uid = IDENTITY_ID_UNKNOWN, .gid = IDENTITY_ID_UNKNOWN},
};

static const struct policy_rule *rule_at(const struct policy_file *file, unsigned int line)
{
    for (size_t i = 0; i < file->rule_count; i++) {
        if (file->rules[i].line == line)
            return &file->rules[i];
    }
    return NULL;
}

/* A rule as text is read as the same rule. */
static void check_text(const struct policy_rule *rule)
{
    struct conf_reader reader = {.path = "t", .line = rule->line};
    char text[POLICY_RULE_TEXT_MAX];
    struct policy_rule again;
    int r;

    policy_rule_text(rule, text);
    r = policy_rule_parse(&reader, rule->is_allow, strchr(text, '=') + 1, NULL, &again);
    MUST(r == 0);
    MUST(policy_rule_equals(rule, &again) && again.flags == rule->flags);
    MUST((rule->reason == NULL) == (again.reason == NULL));
    MUST(!rule->reason || strcmp(rule->reason, again.reason) == 0);
    policy_rule_deinit(&again);
}

static void check_denied(const struct policy_answer *answer)
{
    MUST(!answer->is_learned && answer->reason && *answer->reason);
    MUST(strlen(answer->reason) <= POLICY_REASON_MAX);
    MUST((answer->file == NULL) == (answer->line == 0));
}

static void check_allowed(const struct policy_file *file, const struct policy_question *question,
                          const struct policy_answer *answer)
{
    const struct policy_rule *rule = rule_at(file, answer->line);
    struct policy_address addr;
    uint8_t class;

    MUST(!answer->reason && answer->file);
    MUST(answer->is_learned ? answer->line == file->learn_line
                            : rule && rule->is_allow && rule->protocol == question->protocol);
    if (!question->addr) {
        MUST(answer->is_learned || rule->host != RULE_NET);
        return;
    }
    MUST(policy_address_from(question->addr, &addr) && question->port != 0);
    class = policy_address_class(&addr);
    MUST(class != POLICY_NEVER);
    MUST((class & ~(answer->is_learned ? 0 : rule->flags | rule->implied)) == 0);
}

static void ask_of(struct policy_view *view, struct policy_view *narrow,
                   const struct policy_question *question)
{
    struct policy_answer answer = policy_judge(view, question);

    if (answer.is_allowed)
        check_allowed(view->policy->files[0], question, &answer);
    else
        check_denied(&answer);
    if (narrow)
        MUST(!policy_judge(narrow, question).is_allowed || answer.is_allowed);
}

static void ask(struct policy_view *view, struct policy_view *narrow, char *line)
{
    const char *host = strsep(&line, " "), *address = line ? strsep(&line, " ") : NULL;
    struct policy_question question = {.port = (uint16_t)strtoul(line ? line : "80", NULL, 10)};
    struct sockaddr_storage addr;

    if (strcmp(host, "-") != 0)
        question.host = host;
    if (address && policy_text_address(address, &addr))
        question.addr = (const struct sockaddr *)&addr;
    if (!question.host && !question.addr)
        return;
    ask_of(view, narrow, &question);
    question.protocol = POLICY_UDP;
    ask_of(view, narrow, &question);
}

static void ask_all(struct policy_view *view, struct policy_view *narrow, const char *questions)
{
    char *copy = strdup(questions), *rest = copy, *line;

    MUST(copy);
    for (int i = 0; i < QUESTIONS_MAX && (line = strsep(&rest, "\n")); i++)
        ask(view, narrow, line);
    free(copy);
}

static void judge(struct policy *policy, const char *text, size_t len, const char *questions)
{
    char error[POLICY_ERROR_MAX];

    for (size_t i = 0; i < sizeof(peers) / sizeof(peers[0]); i++) {
        struct policy_view *view = policy_view_new(policy, &peers[i], "default");
        struct policy_view *narrow = policy_view_new(policy, &peers[i], "default");
        int r = policy_view_restrict(narrow, text, len, error);

        MUST(r == 0 || r == -EBADMSG || r == -E2BIG);
        MUST(policy_view_restrictions(narrow) == (r == 0 ? 1 : 0));
        ask_all(view, narrow, questions);
        policy_view_free(narrow);
        policy_view_free(view);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct policy *policy = policy_new(POLICY_DENY);
    char *text = malloc(size + 1), error[POLICY_ERROR_MAX] = "";
    const char *questions = "a.b - 80\n- 127.0.0.1 80\n- ::1 443\n";
    size_t len = size;
    char *mark;
    int r;

    MUST(text && policy);
    memcpy(text, data, size);
    text[size] = '\0';
    mark = size >= 3 ? memmem(text, size, "\n?\n", 3) : NULL;
    if (mark) {
        len = (size_t)(mark + 1 - text);
        questions = mark + 3;
    }
    r = policy_text_add(policy, "p", text, len, error);
    MUST(r == 0 || (r == -EBADMSG && strncmp(error, "p:", 2) == 0));
    MUST(policy_file_count(policy) == (r == 0 ? 1 : 0));
    for (size_t i = 0; r == 0 && i < policy->files[0]->rule_count; i++)
        check_text(&policy->files[0]->rules[i]);
    if (r == 0)
        judge(policy, text, len, questions);
    policy_unref(policy);
    free(text);
    return 0;
}
