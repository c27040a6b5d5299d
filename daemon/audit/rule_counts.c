/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/audit/rule_counts.h"

#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"

/* At most half of them are taken, so that a search ends soon. A power of two. */
#define PLACES (2 * RULE_COUNTS_MAX)

#define OTHER 0u
#define NONE 1u
#define RESTRICTION 2u
#define FIRST_RULE 3u

static const char *const names[FIRST_RULE] = {"other", "none", "restriction"};

struct rule_count {
    char *name;
    uint64_t count;
};

struct rule_counts {
    unsigned int used; /* of rules */
    unsigned int last; /* the one that counted last: mostly the next one, too; 0: none */
    struct rule_count rules[RULE_COUNTS_MAX];
    uint16_t places[PLACES]; /* a rule's number; 0: free, as OTHER has no place */
};

static char *copy_printable(const char *rule)
{
    size_t len = strlen(rule);
    char *name = mem_alloc(len + 1);

    if (!name)
        return NULL;
    for (size_t i = 0; i < len; i++)
        name[i] = rule[i] >= ' ' && rule[i] <= '~' ? rule[i] : '?';
    name[len] = '\0';
    return name;
}

static bool is_named(const struct rule_count *rule, const char *name)
{
    size_t i = 0;

    for (; rule->name[i] && name[i]; i++)
        if (rule->name[i] != (name[i] >= ' ' && name[i] <= '~' ? name[i] : '?'))
            return false;
    return !rule->name[i] && !name[i];
}

/* The number of the rule's count; OTHER if there is no room for it. */
static unsigned int find(struct rule_counts *counts, const char *rule)
{
    unsigned int place = (unsigned int)hash_bytes(rule, strlen(rule)) % PLACES;

    for (; counts->places[place]; place = (place + 1) % PLACES)
        if (is_named(&counts->rules[counts->places[place]], rule))
            return counts->places[place];
    if (counts->used == RULE_COUNTS_MAX)
        return OTHER;
    counts->rules[counts->used].name = copy_printable(rule);
    if (!counts->rules[counts->used].name)
        return OTHER;
    counts->rules[counts->used].count = 0;
    counts->places[place] = (uint16_t)counts->used;
    return counts->used++;
}

void rule_counts_add(struct rule_counts *counts, const char *rule)
{
    unsigned int number;

    if (!counts)
        return;
    if (counts->last && strcmp(counts->rules[counts->last].name, rule) == 0)
        number = counts->last;
    else if (!rule[0])
        number = NONE;
    else if (strncmp(rule, "restriction:", 12) == 0)
        number = RESTRICTION;
    else
        number = find(counts, rule);
    counts->rules[number].count++;
    if (number >= FIRST_RULE)
        counts->last = number;
}

void rule_counts_restore(struct rule_counts *counts, const char *rule, uint64_t count)
{
    unsigned int number = OTHER;

    if (!counts)
        return;
    for (unsigned int i = 0; i < FIRST_RULE; i++)
        if (strcmp(rule, names[i]) == 0)
            number = i;
    if (strchr(rule, ':'))
        number = find(counts, rule);
    counts->rules[number].count += count;
}

void rule_counts_clear(struct rule_counts *counts)
{
    if (!counts)
        return;
    for (unsigned int i = FIRST_RULE; i < counts->used; i++)
        mem_free(counts->rules[i].name);
    memset(counts->rules, 0, sizeof(counts->rules));
    memset(counts->places, 0, sizeof(counts->places));
    counts->used = FIRST_RULE;
    counts->last = 0;
}

bool rule_counts_at(const struct rule_counts *counts, unsigned int number, const char **ret_rule,
                    uint64_t *ret_count)
{
    if (!counts || number >= counts->used)
        return false;
    *ret_rule = number < FIRST_RULE ? names[number] : counts->rules[number].name;
    *ret_count = counts->rules[number].count;
    return true;
}

struct rule_counts *rule_counts_new(void)
{
    struct rule_counts *counts = mem_zalloc(1, sizeof(*counts));

    if (counts)
        counts->used = FIRST_RULE;
    return counts;
}

struct rule_counts *rule_counts_free(struct rule_counts *counts)
{
    rule_counts_clear(counts);
    return mem_free(counts);
}
