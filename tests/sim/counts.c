/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "tests/sim/counts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/audit/audit.h"
#include "daemon/audit/rule_counts.h"
#include "daemon/core/loop.h"
#include "daemon/core/quota.h"
#include "daemon/policy/kept.h"
#include "tests/sim/sim.h"

#define RULE_NAME 64
#define RULE_LINE 128
#define STATS (sizeof(struct stats) / sizeof(uint64_t))

static struct {
    unsigned int rules;
    struct {
        char name[RULE_NAME], line[RULE_LINE];
        uint64_t count;
    } rule[RULE_COUNTS_MAX];
    uint64_t stats[STATS], refusals[QUOTA_RESOURCES], audit[3];
} before;

/* The text of a rule's line; "": there is no such line, or it is no rule. */
static void find_line(const struct policy *policy, const char *rule, char ret[static RULE_LINE])
{
    const char *colon = strrchr(rule, ':'), *at;
    size_t len;

    *ret = '\0';
    for (size_t i = 0; colon && i < policy_file_count(policy); i++) {
        struct policy_kept file = policy_keep(policy, i);

        if (strlen(file.path) != (size_t)(colon - rule) ||
            strncmp(file.path, rule, (size_t)(colon - rule)) != 0 || !file.text)
            continue;
        at = file.text;
        for (long line = atol(colon + 1); at && line > 1; line--) {
            at = memchr(at, '\n', file.len - (size_t)(at - file.text));
            at = at ? at + 1 : NULL;
        }
        len = at ? file.len - (size_t)(at - file.text) : 0;
        snprintf(ret, RULE_LINE, "%.*s", (int)(len ? strcspn(at, "\n") : 0), len ? at : "");
    }
}

static void read_audit(const struct worker *w, uint64_t ret[static 3])
{
    struct audit_stats stats = audit_stats(w->audit);

    ret[0] = stats.entries;
    ret[1] = stats.dropped;
    ret[2] = stats.refused;
}

void counts_remember(const struct worker *w)
{
    const char *name;
    uint64_t count;

    for (before.rules = 0; rule_counts_at(w->rule_counts, before.rules, &name, &count);
         before.rules++) {
        snprintf(before.rule[before.rules].name, RULE_NAME, "%s", name);
        before.rule[before.rules].count = count;
        find_line(w->policy, name, before.rule[before.rules].line);
    }
    memcpy(before.stats, &w->stats, sizeof(before.stats));
    for (enum quota_resource r = 0; r < QUOTA_RESOURCES; r++)
        before.refusals[r] = quota_refusals(w->quota, r);
    read_audit(w, before.audit);
}

static void check_number(const char *what, unsigned int number, uint64_t was, uint64_t is)
{
    if (is < was)
        sim_fail("counts-went-back: %s %u from %llu to %llu", what, number, (unsigned long long)was,
                 (unsigned long long)is);
}

static uint64_t count_of(const struct worker *w, const char *rule)
{
    const char *name;
    uint64_t count;

    for (unsigned int i = 0; rule_counts_at(w->rule_counts, i, &name, &count); i++)
        if (strcmp(name, rule) == 0)
            return count;
    return 0;
}

void counts_check(const struct worker *w)
{
    uint64_t stats[STATS], audit[3];
    char line[RULE_LINE];

    for (unsigned int i = 0; i < before.rules; i++) {
        const char *was = before.rule[i].line;

        /* A connect may end after a reload, by a rule that exists no more. */
        find_line(w->policy, before.rule[i].name, line);
        if (!strchr(before.rule[i].name, ':') || (*was && strcmp(line, was) == 0))
            check_number(before.rule[i].name, i, before.rule[i].count,
                         count_of(w, before.rule[i].name));
    }
    memcpy(stats, &w->stats, sizeof(stats));
    for (unsigned int i = 0; i < STATS; i++)
        check_number("statistic", i, before.stats[i], stats[i]);
    for (enum quota_resource r = 0; r < QUOTA_RESOURCES; r++)
        check_number("refusals of", r, before.refusals[r], quota_refusals(w->quota, r));
    read_audit(w, audit);
    for (unsigned int i = 0; i < 3; i++)
        check_number("audit", i, before.audit[i], audit[i]);
}
