/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A question without a port. Between two ports at which a rule about the name or the address begins
 * or ends all ports are alike, so one of each such range is asked for, until one is allowed.
 */
#include "daemon/policy/file.h"
#include "daemon/policy/judge_ports.h"

struct probe {
    enum policy_protocol protocol;
    struct policy_name name;
    struct policy_address
        addrs[1 + POLICY_EMBEDDED_MAX]; /* the address, and what is embedded in it */
    unsigned int addr_count;
    uint16_t port, until;
};

static void narrow(struct probe *p, const struct policy_file *file)
{
    uint16_t until = policy_index_until(file->index[p->protocol], &p->name, NULL, p->port);

    for (unsigned int i = 0; i < p->addr_count; i++) {
        uint16_t end = policy_index_until(file->index[p->protocol], &p->name, &p->addrs[i],
                                          p->port);

        until = end < until ? end : until;
    }
    p->until = until < p->until ? until : p->until;
}

static void find_until(struct probe *p, const struct policy_view *view)
{
    const struct policy_view *root = policy_view_root(view);
    const struct policy *policy = root->policy;

    p->until = UINT16_MAX;
    for (size_t i = 0; i < policy->file_count; i++)
        if (root->matched[i / 64] >> i % 64 & 1)
            narrow(p, policy->files[i]);
    for (; view; view = view->base)
        for (unsigned int i = 0; i < view->restriction_count; i++)
            narrow(p, view->restrictions[i]);
}

static void probe_init(struct probe *p, const struct policy_view *view,
                       const struct policy_question *question)
{
    p->protocol = question->protocol;
    policy_name_init(&p->name, question->host);
    p->addr_count = 0;
    if (!question->addr || !policy_address_from(question->addr, &p->addrs[0]))
        return;
    p->addr_count = 1 + policy_address_embedded(
                            &p->addrs[0], &policy_view_root(view)->policy->nat64, p->addrs + 1);
}

/* The name first, as a connect does. */
static struct policy_answer judge_at(const struct policy_view *view,
                                     const struct policy_question *question, uint16_t port)
{
    struct policy_question at = *question;
    struct policy_answer answer = {.is_allowed = true};

    at.port = port;
    at.addr = NULL;
    if (at.host)
        answer = policy_judge(view, &at);
    at.addr = question->addr;
    return answer.is_allowed && at.addr ? policy_judge(view, &at) : answer;
}

/* Of a rule, if one says so; else what the first range got. */
static void note_denial(struct policy_ports *at, const struct policy_answer *answer)
{
    if (at->denial_port && (!answer->file || at->is_rules))
        return;
    at->denial_port = (uint16_t)at->port;
    at->is_rules = answer->file != NULL;
}

/*
 * All have been asked for. Its texts are those of the policy of now: it may be another one than
 * before.
 */
static struct policy_answer deny_all(const struct policy_view *view,
                                     const struct policy_question *question,
                                     const struct policy_ports *at)
{
    if (!at->denial_port)
        return (struct policy_answer){.reason = "the rules contain too many different port ranges"};
    return judge_at(view, question, at->denial_port);
}

bool policy_judge_ports_more(const struct policy_view *view, const struct policy_question *question,
                             struct policy_ports *at, unsigned int *steps,
                             struct policy_answer *ret)
{
    struct probe p;

    if (at->port == 0)
        at->port = 1;
    if (at->port > UINT16_MAX || *steps == 0) {
        *ret = deny_all(view, question, at);
        return true;
    }
    *ret = judge_at(view, question, (uint16_t)at->port);
    --*steps;
    if (ret->is_allowed)
        return true;
    note_denial(at, ret);
    probe_init(&p, view, question);
    p.port = (uint16_t)at->port;
    find_until(&p, view);
    at->port = p.until + 1u;
    return false;
}

struct policy_answer policy_judge_ports(const struct policy_view *view,
                                        const struct policy_question *question, unsigned int *steps)
{
    struct policy_ports at = {0};
    struct policy_answer answer;

    while (!policy_judge_ports_more(view, question, &at, steps, &answer))
        ;
    return answer;
}
