/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How rules are applied, asockd.policy(5).
 * A name: the first rule with that name, or "*", and that port says whether it is resolved.
 * An address: the first rule with the name that led to it, or the address itself, and that port; if
 * it allows, a special address needs its flags on top. What is embedded in an IPv6 address is
 * judged too. The administrator's files come first; then each restriction of the session must allow
 * it as well.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "daemon/policy/file.h"
#include "daemon/policy/route.h"

/* Files whose rules are one list. */
struct judging {
    const struct policy_question *question;
    struct policy_name name; /* question->host */
    struct policy_way way;
    const struct policy_file *const *files;
    size_t file_count;
    const uint64_t *matched; /* NULL: all of them */
    const struct policy_nat64 *nat64;
    const char *unmatched; /* what is said of a destination that no rule of theirs fits */
    /* What the kernel has said of the address and of those in it: each list of rules asks again. */
    struct {
        struct policy_address addr;
        bool is_local;
    } asked[1 + POLICY_EMBEDDED_MAX];
    unsigned int asked_count;
};

static bool is_matched(const struct judging *j, size_t i)
{
    return !j->matched || (j->matched[i / 64] >> i % 64 & 1);
}

static struct policy_answer deny(const struct policy_file *file, unsigned int line,
                                 const char *reason)
{
    return (struct policy_answer){.reason = reason, .file = file ? file->path : NULL, .line = line};
}

static struct policy_answer allow(const struct policy_file *file, unsigned int line)
{
    return (struct policy_answer){.is_allowed = true, .file = file->path, .line = line};
}

/* ---- rules ---- */

/* addr NULL: by the name alone. */
static const struct policy_rule *first_rule(const struct judging *j,
                                            const struct policy_address *addr,
                                            const struct policy_file **ret_file)
{
    enum policy_protocol protocol = j->question->protocol;

    for (size_t i = 0; i < j->file_count; i++) {
        const struct policy_file *file = j->files[i];
        uint32_t number;

        if (!is_matched(j, i))
            continue;
        number = policy_index_find(file->index[protocol], &j->name, addr, j->question->port);
        if (number == POLICY_INDEX_NONE)
            continue;
        *ret_file = file;
        return &file->rules[file->begin[protocol] + number];
    }
    return NULL;
}

static struct policy_answer deny_by_rule(const struct policy_file *file,
                                         const struct policy_rule *rule)
{
    return deny(file, rule->line, rule->reason ? rule->reason : "a rule denies this destination");
}

/* ---- no rule ---- */

/* There are Allow rules, and each of them is about addresses. */
static bool admits_addresses_only(const struct judging *j)
{
    bool has_allow = false;

    for (size_t i = 0; i < j->file_count; i++) {
        if (!is_matched(j, i))
            continue;
        if (j->files[i]->allows_names)
            return false;
        has_allow |= j->files[i]->allows;
    }
    return has_allow;
}

static struct policy_answer deny_unmatched(const struct judging *j)
{
    if (!j->question->addr && admits_addresses_only(j))
        return deny(NULL, 0, "the rules allow addresses only, so no name is resolved");
    return deny(NULL, 0, j->unmatched);
}

static const struct policy_file *learning_file(const struct judging *j)
{
    struct timespec now;

    for (size_t i = 0; i < j->file_count; i++) {
        if (!is_matched(j, i) || !j->files[i]->is_learning)
            continue;
        clock_gettime(CLOCK_REALTIME, &now);
        if (now.tv_sec < j->files[i]->learn_until)
            return j->files[i];
    }
    return NULL;
}

/* Looked at last: it costs system calls. */
static bool is_local(struct judging *j, const struct policy_address *addr)
{
    unsigned int i = 0;

    while (i < j->asked_count && memcmp(&j->asked[i].addr, addr, sizeof(*addr)) != 0)
        i++;
    if (i == j->asked_count) {
        j->asked[i].addr = *addr;
        j->asked[i].is_local = policy_route_is_local(addr, &j->way);
        j->asked_count++;
    }
    return j->asked[i].is_local;
}

/* Special addresses are never learned. */
static struct policy_answer judge_unmatched(struct judging *j, const struct policy_address *addr,
                                            uint8_t class)
{
    const struct policy_file *file = learning_file(j);
    struct policy_answer answer;

    if (!file || class != 0 || (addr && is_local(j, addr)))
        return deny_unmatched(j);
    answer = allow(file, file->learn_line);
    answer.is_learned = true;
    return answer;
}

/* ---- names and addresses ---- */

static struct policy_answer judge_name(struct judging *j)
{
    const struct policy_file *file;
    const struct policy_rule *rule = first_rule(j, NULL, &file);

    if (!rule)
        return judge_unmatched(j, NULL, 0);
    return rule->is_allow ? allow(file, rule->line) : deny_by_rule(file, rule);
}

static const char *missing_flag(uint8_t flag)
{
    switch (flag) {
    case POLICY_LOOPBACK:
        return "this is a loopback address, but the rule for it has no +loopback";
    case POLICY_PRIVATE:
        return "this is a private address, but the rule for it has no +private";
    case POLICY_LINKLOCAL:
        return "this is a link-local address, but the rule for it has no +linklocal";
    case POLICY_NEVER:
        return "this is a multicast or broadcast address, which needs a rule that names only such addresses";
    case POLICY_SPECIAL:
        return "this address is not globally reachable, and the rule for it has no +special";
    default:
        return "this is an address of the daemon's own host, but the rule for it has no +local";
    }
}

static struct policy_answer judge_flags(struct judging *j, const struct policy_file *file,
                                        const struct policy_rule *rule,
                                        const struct policy_address *addr, uint8_t class)
{
    uint8_t missing = class & (uint8_t) ~(rule->flags | rule->implied);
    struct policy_answer answer;

    /* Loopback addresses are this host's too; +loopback is about them. */
    if (!missing && class != POLICY_LOOPBACK && !(rule->flags & POLICY_LOCAL) && is_local(j, addr))
        missing = POLICY_LOCAL;
    if (missing)
        return deny(file, rule->line, missing_flag(missing));
    answer = allow(file, rule->line);
    answer.lends = rule->flags & POLICY_LENDS;
    return answer;
}

/* Of datagrams: judge_flags() wants a rule for just such addresses. */
static bool is_group(const struct judging *j, const struct policy_address *addr)
{
    return j->question->protocol == POLICY_UDP &&
           policy_network_is_group(addr->family, addr->bytes, addr->family == AF_INET ? 32 : 128);
}

static struct policy_answer judge_one(struct judging *j, const struct policy_address *addr)
{
    uint8_t class = policy_nat64_contains(j->nat64, addr) ? 0 : policy_address_class(addr);
    const struct policy_file *file;
    const struct policy_rule *rule;

    if ((class == POLICY_NEVER && !is_group(j, addr)) || j->question->port == 0)
        return deny(NULL, 0, "connections to this kind of address are not possible");
    rule = first_rule(j, addr, &file);
    if (!rule)
        return judge_unmatched(j, addr, class);
    return rule->is_allow ? judge_flags(j, file, rule, addr, class) : deny_by_rule(file, rule);
}

static struct policy_answer judge_address(struct judging *j)
{
    struct policy_address addr, embedded[POLICY_EMBEDDED_MAX];
    struct policy_answer answer, inner;
    unsigned int count;

    if (!policy_address_from(j->question->addr, &addr))
        return deny(NULL, 0, "neither IPv4 nor IPv6");
    answer = judge_one(j, &addr);
    count = policy_address_embedded(&addr, j->nat64, embedded);
    for (unsigned int i = 0; i < count && answer.is_allowed; i++) {
        uint8_t lends = answer.lends;

        inner = judge_one(j, &embedded[i]);
        if (!inner.is_allowed || inner.is_learned)
            answer = inner;
        answer.lends = lends & inner.lends;
    }
    return answer;
}

static struct policy_answer judge_list(struct judging *j)
{
    return j->question->addr ? judge_address(j) : judge_name(j);
}

static struct policy_answer judge_files(const struct policy_view *view, struct judging *j)
{
    if (view->policy->invalid)
        return deny(NULL, 0, "the daemon's policy files are invalid: everything is denied");
    if (view->unknown)
        return deny(view->unknown, view->doubt.line, view->doubt.why);
    j->files = (const struct policy_file *const *)view->policy->files;
    j->file_count = view->policy->file_count;
    j->matched = view->matched;
    return judge_list(j);
}

/* Whatever is asked of these files, they allow nothing. */
static bool allows_nothing(const struct policy_file *file)
{
    return !file->has_allow && !file->is_learning;
}

bool policy_denies_all(const struct policy_view *view)
{
    const struct policy_view *root = policy_view_root(view);
    const struct policy *policy = root->policy;
    size_t i = 0;

    while (i < policy->file_count &&
           (!(root->matched[i / 64] >> i % 64 & 1) || allows_nothing(policy->files[i])))
        i++;
    if (root->unknown || i == policy->file_count)
        return true;
    for (; view; view = view->base)
        for (unsigned int k = 0; k < view->restriction_count; k++)
            if (allows_nothing(view->restrictions[k]))
                return true;
    return false;
}

/* Each of them has to allow it. Those of its bases come first when they are counted. */
static struct policy_answer judge_restrictions(const struct policy_view *view, struct judging *j,
                                               struct policy_answer answer)
{
    unsigned int before = view->base ? policy_view_restrictions(view->base) : 0;

    for (unsigned int i = 0; i < view->restriction_count && answer.is_allowed; i++) {
        struct policy_answer narrower;

        j->files = (const struct policy_file *const *)&view->restrictions[i];
        narrower = judge_list(j);
        answer.lends &= narrower.lends;
        if (!narrower.is_allowed) {
            answer = narrower;
            answer.restriction = before + i + 1;
        }
    }
    return answer;
}

struct policy_answer policy_judge(const struct policy_view *view,
                                  const struct policy_question *question)
{
    struct judging j = {
        .question = question,
        .nat64 = &policy_view_root(view)->policy->nat64,
        .way = {question->protocol == POLICY_UDP, question->port, question->traffic_class,
                &policy_view_settings(view)->egress},
    };
    struct policy_answer answer;

    policy_name_init(&j.name, question->host);
    j.unmatched = policy_view_unmatched(view);
    answer = judge_files(policy_view_root(view), &j);
    j.unmatched = "no rule of this session's restriction allows this destination";
    j.matched = NULL;
    j.file_count = 1;
    for (; view; view = view->base)
        answer = judge_restrictions(view, &j, answer);
    return answer;
}

struct policy_answer policy_judge_with(const struct policy_view *view,
                                       const struct policy_question *question, size_t file)
{
    struct policy_view more = *view;

    more.nobody[0] = '\0';
    more.matched[file / 64] |= UINT64_C(1) << file % 64;
    return policy_judge(&more, question);
}
