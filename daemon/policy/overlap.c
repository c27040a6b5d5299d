/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/policy/overlap.h"

#include <string.h>

#include "daemon/policy/file.h"
#include "daemon/policy/ports.h"

/* ---- two rules ---- */

/* To addresses that both are about. */
static bool differs(const struct policy_rule *earlier, const struct policy_rule *later)
{
    uint8_t has = earlier->flags | earlier->implied, wants = later->flags | later->implied;

    if (earlier->is_allow != later->is_allow)
        return true;
    return later->is_allow && (wants & (POLICY_FLAGS_ALL | POLICY_LENDS) & (uint8_t)~has);
}

static bool is_about_same_host(const struct policy_rule *a, const struct policy_rule *b)
{
    if (a->host != b->host)
        return false;
    if (a->name)
        return strcmp(a->name, b->name) == 0;
    return a->family == b->family && a->prefix == b->prefix &&
           memcmp(a->net, b->net, sizeof(a->net)) == 0;
}

static bool is_exception(const struct policy_rule *earlier, const struct policy_rule *later)
{
    if (later->first == 1 && later->last == UINT16_MAX)
        return earlier->first > 1 || earlier->last < UINT16_MAX;
    return is_about_same_host(earlier, later) && earlier->first >= later->first &&
           earlier->last <= later->last;
}

/* ---- one rule, and what decides for a host that covers its own ---- */

struct question {
    const struct policy_file *file; /* whose spans they are */
    const struct policy_rule *rule;
    uint32_t number; /* among its protocol's; spans of rules from this one on do not count */
    struct policy_overlap *ret;
    bool has_found;
};

/* The last span that begins there or before, or the first one. */
static uint32_t find_span(const struct policy_span *spans, const struct policy_decision *decision,
                          uint16_t port)
{
    uint32_t low = decision->place, n = decision->spans;

    while (n > 1) {
        uint32_t half = n / 2;

        if (spans[low + half].first <= port)
            low += half;
        n -= half;
    }
    return low;
}

#define SPANS_MAX 64u /* that are looked at; one that cuts the rule is enough */

static void look(void *data, const struct policy_decision *decision)
{
    struct question *q = data;
    uint32_t count, end = decision->place + decision->spans, at;
    enum policy_protocol protocol = (enum policy_protocol)q->rule->protocol;
    const struct policy_span *spans = policy_index_spans(q->file->index[protocol], &count);
    const struct policy_rule *rules = q->file->rules + q->file->begin[protocol];

    if (q->has_found || decision->spans == 0)
        return;
    at = find_span(spans, decision, q->rule->first);
    for (uint32_t i = 0; at < end && i < SPANS_MAX && spans[at].first <= q->rule->last; at++, i++) {
        const struct policy_span *span = &spans[at];
        const struct policy_rule *by = &rules[span->rule];

        if (span->last < q->rule->first || span->rule >= q->number || !differs(by, q->rule) ||
            is_exception(by, q->rule))
            continue;
        q->ret->by = by;
        q->ret->first = span->first > q->rule->first ? span->first : q->rule->first;
        q->ret->last = span->last < q->rule->last ? span->last : q->rule->last;
        q->ret->is_whole = q->ret->first == q->rule->first && q->ret->last == q->rule->last;
        q->has_found = true;
        return;
    }
}

bool policy_overlap_within(const struct policy_file *file, uint32_t number,
                           struct policy_overlap *ret)
{
    const struct policy_rule *rule = &file->rules[number];
    uint32_t begin = (uint32_t)file->begin[rule->protocol];
    struct question q = {file, rule, number - begin, ret, false};

    policy_index_covering(file->index[rule->protocol], rule, look, &q);
    return q.has_found;
}

bool policy_overlap_behind(const struct policy_file *earlier, const struct policy_rule *rule,
                           struct policy_overlap *ret)
{
    const struct policy_decision *any = policy_index_any(earlier->index[rule->protocol]);
    struct question q = {earlier, rule, UINT32_MAX, ret, false};

    if (any)
        look(&q, any);
    return q.has_found;
}

/* ---- clients ---- */

static bool is_same_value(const struct match_value *a, const struct match_value *b)
{
    return !a->is_unknown && !b->is_unknown && strcmp(a->text, b->text) == 0;
}

static bool has_value(const struct match_values *values, const struct match_value *value)
{
    for (size_t i = 0; i < values->count; i++)
        if (is_same_value(&values->values[i], value))
            return true;
    return false;
}

static bool has_pattern(const struct match_values *values)
{
    for (size_t i = 0; i < values->count; i++)
        if (strchr(values->values[i].text, '*'))
            return true;
    return false;
}

/* A client has one of these only; with other values it is another client. */
static bool is_single(enum match_key key)
{
    return key == MATCH_USER || key == MATCH_UNIT || key == MATCH_USER_UNIT ||
           key == MATCH_LISTENER;
}

static enum policy_audience of_key(const struct match_values *earlier,
                                   const struct match_values *later, enum match_key key)
{
    size_t common = 0;

    if (earlier->count == 0)
        return POLICY_AUDIENCE_ALL;
    for (size_t i = 0; i < later->count; i++)
        common += has_value(earlier, &later->values[i]);
    if (earlier->nots > 0 || later->nots > 0)
        return common == later->count && common == earlier->count ? POLICY_AUDIENCE_ALL
                                                                  : POLICY_AUDIENCE_SOME;
    if (later->count > 0 && common == later->count)
        return POLICY_AUDIENCE_ALL;
    if (later->count == 0 || common > 0 || !is_single(key) || has_pattern(earlier) ||
        has_pattern(later))
        return POLICY_AUDIENCE_SOME;
    return POLICY_AUDIENCE_NONE;
}

enum policy_audience policy_audience(const struct policy_match *earlier,
                                     const struct policy_match *later)
{
    enum policy_audience least = POLICY_AUDIENCE_ALL;

    for (enum match_key key = 0; key < MATCH_KEY_COUNT; key++) {
        enum policy_audience one = of_key(&earlier->keys[key], &later->keys[key], key);

        least = one < least ? one : least;
    }
    return least;
}
