/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The rules of a host, in order, claim the ports that none before them has claimed; what each has
 * got is a few ranges, in which a port is found by binary search.
 */
#include "daemon/policy/ports.h"

#include <stddef.h>
#include <stdlib.h>

#include "daemon/policy/index.h"

/*
 * Pieces of the range of ports that are free, or decided: next[i] is the first free one from i on.
 */
static uint32_t next_free(uint32_t *next, uint32_t at)
{
    while (next[at] != at) {
        next[at] = next[next[at]];
        at = next[at];
    }
    return at;
}

static int compare_numbers(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static uint32_t place_of(const uint32_t *edges, uint32_t count, uint32_t port)
{
    const uint32_t *found = bsearch(&port, edges, count, sizeof(*edges), compare_numbers);

    return (uint32_t)(found - edges);
}

/* Where the ports of this key's rules begin and end, without repetition; their count. */
static uint32_t find_edges(const struct policy_rule *rules, const uint32_t *numbers,
                           uint32_t rule_count, uint32_t *edges)
{
    uint32_t count = 2 * rule_count, n = 1;

    for (uint32_t i = 0; i < rule_count; i++) {
        edges[2 * i] = rules[numbers[i]].first;
        edges[2 * i + 1] = rules[numbers[i]].last + 1u;
    }
    qsort(edges, count, sizeof(*edges), compare_numbers);
    for (uint32_t i = 1; i < count; i++)
        if (edges[i] != edges[n - 1])
            edges[n++] = edges[i];
    return n;
}

static void add_span(struct policy_span *spans, uint32_t *count, const struct policy_span *span)
{
    struct policy_span *last = *count > 0 ? &spans[*count - 1] : NULL;

    if (last && last->rule == span->rule && last->last + 1u == span->first)
        last->last = span->last;
    else
        spans[(*count)++] = *span;
}

uint32_t policy_ports_divide(const struct policy_rule *rules, const uint32_t *numbers,
                             uint32_t rule_count, uint32_t *room, struct policy_span *ret)
{
    uint32_t *edges = room, *next = room + 2 * rule_count, *owner = next + 2 * rule_count;
    uint32_t count = find_edges(rules, numbers, rule_count, edges), spans = 0;

    for (uint32_t i = 0; i < count; i++) {
        next[i] = i;
        owner[i] = POLICY_INDEX_NONE;
    }
    for (uint32_t i = 0; i < rule_count; i++) {
        const struct policy_rule *rule = &rules[numbers[i]];
        uint32_t end = place_of(edges, count, rule->last + 1u);
        uint32_t at = next_free(next, place_of(edges, count, rule->first));

        for (; at < end; at = next_free(next, at)) {
            owner[at] = numbers[i];
            next[at] = at + 1;
        }
    }
    for (uint32_t i = 0; i + 1 < count; i++)
        if (owner[i] != POLICY_INDEX_NONE)
            add_span(
                ret, &spans,
                &(struct policy_span){(uint16_t)edges[i], (uint16_t)(edges[i + 1] - 1), owner[i]});
    return spans;
}

static uint32_t find_span(const struct policy_span *spans, const struct policy_decision *decision,
                          uint16_t port)
{
    uint32_t low = 0, high = decision->spans;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct policy_span *span = &spans[decision->place + middle];

        if (port > span->last)
            low = middle + 1;
        else if (port < span->first)
            high = middle;
        else
            return span->rule;
    }
    return POLICY_INDEX_NONE;
}

uint32_t policy_ports_first(const struct policy_span *spans, const struct policy_decision *decision,
                            uint16_t port, uint32_t best)
{
    uint32_t rule;

    if (decision->spans == 0 || decision->span.rule >= best)
        return best;
    if (decision->spans == 1)
        return port >= decision->span.first && port <= decision->span.last ? decision->span.rule
                                                                           : best;
    rule = find_span(spans, decision, port);
    return rule < best ? rule : best;
}

/* The first span that ends there or behind. */
static const struct policy_span *span_from(const struct policy_span *spans,
                                           const struct policy_decision *decision, uint16_t port)
{
    uint32_t low = 0, high = decision->spans;

    if (decision->spans == 1)
        return port <= decision->span.last ? &decision->span : NULL;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (port > spans[decision->place + middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < decision->spans ? &spans[decision->place + low] : NULL;
}

uint16_t policy_ports_until(const struct policy_span *spans, const struct policy_decision *decision,
                            uint16_t port, uint16_t until)
{
    const struct policy_span *span = span_from(spans, decision, port);
    uint16_t end = UINT16_MAX;

    if (span)
        end = port < span->first ? (uint16_t)(span->first - 1) : span->last;
    return end < until ? end : until;
}
