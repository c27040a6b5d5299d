/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The index knows of each host who decides for which ports, in spans. A rule is not reached where
 * the spans of a host that covers its own leave no gap in its ports, and none of them is its own or
 * a later rule's: whether there are gaps say sums of the spans' lengths, who is last among them a
 * tree of maxima.
 */
#include "daemon/policy/shadow.h"

#include "base/alloc.h"
#include "daemon/policy/file.h"
#include "daemon/policy/ports.h"

struct policy_shadows {
    const struct policy_rule *rules; /* of the protocol */
    const struct policy_index *index;
    const struct policy_span *spans;
    uint32_t count; /* of spans */
    uint32_t *
        before; /* ports of all spans in front of one; differences count, whether or not it overflows */
    uint32_t *
        last; /* tree: of leaves count + i the rule of span i, of others the later of both below them */
};

static void fill(struct policy_shadows *s)
{
    s->before[0] = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        s->before[i + 1] = s->before[i] + s->spans[i].last - s->spans[i].first + 1;
        s->last[s->count + i] = s->spans[i].rule;
    }
    for (uint32_t i = s->count; i-- > 1;) {
        uint32_t a = s->last[2 * i], b = s->last[2 * i + 1];

        s->last[i] = a > b ? a : b;
    }
}

struct policy_shadows *policy_shadows_new(const struct policy_file *file,
                                          enum policy_protocol protocol)
{
    struct policy_shadows *s = mem_zalloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->rules = file->rules + file->begin[protocol];
    s->index = file->index[protocol];
    s->spans = policy_index_spans(s->index, &s->count);
    s->before = mem_alloc(((size_t)s->count + 1) * sizeof(*s->before));
    s->last = mem_alloc((2 * (size_t)s->count + 1) * sizeof(*s->last));
    if (!s->before || !s->last)
        return policy_shadows_free(s);
    fill(s);
    return s;
}

struct policy_shadows *policy_shadows_free(struct policy_shadows *s)
{
    if (!s)
        return NULL;
    mem_free(s->before);
    mem_free(s->last);
    return mem_free(s);
}

/* Of the spans from..to: the last rule. */
static uint32_t last_rule(const struct policy_shadows *s, uint32_t from, uint32_t to)
{
    uint32_t low = s->count + from, high = s->count + to + 1, last = 0;

    for (; low < high; low /= 2, high /= 2) {
        if (low & 1) {
            last = s->last[low] > last ? s->last[low] : last;
            low++;
        }
        if (high & 1) {
            high--;
            last = s->last[high] > last ? s->last[high] : last;
        }
    }
    return last;
}

/* The last of a decision's spans that begins at this port or before; they are in order. */
static uint32_t find_span(const struct policy_shadows *s, const struct policy_decision *decision,
                          uint16_t port)
{
    uint32_t low = decision->place, n = decision->spans;

    while (n > 1) {
        uint32_t half = n / 2;

        if (s->spans[low + half].first <= port)
            low += half;
        n -= half;
    }
    return low;
}

struct question {
    const struct policy_shadows *shadows;
    const struct policy_rule *rule;
    uint32_t number;
    uint32_t by; /* the answer so far */
};

static void ask(void *data, const struct policy_decision *decision)
{
    struct question *q = data;
    const struct policy_shadows *s = q->shadows;
    uint32_t from, to, by;

    if (decision->spans == 0)
        return;
    from = find_span(s, decision, q->rule->first);
    to = find_span(s, decision, q->rule->last);
    if (s->spans[from].first > q->rule->first || s->spans[to].last < q->rule->last ||
        s->before[to + 1] - s->before[from] !=
            (uint32_t)(s->spans[to].last - s->spans[from].first) + 1)
        return;
    by = last_rule(s, from, to);
    if (by < q->number && by < q->by)
        q->by = by;
}

uint32_t policy_shadow_of(const struct policy_shadows *s, uint32_t number, bool *ret_alone)
{
    const struct policy_rule *rules = s->rules;
    struct question q = {s, &rules[number], number, POLICY_INDEX_NONE};

    policy_index_covering(s->index, q.rule, ask, &q);
    if (q.by != POLICY_INDEX_NONE)
        *ret_alone = rules[q.by].first <= q.rule->first && rules[q.by].last >= q.rule->last;
    return q.by;
}
