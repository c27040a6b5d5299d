/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/server/verdict.h"

#include <string.h>

#include "daemon/policy/address.h"
#include "daemon/policy/listen.h"
#include "daemon/policy/policy.h"
#include "daemon/policy/show.h"
#include "daemon/server/admin_record.h"
#include "daemon/server/question.h"

struct ruling {
    struct policy_answer answer;
    const char *about; /* "name", "address"; of a listener "address", "peer" */
};

typedef struct policy_answer (*ask_fn)(const struct policy_view *view,
                                       const struct policy_question *question, size_t file);

static struct policy_answer ask_as_it_is(const struct policy_view *view,
                                         const struct policy_question *question, size_t file)
{
    (void)file;
    return policy_judge(view, question);
}

/* A socket without a family is meant: at :: it takes IPv4 too. */
static struct ruling rule_on_listener(const struct policy_view *view, const struct destination *to)
{
    const struct sockaddr_in6 *local = &to->host.address.in6;
    const struct sockaddr *peer = &to->address.address.any;
    bool is_dual = local->sin6_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&local->sin6_addr);
    struct ruling ruling = {.about = "address"};

    ruling.answer = policy_judge_listen(view, to->protocol, &to->host.address.any, is_dual, NULL);
    if (ruling.answer.is_allowed && peer->sa_family) {
        ruling.about = "peer";
        ruling.answer = policy_judge_listen(view, to->protocol, &to->host.address.any, is_dual,
                                            peer);
    }
    return ruling;
}

/* The name, then the address if there is one. */
static struct ruling rule_on(const struct policy_view *view, const struct destination *to,
                             ask_fn ask, size_t file)
{
    struct policy_question question = {.protocol = to->protocol, .port = to->port};
    struct ruling ruling = {{.is_allowed = true}, "name"};

    if (to->is_listen)
        return rule_on_listener(view, to);
    if (to->is_unknown)
        return (struct ruling){{.reason = policy_view_unmatched(view)}, "name"};
    if (to->host.kind != HOST_ADDRESS) {
        question.host = to->host.name;
        ruling.answer = ask(view, &question, file);
    }
    if (ruling.answer.is_allowed && to->address.address.any.sa_family) {
        ruling.about = "address";
        question.addr = &to->address.address.any;
        ruling.answer = ask(view, &question, file);
    }
    return ruling;
}

static const char *verdict_of(const struct policy_answer *answer)
{
    return answer->is_allowed ? "allow" : "deny";
}

/*
 * The kinds of lending (S68) that the rules allow to an address; a session that was shared without
 * lending has none (S71).
 */
static const char *lends_of(const struct judged *judged, const struct policy_answer *answer)
{
    static const char *const kinds[] = {"", "held", "given", "held given"};

    if (judged->may_not_lend)
        return "withheld";
    return kinds[(answer->lends & POLICY_LEND ? 1 : 0) +
                 (answer->lends & POLICY_LEND_GIVEN ? 2 : 0)];
}

void verdict_record(const struct judged *judged, const struct destination *to, struct record *ret)
{
    struct ruling ruling = rule_on(judged->view, to, ask_as_it_is, 0);
    const struct policy_answer *answer = &ruling.answer;
    char problem[POLICY_PROBLEM_MAX];
    bool is_told = answer->file && (judged->sees_files || answer->restriction);
    unsigned int restrictions = policy_view_restrictions(judged->view);

    record_text(ret, "verdict", verdict_of(answer));
    record_text(ret, "about", ruling.about);
    record_text(ret, "file", is_told && !answer->restriction ? answer->file : "");
    record_number(ret, "line", is_told ? answer->line : 0);
    record_number(ret, "learned", answer->is_learned);
    if (answer->is_allowed && answer->lends)
        record_text(ret, "lends", lends_of(judged, answer));
    record_text(ret, "reason", answer->reason);
    if (judged->sees_files && policy_is_invalid(policy_view_policy(judged->view)) &&
        policy_problems(policy_view_policy(judged->view), problem) > 0)
        record_format(ret, "problem", "%.512s", problem);
    if (judged->session)
        record_number(ret, "session", judged->session);
    if (judged->sessions > 1)
        record_number(ret, "sessions", judged->sessions);
    if (judged->session || restrictions > 0) {
        record_number(ret, "restrictions", restrictions);
        record_number(ret, "restriction", answer->restriction);
    }
}

void verdict_also(const struct judged *judged, const struct question *question,
                  const struct destination *to, uint64_t number, struct record *ret)
{
    const bool is_allowed = rule_on(judged->view, to, ask_as_it_is, 0).answer.is_allowed;
    size_t count = to->is_listen
                       ? 0
                       : policy_file_count(policy_view_policy(judged->view)); /* of connects only */
    char facts[POLICY_LINE_MAX];

    for (size_t i = 0; i < count; i++) {
        struct ruling ruling;

        if (!policy_may_match(judged->view, &question->identity, question->listener,
                              question->given, i, facts))
            continue;
        ruling = rule_on(judged->view, to, policy_judge_with, i);
        if (ruling.answer.is_allowed == is_allowed || number-- > 0)
            continue;
        record_text(ret, "verdict", verdict_of(&ruling.answer));
        record_text(ret, "about", ruling.about);
        record_text(ret, "file", ruling.answer.file);
        record_number(ret, "line", ruling.answer.line);
        record_format(ret, "for", "%s", facts);
        return;
    }
}

/* ---- the policy ---- */

static void add_head(const struct policy *policy, const struct judged *judged, struct record *ret)
{
    char problem[POLICY_PROBLEM_MAX];

    record_text(ret, "kind", "policy");
    record_number(ret, "generation", judged->generation);
    if (judged->sees_files) {
        record_number(ret, "loaded", (uint64_t)policy_loaded(policy));
        record_number(ret, "files", policy_file_count(policy));
        record_number(ret, "rules", policy_rule_count(policy));
        record_number(ret, "invalid", policy_is_invalid(policy));
        if (policy_problems(policy, problem) > 0)
            record_format(ret, "problem", "%.512s", problem);
    }
    if (judged->session) {
        record_number(ret, "session", judged->session);
        if (judged->sessions > 1)
            record_number(ret, "sessions", judged->sessions);
        record_number(ret, "restrictions", policy_view_restrictions(judged->view));
    }
}

static void add_line(const struct policy_line *line, struct record *ret)
{
    static const char *const kinds[] = {"file", "match", "setting", "rule", "restriction"};

    record_text(ret, "kind", kinds[line->kind]);
    if (line->kind == POLICY_LINE_RESTRICTION)
        record_number(ret, "restriction", line->restriction);
    else
        record_text(ret, "file", line->file);
    if (line->kind == POLICY_LINE_FILE) {
        record_number(ret, "modified", (uint64_t)line->modified);
        record_number(ret, "rules", line->rules);
        record_text(ret, "applies", line->is_unknown ? "unknown" : "yes");
        return;
    }
    record_number(ret, "line", line->line);
    record_format(ret, "text", "%s", line->text);
}

void verdict_row(const struct policy *policy, const struct judged *judged, uint64_t number,
                 struct record *ret)
{
    struct policy_line line;

    if (number == 0)
        add_head(policy, judged, ret);
    else if (policy_show_line(policy, judged->view, !judged->sees_files, number - 1, &line))
        add_line(&line, ret);
}

void verdict_restriction(const struct policy *policy, const struct judged *judged, uint64_t number,
                         struct record *ret)
{
    struct policy_line line;

    if (policy_show_line(policy, judged->view, true, number, &line))
        add_line(&line, ret);
}
